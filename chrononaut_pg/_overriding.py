"""Lets deleted rows keep their keys where the database alone makes them.

A column GENERATED ALWAYS AS IDENTITY takes no value unless the INSERT says OVERRIDING
SYSTEM VALUE. For a flush that brings such a row back, inserts into its table say so.
"""

import re
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.orm import Mapper, Session

_KEY = "chrononaut_overriding"
"""Where a model, a session and, during its flush, a connection keep these tables."""

_TOLD = "chrononaut_overriding_told"

_INSERT = re.compile(
    r'INSERT INTO (?:[^"( ]|"(?:[^"]|"")*")+ \((?:[^")]|"(?:[^"]|"")*")*\) '
)


def allow_keys(session: Session, mapper: Mapper[Any]) -> None:
    """Let the session's next flush insert rows of a model with keys of their own."""
    info = mapper.class_manager.info
    tables = info.get(_KEY)
    if tables is None:  # looked for once
        tables = info[_KEY] = [
            table
            for table in mapper.tables
            if any(c.identity is not None and c.identity.always for c in table.columns)
        ]
    if not tables:
        return
    session.info.setdefault(_KEY, {}).update(dict.fromkeys(tables, mapper))
    if not event.contains(session, "before_flush", _before_flush):
        event.listen(session, "before_flush", _before_flush)
        event.listen(session, "after_flush", _after_flush)
        event.listen(session, "after_soft_rollback", _after_soft_rollback)


def _before_flush(session: Session, flush_context: Any, instances: Any) -> None:
    for table, mapper in session.info.get(_KEY, {}).items():
        connection = session.connection(bind_arguments={"mapper": mapper})
        if not event.contains(connection.engine, "before_cursor_execute", _override):
            event.listen(
                connection.engine, "before_cursor_execute", _override, retval=True
            )
        connection.info.setdefault(_KEY, {})[table] = None
        session.info.setdefault(_TOLD, []).append(connection.info)


def _after_flush(session: Session, flush_context: Any) -> None:
    _forget(session)


def _after_soft_rollback(session: Session, previous: Any) -> None:
    _forget(session)


def _forget(session: Session) -> None:
    session.info.pop(_KEY, None)
    for told in session.info.pop(_TOLD, ()):
        told.pop(_KEY, None)


def _override(
    connection: Connection,
    cursor: Any,
    statement: str,
    parameters: Any,
    context: Any,
    executemany: bool,
) -> tuple[str, Any]:
    tables = connection.info.get(_KEY)
    if not tables or context is None or not context.isinsert:
        return statement, parameters
    table = context.compiled.compile_state.dml_table
    given = context.compiled_parameters[0]
    own = [c for c in table.columns if c.identity is not None and c.identity.always]
    if table not in tables or not any(c.key in given for c in own):
        return statement, parameters
    head = _INSERT.match(statement)
    if head is None:
        return statement, parameters
    place = head.end()
    return (
        f"{statement[:place]}OVERRIDING SYSTEM VALUE {statement[place:]}",
        parameters,
    )
