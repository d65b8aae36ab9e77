"""Random writers in several sessions: every past state can be rebuilt from history."""

import contextlib
import os
import random
from collections.abc import Callable

import psycopg
import pytest

from tests.core.rebuild import broken_chains, create_items, rebuilt, seen
from tests.servers import Connect, Db

STEPS = int(os.environ.get("CHRONONAUT_FUZZ_STEPS", "500"))


# What the interleaving itself brings about; anything else is a failure.
EXPECTED = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.UniqueViolation,
    psycopg.errors.InvalidSavepointSpecification,
)


def statements(major: int) -> list[Callable[[random.Random], str]]:
    """Return generators of random statements on `item`."""
    upsert = (
        "insert into item values ({k}, {v}, '{{}}', 's', 0)"
        " on conflict (id) do update set v = excluded.v, secret = 't'"
    )
    merge = (
        "merge into item using (values ({k}, {v}), ({k} + 20, {v})) s(id, v)"
        " on item.id = s.id"
        " when matched and s.v % 3 = 0 then delete"
        " when matched then update set v = s.v"
        " when not matched then insert (id, v) values (s.id, s.v)"
    )
    templates = [
        "update item set v = {v} where id = {k}",
        "update item set v = v + 1 where id > {k}",
        "update item set v = v",
        "update item set counter = counter + 1",
        "update item set secret = secret || 'x' where id = {k}",
        "update item set j = '{{\"a\": {v}}}' where id = {k}",
        "update item set id = id + 100 where id = {k}",
        "update item set id = id - 100 where id = {k} + 100",
        "delete from item where id = {k}",
        "insert into item values ({k}, {v}, 'null', null, 1) on conflict do nothing",
        "with gone as (delete from item where id = {k} returning *)"
        " insert into item select id + 50, v, j from gone on conflict do nothing",
        upsert,
        upsert,
        *([merge] if major >= 15 else []),
    ]

    def writer(template: str) -> Callable[[random.Random], str]:
        return lambda dice: template.format(k=dice.randint(1, 9), v=dice.randint(0, 99))

    return [
        *map(writer, templates),
        lambda dice: "truncate item" if dice.random() < 0.1 else "select 1",
    ]


def step(session: Db, dice: random.Random, write: str) -> None:
    """Do one thing in one session: write, or end or save part of its transaction."""
    action = dice.random()
    try:
        if action < 0.65:
            session.execute(write)
        elif action < 0.75:
            session.execute("savepoint s")
        elif action < 0.83:
            session.execute("rollback to savepoint s")
        elif action < 0.96:
            session.commit()
        else:
            session.rollback()
    except EXPECTED:
        session.rollback()


@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_state_that_a_reader_saw_is_rebuilt_from_history(
    db: Db, connect: Connect, pg_major: int, granularity: str, seed: int
) -> None:
    create_items(db, granularity)
    dice = random.Random(seed)
    writers = [connect(), connect(), connect()]
    for writer in writers:
        writer.execute("set lock_timeout = '20ms'")
        writer.execute("set deadlock_timeout = '10ms'")
        writer.commit()
    kinds = statements(pg_major)
    db.execute("set lock_timeout = '20ms'")
    db.commit()
    past = [seen(db)]
    for _ in range(STEPS):
        step(dice.choice(writers), dice, dice.choice(kinds)(dice))
        if dice.random() < 0.3:
            # An open TRUNCATE keeps readers out.
            with contextlib.suppress(psycopg.errors.LockNotAvailable):
                past.append(seen(db))
    db.rollback()
    for writer in writers:
        writer.rollback()

    wrong = [
        (snapshot, state, rebuilt(db, snapshot))
        for snapshot, state in past
        if rebuilt(db, snapshot) != state
    ]
    assert (seed, wrong[:3], broken_chains(db)) == (seed, [], [])
