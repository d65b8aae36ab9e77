"""Strict mode: no versioned row is written without a reason.

`check_statement` judges what the engine is about to execute, unless it comes from a
flush: the session's hooks judge those, since they know the single objects.
"""

import re
from collections.abc import Iterator
from contextvars import ContextVar
from functools import lru_cache
from typing import Any
from weakref import ref

from sqlalchemy import Table
from sqlalchemy.orm import Session
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import UpdateBase

from chrononaut_pg.declarations import declared_tables
from chrononaut_pg.exceptions import ChangeInfoRequiredError

_DML = re.compile(r"\b(insert|update|delete|merge|copy|truncate)\b", re.IGNORECASE)

FLUSHING: ContextVar[ref[Session] | None] = ContextVar("chrononaut_flush", default=None)
"""The session that last began to flush in this context."""


def check_statement(compiled: Any, text: str) -> None:
    """Raise ChangeInfoRequiredError if the statement writes a versioned table."""
    flushing = FLUSHING.get()
    session = flushing() if flushing else None
    if session is not None and session._flushing:
        return
    for table in declared_tables():
        if _writes(compiled, text, table):
            refuse(table.name)


def refuse(what: str) -> None:
    """Raise ChangeInfoRequiredError for a table or model."""
    raise ChangeInfoRequiredError(
        f"a change of {what} needs a reason, and none was given",
        table=what,
        hint="Write inside `with rationale(...):` or `with extra_change_info(...):`.",
    )


def _writes(compiled: Any, text: str, table: Table) -> bool:
    if compiled is not None and not hasattr(compiled.statement, "text"):
        return table in set(_tables_written(compiled.statement))
    return bool(_DML.search(text) and _word(table.name).search(text))


def _tables_written(statement: Any) -> Iterator[Any]:
    for part in visitors.iterate(statement):
        if isinstance(part, UpdateBase):
            written = part.table
            yield getattr(written, "element", written)


@lru_cache(maxsize=256)
def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
