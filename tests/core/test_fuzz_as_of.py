"""Writers in several sessions at once: as_of() gives exactly what could be seen.

`CHRONONAUT_FUZZ_MARKS=1000` runs the long form; it prints how often a time was wrong.
"""

import datetime
import os
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from chrononaut_pg import core
from tests.core.asking import rows, run, value
from tests.core.bustle import (
    LOCK,
    State,
    Told,
    Writer,
    await_commit,
    busy,
    create_tables,
    past,
    past_by_key,
    seen,
)
from tests.core.rebuild import broken_chains
from tests.servers import Db, NewServer

MARKS = int(os.environ.get("CHRONONAUT_FUZZ_MARKS", "60"))
WRITERS = 4

REBUILD = """
with snapshot as (select t.snapshot from chrononaut.transaction t where t.id = %(id)s),
changes as (
    select 'item' as relation, h.id::text as key, h.v::text as v, h.j::text as j,
        h.operation, h.transaction_id, h.change_id from item_history h
    union all
    select 'pair', h.a || h.b, h.v::text, null,
        h.operation, h.transaction_id, h.change_id from pair_history h
), later as (
    select distinct on (c.relation, c.key) c.*
    from changes c, snapshot s
    where c.transaction_id = %(id)s
        or not pg_visible_in_snapshot(c.transaction_id::text::xid8, s.snapshot)
    order by c.relation, c.key, c.change_id
), live(relation, key, v, j) as (
    select 'item', id::text, v::text, j::text from item
    union all select 'pair', a || b, v::text, null from pair
)
select l.relation, l.key, l.v, l.j from later l where l.operation <> 'I'
union all
select i.* from live i
where not exists (
    select from later l where (l.relation, l.key) = (i.relation, i.key))
"""

CHANGED = """
select 'item', h.id::text from item_history h where h.transaction_id = %(id)s
union select 'pair', h.a || h.b from pair_history h where h.transaction_id = %(id)s
"""


@dataclass(frozen=True)
class Sight:
    """What a reader saw: its mark is exact, its time an estimate."""

    mark: str
    at: datetime.datetime
    state: State


def look(db: Db, mark: str) -> Sight:
    """Read everything in one snapshot; note the time and mark the moment."""
    run(db, "set transaction isolation level repeatable read")
    run(db, LOCK)
    at = value(db, "select clock_timestamp() from (select pg_current_snapshot()) s")
    state = seen(db)
    run(db, "select chrononaut.mark(%s)", [mark])
    db.commit()
    return Sight(mark, at, state)


def expected_after(db: Db, told: Told, before: State) -> State:
    """Return *before* with the keys that the transaction changed as it left them."""
    changed = set(rows(db, CHANGED, {"id": told.transaction_id}))
    return frozenset(row for row in before if row[:2] not in changed) | frozenset(
        row for row in told.ended if row[:2] in changed
    )


def without_ghosts(told: Told) -> State:
    """Return what a REPEATABLE READ transaction saw in the end, each key once.

    Where it inserted a key that another transaction had deleted since its snapshot, it
    saw that row beside its own.
    """
    assert told.began is not None
    own = {row[:2] for row in told.ended - told.began}
    return frozenset(
        row for row in told.ended if row not in told.began or row[:2] not in own
    )


def wrong_transactions(db: Db, writers: list[Writer]) -> list[tuple[Any, ...]]:
    """Return the transactions whose state before or after is not what they saw."""
    wrong: list[tuple[Any, ...]] = []
    for told in (told for writer in writers for told in writer.told[:MARKS]):
        number = told.transaction_id
        if told.began is None:
            before = frozenset(rows(db, REBUILD, {"id": number}))
            after = expected_after(db, told, before)
        else:
            before, after = told.began, without_ghosts(told)
        found = past(db, "transaction_id => %s, before => true", [number])
        if found != before:
            wrong.append((number, "before", sorted(found ^ before, key=str)))
        found = past(db, "transaction_id => %s", [number])
        if found != after:
            wrong.append((number, "after", sorted(found ^ after, key=str)))
        if past_by_key(db, number, True) != before:
            wrong.append((number, "before", "by key"))
        if past_by_key(db, number, False) != after:
            wrong.append((number, "after", "by key"))
    return wrong


def bustle(url: str, db: Db, seed: int) -> tuple[list[Sight], list[Writer]]:
    """Look while writers write, once in a quiet moment, and while they write again."""
    sights = []
    everybody = []
    for part in ("first", "second"):
        with busy(lambda: psycopg.connect(url), WRITERS, seed) as writers:
            for number in range(MARKS // 2):
                await_commit(writers)
                sights.append(look(db, f"{part} {number}"))
            everybody += writers
        if part == "first":
            sights.append(look(db, "quiet"))
        seed += 1
    return sights, everybody


@pytest.mark.parametrize(
    ("granularity", "timestamps"), [("row", "on"), ("statement", "off")]
)
def test_marks_and_transactions_are_exact_under_concurrent_writers(
    new_server: NewServer, granularity: str, timestamps: str
) -> None:
    server = new_server(track_commit_timestamp=timestamps)
    url = server.url("postgres")
    with psycopg.connect(url) as db:
        core.install(db)
        create_tables(db, granularity)
        run(db, "set lock_timeout = '60s'")
        db.commit()
        sights, writers = bustle(url, db, seed=len(granularity))

        wrong_marks = [
            sight.mark
            for sight in sights
            if past(db, "mark => %s", [sight.mark]) != sight.state
        ]
        wrong_times = [
            sight.mark for sight in sights if past(db, "%s", [sight.at]) != sight.state
        ]
        transactions = wrong_transactions(db, writers)
        counted = sum(writer.committed for writer in writers)
        print(
            f"{granularity}, track_commit_timestamp {timestamps}: {counted} commits,"
            f" {len(wrong_times)} of {len(sights)} times wrong"
        )
        assert counted >= MARKS
        assert (wrong_marks, transactions, broken_chains(db)) == ([], [], [])
        assert "quiet" not in wrong_times
