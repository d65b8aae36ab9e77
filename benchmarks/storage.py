"""Bytes of history per update, beside the bytes of a live row; indexes in both."""

from dataclasses import dataclass

from psycopg import sql

from benchmarks.database import Connection
from benchmarks.tables import ROWS, Contender, fill, forget_history, settle

SINGLE = 5_000

_ONE_BY_ONE = f"""
    do $$
    begin
        for n in 1..{SINGLE} loop
            update {{table}} set quantity = quantity + 1 where id = n * 7;
            commit;
        end loop;
    end
    $$
"""


@dataclass(frozen=True)
class Footprint:
    """Bytes per live row and per update, in bulk and in transactions of one row."""

    live: float
    bulk: float
    bulk_with_info: float
    single: float

    @property
    def ratios(self) -> dict[str, float]:
        """Bytes per update over bytes per live row, by kind of update."""
        return {
            "bulk": self.bulk / self.live,
            "bulk, info": self.bulk_with_info / self.live,
            "transactions of one row": self.single / self.live,
        }


def measure(connection: Connection, contender: Contender) -> Footprint:
    """Update every row once in one statement, then some rows one by one.

    The bytes of transactions of one row include what is kept per transaction.
    """
    connection.execute(sql.SQL("truncate {}").format(sql.Identifier(contender.table)))
    fill(connection, contender.table)
    live = _size(connection, contender.table) / ROWS
    bulk = _bulk(connection, contender, info=False)
    bulk_info = _bulk(connection, contender, info=True)
    return Footprint(live, bulk, bulk_info, _single(connection, contender))


def _bulk(connection: Connection, contender: Contender, info: bool) -> float:
    forget_history(connection, contender)
    before = _kept(connection, contender)
    update = sql.SQL("update {} set quantity = quantity + 1")
    with connection.transaction():
        if info:
            connection.execute(contender.announce.encode())
        connection.execute(update.format(sql.Identifier(contender.table)))
    return (_kept(connection, contender) - before) / ROWS


def _single(connection: Connection, contender: Contender) -> float:
    forget_history(connection, contender)
    settle(connection, contender)
    before = _kept(connection, contender)
    connection.execute(_ONE_BY_ONE.format(table=contender.table).encode())
    return (_kept(connection, contender) - before) / SINGLE


def _kept(connection: Connection, contender: Contender) -> int:
    shared = ("chrononaut.transaction",) if contender.ours else ()
    return sum(_size(connection, name) for name in (*contender.history, *shared))


def _size(connection: Connection, name: str) -> int:
    query = "select pg_total_relation_size(%s::regclass)"
    row = connection.execute(query, (name,)).fetchone()
    return int(row[0]) if row else 0
