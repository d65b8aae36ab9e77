"""Rows that refer to values which an undo sets back: by ON UPDATE and its actions."""

from typing import Any

import pytest

from tests.core.asking import refusal
from tests.core.undoing import in_one, preview, table, undo
from tests.servers import Db

SHOP = """
create table brand (id integer primary key, code integer unique, word text);
create table shoe (id integer primary key, brand_code integer default 1
    references brand (code) on update {});
select chrononaut.create_versioning('brand'), chrononaut.create_versioning('shoe');
insert into brand values (1, 1, 'one'), (2, 2, 'two'), (3, 3, 'three');
insert into shoe values (1, 1), (2, 2), (3, 3);
"""


def moved(db: Db, action: str) -> int:
    """Give brand 3 another code, and later a shoe; return the first transaction."""
    in_one(db, SHOP.format(action))
    done = in_one(
        db, "delete from shoe where id = 3", "update brand set code = 4 where id = 3"
    )
    in_one(db, "insert into shoe values (4, 4)")
    return done


def told(db: Db, done: int) -> list[tuple[Any, Any]]:
    return [(row[1], row[4]) for row in preview(db, done)]


@pytest.mark.parametrize("action", ["set null", "set default"])
def test_references_that_would_be_lost_are_a_conflict(db: Db, action: str) -> None:
    done = moved(db, action)
    assert told(db, done) == [
        ("update", "rows of public.shoe refer to it"),
        ("insert", None),
    ]
    found = refusal(db, "VH007", f"select chrononaut.undo_transaction({done})")
    assert (found.table_name, found.column_name, found.message_detail) == (
        "brand",
        "code",
        '{"id": 3}: rows of public.shoe refer to it',
    )


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_force_lets_references_be_lost(db: Db, granularity: str) -> None:
    done = moved(db, "set null")
    undo(db, done, ", force => true")
    assert table(db, "shoe") == [(1, 1), (2, 2), (3, 3), (4, None)]


@pytest.mark.parametrize("action", ["no action", "restrict"])
def test_references_in_the_way_are_foreseen(db: Db, action: str) -> None:
    done = moved(db, action)
    assert told(db, done)[0] == ("update", "rows of public.shoe refer to it")
    newest = db.info.server_version >= 180000
    state = "23001" if action == "restrict" and newest else "23503"
    refusal(db, state, f"select chrononaut.undo_transaction({done})")


def test_references_follow_where_they_cascade(db: Db) -> None:
    done = moved(db, "cascade")
    assert told(db, done) == [("update", None), ("insert", None)]
    undo(db, done)
    assert table(db, "shoe") == [(1, 1), (2, 2), (3, 3), (4, 3)]


@pytest.mark.parametrize("action", ["set null", "set default", "no action"])
def test_references_that_the_undo_sets_back_itself_are_no_conflict(
    db: Db, action: str
) -> None:
    in_one(db, SHOP.format(action))
    before = (table(db, "brand"), table(db, "shoe"))
    done = in_one(
        db,
        "insert into brand values (4, 9)",
        "update shoe set brand_code = 9 where id = 3",
        "update brand set code = 4 where id = 3",
        "update shoe set brand_code = 4 where id = 3",
        "delete from brand where id = 4",
    )
    assert [conflict for _, conflict in told(db, done)] == [None, None]
    undo(db, done)
    assert (table(db, "brand"), table(db, "shoe")) == before


def test_references_to_a_value_that_another_row_takes_over_are_no_conflict(
    db: Db,
) -> None:
    in_one(db, SHOP.format("no action"), "delete from shoe")
    done = in_one(
        db,
        "update brand set code = 0 where id = 1",
        "update brand set code = 1 where id = 2",
        "update brand set code = 2 where id = 1",
    )
    in_one(db, "insert into shoe values (9, 3)")
    assert told(db, done) == [("update", None), ("update", None)]


def test_other_columns_of_what_is_referred_to_are_set_back(db: Db) -> None:
    in_one(db, SHOP.format("set null"))
    done = in_one(db, "update brand set word = upper(word)")
    undo(db, done)
    assert table(db, "shoe") == [(1, 1), (2, 2), (3, 3)]


def test_only_the_row_whose_value_is_set_back_is_looked_at(db: Db) -> None:
    in_one(db, SHOP.format("set null"), "delete from shoe where id = 3")
    done = in_one(
        db,
        "update brand set word = 'x' where id = 1",
        "update brand set code = 7, word = 'y' where id = 3",
    )
    undo(db, done)
    assert (table(db, "brand")[0], table(db, "shoe")) == (
        (1, 1, "one"),
        [(1, 1), (2, 2)],
    )


def test_references_to_a_key_that_is_set_back_are_a_conflict(db: Db) -> None:
    in_one(
        db,
        "create table brand (id integer primary key, word text)",
        "create table shoe (id integer primary key, brand_id integer"
        " references brand on update set null)",
        "select chrononaut.create_versioning('brand')",
        "select chrononaut.create_versioning('shoe')",
        "insert into brand values (1, 'one')",
    )
    done = in_one(db, "update brand set id = 5")
    in_one(db, "insert into shoe values (1, 5)")
    assert told(db, done) == [("update", "rows of public.shoe refer to it")]
    refusal(db, "VH007", f"select chrononaut.undo_transaction({done})")
