"""Two sessions: a lock and a change of one record never both succeed unseen."""

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.core.asking import refusal, rows, run, value
from tests.core.locking import create_items, lock, unlock
from tests.servers import Connect, Db

LEVELS = ["read committed", "repeatable read", "serializable"]

ONE = {"id": 1}

WRITES = ["update item set v = 'x' where id = 1", "delete from item where id = 1"]

WAITING = (
    "select count(*) from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
)


def begin(session: Db, level: str) -> None:
    """Begin a transaction whose snapshot is taken now."""
    session.rollback()
    run(session, f"set transaction isolation level {level}")
    rows(session, "select count(*) from pg_class")


class Waiting:
    """Runs a call of a session in a thread and knows when it waits for a lock."""

    def __init__(self, session: Db, call: Callable[[], Any]) -> None:
        self.outcome: Any = None
        self._pid = session.info.backend_pid
        self._thread = threading.Thread(target=self._run, args=(call,))
        self._thread.start()

    def _run(self, call: Callable[[], Any]) -> None:
        try:
            call()
            self.outcome = "done"
        except psycopg.Error as error:
            self.outcome = error.sqlstate

    def until_it_waits(self, observer: Db) -> None:
        while self._thread.is_alive() and not value(observer, WAITING, [self._pid]):
            pass

    def result(self) -> Any:
        self._thread.join()
        return self.outcome


@pytest.fixture
def observer(connect: Connect, db: Db) -> Db:
    """A session in autocommit mode that sees who waits."""
    create_items(db)
    return connect(autocommit=True)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("level", LEVELS)
def test_lock_that_came_after_the_snapshot_stops_the_write(
    db: Db, connect: Connect, observer: Db, level: str, write: str
) -> None:
    writer = connect()
    begin(writer, level)
    lock(db, ONE)
    db.commit()
    refusal(writer, "VH010" if level == "read committed" else "40001", write)
    begin(writer, level)
    refusal(writer, "VH010", write)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("level", LEVELS)
def test_write_waits_for_a_lock_in_progress_and_is_stopped(
    db: Db, connect: Connect, observer: Db, level: str, write: str
) -> None:
    writer = connect()
    begin(writer, level)
    lock(db, ONE)
    waiting = Waiting(writer, lambda: run(writer, write))
    waiting.until_it_waits(observer)
    db.commit()

    assert waiting.result() == ("VH010" if level == "read committed" else "40001")


@pytest.mark.parametrize("level", LEVELS)
def test_write_goes_on_when_the_lock_it_waits_for_is_rolled_back(
    db: Db, connect: Connect, observer: Db, level: str
) -> None:
    writer = connect()
    begin(writer, level)
    lock(db, ONE)
    waiting = Waiting(writer, lambda: run(writer, WRITES[0]))
    waiting.until_it_waits(observer)
    db.rollback()

    assert waiting.result() == "done"
    writer.commit()
    assert rows(observer, "select v from item where id = 1") == [("x",)]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("locker_level", LEVELS)
def test_lock_waits_for_a_write_in_progress_and_sees_what_it_did(
    db: Db, connect: Connect, observer: Db, level: str, locker_level: str, write: str
) -> None:
    writer, locker = connect(), connect()
    begin(writer, level)
    begin(locker, locker_level)
    run(writer, write)
    waiting = Waiting(locker, lambda: lock(locker, ONE))
    waiting.until_it_waits(observer)
    writer.commit()

    if locker_level != "read committed":
        assert waiting.result() == "40001"
    elif "delete" in write:
        assert waiting.result() == "P0002"
    else:
        assert waiting.result() == "done"
        locker.commit()
        refusal(writer, "VH010", write)


@pytest.mark.parametrize("level", LEVELS)
def test_two_locks_of_one_record_never_both_succeed(
    db: Db, connect: Connect, observer: Db, level: str
) -> None:
    other = connect()
    begin(other, level)
    lock(db, ONE)
    waiting = Waiting(other, lambda: lock(other, ONE))
    waiting.until_it_waits(observer)
    db.commit()

    assert waiting.result() == ("VH010" if level == "read committed" else "40001")


@pytest.mark.parametrize("level", LEVELS[:2])
def test_write_does_not_wait_for_an_unlock_in_progress(
    db: Db, connect: Connect, observer: Db, level: str
) -> None:
    lock(db, ONE)
    db.commit()
    writer = connect()
    begin(writer, level)
    unlock(db, ONE)
    refusal(writer, "VH010", WRITES[0])
    run(db, WRITES[0])
    db.commit()


@pytest.mark.parametrize("level", LEVELS)
def test_unlocked_record_is_free_for_the_next_transaction(
    db: Db, connect: Connect, observer: Db, level: str
) -> None:
    writer = connect()
    lock(db, ONE)
    db.commit()
    unlock(db, ONE)
    db.commit()
    begin(writer, level)
    for write in (WRITES[0], "update item set v = 'y' where id = 1", WRITES[1]):
        run(writer, write)
    writer.commit()

    assert rows(observer, "select id from item") == [(2,)]
    assert value(observer, "select count(*) from chrononaut.record_lock") == 0


@pytest.mark.parametrize("level", LEVELS)
def test_savepoint_gives_the_record_back(
    db: Db, connect: Connect, observer: Db, level: str
) -> None:
    writer = connect()
    begin(writer, level)
    run(writer, "savepoint s")
    run(writer, WRITES[0])
    run(writer, "rollback to savepoint s")
    lock(db, ONE)
    db.commit()

    refusal(writer, "VH010" if level == "read committed" else "40001", WRITES[0])


def test_serializable_writers_of_disjoint_records_never_fail(
    db: Db, connect: Connect
) -> None:
    create_items(db)
    run(db, "insert into item select n from generate_series(10, 20000) n")
    db.commit()
    failures: list[str | None] = []

    def write(session: Db, first: int) -> None:
        run(session, "set enable_seqscan = off")
        run(session, "set enable_bitmapscan = off")
        for n in range(first, first + 60):
            try:
                with session.transaction():
                    begun = "set transaction isolation level serializable"
                    run(session, begun)
                    run(session, "update item set v = 'x' where id = %s", [n])
                    run(session, "update item set v = 'y' where id = %s", [n + 60])
            except psycopg.Error as error:
                failures.append(error.sqlstate)

    run(db, "analyze item")
    db.commit()
    threads = [
        threading.Thread(target=write, args=(connect(autocommit=True), first))
        for first in (10, 15000)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
