"""Restoring data into tables that are there already, as docs/operation.md advises."""

import subprocess
from pathlib import Path

import psycopg
import pytest

from chrononaut_pg import core
from tests.core.asking import problems, rows, run, value
from tests.servers import NewServer

HISTORY = "select * from item_history order by change_id"


def restore(tool: Path, url: str, dump: Path, *arguments: str) -> None:
    done = subprocess.run([tool, "-d", url, *arguments, dump], capture_output=True)
    errors = [line for line in done.stderr.splitlines() if b"ERROR:" in line]
    # A newer pg_restore sets what an older server does not know, and goes on.
    assert [error for error in errors if b"transaction_timeout" not in error] == []


@pytest.mark.parametrize("always", [False, True])
@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_data_restored_without_triggers_leaves_no_history_of_its_own(
    new_server: NewServer,
    clients: Path,
    tmp_path: Path,
    granularity: str,
    always: bool,
) -> None:
    source, target = new_server(), new_server()
    dump = tmp_path / "dump"
    with psycopg.connect(source.url("postgres")) as db:
        core.install(db)
        run(db, "create table item (id int primary key, v text)")
        core.create_versioning(db, "item", granularity=granularity, always=always)
        run(db, "insert into item values (1, 'a'), (2, 'b')")
        run(db, "update item set v = 'c' where id = 1")
        db.commit()
        before = rows(db, HISTORY)
    url = source.url("postgres")
    subprocess.run([clients / "pg_dump", "-Fc", "-f", dump, url], check=True)
    url = target.url("postgres")
    restore(clients / "pg_restore", url, dump, "--section=pre-data")
    restore(clients / "pg_restore", url, dump, "--section=post-data")
    restore(clients / "pg_restore", url, dump, "--data-only", "--disable-triggers")

    with psycopg.connect(url) as db:
        assert rows(db, HISTORY) == before
        run(db, "select chrononaut.sync_versioning('item')")
        assert problems(db) == []
        db.commit()
        run(db, "update item set v = 'd' where id = 1")
        run(db, "set session_replication_role = replica")
        run(db, "update item set v = 'e' where id = 1")
        added = "select count(*) from item_history where change_id > %s"
        assert value(db, added, [len(before)]) == 1 + always
