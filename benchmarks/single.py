"""One-row UPDATE per transaction, prepared, through pgbench; one and eight clients."""

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from psycopg import sql

from benchmarks.database import Connection, Database
from benchmarks.samples import Samples, rotations
from benchmarks.tables import ROWS, Contender

CLIENTS = (1, 8)

_UPDATE = "update {table} set quantity = quantity + 1 where id = :id;"
_LATENCY = re.compile(r"^latency average = ([0-9.]+) ms$", re.MULTILINE)


def sample_key(contender: Contender, clients: int, info: bool) -> str:
    """Name one measurement: `one-row/row/8` or `one-row/row+info/8`."""
    return f"one-row/{contender.name}{'+info' if info else ''}/{clients}"


def _script(contender: Contender, info: bool) -> str:
    update = _UPDATE.format(table=contender.table)
    if info:
        update = f"begin;\n{contender.announce.strip()};\n{update}\ncommit;"
    # pgbench reads an SQL command up to its semicolon, over several lines
    return f"\\set id random(1, {ROWS})\n{update}\n"


def _latency(database: Database, script: str, clients: int, seconds: int) -> float:
    """Return the average time of one transaction in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "script.sql")
        file.write_text(script)
        output = database.run(
            "pgbench",
            *("--no-vacuum", "--protocol=prepared", f"--file={file}"),
            *(f"--client={clients}", f"--time={seconds}"),
        )
    found = _LATENCY.search(output)
    if found is None:
        raise RuntimeError(f"pgbench reported no latency:\n{output}")
    return float(found[1]) / 1000


def measure(
    database: Database,
    connection: Connection,
    contenders: Sequence[tuple[Contender, bool]],
    rounds: int,
    seconds: int,
    tell: Callable[[str], None],
) -> Samples:
    """Run pgbench for *seconds* per contender and number of clients, in turns.

    Each contender comes with whether it announces change info (in a transaction of
    three statements); its table holds all rows already. No checkpoint happens, so that
    nobody pays for the first touch of another's pages.
    """
    samples = Samples()
    for number, order in enumerate(rotations(contenders, rounds), 1):
        for clients in CLIENTS:
            tell(f"one row: round {number} of {rounds}, {clients} client(s)")
            for contender, info in order:
                table = sql.Identifier(contender.table)
                connection.execute(sql.SQL("vacuum {}").format(table))
                key = sample_key(contender, clients, info)
                script = _script(contender, info)
                samples.add(key, _latency(database, script, clients, seconds))
    return samples
