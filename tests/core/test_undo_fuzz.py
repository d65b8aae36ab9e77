"""Undo of random transactions, across tables that refer to each other."""

import random
from typing import Any

import psycopg
import pytest

from tests.core.asking import rows, run, value
from tests.core.undoing import NEWEST, in_one, table, undo
from tests.servers import Db

SCHEMA = """
create table town (id integer primary key, name text, size numeric);
create table house (id integer primary key, town_id integer references town
    on delete cascade on update cascade, v integer, w text);
create table room (house_id integer references house on delete cascade,
    number integer, v integer, note json, primary key (house_id, number));
create table thing (id integer, place integer, v integer, primary key (id, place))
    partition by list (place);
create table thing_1 partition of thing for values in (1, 2);
create table thing_3 partition of thing for values in (3);
"""
KEYS = {
    "town": ["id"],
    "house": ["id"],
    "room": ["house_id", "number"],
    "thing": ["id", "place"],
}
TABLES = tuple(KEYS)


def some(chance: random.Random, name: str) -> str:
    """Return a condition that holds for about a third of the rows of a table."""
    key = {"room": "house_id + number"}.get(name, "id")
    return f"({key} + {chance.randrange(3)}) % 3 = 0"


def statement(chance: random.Random) -> str:
    """Return a statement that may fail, or change nothing."""
    name = chance.choice(TABLES)
    where = some(chance, name)
    n, v = chance.randrange(1, 12), chance.randrange(4)
    inserted = {
        "town": f"({n}, 't', {v}.{'0' * v})",
        "house": f"({n}, (select min(id) from town), {v}, 'w')",
        "room": f"((select max(id) from house), {n}, {v}, '{{\"a\": {v}}}')",
        "thing": f"({n}, {v % 3 + 1}, {v})",
    }[name]
    updated = {
        "town": f"size = size {chance.choice(['+ 1', '* 1.00'])}",
        "house": chance.choice([f"v = {v}", f"w = w || {v}", "town_id = null"]),
        "room": chance.choice([f"v = {v}", f"note = '{{\"a\":  {v}}}'"]),
        "thing": chance.choice([f"v = {v}", "place = place % 3 + 1"]),
    }[name]
    moved = {
        "town": f"id = id + {n}",
        "house": f"w = '{n}'",
        "room": f"number = number + {n}",
        "thing": f"id = id + {n}",
    }[name]
    kinds = {
        f"insert into {name} values {inserted}": 4,
        f"update {name} set {updated} where {where}": 5,
        f"update {name} set {moved} where {where}": 1,
        f"delete from {name} where {where}": 2,
        f"truncate {name} cascade": 0.2,
    }
    return chance.choices(list(kinds), list(kinds.values()))[0]


def transaction(db: Db, chance: random.Random, length: int) -> int:
    """Commit statements chosen at random; those that fail are taken back."""
    for _ in range(length):
        try:
            with db.transaction():
                run(db, statement(chance))
        except psycopg.errors.IntegrityError:
            continue
    return in_one(db, "select 1")


def state(db: Db) -> list[Any]:
    """Return all rows as text, so that no difference is lost."""
    return [table(db, f"(select t::text from {name} t) t") for name in TABLES]


@pytest.fixture(params=["row", "statement"])
def world(db: Db, request: pytest.FixtureRequest) -> Db:
    """The tables, versioned, with some rows."""
    run(db, SCHEMA)
    for name in TABLES:
        how = "row" if name == "thing" else request.param
        run(
            db,
            f"select chrononaut.create_versioning('{name}', granularity => '{how}')",
        )
    transaction(db, random.Random(0), 40)
    return db


@pytest.mark.parametrize("seed", range(6))
def test_undo_and_redo_of_random_transactions(world: Db, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(12):
        before, known = state(world), value(world, NEWEST)
        done = transaction(world, chance, chance.randrange(1, 8))
        if done == known:
            continue
        after = state(world)
        undo(world, done)
        assert state(world) == before
        if (undone := value(world, NEWEST)) != done:
            undo(world, undone)
        assert state(world) == after


def keyed(db: Db) -> dict[Any, Any]:
    """Return all rows as JSON, by table and key."""
    found: dict[Any, Any] = {}
    for name, keys in KEYS.items():
        key = ", ".join(f"'{column}', {column}" for column in keys)
        query = f"select jsonb_build_object({key}), to_jsonb(t) from {name} t"
        found |= {(f"public.{name}", str(key)): row for key, row in rows(db, query)}
    return found


def outcome(db: Db, query: str) -> Any:
    """Return the rows that are there after an undo, or the code of its refusal."""
    try:
        with db.transaction():
            run(db, query)
            return keyed(db)
    except psycopg.Error as error:
        return error.sqlstate


@pytest.mark.parametrize("seed", range(6))
def test_a_dry_run_foretells_what_happens(world: Db, seed: int) -> None:
    chance = random.Random(100 + seed)
    outcomes = set()
    for _ in range(25):
        done = transaction(world, chance, chance.randrange(1, 6))
        transaction(world, chance, chance.randrange(0, 5))
        query = f"chrononaut.undo_transaction({done}"
        columns = "relation, key, operation, after, conflict"
        told = rows(world, f"select {columns} from {query}, dry_run => true)")
        wanted, conflict = keyed(world), any(row[4] for row in told)
        for relation, key, operation, after, _ in told:
            old = wanted.pop((relation, str(key)), {})
            if operation != "delete":
                row = {**old, **after}
                wanted[relation, str({name: row[name] for name in key})] = row
        found = outcome(world, f"select {query})")
        assert found in ("VH007", "23503") if conflict else found == wanted, told
        outcomes.add(conflict)
    assert outcomes == {False, True}


@pytest.mark.parametrize("seed", range(3))
def test_undo_of_several_transactions_newest_first(world: Db, seed: int) -> None:
    chance = random.Random(seed)
    before, first = state(world), value(world, NEWEST)
    done = [transaction(world, chance, 4) for _ in range(8)]
    for one in sorted({number for number in done if number != first}, reverse=True):
        undo(world, one)
    assert state(world) == before
