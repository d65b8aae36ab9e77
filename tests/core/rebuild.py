"""Rebuilds what a snapshot saw, from history and the live table alone.

A transaction is later than a snapshot if its id is at or beyond the snapshot's xmax or
among the running ones. Of a key's later changes the first one's image is what was
there; a key without later changes is as it is now.
"""

from typing import Any

from tests.servers import Db

State = dict[int, tuple[Any, ...]]

REBUILD = """
with bound as (
    select pg_snapshot_xmax(%(snapshot)s::pg_snapshot)::text::bigint as first,
        array(select x::text::bigint from pg_snapshot_xip(%(snapshot)s::pg_snapshot) x)
            as running
), later as (
    select distinct on (h.id) h.id, h.v, h.j::text as j, h.operation
    from item_history h, bound b
    where h.transaction_id >= b.first or h.transaction_id = any (b.running)
    order by h.id, h.change_id
)
select id, v, j from later where operation <> 'I'
union all
select i.id, i.v, i.j::text from item i
where not exists (select from later l where l.id = i.id)
"""


def create_items(db: Db, granularity: str) -> None:
    """Create the table `item` that the drivers work on, and version it."""
    db.execute(
        "create table item"
        " (id int primary key, v int, j json, secret text, counter int)"
    )
    db.execute(
        "select chrononaut.create_versioning('item', granularity => %s,"
        " hidden => '{secret}', untracked => '{counter}')",
        [granularity],
    )
    db.execute(
        "insert into item select n, n, '{}', 'x', 0 from generate_series(1, 6) n"
    )
    db.commit()


def seen(db: Db) -> tuple[str, State]:
    """Return the snapshot of a REPEATABLE READ transaction, and what it sees."""
    db.rollback()
    db.execute("set transaction isolation level repeatable read")
    rows = db.execute("select id, v, j::text from item").fetchall()
    row = db.execute("select pg_current_snapshot()::text").fetchone()
    db.rollback()
    assert row is not None
    return row[0], {key: rest for key, *rest in map(tuple, rows)}  # type: ignore[misc]


def rebuilt(db: Db, snapshot: str) -> State:
    """Return what *snapshot* saw, from history."""
    rows = db.execute(REBUILD, {"snapshot": snapshot}).fetchall()
    return {key: rest for key, *rest in map(tuple, rows)}  # type: ignore[misc]


def broken_chains(db: Db) -> list[tuple[Any, ...]]:
    """Return keys whose versions have a gap, or more than one current one."""
    return db.execute(
        """
        select id, count(*) from (
            select id, version, valid_to, row_number() over w - 1 as expected,
                lead(valid_from) over w as next_from,
                lead(created_operation) over w as next_opening,
                lead(id) over w is null as newest
            from item_versions window w as (partition by id order by version)
        ) v
        where version <> expected
            or not newest and valid_to is null
            or not newest and next_opening <> 'I' and valid_to <> next_from
        group by id
        """
    ).fetchall()
