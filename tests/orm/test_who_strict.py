"""Strict mode: a write without a reason is refused before anything is sent."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.orm import Session

import chrononaut_pg
from chrononaut_pg import (
    ChangeInfoRequiredError,
    ChrononautException,
    append_change_info,
    change_info,
    rationale,
)
from tests.orm.conftest import Base, Item, Plain, Told
from tests.orm.modelling import statements
from tests.servers import TemplateOf


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@pytest.fixture
def strict(session: Session) -> Session:
    """A session whose engine asks for a reason."""
    chrononaut_pg.listen(session.get_bind(), require_extra=lambda: True)
    return session


def flush_insert(session: Session) -> None:
    session.add(Item(id=2))
    session.flush()


def flush_update(session: Session) -> None:
    session.get_one(Item, 1).value = 5
    session.flush()


def flush_delete(session: Session) -> None:
    session.delete(session.get_one(Item, 1))
    session.flush()


def core_insert(session: Session) -> None:
    session.execute(insert(Item), [{"id": 2}, {"id": 3}])


def core_update(session: Session) -> None:
    session.execute(update(Item).values(value=5))


def core_delete(session: Session) -> None:
    session.execute(delete(Item))


def bulk_update(session: Session) -> None:
    session.execute(update(Item), [{"id": 1, "value": 5}])


def bulk_save(session: Session) -> None:
    session.bulk_save_objects([Item(id=2)])


def core_cte(session: Session) -> None:
    changed = update(Item).values(value=5).returning(Item.id).cte("changed")
    session.execute(select(changed.c.id))


def textual(session: Session) -> None:
    session.execute(text("update public.item set value = 5"))


def textual_cte(session: Session) -> None:
    session.execute(text('with d as (delete from "item" returning *) select * from d'))


WRITES: list[Callable[[Session], None]] = [
    flush_insert,
    flush_update,
    flush_delete,
    core_insert,
    core_update,
    core_delete,
    bulk_update,
    bulk_save,
    core_cte,
    textual,
    textual_cte,
]


@pytest.mark.parametrize("write", WRITES, ids=lambda write: str(write.__name__))
def test_write_without_a_reason_is_refused_before_it_is_sent(
    strict: Session, told: Told, write: Callable[[Session], Any]
) -> None:
    before = told("I"), told("U"), told("D")
    with change_info(user_id="ann"), pytest.raises(ChangeInfoRequiredError) as raised:
        write(strict)
    strict.rollback()

    assert isinstance(raised.value, ChrononautException)
    assert (told("I"), told("U"), told("D")) == before


@pytest.mark.parametrize("write", WRITES, ids=lambda write: str(write.__name__))
def test_write_with_a_reason_is_accepted(
    strict: Session, told: Told, write: Callable[[Session], Any]
) -> None:
    before = len([*told("I"), *told("U"), *told("D")])
    with rationale("why"):
        write(strict)
        strict.commit()

    found = [*told("I"), *told("U"), *told("D")]
    assert (None, "why") in found
    assert len(found) > before


def test_refused_flush_sends_no_write(strict: Session) -> None:
    engine: Any = strict.get_bind()
    strict.add_all([Plain(id=1), Item(id=2)])
    with statements(engine) as sent, pytest.raises(ChangeInfoRequiredError):
        strict.commit()

    assert sent == []


def test_reason_appended_to_each_object_is_enough(strict: Session, told: Told) -> None:
    item = strict.get_one(Item, 1)
    with append_change_info(item, rationale="this one"):
        item.value = 5
    strict.commit()

    assert told() == [(None, "this one")]


def test_unversioned_tables_and_reading_need_no_reason(strict: Session) -> None:
    strict.add(Plain(id=1))
    strict.commit()

    assert strict.scalars(select(Plain.id)).all() == [1]
