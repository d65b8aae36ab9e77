"""A dump goes on where it stopped: in a new cluster, and beside its source."""

import subprocess
from pathlib import Path

import psycopg
import pytest

from chrononaut_pg import core
from tests.core.asking import problems, refusal, rows, run, value
from tests.servers import Cluster, Db, NewServer

VERSIONS = "select id, version, v, operation from item_versions order by id, version"
FORMS = {
    "plain": ["psql", "-Xq", "-f"],
    "custom": ["pg_restore"],
    "directory": ["pg_restore", "-j", "2"],
}
CLEAN = ["pg_restore", "--clean", "--if-exists"]


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


def copy(
    clients: Path,
    form: str,
    source: str,
    target: str,
    dump: Path,
    command: list[str] | None = None,
) -> None:
    """Dump the database *source* and restore it into *target*, both URLs."""
    subprocess.run([clients / "pg_dump", "-F", form, "-f", dump, source], check=True)
    tool, *arguments = command or FORMS[form]
    output = subprocess.run(
        [clients / tool, "-d", target, *arguments, dump],
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in output.stderr.splitlines() if "ERROR:" in line]
    # A newer pg_dump sets what an older server does not know, and goes on.
    assert [error for error in errors if "transaction_timeout" not in error] == []


@pytest.mark.parametrize("form", FORMS)
def test_restored_database_keeps_its_history_and_goes_on_numbering(
    new_server: NewServer, clients: Path, tmp_path: Path, form: str
) -> None:
    source, target = new_server(), new_server()
    with psycopg.connect(source.url("postgres")) as db:
        fill(db)
        before = db.execute(VERSIONS).fetchall()
        marks = "select max(h.change_id), (select max(id) from chrononaut.transaction)"
        last = db.execute(f"{marks} from item_history h").fetchone()
    copy(
        clients, form, source.url("postgres"), target.url("postgres"), tmp_path / "dump"
    )

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
            "select id, v, operation from new_name_history"
            " order by change_id desc limit 2"
        ).fetchall()
        assert sorted(recorded) == [(1, "d", "T"), (2, "d", "T")]


@pytest.mark.parametrize("form", FORMS)
def test_restored_auto_sync_follows_ddl_and_keeps_history(
    new_server: NewServer, clients: Path, tmp_path: Path, form: str
) -> None:
    source, target = new_server(), new_server()
    with psycopg.connect(source.url("postgres")) as db:
        fill(db)
        run(db, "select chrononaut.auto_sync()")
    with psycopg.connect(target.url("postgres"), autocommit=True) as db:
        # Oids in the new cluster differ, and belong to other tables.
        for n in range(5):
            run(db, f"create table unrelated_{n} (id int primary key)")
    copy(
        clients, form, source.url("postgres"), target.url("postgres"), tmp_path / "dump"
    )

    with psycopg.connect(target.url("postgres"), autocommit=True) as db:
        refusal(db, "VH008", "drop table item_history cascade")
        run(db, "alter table item rename column v to w")
        run(db, "alter table item add column extra text")
        run(db, "update item set w = 'd', extra = 'x' where id = 1")
        run(db, "update item set extra = 'y' where id = 1")
        newest = "select w, extra from item_history order by change_id desc limit 3"
        assert rows(db, newest) == [("d", "x"), ("c", None), ("a", None)]
        run(db, "drop table new_name cascade")
        assert value(db, "select count(*) from old_name_history") == 2
        assert problems(db) == []


def test_copy_in_the_same_cluster_records_on_its_own(
    server: Cluster, superuser: str, db: Db, empty_db: Db, clients: Path, tmp_path: Path
) -> None:
    fill(db)
    db.commit()
    last = value(db, "select max(change_id) from item_history")
    source, target = (
        server.url(session.info.dbname, user=superuser) for session in (db, empty_db)
    )
    copy(clients, "custom", source, target, tmp_path / "dump")

    for session, new in ((db, "source"), (empty_db, "target")):
        run(session, "update item set v = %s where id = 1", [new])
        run(session, "select chrononaut.sync_versioning('item')")
        run(session, "select chrononaut.sync_versioning('new_name')")
        run(session, "update item set v = 'end' where id = 1")
        session.commit()
        since = "select v from item_history where change_id > %s order by change_id"
        assert rows(session, since, [last]) == [("c",), (new,)]
        known = "select count(*), count(distinct id >> 40) from chrononaut.transaction"
        assert rows(session, known) == [(3, 1)]
        assert problems(session) == []


def test_database_that_comes_back_to_a_cluster_goes_on_numbering(
    new_server: NewServer, clients: Path, tmp_path: Path
) -> None:
    """Its transaction ids went on there meanwhile, behind those of the other one."""
    home, away = new_server(), new_server()
    with psycopg.connect(home.url("postgres"), autocommit=True) as db:
        run(db, "create database back")
        fill(db)
    there, back = away.url("postgres"), home.url("back")
    copy(clients, "custom", home.url("postgres"), there, tmp_path / "one")
    with psycopg.connect(there, autocommit=True) as db:
        run(db, "update item set v = 'away' where id = 1")
    copy(clients, "custom", there, back, tmp_path / "two")

    was = "select v from chrononaut.as_of(null::item, {}) where id = 1"
    with psycopg.connect(back, autocommit=True) as db:
        run(db, "select chrononaut.sync_versioning('item')")
        run(db, "select chrononaut.mark('back')")
        run(db, "update item set v = 'back' where id = 1")
        run(db, "update item set v = 'end' where id = 1")
        newest = "select id, id >> 40 from chrononaut.transaction order by id desc"
        [(last, stay), *_] = rows(db, newest)
        assert (stay, value(db, was.format("mark => 'back'"))) == (2, "away")
        assert value(db, was.format(f"transaction_id => {last}, before => true")) == (
            "back"
        )
        quiet = "(select changed from item_history where transaction_id >> 40 = 1)"
        assert value(db, was.format(f"at => {quiet}")) == "away"
        known = "select number from chrononaut.incarnation order by number"
        assert rows(db, known) == [(1,), (2,)]


def test_table_that_was_not_restored_leaves_its_history_and_nothing_else(
    new_server: NewServer, clients: Path, tmp_path: Path
) -> None:
    source, target = new_server(), new_server()
    with psycopg.connect(source.url("postgres")) as db:
        fill(db)
        run(db, "create table child (id int primary key references item, w text)")
        run(db, "select chrononaut.create_versioning('child', parent => 'item')")
        run(db, "insert into child values (1, 'x')")
        run(db, "alter table child drop constraint child_id_fkey")
    dump = tmp_path / "dump"
    subprocess.run(
        [clients / "pg_dump", "-T", "item", "-f", dump, source.url("postgres")],
        check=True,
    )
    subprocess.run(
        [clients / "psql", "-Xq", "-f", dump, "-d", target.url("postgres")],
        check=True,
        capture_output=True,
    )

    with psycopg.connect(target.url("postgres"), autocommit=True) as db:
        run(db, "select chrononaut.sync_versioning('new_name')")
        run(db, "update child set w = 'y'")
        left = (
            "select to_regclass('item_versions'), to_regclass('item_history')::text,"
            " (select count(*) from pg_proc where proname ~ '^_(capture|live)_1(_|$)')"
        )
        assert rows(db, left) == [(None, "item_history", 0)]
        assert rows(db, "select id, w from child_versions order by version") == [
            (1, "x"),
            (1, "y"),
        ]
        assert value(db, "select count(*) from item_history") == 3


def test_database_restored_over_itself_goes_on(
    server: Cluster, superuser: str, db: Db, clients: Path, tmp_path: Path
) -> None:
    """With `--clean` all tables are made anew where the registry knows the old ones."""
    fill(db)
    url = server.url(db.info.dbname, user=superuser)
    db.close()
    copy(clients, "custom", url, url, tmp_path / "dump", CLEAN)

    with psycopg.connect(url, autocommit=True) as back:
        told = "select relation, problem like '%restored%' from chrononaut."
        assert sorted(rows(back, told + "check_versioning()")) == [
            ("public.item", True),
            ("public.old_name", True),
        ]
        moved = "select table_name from chrononaut._moved_tables"
        assert rows(back, moved) == [("old_name",)]
        run(back, "truncate item")
        run(back, "select chrononaut.sync_versioning('new_name')")
        run(back, "update new_name set v = 'z' where id = 1")
        ops = "select operation from {} order by change_id desc limit {}"
        recorded = rows(back, ops.format("item_history", 2))
        recorded += rows(back, ops.format("new_name_history", 1))
        assert (recorded, problems(back)) == ([("T",), ("T",), ("U",)], [])
