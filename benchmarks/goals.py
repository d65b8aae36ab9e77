"""The goals, and how a measurement is held against one."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from benchmarks import bulk, single, undo
from benchmarks.large import LARGE, LITTLE, Reading
from benchmarks.past import Past
from benchmarks.samples import Samples
from benchmarks.storage import Footprint
from benchmarks.tables import (
    BARE,
    FLOOR,
    PEER_ROW,
    PEER_STATEMENT,
    ROW,
    STATEMENT,
)


@dataclass(frozen=True)
class Result:
    """One line of the report: what was measured, and what it may be at most."""

    work: str
    compared: str
    value: float
    goal: float
    best: float | None = None
    unit: str = ""

    @property
    def passed(self) -> bool:
        """Whether the goal is met, at the precision of the report."""
        return round(self.value, 2) <= self.goal

    def as_json(self) -> dict[str, object]:
        """Return the line for the results file."""
        return asdict(self) | {"passed": self.passed}


_BULK_GOALS = (
    ("update", STATEMENT, FLOOR, 1.5),
    ("update", STATEMENT, PEER_STATEMENT, 0.8),
    ("update", ROW, PEER_ROW, 0.8),
    ("insert", STATEMENT, PEER_STATEMENT, 1.0),
    ("insert", ROW, PEER_ROW, 0.8),
    ("delete", STATEMENT, PEER_STATEMENT, 1.0),
    ("delete", ROW, PEER_ROW, 0.8),
    ("no-op", ROW, BARE, 1.2),
)


def _text(clients: int) -> str:
    return "1 client" if clients == 1 else f"{clients} clients"


def judge_bulk(samples: Samples) -> Iterator[Result]:
    """Compare like with like: without change info, then both with it."""
    for work, contender, base, goal in _BULK_GOALS:
        for info in (False, True):
            key = bulk.sample_key(work, contender, info)
            base_key = bulk.sample_key(work, base, info)
            if base_key in samples.seconds:
                yield Result(
                    f"{work}, {contender.name}{', info' if info else ''}",
                    base.name,
                    samples.ratio(key, base_key),
                    goal,
                    samples.best_ratio(key, base_key),
                )


def judge_single(samples: Samples) -> Iterator[Result]:
    """Compare the average time of a transaction with the peer's at row level."""
    for clients in single.CLIENTS:
        for info in (False, True):
            key = single.sample_key(ROW, clients, info)
            base_key = single.sample_key(PEER_ROW, clients, info)
            if base_key in samples.seconds:
                yield Result(
                    f"one row, {_text(clients)}{', info' if info else ''}",
                    PEER_ROW.name,
                    samples.ratio(key, base_key),
                    1.0,
                    samples.best_ratio(key, base_key),
                )


def judge_growth(samples: Samples) -> Iterator[Result]:
    """Compare writes beside much history with writes beside little."""
    for clients in single.CLIENTS:
        key = single.sample_key(LARGE, clients, False)
        base_key = single.sample_key(LITTLE, clients, False)
        yield Result(
            f"100 x history, {_text(clients)}",
            LITTLE.name,
            samples.ratio(key, base_key),
            1.1,
            samples.best_ratio(key, base_key),
        )


def judge_reading(reading: Reading, rows: int) -> Iterator[Result]:
    """Hold the reading of one key's versions against its time and its plan."""
    work = f"one key of {rows / 1e6:g} M"
    yield Result(work, "", reading.milliseconds, 1.0, unit=" ms")
    yield Result(f"{work}, scans of history", "", reading.scans, 1)
    yield Result(f"{work}, scans not by key", "", reading.scans_without_key, 0)


def judge_past(past: Past, rows: int) -> Iterator[Result]:
    """Hold one key's past against its time, a whole table's against the live table."""
    of = f"one key as of then, {rows / 1e6:g} M rows of history"
    yield Result(of, "", past.one_key, 2.0, unit=" ms")
    yield Result(f"{of}, half of them later", "", past.one_key_half, 2.0, unit=" ms")
    for kind, ratio in (
        ("one process", past.ratio(past.past, past.live)),
        ("parallel scan", past.ratio(past.past_parallel, past.live_parallel)),
    ):
        yield Result("whole table as of then", f"live, {kind}", ratio, 5.0)


def judge_undo(samples: Samples) -> Iterator[Result]:
    """Compare the undo of a statement with the statement."""
    for work in undo.WORKS:
        for contender in undo.CONTENDERS:
            key = undo.sample_key(work, contender, True)
            base_key = undo.sample_key(work, contender)
            yield Result(
                f"undo of {work}, {contender.name}",
                work,
                samples.ratio(key, base_key),
                3.0,
                samples.best_ratio(key, base_key),
            )


def judge_storage(footprint: Footprint) -> Iterator[Result]:
    """Compare the bytes that an update adds with those of a live row."""
    for kind in ("bulk", "bulk, info"):
        yield Result(
            f"bytes per update, {kind}", "live row", footprint.ratios[kind], 1.4
        )
