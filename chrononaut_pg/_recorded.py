"""Which columns the history had recorded at a version, and which not yet or no longer.

A null tells nothing of a column that was added later, so a revert leaves it alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Column, Connection, Table, Text, column, text
from sqlalchemy.orm import Mapper, Session

from chrononaut_pg._past import ask_along, brought_along
from chrononaut_pg._typed import parse
from chrononaut_pg.declarations import (
    Declaration,
    declaration,
    is_declared,
    schemas_of,
    table_name,
)

TABLES = "chrononaut_tables"
"""The parameter of `RECORDED`: names of tables."""

_ASK = text(f"select chrononaut._recorded_columns(cast(:{TABLES} as regclass[]))::text")

RECORDED = _ASK.columns(column("recorded", Text)).scalar_subquery()
"""What the registry says of columns, as a part of another statement."""


@dataclass(frozen=True)
class Span:
    """The change that recorded an image; *began* is the one that the image began with.

    None: it is the live row, or nobody knows.
    """

    change: int | None
    began: int | None
    is_related: bool = False

    def of_related(self) -> "Span":
        """Return what holds for objects that were read at the same moment."""
        return replace(self, is_related=True)


class Recorded:
    """What the registry says of the columns of some tables."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._columns: dict[Table, dict[str, tuple[str, Any]]] = {}
        self._along: dict[Connection, list[Table]] = {}
        self._brought: list[Table] = []

    def ask_along(self, models: Iterable[Declaration]) -> None:
        """Have what `ask` will need brought by the statement that opens the past."""
        for connection, tables in self._by_connection(models).items():
            ask_along(connection, self._names(connection, tables))
            self._along[connection] = tables

    def bring(self, models: Iterable[Declaration]) -> dict[str, Any]:
        """Return the parameter of a statement that brings `RECORDED` along.

        Empty if there is nothing to ask, or at several places.
        """
        self._take_along()
        new = [one for one in models if not self._columns.keys() >= {*one.tables}]
        found = self._by_connection(new)
        if len(found) != 1:
            return {}
        [(connection, self._brought)] = found.items()
        return {TABLES: self._names(connection, self._brought)}

    def brought(self, found: str | None) -> None:
        """Take what the statement brought along."""
        self._note(self._brought, found)

    def ask(self, models: Iterable[Declaration]) -> None:
        """Ask for the tables of models, unless they came along."""
        self._take_along()
        new = [one for one in models if not self._columns.keys() >= {*one.tables}]
        for connection, tables in self._by_connection(new).items():
            self._ask(connection, tables)

    def ask_for(self, mapper: Mapper[Any], tables: list[Table]) -> None:
        """Ask for tables that are of no model, where that of *mapper* is."""
        bind = {"mapper": mapper}
        self._ask(self._session.connection(bind_arguments=bind), tables)

    def _take_along(self) -> None:
        for connection, tables in self._along.items():
            self._note(tables, brought_along(connection))
        self._along.clear()

    def _by_connection(
        self, models: Iterable[Declaration]
    ) -> dict[Connection, list[Table]]:
        found: dict[Connection, dict[Table, None]] = {}
        for one in dict.fromkeys(models):
            bind = {"mapper": one.mapper}
            connection = self._session.connection(bind_arguments=bind)
            found.setdefault(connection, {}).update(dict.fromkeys(one.tables))
        return {connection: [*tables] for connection, tables in found.items()}

    def _ask(self, connection: Connection, tables: list[Table]) -> None:
        new = [table for table in tables if table not in self._columns]
        if new:
            names = self._names(connection, new)
            self._note(new, connection.scalar(_ASK, {TABLES: names}))

    def _names(self, connection: Connection, tables: list[Table]) -> list[str]:
        schemas = schemas_of(connection)
        return [table_name(table, schemas) for table in tables]

    def _note(self, tables: list[Table], found: str | None) -> None:
        if found is None:
            return  # nothing was brought along
        for table in tables:
            self._columns[table] = {}
        for position, name, state, periods in parse(found):
            columns = self._columns[tables[position]]
            if state != "retired" or name not in columns:
                columns[name] = (state, periods)

    def knows(self, column: Column[Any], span: Span, value: Any) -> bool:
        """Whether a value read from history says what the column held."""
        if value is not None:
            return True
        state, periods = self._of(column)
        return state == "unknown" or _within(periods, span)

    def lost(self, span: Span, live: Any) -> Mapping[str, Mapping[str, str]]:
        """Return columns that history has and the object's tables or model have not."""
        found: dict[str, dict[str, str]] = {}
        if not is_declared(type(live)):
            return found
        for table in declaration(type(live)).tables:
            names = {column.name for column in table.columns}
            for name, (state, periods) in self._columns.get(table, {}).items():
                if not _within(periods, span):
                    continue
                if state == "retired":
                    found.setdefault(table.name, {})[name] = "no longer exists"
                elif state == "tracked" and name not in names:
                    found.setdefault(table.name, {})[name] = "is not in the model"
        return found

    def _of(self, column: Column[Any]) -> tuple[str, Any]:
        columns = self._columns.get(column.table, {})
        return columns.get(column.name, ("unknown", None))


def _within(periods: Any, span: Span) -> bool:
    if not periods:
        return True
    if span.is_related and span.began is not None:
        change = span.began
    elif span.change is not None:
        change = span.change
    else:
        return True
    return any(
        since < change and (until is None or until >= change)
        for since, until in periods
    )
