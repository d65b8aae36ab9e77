"""Several sessions at once: order, isolation, and maintenance while writers run."""

import threading

import psycopg
import pytest

from tests.core.rebuild import broken_chains, create_items
from tests.servers import Connect, Db

LEVELS = ["read committed", "repeatable read", "serializable"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_waiting_writers_of_one_row_leave_dense_versions_in_true_order(
    db: Db, connect: Connect, granularity: str, level: str
) -> None:
    create_items(db, granularity)

    def raise_it(session: Db) -> None:
        done = 0
        while done < 20:
            try:
                session.execute(f"begin isolation level {level}")
                session.execute("update item set v = v + 1 where id = 1")
                session.execute("savepoint s")
                session.execute("update item set v = v + 1000 where id = 1")
                session.execute("rollback to savepoint s")
                session.execute("commit")
                done += 1
            except psycopg.errors.SerializationFailure:
                session.execute("rollback")

    threads = [
        threading.Thread(target=raise_it, args=(connect(autocommit=True),))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    images = db.execute("select v from item_versions where id = 1 order by version")
    assert [row[0] for row in images] == list(range(1, 82))
    assert broken_chains(db) == []


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_serializable_writers_of_disjoint_rows_never_fail(
    db: Db, connect: Connect, granularity: str
) -> None:
    create_items(db, granularity)
    db.execute("insert into item (id) select n from generate_series(10, 5000) n")
    db.commit()
    failures: list[str] = []

    def write(session: Db, key: int) -> None:
        for n in range(40):
            try:
                session.execute("begin isolation level serializable")
                session.execute("update item set v = %s where id = %s", [n, key])
                session.execute("update item set v = v + 1 where id = %s", [key])
                session.execute("commit")
            except psycopg.errors.SerializationFailure as error:
                failures.append(str(error))
                session.execute("rollback")

    # The rows lie on pages of their own in table and index, and are found by key.
    sessions = [connect(autocommit=True) for _ in range(4)]
    for session in sessions:
        session.execute("set enable_seqscan = off")
        session.execute("set enable_bitmapscan = off")
    threads = [
        threading.Thread(target=write, args=(session, (n + 1) * 1000))
        for n, session in enumerate(sessions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with_history = len(failures)
    failures.clear()
    db.execute("select chrononaut.drop_versioning('item')")
    db.commit()
    threads = [
        threading.Thread(target=write, args=(session, (n + 1) * 1000))
        for n, session in enumerate(sessions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert with_history <= len(failures)


def test_delete_and_insert_of_a_key_in_two_sessions_keep_their_order(
    db: Db, connect: Connect
) -> None:
    create_items(db, "row")
    other = connect()
    db.execute("delete from item where id = 1")
    db.commit()
    other.execute("insert into item values (1, 50)")
    other.commit()
    db.execute("update item set v = 51 where id = 1")
    db.commit()

    versions = db.execute(
        "select version, v, operation, created_operation from item_versions"
        " where id = 1 order by version"
    ).fetchall()
    assert versions == [(0, 1, "D", "I"), (1, 50, "U", "I"), (2, 51, None, "U")]


@pytest.mark.parametrize(
    "maintenance",
    [
        "select chrononaut.sync_versioning('item')",
        "select chrononaut.drop_versioning('item')",
    ],
)
def test_maintenance_under_running_writers_loses_no_change(
    db: Db, connect: Connect, maintenance: str
) -> None:
    create_items(db, "row")
    stop = threading.Event()
    counts = [0, 0]

    def write(session: Db, number: int) -> None:
        while not stop.is_set():
            session.execute("update item set v = v + 1 where id = %s", [number + 1])
            counts[number] += 1

    threads = [
        threading.Thread(target=write, args=(connect(autocommit=True), number))
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for _ in range(5):
        db.execute("alter table item add column if not exists extra text")
        db.execute("select chrononaut.sync_versioning('item')")
        db.commit()
    stop.set()
    for thread in threads:
        thread.join()
    db.execute(maintenance)
    db.commit()

    recorded = db.execute(
        "select count(*) filter (where id = 1), count(*) filter (where id = 2)"
        " from item_history where operation = 'U'"
    ).fetchone()
    assert recorded == tuple(counts)
