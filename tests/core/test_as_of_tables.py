"""Tables of every shape as they were: parted, inherited, with other keys, empty."""

import pytest

from tests.core.asking import rows, run, value
from tests.core.test_capture_partitions import SETUP as PARTED
from tests.servers import Db


def then(db: Db, table: str = "item", columns: str = "*") -> list[tuple[object, ...]]:
    """Return *table* at the mark; as_of() and the past view agree."""
    query = f"select {columns} from chrononaut.as_of(null::{table}, mark => 'then')"
    found = sorted(rows(db, query), key=str)
    run(db, "select chrononaut.open_past(mark => 'then')")
    assert sorted(rows(db, f"select {columns} from {table}"), key=str) == found
    run(db, "select chrononaut.close_past()")
    return found


def mark(db: Db) -> None:
    run(db, "select chrononaut.mark('then')")


@pytest.mark.parametrize("key", ["", ", key => '{id}'"])
def test_rows_of_partitions_are_where_they_were_before_they_moved(
    db: Db, key: str
) -> None:
    run(db, PARTED)
    run(db, f"select chrononaut.create_versioning('item'{key})")
    run(db, "insert into item values (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')")
    mark(db)
    run(db, "update item set part = 15, v = 'moved' where id = 1")
    run(db, "update item set v = 'again' where id = 1")
    run(db, "update item set part = part + 10 where id = 2")
    run(db, "update item set part = part - 10 where id = 2")
    run(db, "update item set part = 16 where id = 3")
    run(db, "delete from item where id = 3")
    number = value(db, "select max(id) from chrononaut.transaction")
    after = f"select * from chrononaut.as_of(null::item, transaction_id => {number})"
    assert sorted(rows(db, after)) == [(1, 15, "again"), (2, 2, "b")]
    assert then(db) == [(1, 1, "a"), (2, 2, "b"), (3, 3, "c")]
    run(db, "truncate item_1, item_2")
    assert then(db) == [(1, 1, "a"), (2, 2, "b"), (3, 3, "c")]


def test_parent_and_child_of_an_inheritance_have_pasts_of_their_own(db: Db) -> None:
    run(db, "create table base (id int primary key, name text)")
    run(db, "select chrononaut.create_versioning('base')")
    run(db, "insert into base values (1, 'a')")
    run(db, "create table child (primary key (id)) inherits (base)")
    run(db, "select chrononaut.create_versioning('child')")
    run(db, "insert into child values (5, 'c')")
    mark(db)
    run(db, "update base set name = 'x'")
    assert then(db, "child") == [(5, "c")]
    query = "select * from chrononaut.as_of(null::base, mark => 'then')"
    assert rows(db, query) == [(1, "a")]


def test_parent_and_child_of_joined_tables_are_as_they_were(db: Db) -> None:
    run(db, "create table base (id int primary key, name text)")
    run(db, "create table child (id int primary key references base, size int)")
    run(db, "select chrononaut.create_versioning('base')")
    run(db, "select chrononaut.create_versioning('child', parent => 'base')")
    run(db, "insert into base values (1, 'a'); insert into child values (1, 5)")
    mark(db)
    run(db, "update base set name = 'x'; delete from child")
    assert (then(db, "base"), then(db, "child")) == ([(1, "a")], [(1, 5)])


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_composite_keys_in_any_order(db: Db, granularity: str) -> None:
    run(db, "create table item (v int, b text, a int, primary key (a, b))")
    run(
        db,
        f"select chrononaut.create_versioning('item', granularity => '{granularity}')",
    )
    run(db, "insert into item select n, n % 2, n / 2 from generate_series(1, 6) n")
    was = sorted(rows(db, "select * from item"), key=str)
    mark(db)
    run(db, "update item set a = a + 100 where b = '0'")
    run(db, "update item set a = a - 100, v = 0 where b = '0'")
    run(db, "update item set b = '2' where a = 1 and b = '1'")
    run(db, "delete from item where a = 3")
    assert then(db) == was


def test_key_that_is_not_the_primary_key_identifies_rows(db: Db) -> None:
    run(db, "create table item (id int primary key, code text not null unique, v int)")
    run(db, "select chrononaut.create_versioning('item', key => '{code}')")
    run(db, "insert into item values (1, 'a', 1), (2, 'b', 2)")
    mark(db)
    run(db, "update item set id = id + 10, v = 5")
    run(db, "update item set code = 'c' where id = 11")
    assert then(db) == [(1, "a", 1), (2, "b", 2)]


def test_whole_key_shift_in_one_statement(db: Db) -> None:
    run(db, "create table item (id int primary key, v text)")
    run(db, "select chrononaut.create_versioning('item', granularity => 'statement')")
    run(db, "insert into item values (3, 'c'), (2, 'b'), (1, 'a')")
    mark(db)
    run(db, "update item set id = id + 1 where id = 3")
    run(db, "update item set id = id + 1 where id = 2")
    run(db, "update item set id = id + 10")
    assert then(db) == [(1, "a"), (2, "b"), (3, "c")]


def test_empty_tables_and_tables_that_were_empty(db: Db) -> None:
    run(db, "create table item (id int primary key)")
    run(db, "select chrononaut.create_versioning('item')")
    mark(db)
    assert then(db) == []
    run(db, "insert into item values (1); truncate item; insert into item values (2)")
    assert then(db) == []
    assert rows(db, "select * from chrononaut.as_of(null::item, now())") == []


def test_inserts_that_are_not_recorded_cannot_be_told_from_older_rows(db: Db) -> None:
    run(db, "create table item (id int primary key)")
    run(db, "select chrononaut.create_versioning('item', track_inserts => false)")
    mark(db)
    run(db, "insert into item values (1)")
    assert then(db) == [(1,)]


@pytest.mark.extension("citext")
def test_key_that_equality_folds_is_one_key(db: Db) -> None:
    run(db, "create extension citext; create table item (name citext primary key)")
    run(db, "select chrononaut.create_versioning('item')")
    run(db, "insert into item values ('A')")
    mark(db)
    run(db, "delete from item; insert into item values ('a')")
    assert then(db) == [("A",)]
