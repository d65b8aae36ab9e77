"""undo_change: the inverse of one change; the others, earlier and later, stay."""

from typing import Any

import pytest

from tests.core.asking import infos, refusal, rows, run, value
from tests.core.undoing import ITEM, in_one, table
from tests.servers import Db

NEWEST = "select max(change_id) from item_history"


@pytest.fixture
def items(db: Db) -> Db:
    """Items 1 to 3, versioned."""
    in_one(db, ITEM)
    return db


def changed(db: Db, statement: str) -> int:
    """Commit *statement*, and return the number of the change that it made."""
    in_one(db, statement)
    return int(value(db, NEWEST))


def undo(db: Db, change_id: int, options: str = "") -> list[tuple[Any, ...]]:
    """Undo a change and commit; return what the function returns."""
    query = f"select * from chrononaut.undo_change({change_id}{options})"
    done = rows(db, query)
    db.commit()
    return done


def test_an_update_in_the_middle(items: Db) -> None:
    changed(items, "update item set a = 10 where id = 1")
    middle = changed(items, "update item set b = 'x' where id = 1")
    changed(items, "update item set a = 20 where id = 1")
    assert undo(items, middle) == [
        ("public.item", "update", 1, {"id": 1}, {"b": "x"}, {"b": "b1"}, None)
    ]
    assert table(items)[0] == (1, 20, "b1", "new")


def test_a_delete_and_an_insert(items: Db) -> None:
    before = table(items)
    deleted = changed(items, "delete from item where id = 2")
    inserted = changed(items, "insert into item values (4, 4, 'b4', 'c')")
    assert [row[1] for row in undo(items, deleted) + undo(items, inserted)] == [
        "insert",
        "delete",
    ]
    assert table(items) == before


def test_of_two_changes_in_one_transaction_only_the_one(items: Db) -> None:
    in_one(
        items,
        "update item set a = 10 where id = 1",
        "update item set b = 'x' where id = 1",
    )
    undo(items, int(value(items, NEWEST)) - 1)
    assert table(items)[0] == (1, 1, "x", "new")


def test_a_dry_run_writes_nothing(items: Db) -> None:
    change = changed(items, "update item set a = 10 where id = 1")
    shown = undo(items, change, ", dry_run => true")
    assert value(items, NEWEST) == change
    assert shown == undo(items, change)


def test_a_later_change_of_the_column_is_a_conflict(items: Db) -> None:
    change = changed(items, "update item set a = 10 where id = 1")
    changed(items, "update item set a = 11 where id = 1")
    found = refusal(items, "VH007", f"select chrononaut.undo_change({change})")
    assert (found.table_name, found.column_name) == ("item", "a")
    [row] = undo(items, change, ", dry_run => true")
    assert row[4:] == ({"a": 11}, {"a": 1}, "a changed since")
    undo(items, change, ", force => true")
    assert table(items)[0][1] == 1


def test_the_change_says_what_it_undid_and_can_be_undone(items: Db) -> None:
    change = changed(items, "update item set a = 10 where id = 1")
    undo(items, change)
    assert infos(items, "item_history")[-1]["extra"] == {"undone_change": change}
    undo(items, int(value(items, NEWEST)))
    assert table(items)[0][1] == 10


def test_a_change_of_the_running_transaction(items: Db) -> None:
    run(items, "update item set a = 10 where id = 1")
    run(items, f"select chrononaut.undo_change(({NEWEST}))")
    items.commit()
    assert table(items)[0][1] == 1


def test_the_table_may_be_named(items: Db) -> None:
    run(items, "create table other (id integer primary key)")
    run(items, "select chrononaut.create_versioning('other')")
    change = changed(items, "update item set a = 10 where id = 1")
    found = refusal(items, "P0002", f"select chrononaut.undo_change({change}, 'other')")
    assert found.message_primary == f"there is no change {change} of public.other"
    undo(items, change, ", 'item'")
    assert table(items)[0][1] == 1


@pytest.mark.parametrize("change", ["0", "null"])
def test_an_unknown_change(items: Db, change: str) -> None:
    refusal(items, "P0002", f"select chrononaut.undo_change({change})")


def test_a_table_that_is_not_versioned(items: Db) -> None:
    run(items, "create table other (id integer primary key)")
    refusal(items, "VH003", "select chrononaut.undo_change(1, 'other')")


@pytest.mark.parametrize(
    ("type_name", "key"),
    [
        ("float8", "0.1::float8 + 0.2"),
        ("float4", "1.1000001"),
        ("timestamptz", "'2024-07-04 01:02:03.456789+00'"),
        ("interval", "interval '1 year -2 mons 3 days -04:05:06.789'"),
    ],
)
@pytest.mark.parametrize(
    "settings",
    [
        "set extra_float_digits = -15",
        "set datestyle = 'SQL, DMY'; set timezone = 'Asia/Kolkata'",
        "set intervalstyle = 'sql_standard'",
    ],
)
def test_a_key_is_found_whatever_the_session_writes_it_like(
    db: Db, settings: str, type_name: str, key: str
) -> None:
    run(db, f"create table odd (k {type_name} primary key, v integer)")
    run(db, "select chrononaut.create_versioning('odd')")
    in_one(db, f"insert into odd values ({key}, 1)")
    in_one(db, "update odd set v = 2")
    run(db, settings)
    change = value(db, "select max(change_id) from odd_history")
    run(db, f"select * from chrononaut.undo_change({change}, 'odd')")
    assert rows(db, "select v from odd") == [(1,)]
