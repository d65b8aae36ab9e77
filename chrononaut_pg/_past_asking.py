"""Asks the server on cursors of its own, past all handlers of statements."""

from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from chrononaut_pg._emission import root_engine
from chrononaut_pg._resources import package_core_version
from chrononaut_pg.exceptions import CoreMissingError, CoreOlderError

_FUNCTION = "_related_condition(oid, name[])"
"""The youngest of the core's functions that reads of the past call."""

_CHECK = f"""
select to_regprocedure('chrononaut.core_version()') is not null,
    to_regprocedure('chrononaut.{_FUNCTION}') is not null
"""

_CHECKED: WeakKeyDictionary[Engine, bool] = WeakKeyDictionary()


def check_core(connection: Connection) -> None:
    """Raise, ahead of an error that ends the transaction, if the core is no match."""
    engine = root_engine(connection.engine)
    if engine in _CHECKED:
        return
    has_core, has_past = fetch(connection, _CHECK, ())
    if not has_core:
        raise CoreMissingError(package_core_version())
    if not has_past:
        (version,) = fetch(connection, "select chrononaut.core_version()", ())
        raise CoreOlderError(version, package_core_version())
    _CHECKED[engine] = True


def fetch(connection: Connection, sql: str, parameters: tuple[Any, ...]) -> Any:
    """Execute on a DBAPI cursor of its own, past all handlers; return the first row."""
    style = connection.dialect.paramstyle
    places = (
        [f"${number}" for number in range(1, len(parameters) + 1)]
        if style == "numeric_dollar"
        else ["?" if style == "qmark" else "%s"] * len(parameters)
    )
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql.format(*places), parameters)
        return cursor.fetchone()
    except connection.dialect.loaded_dbapi.Error as error:
        raise_if_lost(connection, cursor, sql, error)
        raise
    finally:
        cursor.close()


def raise_if_lost(connection: Connection, cursor: Any, sql: str, error: Any) -> None:
    """Let go of a connection that is gone, as SQLAlchemy does where it executes."""
    dialect, driver = connection.dialect, connection.connection.dbapi_connection
    if dialect.is_disconnect(error, driver, cursor):
        connection.invalidate(error)
        base = dialect.loaded_dbapi.Error
        raise DBAPIError.instance(
            sql, None, error, base, connection_invalidated=True, dialect=dialect
        ) from error
