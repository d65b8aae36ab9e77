"""Locks are data: they outlast a restart, a crash, and a dump into another cluster."""

from pathlib import Path

import psycopg
import pytest

from chrononaut_pg import core
from tests.core.asking import problems, refusal, rows, run
from tests.core.locking import create_items, lock, unlock
from tests.core.test_dump_restore import copy
from tests.servers import NewServer

LISTED = (
    "select relation::text, key, rationale, enforced from chrononaut.record_locks"
    " order by key::text"
)
LOCKED = [("item", {"id": 1}, "legal hold", True)]
WRITE = "update item set v = 'x' where id = 1"


@pytest.mark.parametrize("crash", [False, True])
def test_locks_outlast_a_restart(new_server: NewServer, crash: bool) -> None:
    server = new_server()
    with psycopg.connect(server.url("postgres")) as db:
        core.install(db)
        create_items(db)
        lock(db, {"id": 1}, "legal hold")
    (server.kill9 if crash else server.stop)()
    server.start()

    with psycopg.connect(server.url("postgres")) as db:
        assert rows(db, LISTED) == LOCKED
        refusal(db, "VH010", WRITE)
        assert unlock(db, {"id": 1}) is True
        run(db, WRITE)


def test_locks_are_restored_into_another_cluster(
    new_server: NewServer, clients: Path, tmp_path: Path
) -> None:
    source, target = new_server(), new_server()
    with psycopg.connect(source.url("postgres")) as db:
        core.install(db)
        run(db, "create table before (id int primary key)")
        run(db, "select chrononaut.create_versioning('before')")
        run(db, "select chrononaut.drop_versioning('before', drop_history => true)")
        run(db, "create table item (junk int, id int primary key, v text)")
        run(db, "alter table item drop column junk")
        options = "lockable => true, row_version => true"
        run(db, f"select chrononaut.create_versioning('item', {options})")
        run(db, "insert into item values (1, 'a'), (2, 'b')")
        lock(db, {"id": 1}, "legal hold")
    with psycopg.connect(target.url("postgres"), autocommit=True) as db:
        # Oids in the new cluster differ, and belong to other tables.
        for n in range(5):
            run(db, f"create table unrelated_{n} (id int primary key)")
    urls = source.url("postgres"), target.url("postgres")
    copy(clients, "custom", *urls, tmp_path / "dump")

    with psycopg.connect(target.url("postgres"), autocommit=True) as db:
        assert rows(db, LISTED) == LOCKED
        refusal(db, "VH010", WRITE)
        run(db, "update item set v = 'x' where id = 2")
        lock(db, {"id": 2}, "later")
        refusal(db, "VH010", "truncate item")
        run(db, "select chrononaut.sync_versioning('item')")
        assert problems(db) == []
        assert unlock(db, {"id": 1}) is True
        run(db, WRITE)
        assert rows(db, "select event, key from chrononaut.record_lock_event") == [
            ("lock", {"id": 1}),
            ("lock", {"id": 2}),
            ("unlock", {"id": 1}),
        ]
        assert rows(db, "select id, row_version from item order by id") == [
            (1, 2),
            (2, 2),
        ]
