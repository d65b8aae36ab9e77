"""A progress bar, where one can be had: tqdm's, else rich's, else none."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, int], None]
"""Says how many rows were done just now, and how many are left."""


@contextmanager
def progress_bar(name: str, wanted: bool | None = None) -> Iterator[Advance]:
    """Yield what moves the bar; *wanted* None means: on a terminal."""
    if wanted is None:
        wanted = sys.stderr.isatty()
    if wanted and importlib.util.find_spec("tqdm"):
        with _tqdm(name) as advance:
            yield advance
    elif wanted and importlib.util.find_spec("rich"):
        with _rich(name) as advance:
            yield advance
    else:
        yield lambda done, left: None


@contextmanager
def _tqdm(name: str) -> Iterator[Advance]:
    tqdm = importlib.import_module("tqdm").tqdm
    with tqdm(desc=name, unit="rows") as bar:

        def advance(done: int, left: int) -> None:
            bar.total = bar.n + done + left
            bar.update(done)

        yield advance


@contextmanager
def _rich(name: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)
        all_done = 0

        def advance(done: int, left: int) -> None:
            nonlocal all_done
            all_done += done
            bar.update(task, completed=all_done, total=all_done + left)

        yield advance
