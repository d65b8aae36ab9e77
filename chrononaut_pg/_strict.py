"""Strict mode: no versioned row is written without a reason.

`check_statement` judges what the engine is about to execute, unless it comes from a
flush: the session's hooks judge those, since they know the single objects.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from contextvars import ContextVar
from functools import lru_cache
from typing import Any
from weakref import ref

from sqlalchemy import Connection, Table
from sqlalchemy.orm import Session
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import UpdateBase

from chrononaut_pg.declarations import known_tables, table_name
from chrononaut_pg.exceptions import ChangeInfoRequiredError

_DML = re.compile(r"\b(insert|update|delete|merge|copy|truncate)\b", re.IGNORECASE)

_IS_VERSIONED = (
    "select exists (select from pg_catalog.pg_trigger"
    " where tgrelid = pg_catalog.to_regclass({})"
    " and pg_catalog.starts_with(tgname, '00_chrononaut'))"
)

_FORMS = {"format": "%s", "pyformat": "%s", "numeric_dollar": "$1", "qmark": "?"}

FLUSHING: ContextVar[ref[Session] | None] = ContextVar("chrononaut_flush", default=None)
"""The session that last began to flush in this context."""


def check_statement(
    connection: Connection,
    compiled: Any,
    text: str,
    said_by_tables: Mapping[str, Mapping[str, Any]],
) -> None:
    """Raise ChangeInfoRequiredError if the statement writes a versioned table.

    Not for those tables whose models give a reason of their own in *said_by_tables*.
    Where the statement only has the name of a table in common with what some model of
    this process declares, the database is asked whether its table is versioned.
    """
    flushing = FLUSHING.get()
    session = flushing() if flushing else None
    if session is not None and session._flushing:
        return
    default = connection.dialect.default_schema_name
    declared = [
        table
        for table in known_tables()
        if not said_by_tables.get(f"{table.schema or default}.{table.name}", {}).get(
            "extra"
        )
    ]
    for table, spelled in _written(compiled, text, declared):
        if spelled is None or _is_versioned(connection, spelled):
            refuse(table.name)


def refuse(what: str) -> None:
    """Raise ChangeInfoRequiredError for a table or model."""
    raise ChangeInfoRequiredError(
        f"a change of {what} needs a reason, and none was given",
        table=what,
        hint="Write inside `with rationale(...):` or `with extra_change_info(...):`.",
    )


def _written(
    compiled: Any, text: str, declared: list[Table]
) -> Iterator[tuple[Table, str | None]]:
    """Yield the declared tables that a statement writes, or that are called alike.

    Those come with their name as the statement spells it.
    """
    if compiled is not None and not hasattr(compiled.statement, "text"):
        written = set(_tables_written(compiled.statement))
        for table in declared:
            for other in written:
                if other is table:
                    yield table, None
                elif getattr(other, "name", None) == table.name:
                    yield table, table_name(other)
    elif _DML.search(text):
        for table in declared:
            for found in _named(table.name).finditer(text):
                yield table, found[0]


def _tables_written(statement: Any) -> Iterator[Any]:
    for part in visitors.iterate(statement):
        if isinstance(part, UpdateBase):
            written = part.table
            yield getattr(written, "element", written)


@lru_cache(maxsize=256)
def _named(name: str) -> re.Pattern[str]:
    """Return what finds a table in a statement, with its schema if it has one there."""
    quoted = re.escape(name.replace('"', '""'))
    return re.compile(
        r'(?:(?:"(?:[^"]|"")+"|(?<!\w)[^\W\d]\w*)\s*\.\s*)?'
        rf'(?:"{quoted}"|(?<![\w"]){re.escape(name)}(?![\w"]))',
        re.IGNORECASE,
    )


def _is_versioned(connection: Connection, name: str) -> bool:
    """Whether the database versions the table of that name."""
    dialect = connection.dialect
    statement = _IS_VERSIONED.format(_FORMS[dialect.paramstyle])
    with closing(connection.connection.cursor()) as cursor:
        try:
            cursor.execute(statement, (name,))
        except dialect.loaded_dbapi.Error:  # the statement itself will fail as well
            return False
        return bool(cursor.fetchall()[0][0])
