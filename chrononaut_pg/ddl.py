"""Versioning that comes and goes with `create_all` and `drop_all`.

The mixins register each table's MetaData here; `Table.create` and `Table.drop` work,
too. The core is installed on the way if the database has none. `core`, which imports
the driver, is imported when it is needed: declaring models stays light.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import DDL, Connection, MetaData, Table, event
from sqlalchemy.engine.mock import MockConnection

from chrononaut_pg._reflected import recognize
from chrononaut_pg.declarations import (
    declare_table,
    declared_tables,
    schemas_of,
    table_name,
    to_create,
)
from chrononaut_pg.exceptions import (
    CoreOlderError,
    NotPermittedError,
    UnsupportedDatabaseError,
    sqlstate_of,
)
from chrononaut_pg.options import VersioningOptions

_RECORDING = "chrononaut_recording"

_DENIED = "42501"


_HISTORY_KEYS = {"change_id", "chrononaut_change_id"}
"""Columns that tell history tables from others."""


def follow(table: Table) -> None:
    """Create and drop the table's versioning together with the table."""
    _listen(table.metadata, _after_create_all, _before_drop_all)
    _listen(table, _after_create, _before_drop)


def versioned_table(table: Table, **options: Any) -> Table:
    """Version a table that has no model, such as one of a many-to-many relation::

        tags = versioned_table(
            Table("post_tag", Base.metadata, Column(...), Column(...))
        )

    *options* are those of VersioningOptions. Returns the table. Raises
    UnknownColumnError if hidden or untracked name a column that it lacks.
    """
    declare_table(table, VersioningOptions(**options))
    follow(table)
    return table


def record_changes(table: Table) -> None:
    """Have a table's rows keep their last change info once the table is created."""
    if {"change_info", "changed"} <= {column.name for column in table.columns}:
        table.metadata.info.setdefault(_RECORDING, {})[table] = None
        follow(table)


def recorded_tables(metadata: MetaData) -> list[Table]:
    """Return the tables of models with RecordChanges."""
    return list(metadata.info.get(_RECORDING, ()))


def create_all_versioning(connection: Connection, metadata: MetaData) -> None:
    """Version every table that models of *metadata* declare and that exists::

        with engine.begin() as connection:
            create_all_versioning(connection, Base.metadata)

    Tables that are versioned already are left as they are. Installs the core if the
    database has none. Raises CoreOlderError if it has an older one.
    """
    _version(connection, metadata, metadata.tables.values())


def _listen(target: Any, created: Any, dropped: Any) -> None:
    if not event.contains(target, "after_create", created):
        event.listen(target, "after_create", created)
        event.listen(target, "before_drop", dropped)


def _after_create_all(
    metadata: MetaData, connection: Connection, _ddl_runner: Any = None, **_: Any
) -> None:
    """Version what was asked for, whether it was created now or long ago."""
    asked = getattr(_ddl_runner, "tables", None)
    _version(connection, metadata, metadata.tables.values() if asked is None else asked)


def _before_drop_all(
    metadata: MetaData, connection: Connection, tables: Any = (), **_: Any
) -> None:
    _unversion(connection, metadata, tables)
    is_mock = isinstance(connection, MockConnection)
    if is_mock or connection.dialect.name != "postgresql":
        return
    for table in tables or ():
        if not _HISTORY_KEYS.isdisjoint(table.columns.keys()):
            _put_back(connection, table)


def _put_back(connection: Connection, table: Table) -> None:
    """Have an empty table where history was that `reflect()` has taken for a table.

    It went with the table that it belongs to, but SQLAlchemy is about to drop it, too.
    """
    from chrononaut_pg import core

    name = _target(connection, table)
    if core.table_oid(connection, name) is None:
        connection.exec_driver_sql(
            f"create table {name} ()", execution_options={"no_parameters": True}
        )


def _after_create(
    table: Table, connection: Connection, _is_metadata_operation: bool = False, **_: Any
) -> None:
    if not _is_metadata_operation:
        _version(connection, table.metadata, [table])


def _before_drop(
    table: Table, connection: Connection, _is_metadata_operation: bool = False, **_: Any
) -> None:
    if not _is_metadata_operation:
        _unversion(connection, table.metadata, [table])


def _version(
    connection: Connection, metadata: MetaData, tables: Iterable[Table]
) -> None:
    """Version those of the tables that models declare, as far as they exist."""
    from chrononaut_pg import core

    asked = set(tables)
    wanted = {t: o for t, o in declared_tables(metadata).items() if t in asked}
    recording = [t for t in recorded_tables(metadata) if t in asked]
    if not wanted and not recording:
        return
    if isinstance(connection, MockConnection):
        for table, options in wanted.items():
            given = to_create(table, options).given()
            _show(connection, "create_versioning", table, given)
        for table in recording:
            _show(connection, "record_changes", table, {})
        return
    _prepare(connection, next(iter((*wanted, *recording))))
    recognize(connection.dialect)
    done = core.versioned_oids(connection)
    for table, options in wanted.items():
        name = _target(connection, table)
        oid = core.table_oid(connection, name)
        if oid is not None and oid not in done:
            core.create_versioning(
                connection,
                name,
                _translated(connection, metadata, to_create(table, options)),
            )
    for table in recording:
        name = _target(connection, table)
        if core.table_oid(connection, name) is not None:
            core.record_changes(connection, name)


def _unversion(
    connection: Connection, metadata: MetaData, tables: Iterable[Table] | None
) -> None:
    """Drop the versioning and history of the tables, children first."""
    from chrononaut_pg import core

    declared = declared_tables(metadata)
    asked = set(declared if tables is None else tables)
    wanted = [table for table in reversed(declared) if table in asked]
    if connection.dialect.name != "postgresql" or not wanted:
        return
    if isinstance(connection, MockConnection):
        for table in wanted:
            _show(connection, "drop_versioning", table, {"drop_history": True})
        return
    if not _is_ready(connection):
        return
    done = core.versioned_oids(connection)
    for table in wanted:
        name = _target(connection, table)
        if core.table_oid(connection, name) in done:
            core.drop_versioning(connection, name, drop_history=True)


def _show(
    connection: MockConnection, function: str, table: Table, given: dict[str, Any]
) -> None:
    """Give a mock connection, which has no database, the call that there would be."""
    from chrononaut_pg import core

    call = core.call_text(function, table_name(table), given)
    shown = DDL(call.replace("%", "%%"))  # type: ignore[no-untyped-call]
    connection.execute(shown)


def _prepare(connection: Connection, table: Table) -> None:
    """Install the core if need be; raise unless the database can have it."""
    from chrononaut_pg import core

    if connection.dialect.name != "postgresql":
        raise UnsupportedDatabaseError(
            f"{table.name} is versioned, but bound to {connection.dialect.name}",
            hint="History needs PostgreSQL 14 or later.",
        )
    if not _is_ready(connection):
        try:
            core.install(connection)
        except Exception as error:
            if sqlstate_of(error) != _DENIED:
                raise
            raise NotPermittedError(
                "this role may not install the chrononaut core, which the database "
                "lacks",
                sqlstate=_DENIED,
                hint="Let a role that may create schemas run "
                "`python -m chrononaut_pg install`.",
            ) from error


def _is_ready(connection: Connection) -> bool:
    """Whether the core is there. Raises CoreVersionError if it is another one."""
    from chrononaut_pg import core

    if core.is_current(connection):
        return True
    status = core.status(connection)
    if status.installed_version is not None:
        raise CoreOlderError(status.installed_version, status.package_version)
    return False


def _target(connection: Connection, table: Table) -> str:
    """Return a table's name where the connection sees it."""
    return table_name(table, schemas_of(connection))


def _translated(
    connection: Connection, metadata: MetaData, options: VersioningOptions
) -> VersioningOptions:
    """Return the options with the parent named as the connection sees it."""
    if options.parent and schemas_of(connection):
        for table in declared_tables(metadata):
            if table_name(table) == options.parent:
                return replace(options, parent=_target(connection, table))
    return options
