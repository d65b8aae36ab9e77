"""History is called and lies as the live table is, after that was renamed or moved."""

from typing import Any

import pytest

from tests.core.asking import problems, rows, run, value
from tests.servers import Connect, Db, MakeRole

NAMES = "select relation::text, history_table::text, versions_view::text"
NAMES += " from chrononaut.versioned_tables order by 1"


def make(db: Db, options: str = "", table: str = "note") -> None:
    run(db, f"create table {table} (id int primary key, body text)")
    run(db, f"select chrononaut.create_versioning('{table}'{options})")
    run(db, f"insert into {table} values (1, 'a')")


def bodies(db: Db, view: str) -> list[Any]:
    return [body for (body,) in rows(db, f"select body from {view} order by version")]


def test_history_is_renamed_with_its_table(db: Db) -> None:
    make(db)
    run(db, "alter table note rename to remark")
    run(db, "select chrononaut.sync_versioning('remark')")
    run(db, "update remark set body = 'b'")

    assert rows(db, NAMES) == [("remark", "remark_history", "remark_versions")]
    assert bodies(db, "remark_versions") == ["a", "b"]
    assert problems(db) == []


def test_history_moves_with_its_table_and_back(db: Db) -> None:
    make(db)
    run(db, "create schema app")
    run(db, "alter table note set schema app")
    run(db, "select chrononaut.sync_versioning('app.note')")
    moved = rows(db, NAMES)
    run(db, "update app.note set body = 'b'")
    run(db, "alter table app.note set schema public")
    run(db, "select chrononaut.sync_versioning('note')")
    run(db, "update note set body = 'c'")

    assert moved == [("app.note", "app.note_history", "app.note_versions")]
    assert rows(db, NAMES) == [("note", "note_history", "note_versions")]
    assert bodies(db, "note_versions") == ["a", "b", "c"]
    assert problems(db) == []


def test_table_that_was_renamed_and_moved_at_once_is_followed(db: Db) -> None:
    make(db)
    run(db, "create schema app")
    run(db, "alter table note set schema app")
    run(db, "alter table app.note rename to remark")
    run(db, "select chrononaut.sync_versioning('app.remark')")
    run(db, "update app.remark set body = 'b'")

    assert bodies(db, "app.remark_versions") == ["a", "b"]
    assert problems(db) == []


def test_two_tables_may_swap_their_names(db: Db) -> None:
    make(db)
    make(db, table="other")
    run(db, "update other set body = 'other'")
    run(db, "alter table note rename to swap")
    run(db, "alter table other rename to note")
    run(db, "alter table swap rename to other")
    run(db, "select chrononaut.sync_versioning('note')")
    run(db, "select chrononaut.sync_versioning('other')")
    run(db, "select chrononaut.sync_versioning('note')")

    assert {row[0] for row in rows(db, NAMES)} == {"note", "other"}
    [[view]] = rows(
        db,
        "select versions_view::text from chrononaut.versioned_tables"
        " where relation = 'note'::regclass",
    )
    assert bodies(db, view) == ["a", "other"]
    assert problems(db) == []


def test_name_that_was_chosen_stays(db: Db) -> None:
    make(db, ", history_table => 'note_past'")
    run(db, "alter table note rename to remark")
    run(db, "select chrononaut.sync_versioning('remark')")

    assert rows(db, NAMES) == [("remark", "note_past", "remark_versions")]
    assert problems(db) == []


def test_old_names_stay_where_the_new_ones_are_taken(db: Db) -> None:
    make(db)
    run(db, "create table remark_history ()")
    run(db, "alter table note rename to remark")
    run(db, "select chrononaut.sync_versioning('remark')")
    run(db, "update remark set body = 'b'")

    assert rows(db, NAMES) == [("remark", "note_history", "note_versions")]
    assert bodies(db, "note_versions") == ["a", "b"]
    assert problems(db) == []


@pytest.mark.parametrize("table", ["person", "employee"])
def test_tables_of_joined_inheritance_are_followed(db: Db, table: str) -> None:
    run(db, "create table person (id int primary key, name text)")
    run(db, "create table employee (id int primary key references person, title text)")
    run(db, "select chrononaut.create_versioning('person')")
    run(db, "select chrononaut.create_versioning('employee', parent => 'person')")
    run(db, "insert into person values (1, 'a'); insert into employee values (1, 'x')")
    db.commit()
    run(db, f"alter table {table} rename to renamed")
    run(db, "select chrononaut.sync_versioning('renamed')")
    child = "renamed" if table == "employee" else "employee"
    run(db, f"update {child} set title = 'y'")

    view = f"select title, name from {child}_versions order by version"
    assert rows(db, view) == [("x", "a"), ("y", "a")]
    assert problems(db) == []


def test_views_and_grants_on_history_outlast_the_rename(
    db: Db, role: MakeRole, connect: Connect
) -> None:
    make(db)
    reader = role("reader")
    run(db, f"grant select on note to {reader}")
    run(db, "select chrononaut.sync_versioning('note')")
    run(db, "create view mine as select body from note_versions")
    run(db, "alter table note rename to remark")
    run(db, "select chrononaut.sync_versioning('remark')")
    run(db, "update remark set body = 'b'")
    db.commit()

    assert rows(db, "select * from mine order by 1") == [("a",), ("b",)]
    with connect(reader) as theirs:
        assert value(theirs, "select count(*) from remark_history") == 2


def test_dropped_versioning_goes_on_under_the_new_name(db: Db) -> None:
    make(db)
    run(db, "select chrononaut.drop_versioning('note')")
    run(db, "alter table note rename to remark")
    run(db, "select chrononaut.create_versioning('remark')")
    run(db, "update remark set body = 'b'")

    assert rows(db, NAMES) == [("remark", "remark_history", "remark_versions")]
    assert bodies(db, "remark_versions") == ["a", "b"]


def test_name_of_a_renamed_table_is_free_again(db: Db) -> None:
    make(db)
    run(db, "alter table note rename to remark")
    run(db, "select chrononaut.sync_versioning('remark')")
    make(db)

    assert rows(db, NAMES) == [
        ("note", "note_history", "note_versions"),
        ("remark", "remark_history", "remark_versions"),
    ]
    assert problems(db) == []


def test_auto_sync_follows_a_rename_by_itself(db: Db) -> None:
    run(db, "select chrononaut.auto_sync()")
    make(db)
    run(db, "alter table note rename to remark")
    run(db, "update remark set body = 'b'")

    assert bodies(db, "remark_versions") == ["a", "b"]
    assert problems(db) == []


@pytest.mark.parametrize(
    "ddl", ["alter table note rename to remark", "alter table note set schema app"]
)
def test_rename_is_drift_until_it_is_synchronised(db: Db, ddl: str) -> None:
    make(db)
    run(db, "create schema app")
    run(db, ddl)
    drifted = "select drifted from chrononaut.versioned_tables"
    before = value(db, drifted)
    live = value(db, "select relation::text from chrononaut.versioned_tables")
    run(db, f"select chrononaut.sync_versioning('{live}')")

    assert (before, value(db, drifted)) == (True, False)
