"""docs/python.md names everything public, and nothing that does not exist."""

import re
from pathlib import Path

import chrononaut_pg
from chrononaut_pg import Versioned
from chrononaut_pg.exceptions import ERRORS_BY_SQLSTATE

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")


def named(pattern: str) -> set[str]:
    """Return the first names in the first cells of the page's tables."""
    return set(re.findall(rf"^\| `({pattern})", PAGE, re.MULTILINE))


def test_every_public_name_has_a_line_and_every_line_exists() -> None:
    readers = {name for name in vars(Versioned) if not name.startswith("_")}
    documented = named(r"\w+") - readers - {"chrononaut_pg", "__history_mapper__"}

    assert documented == set(chrononaut_pg.__all__)


def test_every_reader_has_a_line() -> None:
    methods = {
        name
        for name in vars(Versioned)
        if not name.startswith(("_", "select_")) and name != "metadata"
    }

    assert methods <= named(r"\w+")


def test_codes_are_those_of_the_errors() -> None:
    lines = dict(re.findall(r"^\| `(\w+Error)` \| (VH\d+) \|", PAGE, re.MULTILINE))

    assert lines == {kind.__name__: code for code, kind in ERRORS_BY_SQLSTATE.items()}
