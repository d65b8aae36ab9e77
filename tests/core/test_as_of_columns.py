"""Columns of every kind, and columns that changed since."""

from typing import Any

import pytest

from tests.core.asking import problems, refusal, rows, run, value
from tests.servers import Db


def versioned(db: Db, columns: str, options: str = "") -> None:
    """Create the table `t` with an `id` and *columns*, and version it."""
    run(db, f"create table t (id int primary key, {columns})")
    run(db, f"select chrononaut.create_versioning('t'{options})")


def mark(db: Db) -> None:
    run(db, "select chrononaut.mark('then')")


def sync(db: Db, table: str = "t") -> None:
    run(db, "select chrononaut.sync_versioning(%s::text::regclass)", [table])


def then(db: Db, columns: str = "*", table: str = "t") -> list[tuple[Any, ...]]:
    query = f"select {columns} from chrononaut.as_of(null::{table}, mark => 'then')"
    return rows(db, f"{query} order by 1")


def test_hidden_and_untracked_columns_are_null_even_in_rows_that_did_not_change(
    db: Db,
) -> None:
    versioned(
        db,
        "secret text not null default 's', counter int default 7, v text",
        ", hidden => '{secret}', untracked => '{counter}'",
    )
    run(db, "insert into t (id, v) values (1, 'a'), (2, 'b'), (3, 'c')")
    mark(db)
    run(db, "update t set v = 'x', secret = 'y' where id = 1")
    run(db, "delete from t where id = 2")
    assert then(db) == [
        (1, None, None, "a"),
        (2, None, None, "b"),
        (3, None, None, "c"),
    ]


def test_columns_that_were_dropped_renamed_and_added_since(db: Db) -> None:
    versioned(db, "gone text, old_name text")
    run(db, "insert into t values (1, 'g', 'a'), (2, 'g', 'b')")
    mark(db)
    run(db, "update t set old_name = 'x' where id = 1")
    run(db, "alter table t drop column gone")
    run(db, "alter table t rename column old_name to new_name")
    run(db, "alter table t add column added text default 'now'")
    sync(db)
    run(db, "update t set new_name = 'y'")
    cursor = db.execute("select * from chrononaut.as_of(null::t, mark => 'then')")
    assert [column.name for column in cursor.description or []] == [
        "id",
        "new_name",
        "added",
    ]
    # Key 2 changed only when the column was there, so its image has the default.
    assert sorted(cursor.fetchall()) == [(1, "a", None), (2, "b", "now")]


RETYPED = {
    "wider": ("int", "5", "bigint", "v", 5),
    "text": ("int", "5", "text", "v::text", "5"),
    "unlike": ("text", "'5'", "int", "v::int", None),
}


@pytest.mark.parametrize(
    ("old", "stored", "new", "using", "expected"), RETYPED.values(), ids=RETYPED.keys()
)
def test_column_with_another_type_has_the_values_that_it_can_hold(
    db: Db, old: str, stored: str, new: str, using: str, expected: object
) -> None:
    versioned(db, f"v {old}")
    run(db, f"insert into t values (1, {stored})")
    mark(db)
    run(db, "update t set v = null")
    run(db, f"alter table t alter column v type {new} using {using}")
    sync(db)
    assert then(db) == [(1, expected)]
    assert problems(db) == []


def test_domain_that_is_not_null_is_null_where_it_was_not_recorded(db: Db) -> None:
    run(db, "create domain d as text not null check (value <> '')")
    run(db, "create domain ds as d[]")
    versioned(db, "v d, many ds, list d[], secret d", ", hidden => '{secret}'")
    run(db, "insert into t values (1, 'a', '{a}', '{b}', 's')")
    run(db, "insert into t values (2, 'b', null, null, 's')")
    mark(db)
    run(db, "update t set v = 'x', many = '{x}', list = '{x,y}'")
    assert then(db) == [(1, "a", "{a}", "{b}", None), (2, "b", None, None, None)]
    run(db, "alter table t add column extra d default 'e'")
    sync(db)
    run(db, "delete from t")
    assert then(db, "id, extra") == [(1, None), (2, None)]


KINDS = {
    "enum": ("mood", "'glad'"),
    "enums": ("mood[]", "'{glad,sad}'"),
    "composite": ("pair", "'(1,a)'"),
    "row of nulls": ("pair", "'(,)'"),
    "domain of rows": ("couple", "'(1,a)'"),
    "row of nulls in a domain": ("couple", "'(,)'"),
    "range": ("int4range", "'[1,5)'"),
    "json": ("json", "'{\"a\":  1}'"),
    "point": ("point", "'(1,2)'"),
    "numeric": ("numeric(5,2)", "1.50"),
    "char": ("char(5)", "'ab'"),
    "bit": ("bit(3)", "b'101'"),
    "bytea": ("bytea", "'\\x00ff'"),
    "nested arrays": ("int[][]", "'{{1,2},{3,4}}'"),
    "interval": ("interval day", "'3 days'"),
    "collated": ('text collate "C"', "'z'"),
}


@pytest.mark.parametrize(("kind", "stored"), KINDS.values(), ids=KINDS.keys())
def test_values_of_every_kind_come_back_byte_for_byte(
    db: Db, kind: str, stored: str
) -> None:
    run(db, "create type mood as enum ('sad', 'glad')")
    run(db, "create type pair as (a int, b text)")
    run(db, "create domain couple as pair")
    versioned(db, f"v {kind}")
    run(db, f"insert into t values (1, {stored}), (2, {stored}), (3, null)")
    mark(db)
    saved = rows(db, "select id, v::text from t order by 1")
    run(db, "update t set v = null where id = 1")
    run(db, "delete from t where id = 3")
    assert then(db, "id, v::text") == saved


def test_generated_and_identity_columns_are_as_they_were(db: Db) -> None:
    run(
        db,
        "create table t (id int generated always as identity primary key, v int,"
        " double int generated always as (v * 2) stored)",
    )
    run(db, "select chrononaut.create_versioning('t')")
    run(db, "insert into t (v) values (1), (2)")
    mark(db)
    run(db, "update t set v = 5 where id = 1")
    run(db, "delete from t where id = 2")
    assert then(db) == [(1, 1, 2), (2, 2, 4)]


@pytest.mark.min_pg(18)
def test_virtual_generated_columns_are_as_they_were(db: Db) -> None:
    versioned(db, "v int, double int generated always as (v * 2) virtual")
    run(db, "insert into t (id, v) values (1, 1), (2, 2)")
    mark(db)
    run(db, "update t set v = 5 where id = 1")
    assert then(db) == [(1, 1, 2), (2, 2, 4)]


META = ["change_id", "changed", "operation", "transaction_id", "change_info", "tuple"]


def test_columns_with_the_names_of_meta_columns_are_the_applications(db: Db) -> None:
    versioned(db, ", ".join(f"{name} int" for name in META))
    run(db, f"insert into t values (1{', 1' * 6}), (2{', 2' * 6})")
    mark(db)
    run(db, "update t set operation = 9, change_id = 9 where id = 1")
    expected = [(1, 1, 1, 1, 1, 1, 1), (2, 2, 2, 2, 2, 2, 2)]
    assert then(db) == expected
    run(db, "select chrononaut.open_past(mark => 'then')")
    assert rows(db, "select * from t order by 1") == expected


INNER = ["first", "running", "own", "upto", "since", "keyed", "m", "h", "r", "e"]
OTHER = ["at", "mark", "before", "relation", "moment", "as_of", "after_change", "k1"]


def test_columns_with_the_names_that_the_query_itself_uses_are_just_columns(
    db: Db,
) -> None:
    names = [f'"{name}"' for name in [*INNER, *OTHER]]
    listed = ", ".join(names)
    columns = ", ".join(f"{name} int" for name in names)
    run(db, f"create table t ({columns}, primary key (at, mark, m, h, k1))")
    run(db, "select chrononaut.create_versioning('t')")
    run(db, f"insert into t values ({', '.join(['1'] * len(names))})")
    mark(db)
    run(db, 'update t set "own" = 2, "before" = 2, "r" = 2')
    number = value(db, "select id from chrononaut.transaction")
    was = [(1,) * len(names)]
    assert then(db, listed) == was
    after = f"select own from chrononaut.as_of(null::t, transaction_id => {number})"
    assert value(db, after) == 2
    run(db, "select chrononaut.open_past(mark => 'then')")
    assert rows(db, f"select {listed} from t") == was


STRANGE = ['Ta"ble;--', "select", "UPPER case", "é", "x" * 63, "%I %s", "chrononaut"]


@pytest.mark.parametrize("name", STRANGE)
def test_strange_names_of_schemas_tables_and_columns(db: Db, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    schema = "app" if name == "chrononaut" else quoted
    table = f"{schema}.{quoted}"

    def do(query: str) -> None:
        run(db, query.replace("%", "%%"), [])

    do(f"create schema {schema}")
    do(f"create table {table} ({quoted} int primary key, v int)")
    run(db, "select chrononaut.create_versioning(%s::text::regclass)", [table])
    do(f"insert into {table} values (1, 1), (2, 2)")
    mark(db)
    do(f"update {table} set v = 5")
    query = f"select * from chrononaut.as_of(null::{table}, mark => 'then')"
    assert sorted(rows(db, query.replace("%", "%%"), [])) == [(1, 1), (2, 2)]
    do(f"set search_path = {schema}")
    run(db, "select chrononaut.open_past(mark => 'then')")
    query = f"select * from {quoted}".replace("%", "%%")
    assert sorted(rows(db, query, [])) == [(1, 1), (2, 2)]


def test_value_that_the_column_is_too_short_for_now_is_never_cut_off(db: Db) -> None:
    versioned(db, "v text")
    run(db, "insert into t values (1, 'long text')")
    mark(db)
    run(db, "update t set v = 'x'")
    run(db, "alter table t alter column v type varchar(4)")
    sync(db)
    query = "select * from chrononaut.as_of(null::t, mark => 'then')"
    refusal(db, "22001", query)
    assert then(db, "id") == [(1,)]
    run(db, "select chrononaut.open_past(mark => 'then')")
    assert rows(db, "select * from t") == [(1, "long text")]


def test_value_that_a_domain_admits_no_longer_is_an_error_that_names_the_check(
    db: Db,
) -> None:
    run(db, "create domain d as int")
    versioned(db, "v d")
    run(db, "insert into t values (1, 1), (2, 20)")
    mark(db)
    run(db, "update t set v = v + 10")
    run(db, "alter domain d add check (value > 10)")
    diag = refusal(
        db, "23514", "select * from chrononaut.as_of(null::t, mark => 'then')"
    )
    assert "d_check" in (diag.message_primary or "")
