"""Blocks, jobs, greenlets and failures: what is said reaches its own writes only."""

import json
from contextlib import suppress
from contextvars import copy_context
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from greenlet import greenlet  # type: ignore[import-untyped]
from sqlalchemy import Engine, insert, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

import chrononaut_pg
from chrononaut_pg import (
    InvalidChangeInfoError,
    NotVersionedError,
    append_change_info,
    capture_change_info,
    change_info,
    extra_change_info,
    rationale,
    restore_change_info,
)
from chrononaut_pg.session import current_change_info
from chrononaut_pg.unsafe import suppress_versioning
from tests.orm.conftest import Base, Item, Note, Told
from tests.servers import Db, TemplateOf

UPDATE = update(Item).values(value=Item.value + 1)


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


def test_exception_inside_a_block_ends_what_it_said(
    session: Session, told: Told
) -> None:
    with (
        suppress(ZeroDivisionError),
        change_info(user_id="ann"),
        rationale("bad"),
    ):
        session.execute(UPDATE)
        raise ZeroDivisionError
    session.execute(UPDATE)
    session.commit()

    assert told() == [("ann", "bad"), (None, None)]


def test_extras_of_nested_blocks_unite_and_come_apart_again(
    session: Session, db: Db
) -> None:
    with extra_change_info(a=1, b=1), change_info(user_id=7):
        with extra_change_info(b=2, c=None):
            session.execute(UPDATE)
        session.execute(UPDATE)
        session.commit()

    found = db.execute(
        "select change_info from item_history where operation = 'U' order by change_id"
    ).fetchall()
    who = {"user_id": "7", "remote_addr": None}
    assert found == [
        ({**who, "extra": {"a": 1, "b": 2, "c": None}},),
        ({**who, "extra": {"a": 1, "b": 1}},),
    ]


def test_greenlets_do_not_see_each_other(
    session: Session, engine: Engine, told: Told
) -> None:
    def work(number: int) -> None:
        with Session(engine) as own, change_info(user_id=str(number)):
            own.add(Item(id=number))
            main.switch()
            own.commit()

    main = greenlet.getcurrent()
    workers = [greenlet(work) for _ in range(3)]
    for number, worker in enumerate(workers, start=2):
        worker.switch(number)
    for worker in workers:
        worker.switch()

    assert told("I") == [(None, None), ("2", None), ("3", None), ("4", None)]


def test_thread_starts_with_nothing_said_unless_given_the_context(
    session: Session, engine: Engine, told: Told
) -> None:
    def work(number: int) -> None:
        with Session(engine) as own:
            own.add(Item(id=number))
            own.commit()

    with change_info(user_id="ann"):
        context = copy_context()
        for target in (work, lambda number: context.run(work, number + 1)):
            thread = Thread(target=target, args=(2,))
            thread.start()
            thread.join()

    assert told("I")[1:] == [(None, None), ("ann", None)]


def test_job_restores_what_its_producer_captured(session: Session, told: Told) -> None:
    with change_info(user_id="ann"), rationale(lambda: "asked"):  # type: ignore[arg-type]
        job = json.dumps(capture_change_info())
    with change_info(user_id="worker"):
        with restore_change_info(json.loads(job)):
            session.execute(UPDATE)
        session.execute(UPDATE)
        with restore_change_info(None):
            session.execute(UPDATE)
    session.commit()

    assert told() == [("ann", "asked"), ("worker", None), (None, None)]


def test_capturing_with_a_session_asks_what_it_listens_with(session: Session) -> None:
    chrononaut_pg.listen(
        session.get_bind(),
        user_id=lambda: "ann",
        remote_addr=lambda: "10.0.0.1",
        extra=lambda: {"host": "web1"},
    )
    with rationale("why"):
        found = current_change_info(session)

    assert found == {
        "user_id": "ann",
        "remote_addr": "10.0.0.1",
        "extra": {"host": "web1", "rationale": "why"},
    }


def test_appended_info_of_objects_in_one_flush_stays_apart(
    session: Session, told: Told
) -> None:
    new, changed, gone, other = (
        Item(id=2),
        session.get_one(Item, 1),
        Item(id=3),
        Item(id=9),
    )
    session.add(gone)
    session.commit()
    with rationale("all"):
        with append_change_info(new, rationale="new"):
            session.add(new)
        with append_change_info(changed, gone, rationale="old"):
            changed.value = 5
            session.delete(gone)
        session.add(other)
        session.commit()

    assert (told("I")[2:], told("U"), told("D")) == (
        [(None, "new"), (None, "all")],
        [(None, "old")],
        [(None, "old")],
    )


def test_appended_info_survives_a_savepoint_rolled_back(
    session: Session, told: Told
) -> None:
    item = session.get_one(Item, 1)
    nested = session.begin_nested()
    with append_change_info(item, rationale="why"):
        item.value = 1
        session.flush()
    nested.rollback()
    item.value = 2
    session.commit()

    assert told() == [(None, "why")]


def test_failed_flush_hands_nothing_to_the_next_transaction(
    session: Session, told: Told
) -> None:
    with change_info(user_id="ann"), append_change_info(session.get_one(Item, 1), x=1):
        session.add(Note(id=1))
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
    session.execute(UPDATE)
    session.commit()

    assert told() == [(None, None)]


def test_exception_inside_a_block_takes_what_was_appended_off_the_objects(
    session: Session, told: Told
) -> None:
    item = session.get_one(Item, 1)
    with (
        append_change_info(item, rationale="outer"),
        suppress(ZeroDivisionError),
        append_change_info(item, rationale="inner", ticket=1),
    ):
        raise ZeroDivisionError
    item.value += 1
    session.commit()
    with suppress(ZeroDivisionError), append_change_info(item, rationale="failed"):
        item.value += 1
        session.flush()
        session.rollback()
        raise ZeroDivisionError
    item.value += 1
    session.commit()

    assert told() == [(None, "outer"), (None, None)]


def test_appending_to_another_object_appends_to_none(
    session: Session, told: Told
) -> None:
    item = session.get_one(Item, 1)
    with (
        pytest.raises(NotVersionedError),
        append_change_info(item, None, rationale="x"),
    ):
        pass
    item.value += 1
    session.commit()

    assert told() == [(None, None)]


@pytest.mark.parametrize("job", ['{"user_id": "ann"}', ["ann"], {"extra": "text"}])
def test_what_is_no_captured_change_info_is_not_restored(job: Any) -> None:
    with (
        pytest.raises(InvalidChangeInfoError, match="cannot restore change info from"),
        restore_change_info(job),
    ):
        pass


def test_restored_change_info_does_not_end_suppression(
    session: Session, told: Told
) -> None:
    with suppress_versioning(), restore_change_info({"user_id": "ann"}):
        session.execute(UPDATE)
        session.commit()

    assert told() == []


def test_listening_takes_plain_values_too(session: Session, db: Db) -> None:
    chrononaut_pg.listen(
        session.get_bind(),
        user_id=7,
        remote_addr="10.0.0.1",
        extra={"host": "web1"},
        require_extra=True,
    )
    session.execute(UPDATE)
    session.commit()

    found = "select change_info from item_history where operation = 'U'"
    assert db.execute(found).fetchall() == [
        ({"user_id": "7", "remote_addr": "10.0.0.1", "extra": {"host": "web1"}},)
    ]


class Colour(Enum):
    RED = "red"


def test_values_of_common_types_are_written_as_json(session: Session, db: Db) -> None:
    values: dict[str, Any] = {
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "day": date(2026, 1, 2),
        "price": Decimal("1.50"),
        "key": UUID(int=1),
        "colour": Colour.RED,
        "tags": {"b", "a"},
        "nested": {"list": [1, None, True], "text": "%s 🦉"},
    }
    with extra_change_info(**values):
        session.execute(UPDATE)
        session.commit()

    query = "select change_info -> 'extra' from item_history where operation = 'U'"
    assert db.execute(query).fetchone() == (
        {
            "at": "2026-01-02T00:00:00+00:00",
            "day": "2026-01-02",
            "price": "1.50",
            "key": "00000000-0000-0000-0000-000000000001",
            "colour": "red",
            "tags": ["a", "b"],
            "nested": {"list": [1, None, True], "text": "%s 🦉"},
        },
    )


@pytest.mark.parametrize("value", [object(), float("nan"), b"bytes", {("a",): 1}])
def test_value_that_is_no_json_is_refused_before_anything_is_written(
    session: Session, told: Told, value: Any
) -> None:
    with (
        pytest.raises(InvalidChangeInfoError, match="cannot be written as JSON"),
        extra_change_info(it=value),
    ):
        session.execute(UPDATE)
    session.commit()

    assert told() == []


def test_callables_that_fail_fail_the_write(session: Session, told: Told) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        extra_change_info(it=lambda: 1 / 0),
    ):
        session.execute(UPDATE)
    session.execute(text("update item set value = 1"))
    session.commit()

    assert told() == [(None, None)]


def test_bulk_insert_of_objects_carries_who(session: Session, told: Told) -> None:
    with change_info(user_id="ann"):
        session.bulk_save_objects([Item(id=2)])
        session.bulk_insert_mappings(Item, [{"id": 3}])
        session.execute(insert(Item).returning(Item.id), [{"id": 4}, {"id": 5}])
        session.commit()

    assert told("I")[1:] == [("ann", None)] * 4
