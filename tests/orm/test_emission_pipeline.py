"""With psycopg, who and why travel along with the statement that needs them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, select, text, update
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from chrononaut_pg import InvalidChangeInfoError, change_info, rationale
from tests.orm.conftest import Item, Note, Plain, Told

TRACED = list[str]


@contextlib.contextmanager
def traced(session: Session, path: Any) -> Iterator[TRACED]:
    """Collect the messages of the protocol that libpq sends and receives."""
    driver: Any = session.connection().connection.dbapi_connection
    found: TRACED = []
    with path.open("w+b") as file:
        driver.pgconn.trace(file.fileno())
        try:
            yield found
        finally:
            driver.pgconn.untrace()
            file.seek(0)
            found += file.read().decode("utf-8", "replace").splitlines()


def settings(messages: TRACED) -> int:
    """Return how many messages name the setting."""
    return sum("set_config" in one for one in messages)


@pytest.fixture
def warm(session: Session) -> Session:
    """A session that sends nothing but what a test asks it for."""
    session.get_bind()
    session.connection()
    return session


def test_reading_and_unchanged_reasons_send_nothing(
    warm: Session, tmp_path: Any
) -> None:
    with change_info(user_id="ann"), rationale("why"):
        with traced(warm, tmp_path / "reads") as reads:
            warm.execute(select(Item)).all()
            warm.execute(text("select count(*) from item")).all()
        warm.execute(update(Item).values(value=1))
        with traced(warm, tmp_path / "more") as more:
            warm.execute(update(Item).values(value=2))

    assert (settings(reads), settings(more)) == (0, 0)


def test_write_without_anything_to_say_sends_nothing(
    warm: Session, tmp_path: Any
) -> None:
    with traced(warm, tmp_path / "trace") as messages:
        warm.execute(update(Item).values(value=1))

    # Models of other modules may speak for their own tables, in any write.
    sent = [one for one in messages if one.split("\t")[1] == "F"]
    assert settings([one for one in sent if '{"tables": {' not in one]) == 0


@pytest.mark.parametrize("kind", ["read", "unversioned", "untracked", "unchanged"])
def test_transaction_that_changes_no_tracked_row_leaves_no_transaction_row(
    session: Session, kind: str
) -> None:
    statements: dict[str, Any] = {
        "read": select(Item),
        "unversioned": insert(Plain).values(id=1),
        "untracked": update(Note).values(draft="x"),
        "unchanged": update(Item).values(value=Item.value),
    }
    count = text("select count(*) from chrononaut.transaction")
    before = session.scalar(count)
    with change_info(user_id="ann"):
        session.execute(statements[kind])
        session.commit()

    assert session.scalar(count) == before


def test_failing_statement_in_the_pipeline_raises_its_own_error(
    session: Session, told: Told
) -> None:
    with change_info(user_id="ann"):
        with pytest.raises(IntegrityError, match="item_pkey"):
            session.execute(insert(Item).values(id=1))
        session.rollback()
        with pytest.raises(ProgrammingError, match="no_such_table"):
            session.execute(text("update no_such_table set x = 1"))
        session.rollback()
        session.execute(update(Item).values(value=1))
        session.commit()

    assert told() == [("ann", None)]


def test_error_inside_a_savepoint_leaves_the_transaction_usable(
    session: Session, told: Told
) -> None:
    with change_info(user_id="ann"):
        with pytest.raises(IntegrityError), session.begin_nested():
            session.execute(insert(Item).values(id=1))
        session.execute(update(Item).values(value=1))
        session.commit()

    assert told() == [("ann", None)]


def test_change_info_that_the_database_refuses_arrives_as_our_exception(
    session: Session, told: Told
) -> None:
    with (
        pytest.raises(InvalidChangeInfoError) as raised,
        rationale("half a pair: \ud83d"),
    ):
        session.execute(update(Item).values(value=1))
    session.rollback()
    session.execute(update(Item).values(value=2))
    session.commit()

    cause: Any = raised.value.__cause__
    assert (cause.sqlstate, told()) == ("VH001", [(None, None)])


def test_unbindable_parameter_leaves_the_connection_usable(
    session: Session, told: Told
) -> None:
    with change_info(user_id="ann"):
        with pytest.raises(ProgrammingError, match="cannot adapt"):
            session.execute(text("update item set value = :v"), {"v": object()})
        session.execute(text("update item set value = 1"))
        session.commit()

    assert told() == [("ann", None)]


def test_handler_that_raises_before_the_statement_loses_no_reason(
    session: Session, engine: Engine, told: Told
) -> None:
    def refuse(*_: Any) -> None:
        raise ValueError("not now")

    with change_info(user_id="ann"):
        session.connection()
        event.listen(engine, "before_cursor_execute", refuse)
        with pytest.raises(ValueError, match="not now"):
            session.execute(text("update item set value = 1"))
        event.remove(engine, "before_cursor_execute", refuse)
        session.execute(text("update item set value = 2"))
        session.commit()

    assert told() == [("ann", None)]


SCRIPTS = [
    "update item set value = 1; update note set body = 'x'",
    "set local work_mem = '8MB'; update item set value = 1",
    "create temporary table t (id int); update item set value = 1",
    "-- a comment; update\nupdate item set value = 1;",
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_of_several_statements_carries_who(
    session: Session, told: Told, script: str
) -> None:
    with change_info(user_id="ann"):
        session.connection().exec_driver_sql(script)
        session.commit()

    assert told() == [("ann", None)]


def test_statement_executed_without_parameters_carries_who(
    session: Session, told: Told
) -> None:
    bare = session.connection().execution_options(no_parameters=True)
    with change_info(user_id="ann"):
        bare.exec_driver_sql("update item set value = 7 where value % 10 = 0")
        session.commit()

    assert told() == [("ann", None)]


def test_prepared_statements_carry_who_each_time(session: Session, told: Told) -> None:
    driver: Any = session.connection().connection.dbapi_connection
    driver.prepare_threshold = 0
    for number in range(8):
        with change_info(user_id=str(number)):
            session.execute(update(Item).values(value=number + 1))
            session.commit()

    assert told() == [(str(number), None) for number in range(8)]


def test_values_clause_and_prepare_by_hand_carry_who(
    session: Session, told: Told
) -> None:
    session.execute(
        text(
            "create function bump() returns int language sql"
            " as 'update item set value = value + 1 returning 1'"
        )
    )
    session.execute(text("prepare change as update item set value = value + 1"))
    with change_info(user_id="ann"):
        session.execute(text("values (bump())"))
    with change_info(user_id="bob"):
        session.execute(text("execute change"))
    session.execute(text("deallocate change"))
    session.commit()

    assert told() == [("ann", None), ("bob", None)]
