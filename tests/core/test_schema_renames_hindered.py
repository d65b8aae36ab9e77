"""Where history cannot be renamed or moved along, it stays; writes go on anyhow."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from chrononaut_pg import core
from tests.core.asking import problems, rows, run, value
from tests.servers import Connect, Db, MakeRole

NAMES = "select relation::text, history_table::text, versions_view::text"
NAMES += " from chrononaut.versioned_tables order by 1"


@pytest.fixture
def plain(empty_db: Db, connect: Connect, role: MakeRole) -> Db:
    """A core whose owner may create things in its schema app and in that of others."""
    name = role("core")
    dbname = empty_db.info.dbname
    run(empty_db, f"grant create on database {dbname} to {name}")
    empty_db.commit()
    session = connect(name, dbname=dbname)
    core.install(session)
    run(session, "create schema app")
    session.commit()
    run(empty_db, f"revoke create on database {dbname} from {name}")
    run(empty_db, f"create schema others authorization {role('tenant')}")
    run(empty_db, f"grant usage, create on schema others to {name}")
    empty_db.commit()
    return session


def make(db: Db, table: str, options: str = "") -> None:
    run(db, f"create table {table} (id int primary key, body text)")
    run(db, f"select chrononaut.create_versioning('{table}'{options})")
    run(db, f"insert into {table} values (1, 'a')")


def test_history_stays_where_a_table_moves_to_the_schema_of_others(plain: Db) -> None:
    make(plain, "app.note")
    plain.commit()
    run(plain, "alter table app.note set schema others")
    run(plain, "select chrononaut.sync_versioning('others.note')")
    run(plain, "update others.note set body = 'b'")

    assert rows(plain, NAMES) == [
        ("others.note", "app.note_history", "app.note_versions")
    ]
    assert problems(plain) == []
    assert value(plain, "select to_regnamespace('chrononaut_history')") is None


def test_history_stays_where_names_of_its_indexes_are_taken(db: Db) -> None:
    make(db, "note")
    run(db, "alter table note rename to remark")
    run(db, "alter index note_pkey rename to remark_pkey")
    run(db, "select chrononaut.sync_versioning('remark')")
    run(db, "create schema app")
    make(db, "app.note")
    run(db, "alter table app.note set schema public")
    run(db, "select chrononaut.sync_versioning('note')")
    run(db, "update note set body = 'b'")

    assert rows(db, NAMES) == [
        ("note", "app.note_history", "app.note_versions"),
        ("remark", "remark_history", "remark_versions"),
    ]
    assert problems(db) == []


def test_history_stays_where_a_type_has_its_name(db: Db) -> None:
    make(db, "note")
    run(db, "create type remark_history as enum ('a')")
    run(db, "alter table note rename to remark")
    run(db, "select chrononaut.sync_versioning('remark')")
    run(db, "update remark set body = 'b'")

    assert rows(db, NAMES) == [("remark", "note_history", "note_versions")]
    assert problems(db) == []


def test_write_that_waits_for_the_synchronisation_is_recorded(
    db: Db, connect: Connect
) -> None:
    make(db, "note")
    db.commit()
    writer, other, watcher = (
        connect(autocommit=True),
        connect(),
        connect(autocommit=True),
    )
    run(writer, "update note set body = 'b'")
    run(other, "alter table note rename to remark")
    other.commit()
    run(writer, "update remark set body = 'c'")
    run(other, "select chrononaut.sync_versioning('remark')")
    waits = "select cardinality(pg_blocking_pids(%s)) > 0"
    with ThreadPoolExecutor(1) as thread:
        write = thread.submit(run, writer, "update remark set body = 'd'")
        while not write.done() and not value(watcher, waits, [writer.info.backend_pid]):
            pass
        other.commit()
        write.result()

    bodies = rows(db, "select body from remark_versions order by version")
    assert bodies == [("a",), ("b",), ("c",), ("d",)]
