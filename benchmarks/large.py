"""Tables with a long past: what a write costs beside it, and what a read of it does."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from benchmarks.database import Connection
from benchmarks.tables import DATA, META, ROWS, Contender, create_table, fill, version

LITTLE = Contender("little history", "little", ("little_history",), "row")
LARGE = Contender("large history", "large", ("large_history",), "row")

# Older than anything the core numbers: change ids below zero. One sweep over all keys
# at a time, so that the versions of a key lie as far apart on disk as in life.
_SWEEP = f"""
    insert into {{history}} ({DATA}, {META})
    select {DATA},
        %(age)s * {-ROWS} + id,
        now() - %(age)s * interval '1 hour',
        'U',
        %(sweep)s,
        '{{{{"user_id": "17", "remote_addr": "10.0.0.7"}}}}'
    from source
    order by id
"""
_READ = "select * from large_versions where id = {key}"
_KEYS = range(42, ROWS, ROWS // 20)


def create(connection: Connection, contender: Contender, sweeps: int) -> None:
    """Create a table with *sweeps* old versions of every row."""
    create_table(connection, contender.table)
    fill(connection, contender.table)
    version(connection, contender)
    statement = sql.SQL(_SWEEP).format(history=sql.Identifier(contender.history[0]))
    for sweep in range(1, sweeps + 1):
        age = sweeps - sweep + 1
        connection.execute(statement, {"sweep": sweep, "age": age})
    for name in (contender.table, *contender.history):
        connection.execute(sql.SQL("vacuum analyze {}").format(sql.Identifier(name)))


@dataclass(frozen=True)
class Reading:
    """How the versions of one key were found."""

    plan: str
    milliseconds: float
    scans: int
    scans_without_key: int


def read_one_key(connection: Connection) -> Reading:
    """Explain the versions of single keys; the time is the median of twenty keys."""
    times = []
    for key in _KEYS:
        for _ in range(2):
            found = _explain(connection, key, "format json")[0][0][0]
        times.append(float(found["Execution Time"]))
        scans = [
            node
            for node in _nodes(found["Plan"])
            if node.get("Relation Name") == LARGE.history[0]
        ]
    lines = _explain(connection, _KEYS[0], "format text")
    return Reading(
        plan="\n".join(line for (line,) in lines),
        milliseconds=statistics.median(times),
        scans=len(scans),
        scans_without_key=sum(not _by_key(scan) for scan in scans),
    )


def _explain(connection: Connection, key: int, options: str) -> list[tuple[Any, ...]]:
    query = f"explain (analyze, buffers, {options}) {_READ.format(key=key)}"
    return connection.execute(query.encode()).fetchall()


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def _by_key(scan: dict[str, Any]) -> bool:
    """Tell whether an index gives *scan* the rows of one key."""
    return any("(id = " in node.get("Index Cond", "") for node in _nodes(scan))
