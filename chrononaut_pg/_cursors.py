"""Cursors on a database's core, from a psycopg or an SQLAlchemy connection.

They run in the caller's transaction if there is one, else in one of their own.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from typing import Any, Protocol

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from sqlalchemy import Connection as SQLAlchemyConnection

from chrononaut_pg._resources import package_core_version
from chrononaut_pg.exceptions import (
    CoreMissingError,
    CoreNewerError,
    CoreOlderError,
    translate_errors,
)

Connection = psycopg.Connection[Any] | SQLAlchemyConnection


class Cursor(Protocol):
    """What is used of a DBAPI cursor."""

    def execute(self, statement: Any, parameters: Any = ..., /) -> Any: ...

    def fetchall(self) -> Sequence[Any]: ...


def installed_version(cursor: Cursor) -> int | None:
    """Return the database's core version. Raises CoreNewerError if it is ahead."""
    cursor.execute("select to_regprocedure('chrononaut.core_version()') is not null")
    if not cursor.fetchall()[0][0]:
        return None
    cursor.execute("select chrononaut.core_version()")
    installed = int(cursor.fetchall()[0][0])
    if installed > package_core_version():
        raise CoreNewerError(installed, package_core_version())
    return installed


def run_script(cursor: Cursor, script: str) -> None:
    """Execute several statements that return nothing, in the cursor's transaction."""
    getattr(cursor, "run_script", cursor.execute)(script)


@contextmanager
def core_cursor(connection: Connection) -> Iterator[Cursor]:
    """Yield a cursor on a database with the right core, or raise CoreVersionError."""
    package = package_core_version()
    with open_cursor(connection) as cursor:
        installed = installed_version(cursor)
        if installed is None:
            raise CoreMissingError(package)
        if installed < package:
            raise CoreOlderError(installed, package)
        yield cursor


@contextmanager
def open_cursor(connection: Connection) -> Iterator[Cursor]:
    """Yield a DBAPI cursor inside a transaction: SQL text reaches it untouched."""
    if isinstance(connection, psycopg.Connection):
        idle = connection.info.transaction_status == TransactionStatus.IDLE
        with (
            translate_errors(),
            connection.transaction() if idle else nullcontext(),
            connection.cursor(row_factory=tuple_row) as own_cursor,
        ):
            yield own_cursor
    elif isinstance(connection, SQLAlchemyConnection):
        began = nullcontext() if connection.in_transaction() else connection.begin()
        with (
            translate_errors(),
            began,
            closing(connection.connection.cursor()) as cursor,
            _explicit_transaction(connection, cursor),
        ):
            numbered = connection.dialect.paramstyle == "numeric_dollar"
            driver = connection.connection.dbapi_connection
            yield _Numbering(cursor, driver) if numbered else cursor
    else:
        raise TypeError(
            "expected a connection of psycopg or SQLAlchemy, "
            f"not {type(connection).__name__}; with a Session use session.connection()"
        )


class _Numbering:
    """A cursor of a driver that numbers its parameters, such as asyncpg."""

    def __init__(self, cursor: Cursor, driver: Any) -> None:
        self._cursor = cursor
        self._driver = driver

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Execute a statement whose parameters stand as %s."""
        if not parameters:
            return self._cursor.execute(statement)
        head, *parts = statement.split("%s")
        numbered = (f"${number}{part}" for number, part in enumerate(parts, start=1))
        return self._cursor.execute("".join([head, *numbered]), parameters)

    def fetchall(self) -> Sequence[Any]:
        """Return the rows of the last statement."""
        return self._cursor.fetchall()

    def run_script(self, script: str) -> None:
        """Execute several statements, which such a driver does not prepare.

        A statement must have been executed before: it begins the transaction.
        """
        self._driver.run_async(lambda own: own.execute(script))


@contextmanager
def _explicit_transaction(
    connection: SQLAlchemyConnection, cursor: Cursor
) -> Iterator[None]:
    """Begin and end a transaction where an autocommit connection would not."""
    if not getattr(connection.connection.dbapi_connection, "autocommit", False):
        yield
        return
    cursor.execute("begin")
    try:
        yield
    except BaseException:
        cursor.execute("rollback")
        raise
    cursor.execute("commit")
