"""Measure what history costs and hold it against the goals: `python -m benchmarks`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.database import Connection, Database, temporary_database
from benchmarks.environment import peer_python
from benchmarks.parts import PARTS, Run
from benchmarks.report import Report
from benchmarks.tables import (
    EVERYONE,
    PEER_ROW,
    PEER_STATEMENT,
    Contender,
    create_tables,
)

OUTPUT = Path(__file__).with_name("results.json")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--rounds", type=int, help="turns per contender (7; quick: 3)")
    parser.add_argument("--seconds", type=int, help="of one pgbench run (3; quick: 1)")
    parser.add_argument("--no-peer", action="store_true", help="leave pghistory out")
    parser.add_argument(
        "--strict", action="store_true", help="exit 1 if a goal is missed"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="numbers as JSON")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (3 if options.quick else 7)
    options.seconds = options.seconds or (1 if options.quick else 3)
    options.sweeps = 100 if options.quick else 200
    options.share = 0.25 if options.quick else 1.0
    return options


def _prepare(
    database: Database, connection: Connection, with_peer: bool
) -> list[Contender]:
    """Create everybody's tables; return who takes part."""
    database.install_core()
    create_tables(connection)
    if with_peer:
        database.install_peer(peer_python())
    return [c for c in EVERYONE if with_peer or c not in (PEER_ROW, PEER_STATEMENT)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen parts; return the exit status."""
    options = _options(arguments)
    with temporary_database() as database, database.connect() as connection:
        server = connection.info.parameter_status("server_version") or "?"
        report = Report(server, Console())
        contenders = _prepare(database, connection, not options.no_peer)
        run = Run(
            database=database,
            connection=connection,
            contenders=contenders,
            rounds=options.rounds,
            seconds=options.seconds,
            sweeps=options.sweeps,
            share=options.share,
            report=report,
        )
        for part in PARTS:
            if part in options.only:
                PARTS[part](run)
    report.print()
    report.write(options.output)
    return 1 if options.strict and report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
