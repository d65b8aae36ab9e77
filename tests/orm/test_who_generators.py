"""Generators that hold blocks open: what is said ends with its block all the same."""

from collections.abc import Callable, Iterator
from threading import Thread

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from chrononaut_pg import change_info, rationale
from tests.orm.conftest import Base, Item, Told
from tests.servers import TemplateOf

UPDATE = update(Item).values(value=Item.value + 1)


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


def _as_user(user_id: str) -> Iterator[None]:
    with change_info(user_id=user_id):
        yield


def _because(text: str) -> Iterator[None]:
    with rationale(text):
        yield


def test_blocks_left_in_the_order_of_entering_say_nothing_afterwards(
    session: Session, told: Told
) -> None:
    first, second = _as_user("ann"), _because("why")
    next(first)
    next(second)
    session.execute(UPDATE)
    next(first, None)
    session.execute(UPDATE)
    next(second, None)
    session.execute(UPDATE)
    session.commit()

    assert told() == [("ann", "why"), (None, "why"), (None, None)]


def test_block_left_in_another_thread_is_left_where_it_was_entered(
    session: Session, told: Told
) -> None:
    with rationale("outer"):
        block = _as_user("ann")
        next(block)
        session.execute(UPDATE)
        _in_thread(block, "bob", lambda: None)
        session.execute(UPDATE)
    session.execute(UPDATE)
    session.commit()

    assert told() == [("ann", "outer"), (None, "outer"), (None, None)]


def test_block_left_in_another_thread_says_nothing_there(
    session: Session, told: Told
) -> None:
    with change_info(user_id="ann"):
        block = _because("ann's")
        next(block)
    _in_thread(block, "bob", lambda: session.execute(UPDATE))
    session.commit()

    assert told() == [("bob", None)]


def _in_thread(block: Iterator[None], user_id: str, then: Callable[[], object]) -> None:
    def leave() -> None:
        with change_info(user_id=user_id):
            next(block, None)
            then()

    thread = Thread(target=leave)
    thread.start()
    thread.join()
