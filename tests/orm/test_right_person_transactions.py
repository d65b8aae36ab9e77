"""The right person and the right reason from one transaction to the next."""

from typing import Any

import pytest
from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    QueuePool,
    create_engine,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

import chrononaut_pg
from chrononaut_pg import (
    ChangeInfoLostWarning,
    _saying,
    append_change_info,
    change_info,
    extra_change_info,
    rationale,
)
from tests.orm.conftest import Base, Item, Plain, Told
from tests.servers import Db, TemplateOf


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@pytest.mark.parametrize("textually", [False, True])
def test_rolled_back_savepoint_leaves_the_outer_reason(
    session: Session, told: Told, textually: bool
) -> None:
    item = session.get_one(Item, 1)
    with rationale("outer"):
        item.value = 1
        session.flush()
        with rationale("inner"):
            if textually:
                session.execute(text("savepoint here"))
                session.execute(text("update item set value = 2"))
                session.execute(text("rollback to savepoint here"))
            else:
                nested = session.begin_nested()
                item.value = 2
                session.flush()
                nested.rollback()
        session.execute(text("update item set value = 3"))
        session.commit()

    assert told() == [(None, "outer"), (None, "outer")]


def test_savepoint_rolled_back_behind_a_block_leaves_no_reason(
    session: Session, told: Told
) -> None:
    with rationale("before"):
        session.execute(text("update item set value = 1"))
    nested = session.begin_nested()
    session.execute(text("update item set value = 2"))
    nested.rollback()
    session.execute(text("update item set value = 3"))
    session.commit()

    assert told() == [(None, "before"), (None, None)]


def test_failed_flush_and_exception_leak_nothing(session: Session, told: Told) -> None:
    session.add(Item(id=1))
    with pytest.raises(IntegrityError), change_info(user_id="ann"), rationale("bad"):
        session.flush()
    session.rollback()
    session.execute(text("update item set value = 1"))
    session.commit()

    assert told() == [(None, None)]


def test_pooled_connection_starts_clean(listening: Engine, told: Told) -> None:
    pooled = create_engine(listening.url, poolclass=QueuePool, pool_size=1)
    chrononaut_pg.listen(pooled)
    with Session(pooled) as first, change_info(user_id="ann"):
        first.add(Item(id=1))
        first.flush()
        first.rollback()
    with Session(pooled) as second:
        second.add(Item(id=2))
        second.commit()
    pooled.dispose()

    assert told("I") == [(None, None)]


def test_autocommit_connection_warns_once(listening: Engine, told: Told) -> None:
    engine = create_engine(
        listening.url, isolation_level="AUTOCOMMIT", poolclass=NullPool
    )
    chrononaut_pg.listen(engine)
    with Session(engine) as session, change_info(user_id="ann"):
        with pytest.warns(ChangeInfoLostWarning):
            session.execute(insert(Item).values(id=1))
        session.execute(insert(Item).values(id=2))

    assert told("I") == [(None, None), (None, None)]


@pytest.fixture
def statements(listening: Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What psycopg's cursors execute, and what is said along with BEGIN, in order."""
    found: list[str] = []
    import psycopg

    begin = _saying._begin_saying

    def note_begin(driver: Any, text: str) -> bool:
        done = begin(driver, text)
        found.extend([f"begin; set_config {text}"] if done else [])
        return done

    monkeypatch.setattr(_saying, "_begin_saying", note_begin)

    class Cursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, *arguments: Any, **more: Any) -> Any:
            found.append(str(query))
            return super().execute(query, *arguments, **more)

    from sqlalchemy import event

    @event.listens_for(listening, "connect")
    def use_cursor(connection: Any, record: Any) -> None:
        connection.cursor_factory = Cursor

    return found


def test_reading_transaction_sends_nothing_more(
    session: Session, statements: list[str], listening: Engine
) -> None:
    with Session(listening) as own, change_info(user_id="ann"), rationale("why"):
        own.get(Item, 1)
        own.execute(select(func.count(), func.max(Item.value)))
        own.execute(text("select count(*) from item where id in (1, 2)"))
        own.commit()

    assert [one for one in statements if "set_config" in one] == []


def test_who_is_said_once_per_transaction(
    session: Session, statements: list[str], listening: Engine
) -> None:
    with Session(listening) as own, change_info(user_id="ann"), rationale("why"):
        for number in range(10, 20):
            own.add(Item(id=number))
            own.flush()
        own.commit()
        own.add(Item(id=20))
        own.commit()

    assert len([one for one in statements if "set_config" in one]) == 2


def test_transaction_on_unversioned_tables_leaves_no_row(
    session: Session, db: Db
) -> None:
    before = db.execute("select count(*) from chrononaut.transaction").fetchone()
    with change_info(user_id="ann"):
        session.add(Plain(id=1))
        session.commit()

    after = db.execute("select count(*) from chrononaut.transaction").fetchone()
    assert before == after


def test_raw_sql_between_flushes_shares_the_transaction_row(
    session: Session, db: Db
) -> None:
    with change_info(user_id="ann"):
        session.execute(text("update item set value = 1"))
        session.add(Item(id=2))
        session.flush()
        session.execute(text("update item set value = 2"))
        session.commit()

    rows = db.execute(
        "select distinct t.change_info ->> 'user_id' from item_history h"
        " join chrononaut.transaction t on t.id = h.transaction_id where h.id > 0"
    ).fetchall()
    assert ("ann",) in rows
    assert len(rows) == 2


def test_callables_are_evaluated_once_per_transaction(
    session: Session, told: Told
) -> None:
    calls = iter(range(10))
    with extra_change_info(rationale=lambda: f"call {next(calls)}"):
        for number in range(3):
            session.execute(text(f"update item set value = {number + 1}"))
        session.commit()
        session.execute(text("update item set value = 9"))
        session.commit()

    assert told() == [(None, "call 0")] * 3 + [(None, "call 1")]


def test_appended_info_stays_until_a_commit(session: Session, told: Told) -> None:
    item = session.get_one(Item, 1)
    with append_change_info(item, rationale="for this one"):
        item.value = 1
    session.flush()
    session.rollback()
    item.value = 2
    session.commit()
    item.value = 3
    session.commit()

    assert told() == [(None, "for this one"), (None, None)]


def test_error_in_the_shared_round_trip_is_the_statements_own(
    session: Session, told: Told
) -> None:
    connection: Connection = session.connection()
    with change_info(user_id="ann"), pytest.raises(IntegrityError, match="item_pkey"):
        connection.execute(insert(Item).values(id=1))
    session.rollback()
    with change_info(user_id="ann"):
        session.execute(update(Item).values(value=1))
        session.commit()

    assert told() == [("ann", None)]
