"""Executes reads of ours on the driver's cursor where nobody is told of statements.

What SQLAlchemy does around a short statement takes as long as the statement: it tells
those who listen, logs, looks the statement up. Where nobody listens and nothing is
logged, a statement that is always the same goes to psycopg as it was compiled once.
Values and errors are the same; everywhere else SQLAlchemy executes it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Select, TextualSelect
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

from chrononaut_pg._emission import listener_of, root_engine
from chrononaut_pg._past import is_watched, reads_the_past
from chrononaut_pg._past_asking import raise_if_lost
from chrononaut_pg.exceptions import from_database_error

_HARMLESS = frozenset(["isolation_level", "postgresql_readonly", "compiled_cache"])
"""Execution options of a connection that are none of a read's business."""

_Convert = Callable[[Any], Any]


@dataclass(slots=True)
class _Compiled:
    """A statement for one dialect."""

    sql: str
    fixed: dict[str, Any]
    """Parameters that the statement brings along."""
    given: dict[str, _Convert | None]
    """The other ones, with what the driver is given in place of a value."""
    types: list[TypeEngine[Any]]
    converts: list[tuple[int, _Convert]] | None = None
    """What makes values of what the driver returns; known once it has."""


class Read:
    """A statement that only reads, and that is made once."""

    def __init__(self, statement: Select[Any] | TextualSelect) -> None:
        self.statement = statement
        self._compiled: WeakKeyDictionary[Dialect, _Compiled] = WeakKeyDictionary()

    def rows(
        self, connection: Connection, values: Mapping[str, Any]
    ) -> Sequence[Sequence[Any]]:
        """Return the rows for these parameters."""
        if not _is_unheard(connection):
            return connection.execute(self.statement, values).all()
        compiled = self._compiled.get(connection.dialect)
        if compiled is None:
            compiled = _compile(self.statement, connection.dialect)
            self._compiled[connection.dialect] = compiled
        return _fetched(connection, compiled, values)


def _is_unheard(connection: Connection) -> bool:
    """Whether SQLAlchemy would tell nobody but ourselves of a read, and log nothing."""
    dialect, heard = connection.dialect, connection.dispatch
    if dialect.driver != "psycopg" or dialect.is_async:
        return False
    engine: Any = root_engine(connection.engine)
    listens = listener_of(engine) is not None
    return (
        _HARMLESS.issuperset(connection.get_execution_options())
        and not heard.before_execute
        and not heard.after_execute
        and not heard.after_cursor_execute
        and len(heard.before_cursor_execute) == listens + is_watched(engine)
        and len(dialect.dispatch.do_execute) == listens
        and len(dialect.dispatch.handle_error) == listens
        and not engine.logger.isEnabledFor(logging.INFO)
        and not reads_the_past(connection)
    )


def _compile(statement: Select[Any] | TextualSelect, dialect: Dialect) -> _Compiled:
    compiled: Any = statement.compile(dialect=dialect)
    names = {name: bind.type for bind, name in compiled.bind_names.items()}
    converts = {
        name: kind.dialect_impl(dialect).bind_processor(dialect)
        for name, kind in names.items()
    }
    fixed = {
        name: convert(value) if (convert := converts[name]) else value
        for name, value in compiled.params.items()
        if value is not None
    }
    given = {name: one for name, one in converts.items() if name not in fixed}
    types = [column.type for column in statement.selected_columns]
    return _Compiled(str(compiled), fixed, given, types)


def _fetched(
    connection: Connection, compiled: _Compiled, values: Mapping[str, Any]
) -> Sequence[Sequence[Any]]:
    sent = compiled.fixed.copy()
    for name, convert in compiled.given.items():
        value = values[name]
        sent[name] = value if convert is None else convert(value)
    cursor = connection.connection.cursor()
    try:
        cursor.execute(compiled.sql, sent)
        if compiled.converts is None:
            compiled.converts = _converts(compiled, cursor, connection.dialect)
        rows: Sequence[Sequence[Any]] = cursor.fetchall()
    except connection.dialect.loaded_dbapi.Error as error:
        raise_if_lost(connection, cursor, compiled.sql, error)
        raise _explained(connection, compiled, sent, error) from error
    finally:
        cursor.close()
    return _converted(rows, compiled.converts) if compiled.converts else rows


def _converts(
    compiled: _Compiled, cursor: Any, dialect: Dialect
) -> list[tuple[int, _Convert]]:
    found: list[tuple[int, _Convert]] = []
    for place, (kind, told) in enumerate(
        zip(compiled.types, cursor.description, strict=True)
    ):
        convert = kind.dialect_impl(dialect).result_processor(dialect, told[1])
        if convert is not None:
            found.append((place, convert))
    return found


def _converted(
    rows: Sequence[Sequence[Any]], converts: list[tuple[int, _Convert]]
) -> list[list[Any]]:
    found = [list(row) for row in rows]
    for row in found:
        for place, convert in converts:
            row[place] = convert(row[place])
    return found


def _explained(
    connection: Connection, compiled: _Compiled, sent: Mapping[str, Any], error: Any
) -> BaseException:
    """Return what SQLAlchemy would raise, and on an engine of ours its handler."""
    if listener_of(connection.engine) is not None:
        ours = from_database_error(error)
        if ours is not None:
            return ours
    found: BaseException = DBAPIError.instance(
        compiled.sql,
        sent,
        error,
        connection.dialect.loaded_dbapi.Error,
        hide_parameters=connection.engine.hide_parameters,
        dialect=connection.dialect,
    )
    return found
