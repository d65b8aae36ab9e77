"""One statement over 50,000 rows: INSERT, UPDATE, an UPDATE without effect, DELETE."""

import time
from collections.abc import Callable, Sequence

from benchmarks.database import Connection
from benchmarks.samples import Samples, rotations
from benchmarks.tables import DATA, META, Contender, forget_history, settle

WORKS = {
    "insert": "insert into {table} select * from source order by id",
    "update": "update {table} set quantity = quantity + 1, price = price + 1",
    "no-op": "update {table} set quantity = quantity",
    "delete": "delete from {table}",
}
"""In this order they lead from an empty table back to an empty table."""

_META_VALUES = (
    "nextval('floor_change_id'), clock_timestamp(), '{operation}', 1,"
    """ '{{"user_id": null, "remote_addr": null, "db_user": "postgres","""
    """ "application_name": ""}}'"""
)
_COPIES = {
    "insert": f"insert into floor_history (id, {META})"
    f" select id, {_META_VALUES.format(operation='I')} from source",
    "update": f"insert into floor_history ({DATA}, {META})"
    f" select {DATA}, {_META_VALUES.format(operation='U')} from floor",
    "delete": f"insert into floor_history ({DATA}, {META})"
    f" select {DATA}, {_META_VALUES.format(operation='D')} from floor",
}


def sample_key(work: str, contender: Contender, info: bool) -> str:
    """Name one measurement: `update/row` or `update/row+info`."""
    return f"{work}/{contender.name}{'+info' if info else ''}"


def _statements(work: str, contender: Contender, info: bool) -> list[str]:
    statements = [WORKS[work].format(table=contender.table)]
    if contender.name == "floor" and work in _COPIES:
        statements.insert(0, _COPIES[work])
    if info and contender.announce:
        statements.insert(0, contender.announce)
    return statements


def _timed(connection: Connection, statements: Sequence[str]) -> float:
    start = time.perf_counter()
    with connection.transaction():
        for statement in statements:
            connection.execute(statement.encode())
    return time.perf_counter() - start


def measure(
    connection: Connection,
    contenders: Sequence[Contender],
    rounds: int,
    tell: Callable[[str], None],
) -> Samples:
    """Take every contender through all works, *rounds* times with and without info.

    The contenders take turns within a work, so that noise hits them alike. Every round
    starts with empty tables and empty histories.
    """
    samples = Samples()
    for number, order in enumerate(rotations(contenders, rounds), 1):
        for info in (False, True):
            tell(f"bulk: round {number} of {rounds}{', change info' if info else ''}")
            for contender in order:
                forget_history(connection, contender)
            for work in WORKS:
                for contender in order:
                    settle(connection, contender)
                    statements = _statements(work, contender, info)
                    key = sample_key(work, contender, info)
                    samples.add(key, _timed(connection, statements))
    return samples
