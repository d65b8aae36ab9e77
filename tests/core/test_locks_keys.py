"""Locks name records by their keys: of every type, and however the table changes."""

from typing import Any

import pytest

from tests.core.asking import problems, refusal, rows, run, value
from tests.core.locking import create_items, lock, lockable, unlock
from tests.servers import Db

LISTED = "select key from chrononaut.record_locks order by key::text"


@pytest.mark.parametrize(
    ("type", "stored", "given", "understood"),
    [
        ("int", "5", "5", 5),
        ("int", "5", 5, 5),
        ("bigint", "9007199254740993", "9007199254740993", 9007199254740993),
        ("numeric", "1.50", 1.5, 1.5),
        ("text", "'5'", "5", "5"),
        ("char(3)", "'a'", "a", "a  "),
        (
            "uuid",
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ),
        ("date", "'2026-01-02'", "2026-01-02", "2026-01-02"),
        (
            "timestamptz",
            "'2026-01-02 03:00+00'",
            "2026-01-02 05:00+02",
            "2026-01-02T03:00:00+00:00",
        ),
        ("interval", "'1 day'", "1 day", "1 day"),
        ("bytea", r"'\x01ff'", "\\x01FF", "\\x01ff"),
        ("float8", "0.1", 0.1, 0.1),
        ("mood", "'sad'", "sad", "sad"),
        ("positive", "5", "5", 5),
        ("int[]", "'{1,2}'", [1, 2], [1, 2]),
        ("int4range", "'[1,3)'", "[1,2]", "[1,3)"),
    ],
)
def test_keys_are_compared_through_the_type_of_the_column(
    db: Db, type: str, stored: str, given: Any, understood: Any
) -> None:
    run(db, "create type mood as enum ('sad', 'ok')")
    run(db, "create domain positive as int check (value > 0)")
    run(db, f"create table item (id {type} primary key, v text)")
    lockable(db)
    run(db, f"insert into item values ({stored})")
    run(db, "set timezone = 'Asia/Tokyo'")
    run(db, "set bytea_output = 'escape'")
    run(db, "set intervalstyle = 'iso_8601'")
    assert lock(db, {"id": given}) == {"id": understood}
    run(db, "set timezone = 'America/New_York'")
    run(db, "set bytea_output = 'hex'")
    run(db, "set extra_float_digits = -3")
    run(db, "set datestyle = 'SQL, DMY'")
    run(db, "set intervalstyle = 'sql_standard'")

    refusal(db, "VH010", "update item set v = 'x'")
    assert unlock(db, {"id": given}) is True
    run(db, "update item set v = 'x'")


@pytest.mark.extension("citext")
def test_key_that_its_type_finds_equal_is_the_same_record(db: Db) -> None:
    run(db, "create extension citext")
    run(db, "create table item (id citext primary key)")
    lockable(db)
    run(db, "insert into item values ('Ann')")
    assert lock(db, {"id": "ANN"}) == {"id": "Ann"}
    refusal(db, "VH010", "delete from item where id = 'ann'")

    assert unlock(db, {"id": "aNN"}) is True


def test_composite_keys_and_strange_names(db: Db) -> None:
    name = '"Ta""ble; --"'
    run(
        db,
        f'create table {name} ("select" text, "A b" int, v int,'
        ' primary key ("select", "A b"))',
    )
    lockable(db, table=name)
    run(db, f"insert into {name} values ('x', 1, 0), ('x', 2, 0)")
    key = {"A b": "2", "select": "x"}
    assert lock(db, key, "why", name) == {"select": "x", "A b": 2}
    refusal(db, "VH010", f"update {name} set v = 1")
    run(db, f'update {name} set v = 1 where "A b" = 1')

    assert unlock(db, key, "why", name) is True


@pytest.mark.parametrize(
    "columns",
    [
        "id int generated always as identity primary key",
        "id int generated always as identity primary key, v text",
        "id int primary key, twice int generated always as (id * 2) stored",
        "id int primary key, d positive not null default 1",
    ],
)
def test_columns_that_give_themselves_values_do_no_harm(db: Db, columns: str) -> None:
    run(db, "create domain positive as int not null check (value > 0)")
    run(db, f"create table item ({columns})")
    lockable(db)
    run(db, "insert into item (id) overriding system value values (1)")
    lock(db, {"id": 1})
    refusal(db, "VH010", "delete from item")


@pytest.mark.parametrize("type", ["point3", "mood[]"])
def test_key_whose_type_could_run_foreign_code_is_refused(db: Db, type: str) -> None:
    run(db, "create type point3 as (x int, y int, z int)")
    run(db, "create type mood as enum ('sad', 'ok')")
    run(db, f"create table item (id {type} primary key)")
    diag = refusal(
        db, "VH003", "select chrononaut.create_versioning('item', lockable => true)"
    )
    assert diag.column_name == "id"


def test_casts_of_a_user_do_not_run_in_the_name_of_the_core(db: Db) -> None:
    run(db, "create type mood as enum ('sad', 'ok')")
    for target in ("json", "text"):
        run(
            db,
            f"create function evil_{target}(mood) returns {target} language plpgsql as"
            " $$ begin raise exception 'ran as %', current_user; end $$",
        )
        run(db, f"create cast (mood as {target}) with function evil_{target}(mood)")
    run(db, "create table item (id mood primary key, v text)")
    lockable(db)
    run(db, "insert into item values ('sad')")
    assert lock(db, {"id": "sad"}) == {"id": "sad"}
    refusal(db, "VH010", "update item set v = 'x'")
    refusal(db, "VH010", "truncate item")
    assert unlock(db, {"id": "sad"}) is True


def test_locks_follow_renamed_tables_and_key_columns(db: Db) -> None:
    create_items(db)
    lock(db, {"id": 1})
    run(db, "alter table item rename to thing")
    run(db, "alter table thing rename id to number")
    diag = refusal(db, "VH005", "update thing set v = 'x' where number = 1")
    assert "sync_versioning" in str(diag.message_hint)
    run(db, "select chrononaut.sync_versioning('thing')")

    assert rows(db, LISTED) == [({"number": 1},)]
    assert problems(db) == []
    refusal(db, "VH010", "update thing set v = 'x' where number = 1")
    assert unlock(db, {"number": 1}, table="thing") is True


def test_locks_follow_the_key_to_other_columns_and_types(db: Db) -> None:
    run(db, "create table item (id int primary key, code text not null, v text)")
    lockable(db)
    run(db, "insert into item values (1, 'a'), (2, 'b')")
    lock(db, {"id": 1})
    run(db, "alter table item alter id type text")
    run(db, "select chrononaut.sync_versioning('item')")
    refusal(db, "VH010", "update item set v = 'x' where id = '1'")
    run(db, "create unique index on item (code)")
    run(db, "select chrononaut.alter_versioning('item', key => '{code}')")

    assert rows(db, LISTED) == [({"code": "a"},)]
    refusal(db, "VH010", "update item set v = 'x' where id = '1'")
    run(db, "update item set v = 'x' where id = '2'")
    assert problems(db) == []


def test_changed_key_takes_no_lock_along_and_a_new_row_meets_it(db: Db) -> None:
    create_items(db)
    lock(db, {"id": 1})
    run(db, "alter table item disable trigger \"00_chrononaut_lock\"")  # fmt: skip
    run(db, "update item set id = 9 where id = 1")
    run(db, "alter table item enable trigger \"00_chrononaut_lock\"")  # fmt: skip
    run(db, "update item set v = 'free' where id = 9")
    run(db, "insert into item values (1, 'new')")

    refusal(db, "VH010", "update item set v = 'x' where id = 1")


@pytest.mark.parametrize("target", ["item", "item_1"])
def test_records_of_partitioned_tables(db: Db, target: str) -> None:
    run(db, "create table item (id int primary key, v text) partition by range (id)")
    run(db, "create table item_1 partition of item for values from (0) to (10)")
    lockable(db)
    run(db, "create table item_2 partition of item for values from (10) to (20)")
    run(db, "insert into item values (1), (2), (11)")
    lock(db, {"id": 1}, table=target)
    run(db, "update item set v = 'x' where id = 2")
    for write in (
        *("update item set v = 'x' where id = 1", "delete from item_1 where id = 1"),
        *("update item set id = 12 where id = 1", "truncate item_1", "truncate item"),
    ):
        refusal(db, "VH010", write)
    run(db, "truncate item_2")
    lock(db, {"id": 2}, table=target)
    assert rows(db, LISTED) == [({"id": 1},), ({"id": 2},)]

    assert unlock(db, {"id": 1}, table=target) is True
    run(db, "update item set id = 12 where id = 1")


def test_truncate_of_unlocked_rows_goes_on(db: Db) -> None:
    create_items(db)
    run(db, "create table other (id int primary key)")
    lockable(db, table="other")
    lock(db, {"id": 1})
    run(db, "truncate other")
    run(db, "alter table item disable trigger \"00_chrononaut_lock\"")  # fmt: skip
    run(db, "delete from item where id = 1")
    run(db, "alter table item enable trigger \"00_chrononaut_lock\"")  # fmt: skip
    run(db, "truncate item")

    assert value(db, "select count(*) from item") == 0
