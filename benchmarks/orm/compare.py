"""Runs the workload in every tool's environment and holds it against the goals."""

import json
import statistics
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg

from benchmarks.database import ROOT, Database
from benchmarks.goals import Result
from benchmarks.samples import Samples, rotations

OURS = "chrononaut_pg"

REQUIREMENTS: Mapping[str, tuple[str, ...]] = {
    "chrononaut": (
        "chrononaut==0.4.1",
        "Flask-SQLAlchemy==2.5.1",
        "SQLAlchemy==1.4.54",
        "Flask==2.2.5",
        "Werkzeug==2.2.3",
        "python-dateutil",
        "six",
        "psycopg2-binary",
    ),
    "continuum": (
        "SQLAlchemy-Continuum==2.0.0",
        "SQLAlchemy>=2,<2.1",
        "SQLAlchemy-Utils",
        "psycopg[binary]",
    ),
    "audit": (
        "PostgreSQL-Audit==0.18.0",
        "SQLAlchemy>=2,<2.1",
        "SQLAlchemy-Utils",
        "psycopg[binary]",
    ),
}

Seconds = Mapping[str, list[float]]


def measure(
    database: Database, share: float, peers: bool, rounds: int
) -> dict[str, Seconds]:
    """Return the seconds of every tool that runs here; the tools take turns."""
    found: dict[str, dict[str, list[float]]] = {}
    tools = [OURS, *(REQUIREMENTS if peers else ())]
    for turn, order in enumerate(rotations(list(tools), rounds)):
        for tool in [one for one in order if one in tools]:
            try:
                seconds = _run(database, tool, share, turn)
            except subprocess.CalledProcessError as error:
                if tool == OURS:
                    print(error.stderr, file=sys.stderr)
                    raise
                reason = (error.stderr or "").strip().splitlines()[-1:]
                print(f"{tool} does not run here: {''.join(reason)}", file=sys.stderr)
                tools.remove(tool)
                continue
            for work, values in seconds.items():
                found.setdefault(tool, {}).setdefault(work, []).extend(values)
    return dict(found)


def as_samples(found: Mapping[str, Seconds]) -> Samples:
    """Return all seconds in one table of the report."""
    samples = Samples()
    for tool, seconds in found.items():
        for work, rounds in seconds.items():
            for value in rounds:
                samples.add(f"{work}/{tool}", value)
    return samples


def judge(found: Mapping[str, Seconds]) -> Iterator[Result]:
    """Compare with the same work without history, and with the peers."""
    ours = found[OURS]
    for work, goal in (
        ("insert", 1.6),
        ("update", 1.6),
        ("delete", 1.6),
        ("one object", 1.5),
    ):
        bare = ours[f"{work}/bare"]
        yield _result(f"ORM {work}", "without history", ours, bare, goal)
        if least := ours.get(f"{work}/floor"):
            ratio = statistics.median(least) / statistics.median(bare)
            best = min(least) / min(bare)
            yield Result(f"ORM {work}, floor", "without history", ratio, goal, best)
    for peer in ("chrononaut", "continuum"):
        for work in ("insert", "update", "delete"):
            if peer in found:
                theirs = found[peer][f"{work}/versioned"]
                yield _result(f"ORM {work}", peer, ours, theirs, 0.2)
    yield _result("versions", "floor", ours, ours["versions/floor"], 1.0)
    for work in ("versions", "version_at", "diff"):
        for peer in found.keys() - {OURS}:
            if work in found[peer]:
                yield _result(work, peer, ours, found[peer][work], 0.5)


def _result(
    work: str, against: str, ours: Seconds, theirs: list[float], goal: float
) -> Result:
    mine = ours.get(work) or ours[f"{work.removeprefix('ORM ')}/versioned"]
    ratio = statistics.median(mine) / statistics.median(theirs)
    return Result(work, against, ratio, goal, min(mine) / min(theirs))


def measure_relations(
    database: Database, share: float, peers: bool
) -> dict[str, Seconds]:
    """Return the seconds of the tools that know relations of versions."""
    objects, rounds = str(int(10_000 * share)), str(int(400 * share))
    found = {}
    for tool in (OURS, "continuum") if peers else (OURS,):
        url = _create(database, f"related_{tool}")
        found[tool] = _output(tool, "relations.py", url, objects, rounds)
    return found


def judge_relations(found: Mapping[str, Seconds]) -> Iterator[Result]:
    """Compare with the peer, and with the same work where no history is read."""
    ours, theirs = found[OURS], found.get("continuum")
    if theirs is None:
        return
    for work in ("relations", "version_at", "revert"):
        for kind in ("", "/floor", "/driver"):
            if f"{work}{kind}" in ours:
                yield _result(f"{work}{kind}", "continuum", ours, theirs[work], 0.33)


def _run(database: Database, tool: str, share: float, turn: int) -> Seconds:
    name = f"orm_{tool}"
    url = _create(database, name) if turn == 0 else _url(database, name)
    return _output(tool, "workload.py", url, str(share), str(turn))


def _output(tool: str, script: str, url: str, *arguments: str) -> Seconds:
    """Run a script in a tool's environment; return the seconds that it prints."""
    python = Path(sys.executable) if tool == OURS else _python(tool)
    path = str(Path(__file__).with_name(script))
    done = subprocess.run(
        [python, "-W", "ignore", path, tool, url, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds: Seconds = json.loads(done.stdout)["seconds"]
    return seconds


def _create(database: Database, name: str) -> str:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    return _url(database, name)


def _url(database: Database, name: str) -> str:
    url = database.url.replace("/bench?", f"/{name}?")
    return url.replace("postgresql:", "postgresql+psycopg:")


def _python(tool: str) -> Path:
    """Return the Python of a tool's own environment, made on first use."""
    folder = ROOT / f".venv-bench-{tool}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-qq", *REQUIREMENTS[tool]],
            check=True,
            capture_output=True,
            text=True,
        )
        (folder / "ready").touch()
    return python
