"""The right person and the right reason, on every way that a write can take."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    QueuePool,
    create_engine,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import chrononaut_pg
from chrononaut_pg import (
    ChangeInfoLostWarning,
    InvalidChangeInfoError,
    Versioned,
    _emission,
    append_change_info,
    change_info,
    extra_change_info,
    rationale,
)
from tests.servers import Cluster, Db


class Base(DeclarativeBase):
    pass


class Item(Versioned, Base):
    __tablename__ = "item"

    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(default=0)


class Plain(Base):
    __tablename__ = "plain"

    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
def listening(engine: Engine) -> Engine:
    """The test's engine, listened to, with the tables created."""
    Base.metadata.create_all(engine)
    chrononaut_pg.listen(engine)
    return engine


@pytest.fixture
def session(listening: Engine) -> Iterator[Session]:
    """A session with one item that nobody in particular has made."""
    with Session(listening) as opened:
        opened.add(Item(id=1))
        opened.commit()
        yield opened


def told(db: Db, operation: str = "U") -> list[Any]:
    """Return user and reason of all changes so far."""
    rows = db.execute(
        "select change_info ->> 'user_id', change_info #>> '{extra,rationale}'"
        " from item_history where operation = %s order by change_id",
        [operation],
    ).fetchall()
    db.commit()
    return rows


def test_write_after_a_block_does_not_carry_its_reason(
    session: Session, db: Db
) -> None:
    item = session.get_one(Item, 1)
    with rationale("first"):
        item.value = 1
        session.flush()
    item.value = 2
    session.commit()

    assert told(db) == [(None, "first"), (None, None)]


def test_nested_block_gives_the_outer_reason_back(session: Session, db: Db) -> None:
    item = session.get_one(Item, 1)
    with change_info(user_id="ann"), rationale("outer"):
        item.value = 1
        session.flush()
        with change_info(user_id="bob"), rationale("inner"):
            item.value = 2
            session.flush()
        item.value = 3
        session.commit()

    assert told(db) == [("ann", "outer"), ("bob", "inner"), ("ann", "outer")]


def core_update(session: Session) -> None:
    session.execute(update(Item).values(value=Item.value + 1))


def textual(session: Session) -> None:
    session.execute(text("update item set value = value + 1"))


def driver_sql(session: Session) -> None:
    session.connection().exec_driver_sql("update item set value = value + 1")


def executemany(session: Session) -> None:
    session.connection().execute(
        text("update item set value = :v where id = :i"),
        [{"v": 7, "i": 1}, {"v": 7, "i": 2}],
    )


def bulk_by_key(session: Session) -> None:
    session.execute(update(Item), [{"id": 1, "value": 9}])


def writing_function(session: Session) -> None:
    session.execute(text("select bump()"))


def writing_function_of_core(session: Session) -> None:
    session.execute(select(func.bump()))


def writable_cte(session: Session) -> None:
    changed = "update item set value = value + 1 returning id"
    session.execute(text(f"with u as ({changed}) select count(*) from u"))


def core_cte(session: Session) -> None:
    changed = update(Item).values(value=5).returning(Item.id).cte("changed")
    session.execute(select(func.count()).select_from(changed))


def upserting(session: Session) -> None:
    statement = upsert(Item).values(id=1, value=3)
    session.execute(
        statement.on_conflict_do_update(index_elements=["id"], set_={"value": 4})
    )


def commented(session: Session) -> None:
    session.execute(text("/* select */ -- select\n update item set value = value + 1"))


def in_a_block(session: Session) -> None:
    session.execute(text("do $$ begin update item set value = 8; end $$"))


WRITES: list[Callable[[Session], None]] = [
    core_update,
    textual,
    driver_sql,
    executemany,
    bulk_by_key,
    writing_function,
    writing_function_of_core,
    writable_cte,
    core_cte,
    upserting,
    commented,
    in_a_block,
]


@pytest.mark.parametrize("write", WRITES, ids=lambda write: str(write.__name__))
@pytest.mark.parametrize("after_read", [False, True])
def test_every_kind_of_write_carries_who_and_why(
    session: Session, db: Db, write: Callable[[Session], None], after_read: bool
) -> None:
    db.execute(
        "create function bump() returns void language sql"
        " as 'update item set value = value + 1'"
    )
    db.commit()
    if after_read:
        session.execute(select(Item)).all()
    with change_info(user_id="ann"), rationale("why"):
        write(session)
    session.commit()

    assert told(db) == [("ann", "why")]


def test_inserts_of_many_and_bulk_deletes_carry_who_and_why(
    session: Session, db: Db
) -> None:
    with change_info(user_id="ann"), rationale("why"):
        session.add_all(Item(id=number) for number in range(2, 2002))
        session.flush()
        session.execute(insert(Item), [{"id": 5000}, {"id": 5001}])
        session.execute(delete(Item).where(Item.id > 4000))
        session.commit()

    assert set(told(db, "I")[1:]) == set(told(db, "D")) == {("ann", "why")}


@pytest.mark.min_pg(15)
def test_merge_carries_who_and_why(session: Session, db: Db) -> None:
    with change_info(user_id="ann"):
        session.execute(
            text(
                "merge into item using (values (1, 5)) s(id, value) on s.id = item.id"
                " when matched then update set value = s.value"
            )
        )
        session.commit()

    assert told(db) == [("ann", None)]


@pytest.mark.parametrize("textually", [False, True])
def test_rolled_back_savepoint_leaves_the_outer_reason(
    session: Session, db: Db, textually: bool
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

    assert told(db) == [(None, "outer"), (None, "outer")]


def test_savepoint_rolled_back_behind_a_block_leaves_no_reason(
    session: Session, db: Db
) -> None:
    with rationale("before"):
        session.execute(text("update item set value = 1"))
    nested = session.begin_nested()
    session.execute(text("update item set value = 2"))
    nested.rollback()
    session.execute(text("update item set value = 3"))
    session.commit()

    assert told(db) == [(None, "before"), (None, None)]


def test_failed_flush_and_exception_leak_nothing(session: Session, db: Db) -> None:
    session.add(Item(id=1))
    with pytest.raises(IntegrityError), change_info(user_id="ann"), rationale("bad"):
        session.flush()
    session.rollback()
    session.execute(text("update item set value = 1"))
    session.commit()

    assert told(db) == [(None, None)]


def test_pooled_connection_starts_clean(listening: Engine, db: Db) -> None:
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

    assert told(db, "I") == [(None, None)]


def test_autocommit_connection_warns_once(listening: Engine, db: Db) -> None:
    engine = create_engine(
        listening.url, isolation_level="AUTOCOMMIT", poolclass=NullPool
    )
    chrononaut_pg.listen(engine)
    with Session(engine) as session, change_info(user_id="ann"):
        with pytest.warns(ChangeInfoLostWarning):
            session.execute(insert(Item).values(id=1))
        session.execute(insert(Item).values(id=2))

    assert told(db, "I") == [(None, None), (None, None)]


HOSTILE = [
    "100 % of it %s %(x)s :y",
    "it's \"quoted\" \\ back\\'slash",
    "lines\nand\ttabs\r\n",
    "4 bytes: 🦉 🎻",
    "x" * 100_000,
    "'); drop table item; --",
]


@pytest.mark.parametrize("reason", HOSTILE, ids=range(len(HOSTILE)))
def test_reason_arrives_as_it_was(session: Session, db: Db, reason: str) -> None:
    with rationale(reason):
        session.execute(text("update item set value = 1"))
        session.commit()

    assert told(db) == [(None, reason)]


def test_nul_in_a_reason_is_refused_before_anything_is_written(
    session: Session, db: Db
) -> None:
    with pytest.raises(InvalidChangeInfoError, match=r"U\+0000"), rationale("a\0b"):
        session.execute(text("update item set value = 1"))
    session.rollback()

    assert told(db) == []


def test_threads_do_not_see_each_other(listening: Engine, db: Db) -> None:
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        with Session(listening) as own, change_info(user_id=str(number)):
            own.add(Item(id=number))
            barrier.wait()
            own.commit()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    rows = db.execute("select id::text, change_info ->> 'user_id' from item_history")
    assert sorted(rows.fetchall()) == [(str(n), str(n)) for n in range(4)]


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_tasks_do_not_see_each_other(
    listening: Engine, server: Cluster, superuser: str, db: Db, driver: str
) -> None:
    async def work(engine: Any, number: int, turn: asyncio.Barrier) -> None:
        async with AsyncSession(engine) as own:
            with change_info(user_id=str(number)):
                own.add(Item(id=number))
                await turn.wait()
                await own.commit()

    async def main() -> None:
        url = listening.url.set(drivername=f"postgresql+{driver}")
        if driver == "asyncpg":
            url = url.difference_update_query(["port"])
        engine = create_async_engine(url, poolclass=NullPool)
        chrononaut_pg.listen(engine)
        turn = asyncio.Barrier(4)
        await asyncio.gather(*(work(engine, number, turn) for number in range(4)))
        await engine.dispose()

    asyncio.run(main())
    rows = db.execute("select id::text, change_info ->> 'user_id' from item_history")
    assert sorted(rows.fetchall()) == [(str(n), str(n)) for n in range(4)]


@pytest.fixture
def statements(listening: Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What psycopg's cursors execute, and what is said along with BEGIN, in order."""
    found: list[str] = []
    import psycopg

    begin = _emission._begin_saying

    def note_begin(driver: Any, text: str) -> bool:
        done = begin(driver, text)
        found.extend([f"begin; set_config {text}"] if done else [])
        return done

    monkeypatch.setattr(_emission, "_begin_saying", note_begin)

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


def test_callables_are_evaluated_once_per_transaction(session: Session, db: Db) -> None:
    calls = iter(range(10))
    with extra_change_info(rationale=lambda: f"call {next(calls)}"):
        for number in range(3):
            session.execute(text(f"update item set value = {number + 1}"))
        session.commit()
        session.execute(text("update item set value = 9"))
        session.commit()

    assert told(db) == [(None, "call 0")] * 3 + [(None, "call 1")]


def test_appended_info_stays_until_a_commit(session: Session, db: Db) -> None:
    item = session.get_one(Item, 1)
    with append_change_info(item, rationale="for this one"):
        item.value = 1
    session.flush()
    session.rollback()
    item.value = 2
    session.commit()
    item.value = 3
    session.commit()

    assert told(db) == [(None, "for this one"), (None, None)]


def test_announced_copy_carries_who_and_why(session: Session, db: Db) -> None:
    with change_info(user_id="ann"), rationale("import"):
        chrononaut_pg.announce(session)
        cursor = session.connection().connection.cursor()
        with cursor.copy("copy item (id, value) from stdin") as copy:
            copy.write_row((7, 7))
        session.commit()

    assert told(db, "I")[-1] == ("ann", "import")


def test_server_side_cursor_carries_who_and_why(session: Session, db: Db) -> None:
    db.execute(
        "create function bump() returns setof int language sql"
        " as 'update item set value = value + 1 returning value'"
    )
    db.commit()
    with change_info(user_id="ann"):
        statement = text("select * from bump()").execution_options(stream_results=True)
        session.execute(statement).all()
        session.commit()

    assert told(db) == [("ann", None)]


def test_two_phase_transaction_carries_who_and_why(listening: Engine, db: Db) -> None:
    with Session(listening, twophase=True) as own, change_info(user_id="ann"):
        own.add(Item(id=1))
        own.commit()

    assert told(db, "I") == [("ann", None)]


def test_error_in_the_shared_round_trip_is_the_statements_own(
    session: Session, db: Db
) -> None:
    connection: Connection = session.connection()
    with change_info(user_id="ann"), pytest.raises(IntegrityError, match="item_pkey"):
        connection.execute(insert(Item).values(id=1))
    session.rollback()
    with change_info(user_id="ann"):
        session.execute(update(Item).values(value=1))
        session.commit()

    assert told(db) == [("ann", None)]
