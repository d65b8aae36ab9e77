"""Undo on tables of every shape: keys, partitions, generated and identity columns."""

import pytest

from tests.core.asking import refusal, rows, run, value
from tests.core.undoing import NEWEST, in_one, preview, table, undo
from tests.servers import Db


def there_and_back(db: Db, *statements: str) -> None:
    """Undo *statements* on the table t, redo them, and expect the same rows."""
    before = table(db, "t", "1, 2")
    done = in_one(db, *statements)
    after = table(db, "t", "1, 2")
    undo(db, done)
    assert table(db, "t", "1, 2") == before
    undo(db, value(db, NEWEST))
    assert table(db, "t", "1, 2") == after


def make(db: Db, columns: str, options: str = "", suffix: str = "") -> None:
    """Create the table t and version it."""
    in_one(
        db,
        f"create table t ({columns}) {suffix}",
        f"select chrononaut.create_versioning('t'{options})",
    )


def test_composite_keys_of_text_and_time(db: Db) -> None:
    make(db, "a text, b timestamptz, v int, primary key (a, b)")
    in_one(db, "insert into t values ('x', '2024-01-01', 1), ('x', '2024-01-02', 2)")
    there_and_back(
        db, "update t set v = 5", "delete from t where v = 5 and b > '2024-01-01'"
    )


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_a_changed_key_goes_back(db: Db, granularity: str) -> None:
    make(db, "id int primary key, v text", f", granularity => '{granularity}'")
    in_one(db, "insert into t values (1, 'a'), (2, 'b')")
    there_and_back(db, "update t set id = id + 10")
    there_and_back(db, "update t set id = 12 - id, v = v || 'x' where id < 12")


def test_a_changed_key_goes_back_with_what_history_does_not_know(db: Db) -> None:
    make(
        db,
        "id int primary key, v text, pw text, seen int",
        ", hidden => '{pw}', untracked => '{seen}'",
    )
    in_one(db, "insert into t values (1, 'a', 'secret', 7), (2, 'a', 'other', 8)")
    done = in_one(db, "update t set id = id + 10")
    assert preview(db, done) == [
        ({"id": 11}, "update", {"id": 11}, {"id": 1}, None),
        ({"id": 12}, "update", {"id": 12}, {"id": 2}, None),
    ]
    undo(db, done)
    assert table(db, "t") == [(1, "a", "secret", 7), (2, "a", "other", 8)]


def test_a_changed_key_in_the_middle_of_other_changes(db: Db) -> None:
    make(db, "id int primary key, v text, pw text", ", hidden => '{pw}'")
    in_one(db, "insert into t values (1, 'a', 'secret')")
    done = in_one(db, "update t set v = 'b'", "update t set id = 5")
    undo(db, done)
    assert table(db, "t") == [(1, "a", "secret")]


def test_a_changed_key_goes_back_and_later_changes_stay(db: Db) -> None:
    make(db, "id int primary key, v text, w text")
    in_one(db, "insert into t values (1, 'a', 'b')")
    done = in_one(db, "update t set id = 5")
    in_one(db, "update t set w = 'later'")
    undo(db, done)
    assert table(db, "t") == [(1, "a", "later")]


def test_a_changed_key_whose_old_value_was_taken_since(db: Db) -> None:
    make(db, "id int primary key, v text")
    in_one(db, "insert into t values (1, 'a')")
    done = in_one(db, "update t set id = 5")
    in_one(db, "insert into t values (1, 'new')")
    refusal(db, "VH007", f"select chrononaut.undo_transaction({done})")


def test_generated_columns_are_computed_again(db: Db) -> None:
    make(db, "id int primary key, v int, w int generated always as (v * 2) stored")
    in_one(db, "insert into t values (1, 1), (2, 2)")
    there_and_back(
        db,
        "update t set v = 10 where id = 1",
        "delete from t where id = 2",
        "insert into t values (3, 3)",
    )


@pytest.mark.min_pg(18)
def test_virtual_columns_are_left_out(db: Db) -> None:
    make(db, "id int primary key, v int, w int generated always as (v * 2) virtual")
    in_one(db, "insert into t values (1, 1), (2, 2)")
    there_and_back(db, "update t set v = 10 where id = 1", "delete from t where id = 2")


@pytest.mark.parametrize("kind", ["always", "by default"])
def test_identity_columns_get_their_old_values(db: Db, kind: str) -> None:
    make(db, f"id int generated {kind} as identity primary key, v int")
    in_one(db, "insert into t (v) values (1), (2)")
    there_and_back(
        db,
        "delete from t where v = 1",
        "update t set v = 20 where v = 2",
        "insert into t (v) values (3)",
    )


def test_a_row_that_was_made_anew_with_another_identity(db: Db) -> None:
    run(
        db,
        "create table item (id integer generated always as identity primary key,"
        " a text);"
        "select chrononaut.create_versioning('item');"
        "insert into item (a) values ('same')",
    )
    db.commit()
    done = in_one(db, "delete from item", "insert into item (a) values ('same')")
    undo(db, done)
    assert table(db) == [(1, "same")]


def test_an_identity_column_that_only_an_insert_can_set(db: Db) -> None:
    make(db, "id int primary key, n int generated always as identity, v int")
    in_one(db, "insert into t (id, v) values (1, 1), (2, 2)")
    done = in_one(
        db, "update t set n = default, v = 5 where id = 2", "delete from t where id = 1"
    )
    undo(db, done)
    assert table(db, "t") == [(1, 1, 1), (2, 3, 2)]


def test_domains_enums_arrays_and_lengths(db: Db) -> None:
    in_one(
        db,
        "create domain positive as int check (value > 0)",
        "create type mood as enum ('sad', 'glad')",
        "create domain word as text not null",
    )
    make(
        db,
        "id positive primary key, m mood, ms mood[], w word, ws positive[],"
        " c char(4), v varchar(3), b bit(3), n numeric(6, 2), p point, j jsonb",
    )
    in_one(
        db,
        "insert into t values (1, 'sad', '{sad,null}', 'w', '{1,2}', 'ab', 'abc',"
        " '101', 1.5, '(1,2)', '{\"a\": 1}')",
        "insert into t (id, w) values (2, 'v')",
    )
    before = rows(db, "select t::text from t order by id")
    done = in_one(
        db,
        "update t set m = 'glad', ms = null, w = 'z', ws = '{3}', c = 'cd', v = 'x',"
        " b = '111', n = 2, p = null, j = '2' where id = 1",
        "delete from t where id = 2",
    )
    undo(db, done)
    assert rows(db, "select t::text from t order by id") == before


def test_partitions(db: Db) -> None:
    in_one(
        db,
        """
        create table t (id int, p int, v text, primary key (id, p))
            partition by list (p);
        create table t1 partition of t for values in (1);
        create table t2 partition of t for values in (2);
        select chrononaut.create_versioning('t');
        insert into t values (1, 1, 'a'), (2, 2, 'b'), (3, 1, 'c');
        """,
    )
    there_and_back(
        db,
        "update t set v = 'x' where id = 1",
        "delete from t2",
        "insert into t1 values (4, 1, 'd')",
    )
    there_and_back(db, "update t set p = 2 where id = 3")
    there_and_back(db, "truncate t1")


def test_partitions_with_a_key_of_fewer_columns(db: Db) -> None:
    in_one(
        db,
        """
        create table t (id int, p int, v text, pw text, primary key (id, p))
            partition by list (p);
        create table t1 partition of t for values in (1);
        create table t2 partition of t for values in (2);
        select chrononaut.create_versioning('t', key => '{id}', hidden => '{pw}');
        insert into t values (1, 1, 'a', 's'), (2, 2, 'b', 's');
        """,
    )
    there_and_back(db, "update t set p = 3 - p", "update t set v = 'x' where id = 2")


def test_inherited_rows_are_not_touched(db: Db) -> None:
    make(db, "id int primary key, v int")
    in_one(db, "insert into t values (1, 1)")
    done = in_one(db, "update t set v = 2")
    run(db, "create table heir () inherits (t)")
    run(db, "insert into heir values (1, 50)")
    undo(db, done)
    assert table(db, "t", "v") == [(1, 1), (1, 50)]


def test_inserts_of_a_table_that_does_not_track_them_stay(db: Db) -> None:
    make(db, "id int primary key, v int", ", track_inserts => false")
    in_one(db, "insert into t values (1, 1)")
    done = in_one(db, "insert into t values (2, 2)", "update t set v = v + 1")
    undo(db, done)
    assert table(db, "t") == [(1, 1), (2, 2)]


def test_a_row_with_a_hidden_column_that_may_not_be_null(db: Db) -> None:
    make(db, "id int primary key, pw text not null", ", hidden => '{pw}'")
    in_one(db, "insert into t values (1, 'x')")
    done = in_one(db, "delete from t")
    found = refusal(db, "23502", f"select chrononaut.undo_transaction({done})")
    assert (found.message_primary, found.column_name) == (
        "rows of public.t cannot be brought back: the old value of column pw is not"
        " known, and it may not be null",
        "pw",
    )
    run(db, "alter table t alter pw set default 'reset'")
    undo(db, done)
    assert table(db, "t") == [(1, "reset")]


def test_wide_tables(db: Db) -> None:
    names = [f"c{n}" for n in range(1, 801)]
    make(db, "id int primary key, " + ", ".join(f"{name} int" for name in names))
    in_one(db, "insert into t values (1, 1, 2), (2, 3, 4)")
    there_and_back(db, "update t set c800 = 5, c46 = 6", "delete from t where id = 2")


def test_citext_keys_that_differ_by_case(db: Db) -> None:
    if not rows(db, "select from pg_available_extensions where name = 'citext'"):
        pytest.skip("the server has no citext")
    run(db, "create extension citext")
    make(db, "id citext primary key, v int")
    in_one(db, "insert into t values ('a', 1)")
    there_and_back(db, "update t set id = 'A', v = 2")
