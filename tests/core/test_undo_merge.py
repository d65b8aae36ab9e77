"""Undo with later changes in between, against a three-way merge done in Python."""

import random

import pytest

from tests.core.asking import refusal, rows, run
from tests.core.undoing import in_one
from tests.servers import Db

Rows = dict[int, list[int]]


def seen(db: Db) -> Rows:
    """Return the rows by key."""
    return {key: rest for key, *rest in rows(db, "select * from item")}


def statement(chance: random.Random) -> str:
    """Return a statement that changes few values of few rows.

    No key is changed, nor is a row inserted that looks like one of another key: undone
    as a changed key, it would keep later changes.
    """
    key, value = chance.randrange(6), chance.randrange(3)
    new = f"{key}, {value}, 0, {chance.getrandbits(30)}"
    column = chance.choice("abc")
    kinds = {
        f"update item set {column} = {value} where id = {key}": 6,
        f"update item set {column} = {value} where id % 3 = {value}": 2,
        f"delete from item where id = {key}": 2,
        f"insert into item values ({new}) on conflict do nothing": 3,
    }
    return chance.choices(list(kinds), list(kinds.values()))[0]


def merged(before: Rows, after: Rows, now: Rows) -> tuple[Rows, set[int]]:
    """Return what a forced undo leaves, and the keys that are in conflict."""
    result, conflicts = {key: list(row) for key, row in now.items()}, set()
    for key in before.keys() | after.keys():
        old, left, live = before.get(key), after.get(key), now.get(key)
        if old == left:
            continue
        if live is None:
            if old is not None:
                result[key] = old
                conflicts |= {key} if left is not None else set()
        elif old is None:
            conflicts |= {key} if live != left else set()
            del result[key]
        else:
            for number, value in enumerate(old):
                changed = left is None or left[number] != value
                if changed and live[number] != value:
                    result[key][number] = value
                    if left is None or live[number] != left[number]:
                        conflicts.add(key)
    return result, conflicts


@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize("seed", range(4))
def test_undo_is_a_three_way_merge(db: Db, seed: int, granularity: str) -> None:
    chance = random.Random(seed)
    run(db, "create table item (id integer primary key, a int, b int, c int)")
    run(
        db,
        f"select chrononaut.create_versioning('item', granularity => '{granularity}')",
    )
    in_one(db, "insert into item select n, 0, 0, 0 from generate_series(0, 5) n")
    outcomes = set()
    for _ in range(30):
        before = seen(db)
        done = in_one(db, *(statement(chance) for _ in range(chance.randrange(1, 5))))
        after = seen(db)
        if after == before:
            continue
        for _ in range(chance.randrange(7)):
            in_one(db, statement(chance))
        expected, conflicts = merged(before, after, seen(db))
        call = f"select * from chrononaut.undo_transaction({done}"
        told = rows(db, f"{call}, dry_run => true)")
        assert {row[3]["id"] for row in told if row[6]} == conflicts
        if conflicts:
            refusal(db, "VH007", f"{call})")
        run(db, f"{call}, force => {bool(conflicts)})")
        db.commit()
        assert seen(db) == expected
        outcomes.add(bool(conflicts))
    assert outcomes == {True, False}
