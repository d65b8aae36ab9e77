"""Prints results as tables and keeps them as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.goals import Result
from benchmarks.samples import Samples
from benchmarks.storage import Footprint
from benchmarks.tables import ROWS


@dataclass
class Report:
    """Everything that one run has found."""

    server: str
    console: Console
    results: list[Result] = field(default_factory=list)
    samples: dict[str, Samples] = field(default_factory=dict)
    footprints: dict[str, Footprint] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def missed(self) -> Sequence[Result]:
        """The results that did not reach their goal."""
        return [result for result in self.results if not result.passed]

    def print(self) -> None:
        """Print medians first, then every goal."""
        for title, samples in self.samples.items():
            per_row = title == "bulk"
            self.console.print(_medians(title, samples, per_row), "")
        if self.footprints:
            self.console.print(_bytes(self.footprints), "")
        self.console.print(_goals(self.results))
        self.console.print(
            f"{len(self.results) - len(self.missed)} of {len(self.results)} goals met"
            f" on PostgreSQL {self.server}"
        )

    def write(self, path: Path) -> None:
        """Write numbers, seconds unless named otherwise, to *path* as JSON."""
        content = {
            "server": self.server,
            "rows": ROWS,
            "results": [result.as_json() for result in self.results],
            "seconds": {name: s.seconds for name, s in self.samples.items()},
            "bytes": {name: asdict(f) for name, f in self.footprints.items()},
            "notes": self.notes,
        }
        path.write_text(json.dumps(content, indent=1) + "\n")


def _medians(title: str, samples: Samples, per_row: bool) -> Table:
    """Make a table of median and minimum; in bulk also of the cost that a row adds."""
    table = Table(title=title, title_justify="left")
    table.add_column("work/contender/clients")
    table.add_column("median ms", justify="right")
    table.add_column("min ms", justify="right")
    if per_row:
        table.add_column("µs/row over bare", justify="right")
    for key in samples.seconds:
        cells = [f"{samples.median(key) * 1e3:.3f}", f"{samples.best(key) * 1e3:.3f}"]
        if per_row:
            bare = key.split("/")[0] + "/bare"
            added = samples.median(key) - samples.median(bare)
            cells.append(f"{added / ROWS * 1e6:.2f}")
        table.add_row(key, *cells)
    return table


def _bytes(footprints: Mapping[str, Footprint]) -> Table:
    table = Table(title="bytes of history per update", title_justify="left")
    for name in ("contender", "update"):
        table.add_column(name)
    table.add_column("bytes", justify="right")
    table.add_column("of a live row", justify="right")
    for name, footprint in footprints.items():
        for kind, ratio in footprint.ratios.items():
            table.add_row(name, kind, f"{ratio * footprint.live:.0f}", f"{ratio:.2f}")
    return table


def _goals(results: Sequence[Result]) -> Table:
    table = Table(title="goals", title_justify="left")
    for name in ("work", "against"):
        table.add_column(name)
    for name in ("measured", "minima", "goal"):
        table.add_column(name, justify="right")
    table.add_column("")
    for result in results:
        table.add_row(
            result.work,
            result.compared,
            f"{result.value:.2f}{result.unit}",
            "" if result.best is None else f"{result.best:.2f}",
            f"{result.goal:g}{result.unit}",
            "[green]met[/]" if result.passed else "[red]missed[/]",
        )
    return table
