"""Undo of one statement over 100,000 rows, beside the statement itself."""

import time
from collections.abc import Callable

from psycopg import sql

from benchmarks.database import Connection
from benchmarks.samples import Samples, rotations
from benchmarks.tables import DATA, ROWS, Contender, create_table, settle, version

ROW = Contender("row", "undo_by_row", ("undo_by_row_history",), "row")
STATEMENT = Contender(
    "statement", "undo_by_statement", ("undo_by_statement_history",), "statement"
)
CONTENDERS = (ROW, STATEMENT)
COPIES = 2

_FILL = "insert into {table} " + " union all ".join(
    f"select id + {copy * ROWS}, {DATA.removeprefix('id, ')} from source"
    for copy in range(COPIES)
)
WORKS = {
    "insert": _FILL,
    "update": "update {table} set quantity = quantity + 1, price = price + 1",
    "delete": "delete from {table}",
}
_UNDO = (
    "select * from chrononaut.undo_transaction("
    "(select max(id) from chrononaut.transaction))"
)


def sample_key(work: str, contender: Contender, undone: bool = False) -> str:
    """Name one measurement: `update/row` or `undo of update/row`."""
    return f"{'undo of ' if undone else ''}{work}/{contender.name}"


def measure(
    connection: Connection, rounds: int, tell: Callable[[str], None]
) -> Samples:
    """Take each work and its undo in turns, each round with an empty history."""
    for contender in CONTENDERS:
        create_table(connection, contender.table)
        version(connection, contender)
    samples = Samples()
    for number, order in enumerate(rotations(CONTENDERS, rounds), 1):
        tell(f"undo: round {number} of {rounds}")
        for contender in order:
            for work in WORKS:
                _prepare(connection, contender, filled=work != "insert")
                statement = WORKS[work].format(table=contender.table)
                done = _timed(connection, contender, statement)
                undone = _timed(connection, contender, _UNDO)
                samples.add(sample_key(work, contender), done)
                samples.add(sample_key(work, contender, True), undone)
    return samples


def _prepare(connection: Connection, contender: Contender, filled: bool) -> None:
    """Give the table all rows or none, and an empty history."""
    connection.execute(
        "select chrononaut.drop_versioning(%s::regclass, drop_history => true)",
        (contender.table,),
    )
    connection.execute(sql.SQL("truncate {}").format(sql.Identifier(contender.table)))
    if filled:
        connection.execute(_FILL.format(table=contender.table).encode())
    version(connection, contender)


def _timed(connection: Connection, contender: Contender, statement: str) -> float:
    settle(connection, contender)
    start = time.perf_counter()
    with connection.transaction():
        connection.execute(statement.encode())
    return time.perf_counter() - start
