"""Refuses statements that would change the past.

Functions are not looked into: what `select f()` writes is written.
"""

from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Sequence
from sqlalchemy.sql import elements, visitors
from sqlalchemy.sql.compiler import Compiled
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import GenerativeSelect

from chrononaut_pg._past_text import called_to_write, sets_path, writes
from chrononaut_pg._statements import first_word
from chrononaut_pg.exceptions import ReadOnlyPastError

_READS = frozenset(["select", "table", "values", "with", "show", "explain", "fetch"])

_PASSED: WeakKeyDictionary[Compiled, bool] = WeakKeyDictionary()
"""Compiled statements that were looked into and only read."""


def refuse_compiled_write(compiled: Compiled, text: str, parameters: Any) -> None:
    """Raise ReadOnlyPastError unless a compiled statement only reads; look in once."""
    if compiled not in _PASSED:
        refuse_write(compiled.statement, text)
        _PASSED[compiled] = True
    if sets_path(text, parameters):
        raise ReadOnlyPastError(
            "set_config of search_path refused: it would lead out of the past",
            hint="Execute it with the live session: the past follows its path.",
        )


def refuse_write(statement: Any, text: str | None = None) -> None:
    """Raise ReadOnlyPastError if a statement does anything but read.

    *text* is what a compiled statement came to; without it, it was not compiled.
    """
    if text is None:
        text = str(statement) if isinstance(statement, elements.TextClause) else ""
    ours = called_to_write(text)
    named = isinstance(statement, UpdateBase | Sequence)
    word = statement.__visit_name__ if named else first_word(text)
    parts = () if isinstance(statement, Sequence) else visitors.iterate(statement)
    wrong = named or (text and word not in _READS)
    if ours or wrong or any(_changes(part) for part in parts):
        what = ours or word.upper() or "a statement"
        raise ReadOnlyPastError(
            f"{what} refused: the past cannot be changed",
            hint="Execute it with the live session.",
        )


def _changes(part: Any) -> bool:
    match part:
        case UpdateBase():
            return True
        case GenerativeSelect():
            return part._for_update_arg is not None
        case elements.TextClause():
            return writes(part.text)
        case elements.ColumnClause(is_literal=True):
            return writes(part.name)
    return False
