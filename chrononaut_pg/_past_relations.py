"""Tells which names in SQL stand where a table is read.

Fed with the names and signs of a statement from left to right. It knows as much of the
grammar as that takes; read by the strict mode of time travel only.
"""

import re
from dataclasses import dataclass

_NAMED_QUERY = re.compile(
    r'(?:\bwith\b|,)\s*(?:\brecursive\b\s*)?("(?:[^"]|"")+"|\w+)\s*'
    r"(?:\([^()]*\)\s*)?\bas\s*(?:(?:\bnot\s+)?\bmaterialized\s*)?\(",
    re.IGNORECASE,
)

ENDS_FROM = frozenset(
    [
        "except",
        "fetch",
        "for",
        "group",
        "having",
        "intersect",
        "limit",
        "offset",
        "order",
        "select",
        "union",
        "where",
        "window",
    ]
)

_TAKE_FROM = frozenset(["extract", "overlay", "position", "substring", "trim"])
"""Functions between whose parentheses FROM means something else."""


def named_queries(statement: str) -> frozenset[str]:
    """Return the names of the queries in WITH."""
    return frozenset(
        name.strip('"') if name.startswith('"') else name.lower()
        for name in _NAMED_QUERY.findall(statement)
    )


@dataclass(slots=True)
class _Level:
    """What is known between two parentheses."""

    opener: str = ""
    """The word before the parenthesis."""
    listing: bool = False
    """Whether a comma is followed by one more table."""
    expecting: bool = False
    """Whether the next name is that of a table."""


class Relations:
    """Follows one statement."""

    def __init__(self, statement: str) -> None:
        self._queries = named_queries(statement)
        self._levels = [_Level()]
        self._word = ""

    def name(self, text: str, called: bool) -> bool:
        """Take in a name; return whether a table is read by it."""
        level = self._levels[-1]
        before, self._word = self._word, text.lower()
        if self._word in ("only", "lateral"):
            return False
        if self._word == "from":
            level.listing = level.expecting = (
                before != "distinct" and level.opener not in _TAKE_FROM
            )
        elif self._word == "join" or (self._word == "table" and not before):
            level.listing = level.expecting = True
        elif self._word in ENDS_FROM:
            level.listing = level.expecting = False
        elif level.expecting:
            level.expecting = False
            return not called and text.strip('"') not in self._queries
        return False

    def sign(self, sign: str) -> None:
        """Take in a parenthesis or a comma."""
        level = self._levels[-1]
        if sign == "(":
            inner = _Level(self._word, level.expecting, level.expecting)
            level.expecting = False
            self._levels.append(inner)
        elif sign == ")" and len(self._levels) > 1:
            self._levels.pop()
        elif sign == ",":
            level.expecting = level.listing
        self._word = ""
