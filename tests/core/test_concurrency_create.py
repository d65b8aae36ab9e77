"""Versioning begins while others write: from its first change on, history is whole."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.core.asking import problems, rows, run, value
from tests.servers import Connect, Db

KEYS = [1, 2]


@contextmanager
def writers(connect: Connect, enough: int) -> Iterator[None]:
    """Raise a row each, in sessions that have planned their statements already.

    The block begins when all have written, and they write *enough* times after it.
    """
    stop = threading.Event()
    warm = threading.Barrier(len(KEYS) + 1)

    def write(session: Db, key: int) -> None:
        for number in range(100):
            run(session, f"update item set v = v + 1 where id = {key}")
            if number == 20:
                warm.wait(30)
        while not stop.is_set():
            run(session, f"update item set v = v + 1 where id = {key}")
        for _ in range(enough):
            run(session, f"update item set v = v + 1 where id = {key}")

    threads = [
        threading.Thread(target=write, args=(connect(autocommit=True), key))
        for key in KEYS
    ]
    for thread in threads:
        thread.start()
    warm.wait(30)
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_create_versioning_under_running_writers_misses_no_later_change(
    db: Db, connect: Connect, granularity: str
) -> None:
    run(db, "create table item (id int primary key, v int)")
    run(db, "insert into item values (1, 0), (2, 0)")
    db.commit()
    with writers(connect, enough=10):
        run(
            db,
            "select chrononaut.create_versioning('item', granularity => %s)",
            [granularity],
        )
        db.commit()

    for key in KEYS:
        images = [
            v
            for [v] in rows(
                db, f"select v from item_versions where id = {key} order by version"
            )
        ]
        newest = value(db, f"select v from item where id = {key}")
        assert images == list(range(newest - len(images) + 1, newest + 1))
        assert len(images) > 10
    assert problems(db) == []


def test_granularity_altered_under_running_writers_loses_no_change(
    db: Db, connect: Connect
) -> None:
    run(db, "create table item (id int primary key, v int)")
    run(db, "insert into item values (1, 0), (2, 0)")
    run(db, "select chrononaut.create_versioning('item')")
    db.commit()
    alter = "select chrononaut.alter_versioning('item', granularity => %s)"
    with writers(connect, enough=10):
        for granularity in ("statement", "row", "statement"):
            run(db, alter, [granularity])
            db.commit()

    for key in KEYS:
        newest = value(db, f"select v from item where id = {key}")
        versions = f"select v from item_versions where id = {key} order by version"
        assert rows(db, versions) == [(v,) for v in range(newest + 1)]
    assert problems(db) == []
