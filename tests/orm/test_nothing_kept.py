"""What has been listened to is let go with it, and nothing grows with use."""

import gc
from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest
from sqlalchemy import Engine, NullPool, create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

import chrononaut_pg
from chrononaut_pg._statements import _kind_of_text, kind_of_text
from tests.orm.conftest import Item


def session_on(engine: Engine) -> Any:
    return Session(engine, info={"user": "ann"})


def async_session_on(engine: Engine) -> Any:
    other = create_async_engine(engine.url)
    return AsyncSession(other, info={"user": "ann"})


def engine_like(engine: Engine) -> Any:
    return create_engine(engine.url, poolclass=NullPool)


@pytest.mark.parametrize("make", [session_on, async_session_on, engine_like])
def test_target_is_let_go_though_its_functions_refer_to_it(
    listening: Engine, make: Callable[[Engine], Any]
) -> None:
    """As in `listen(session, user_id=lambda: session.info["user"])`, per request."""

    def use() -> ref[Any]:
        target = make(listening)
        chrononaut_pg.listen(target, user_id=lambda: getattr(target, "info", None))
        if isinstance(target, Session):
            target.add(Item(id=1))
            target.rollback()
        return ref(target)

    gone = use()
    gc.collect()

    assert gone() is None


LITERALS = ["x", "00ff", "a.", "$a", "\u00fc", "; ", "a table ", "f("]


@pytest.mark.parametrize("begin", ["select", "insert into item (id) select", "create"])
@pytest.mark.parametrize("literal", LITERALS)
def test_long_literal_is_looked_through_at_once_and_not_kept(
    begin: str, literal: str
) -> None:
    """Half a megabyte: what looks at a word more than once never comes to an end."""
    before = _kind_of_text.cache_info().currsize
    kind_of_text(f"{begin} '{literal * (500_000 // len(literal))}'")

    assert _kind_of_text.cache_info().currsize == before
