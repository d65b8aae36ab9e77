"""Reading the past: one key beside a long history, and a whole table an hour ago."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from benchmarks import large
from benchmarks.database import Connection
from benchmarks.samples import Samples
from benchmarks.tables import ROWS, Contender, create_table, settle, version

LONG = Contender("long history", "long_past", ("long_past_history",), "row")
WIDE = Contender("million rows", "wide_past", ("wide_past_history",), "row")
_STEPS = 10
_MILLION = """
    insert into wide_past
    select id + {0}, name, email, price, active, quantity, updated, note from source
"""
_CHANGE = "update wide_past set quantity = quantity + 1, price = 1 where id % {0} = {1}"

# One sweep, and half of them, are later than the marks; each counts as a transaction.
_MARK = """
    insert into chrononaut.mark (name, snapshot, transaction_id, change_id, made_by)
    values (%s, %s, %s, 0, current_user)
"""
_ONE = "select * from chrononaut.as_of(null::long_past, mark => '{1}') where id = {0}"
_ALL = "select count(name), sum(price), sum(quantity), max(updated) from {0}"
_KEYS = range(42, ROWS, ROWS // 20)


@dataclass(frozen=True)
class Past:
    """Milliseconds of one key (few and many changes since) and of whole tables."""

    one_key: float
    one_key_half: float
    live: Sequence[float]
    past: Sequence[float]
    live_parallel: Sequence[float]
    past_parallel: Sequence[float]

    @staticmethod
    def ratio(past: Sequence[float], live: Sequence[float]) -> float:
        """Return the median of the ratios of paired runs."""
        return statistics.median(p / q for p, q in zip(past, live, strict=True))


def as_samples(past: Past) -> Samples:
    """Return the seconds of whole tables for the report."""
    samples = Samples()
    for name in ("live", "past", "live_parallel", "past_parallel"):
        for milliseconds in getattr(past, name):
            samples.add(f"whole table/{name}", milliseconds / 1e3)
    return samples


def create(connection: Connection, sweeps: int, rows: int) -> None:
    """Create a long history, and a table of *rows* with a tenth changed since."""
    large.create(connection, LONG, sweeps)
    for name, first in (("recent", sweeps), ("half", sweeps // 2)):
        connection.execute(_MARK.encode(), [name, f"{first}:{first}:", first])
    create_table(connection, WIDE.table)
    for start in range(0, rows, ROWS):
        connection.execute(_MILLION.format(start).encode())
    version(connection, WIDE)
    settle(connection, WIDE)
    connection.execute("select chrononaut.mark('an hour ago')")
    for step in range(_STEPS):
        connection.execute(_CHANGE.format(10 * _STEPS, 10 * step).encode())
    connection.execute("analyze wide_past, wide_past_history")


def measure(connection: Connection, rounds: int) -> Past:
    """Measure by the server's clock; live and past take turns."""
    recent, half = (_keys(connection, mark) for mark in ("recent", "half"))
    pairs: dict[int, list[tuple[float, float]]] = {}
    for workers in (0, 2):
        setting = sql.Literal(workers)
        connection.execute(
            sql.SQL("set max_parallel_workers_per_gather = {}").format(setting)
        )
        pairs[workers] = [_pair(connection) for _ in range(rounds + 1)][1:]
    connection.execute("reset max_parallel_workers_per_gather")
    single, parallel = pairs[0], pairs[2]
    return Past(
        recent,
        half,
        [live for live, _ in single],
        [past for _, past in single],
        [live for live, _ in parallel],
        [past for _, past in parallel],
    )


def _keys(connection: Connection, mark: str) -> float:
    """Return the median over twenty keys, each read twice."""
    times = []
    for key in _KEYS:
        query = _ONE.format(key, mark)
        _time(connection, query)
        times.append(_time(connection, query))
    return statistics.median(times)


def _pair(connection: Connection) -> tuple[float, float]:
    past = "chrononaut.as_of(null::wide_past, mark => 'an hour ago')"
    live = _time(connection, _ALL.format("wide_past"))
    return live, _time(connection, _ALL.format(past))


def _time(connection: Connection, query: str) -> float:
    """Return milliseconds of planning and execution."""
    explain = f"explain (analyze, timing off, format json) {query}"
    row = connection.execute(explain.encode()).fetchone()
    assert row is not None
    plan = row[0][0]
    return float(plan["Planning Time"]) + float(plan["Execution Time"])
