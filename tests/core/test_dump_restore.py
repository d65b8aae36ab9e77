"""A dump restored into a new cluster, whose transaction ids start again, goes on."""

import subprocess
from pathlib import Path

import psycopg
import pytest

from chrononaut_pg import core
from tests.servers import Db, NewServer

VERSIONS = "select id, version, v, operation from item_versions order by id, version"


def fill(db: Db) -> None:
    """Make a table with a dropped column and a past, and one renamed without a sync."""
    core.install(db)
    db.execute("create table item (id int primary key, junk int, v text)")
    db.execute("alter table item drop column junk")
    db.execute("create table old_name (id int primary key, v text)")
    db.execute("select chrononaut.create_versioning('item')")
    db.execute(
        "select chrononaut.create_versioning('old_name', granularity => 'statement')"
    )
    for table in ("item", "old_name"):
        db.execute(f"insert into {table} values (1, 'a'), (2, 'b')")
    db.commit()
    for _ in range(50):
        db.execute("select pg_current_xact_id()")
        db.commit()
    db.execute("update item set v = 'c' where id = 1")
    db.execute("alter table old_name rename to new_name")
    db.commit()


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_restored_database_keeps_its_history_and_goes_on_numbering(
    new_server: NewServer, clients: Path, tmp_path: Path, form: str
) -> None:
    source, target = new_server(), new_server()
    with psycopg.connect(source.url("postgres")) as db:
        fill(db)
        before = db.execute(VERSIONS).fetchall()
        marks = "select max(h.change_id), (select max(id) from chrononaut.transaction)"
        last = db.execute(f"{marks} from item_history h").fetchone()
    dump = tmp_path / "dump"
    subprocess.run(
        [clients / "pg_dump", "-F", form, "-f", dump, source.url("postgres")],
        check=True,
    )
    restore: list[Path | str] = (
        [clients / "pg_restore", "-d", target.url("postgres"), dump]
        if form == "custom"
        else [clients / "psql", "-Xq", "-f", dump, target.url("postgres")]
    )
    output = subprocess.run(restore, capture_output=True, text=True, check=False)
    errors = [line for line in output.stderr.splitlines() if "ERROR:" in line]
    # A newer pg_dump sets what an older server does not know, and goes on.
    assert [error for error in errors if "transaction_timeout" not in error] == []

    with psycopg.connect(target.url("postgres"), autocommit=True) as db:
        assert db.execute(VERSIONS).fetchall() == before
        db.execute("update item set v = 'd' where id = 1")
        db.execute("update new_name set v = 'd'")
        newest = db.execute(
            "select change_id > %s, transaction_id > %s, transaction_id >> 40, v"
            " from item_history order by change_id desc limit 1",
            last,
        ).fetchone()
        assert newest == (True, True, 1, "c")
        todo = db.execute("select fix from chrononaut.check_versioning()").fetchall()
        assert len(todo) == 2
        for table in ("item", "new_name"):
            db.execute("select chrononaut.sync_versioning(%s::regclass)", [table])
        assert core.check_versioning(db) == ()
        db.execute("truncate new_name")
        recorded = db.execute(
            "select id, v, operation from old_name_history"
            " order by change_id desc limit 2"
        ).fetchall()
        assert sorted(recorded) == [(1, "d", "T"), (2, "d", "T")]
