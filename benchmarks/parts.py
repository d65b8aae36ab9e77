"""The parts of a run: each fills its tables, measures, and adds to the report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg import sql

from benchmarks import bulk, goals, large, past, single, storage, undo
from benchmarks.database import Connection, Database
from benchmarks.orm import compare, counts
from benchmarks.report import Report
from benchmarks.samples import Samples
from benchmarks.tables import (
    BARE,
    LEAST,
    LEAST_TRANSACTION,
    PEER_ROW,
    ROW,
    ROWS,
    STATEMENT,
    Contender,
    fill,
    forget_history,
    settle,
)


@dataclass(frozen=True)
class Run:
    """What the parts share: the database, the effort, the report."""

    database: Database
    connection: Connection
    contenders: Sequence[Contender]
    rounds: int
    seconds: int
    sweeps: int
    share: float
    report: Report

    def tell(self, text: str) -> None:
        """Say what is going on."""
        self.report.console.print(f"[dim]{text}[/]")

    def one_row(self, contenders: Sequence[tuple[Contender, bool]]) -> Samples:
        """Run pgbench over *contenders*, whose tables are ready."""
        return single.measure(
            self.database,
            self.connection,
            contenders,
            self.rounds,
            self.seconds,
            self.tell,
        )


def _bulk(run: Run) -> None:
    samples = bulk.measure(run.connection, run.contenders, run.rounds, run.tell)
    run.report.samples["bulk"] = samples
    run.report.results += goals.judge_bulk(samples)


def _single(run: Run) -> None:
    wanted = [c for c in (BARE, ROW, STATEMENT, PEER_ROW) if c in run.contenders]
    wanted[1:1] = [LEAST, LEAST_TRANSACTION]
    for contender in wanted:
        fill(run.connection, contender.table)
        forget_history(run.connection, contender)
        settle(run.connection, contender)
    with_info = [c for c in wanted if c in (ROW, PEER_ROW)]
    samples = run.one_row([(c, False) for c in wanted] + [(c, True) for c in with_info])
    run.report.samples["one row"] = samples
    run.report.results += goals.judge_single(samples)
    for contender in wanted:
        table = sql.Identifier(contender.table)
        run.connection.execute(sql.SQL("delete from {}").format(table))


def _large(run: Run) -> None:
    sizes = {large.LITTLE: run.sweeps // 100, large.LARGE: run.sweeps}
    for contender, sweeps in sizes.items():
        run.tell(f"{contender.name}: creating {sweeps} versions of every row")
        large.create(run.connection, contender, sweeps)
    samples = run.one_row([(contender, False) for contender in sizes])
    run.report.samples["one row beside history"] = samples
    run.report.results += goals.judge_growth(samples)
    reading = large.read_one_key(run.connection)
    run.report.notes["plan"] = reading.plan
    run.report.console.print(reading.plan, markup=False, soft_wrap=True)
    run.report.results += goals.judge_reading(reading, run.sweeps * ROWS)


def _storage(run: Run) -> None:
    for contender in (ROW, PEER_ROW):
        if contender in run.contenders:
            run.tell(f"storage: {contender.name}")
            found = storage.measure(run.connection, contender)
            run.report.footprints[contender.name] = found
            if contender is ROW:
                run.report.results += goals.judge_storage(found)


def _undo(run: Run) -> None:
    samples = undo.measure(run.connection, run.rounds, run.tell)
    run.report.samples["undo"] = samples
    run.report.results += goals.judge_undo(samples)


def _past(run: Run) -> None:
    run.tell("past: a million rows, and a history of millions")
    past.create(run.connection, run.sweeps, int(1_000_000 * run.share))
    found = past.measure(run.connection, run.rounds)
    run.report.samples["past"] = past.as_samples(found)
    run.report.results += goals.judge_past(found, run.sweeps * ROWS)


def _relations(run: Run) -> None:
    run.tell("relations of versions, beside SQLAlchemy-Continuum")
    found = compare.measure_relations(
        run.database, run.share, PEER_ROW in run.contenders
    )
    run.report.samples["relations"] = compare.as_samples(found)
    run.report.results += compare.judge_relations(found)


def _orm(run: Run) -> None:
    run.tell("orm: chrononaut_pg and its peers, each in an environment of its own")
    with_peers = PEER_ROW in run.contenders
    found = compare.measure(run.database, run.share, with_peers, run.rounds)
    run.report.samples["orm"] = compare.as_samples(found)
    run.report.results += compare.judge(found)
    run.report.results += counts.judge_counts(run.database)
    run.report.results.append(counts.judge_import(run.rounds))


PARTS: dict[str, Callable[[Run], None]] = {
    "bulk": _bulk,
    "single": _single,
    "storage": _storage,
    "large": _large,
    "past": _past,
    "undo": _undo,
    "relations": _relations,
    "orm": _orm,
}
