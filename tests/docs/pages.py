"""The examples of README and docs, in the order in which they stand."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(
    r"^(?:```(\w*)\n(.*?)^```|<!-- (python|sql)\n(.*?)^-->)"
    r"(?:\n\n((?:\|[^\n]*\|\n)+))?",
    re.DOTALL | re.MULTILINE,
)
"""A fenced block, or a comment with what readers need not see: it runs like a block.

A table right below it shows what the block returns.
"""


class Block(NamedTuple):
    """One example and the language that it is in."""

    language: str
    text: str
    result: list[list[str]]
    """The table below it: the names of the columns, then the rows; or nothing."""


def examples(page: Path) -> list[Block]:
    """Return all examples of a page."""
    return [
        Block(seen or unseen, text or hidden, _cells(table))
        for seen, text, unseen, hidden, table in _BLOCK.findall(page.read_text("utf-8"))
    ]


def _cells(table: str) -> list[list[str]]:
    lines = [line.strip("|").split("|") for line in table.splitlines()]
    return [[cell.strip() for cell in line] for line in lines[:1] + lines[2:]]


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the examples of a page that are in one of *languages*."""
    return [block for block in examples(page) if block.language in languages]


def pages_with(*languages: str) -> list[Path]:
    """Return the pages that have examples in one of *languages*."""
    return [page for page in PAGES if blocks(page, *languages)]
