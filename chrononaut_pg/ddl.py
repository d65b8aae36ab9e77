"""Versioning that comes and goes with `create_all` and `drop_all`.

The mixin registers each versioned table's MetaData here; `Table.create` and
`Table.drop` work, too. The core is installed on the way if the database has none.
"""

from typing import Any

from sqlalchemy import Connection, MetaData, Table, event
from sqlalchemy import inspect as sa_inspect

from chrononaut_pg import core
from chrononaut_pg.declarations import declared_tables, table_name
from chrononaut_pg.exceptions import UnsupportedDatabaseError
from chrononaut_pg.options import VersioningOptions


def follow(table: Table) -> None:
    """Create and drop the table's versioning together with the table."""
    metadata = table.metadata
    if not event.contains(metadata, "after_create", _after_create_all):
        event.listen(metadata, "after_create", _after_create_all)
        event.listen(metadata, "before_drop", _before_drop_all)
    if not event.contains(table, "after_create", _after_create):
        event.listen(table, "after_create", _after_create)
        event.listen(table, "before_drop", _before_drop)


def record_changes(table: Any) -> None:
    """Have a table's rows keep their last change info once the table is created."""
    if not event.contains(table, "after_create", _after_create_recording):
        event.listen(table, "after_create", _after_create_recording)


def create_all_versioning(connection: Connection, metadata: MetaData) -> None:
    """Version every table that models of *metadata* declare and that exists::

        with engine.begin() as connection:
            create_all_versioning(connection, Base.metadata)

    Tables that are versioned already are left as they are. Installs the core if the
    database has none.
    """
    _version(connection, declared_tables(metadata))


def _after_create_all(metadata: MetaData, connection: Connection, **_: Any) -> None:
    _version(connection, declared_tables(metadata))


def _before_drop_all(
    metadata: MetaData, connection: Connection, tables: Any = (), **_: Any
) -> None:
    wanted = [t for t in declared_tables(metadata) if tables is None or t in tables]
    _unversion(connection, wanted)


def _after_create(
    table: Table, connection: Connection, _is_metadata_operation: bool = False, **_: Any
) -> None:
    if not _is_metadata_operation:
        _version(connection, {table: declared_tables(table.metadata)[table]})


def _after_create_recording(table: Table, connection: Connection, **_: Any) -> None:
    _prepare(connection, table)
    core.record_changes(connection, table_name(table))


def _before_drop(
    table: Table, connection: Connection, _is_metadata_operation: bool = False, **_: Any
) -> None:
    if not _is_metadata_operation:
        _unversion(connection, [table])


def _version(connection: Connection, declared: dict[Table, VersioningOptions]) -> None:
    if not declared:
        return
    _prepare(connection, next(iter(declared)))
    done = core.versioned_oids(connection)
    inspector = sa_inspect(connection)
    for table, options in declared.items():
        if inspector.has_table(table.name, schema=table.schema):
            name = table_name(table)
            if core.table_oid(connection, name) not in done:
                core.create_versioning(connection, name, options)


def _prepare(connection: Connection, table: Table) -> None:
    """Install the core if need be; raise unless the database can have it."""
    if connection.dialect.name != "postgresql":
        raise UnsupportedDatabaseError(
            f"{table.name} is versioned, but bound to {connection.dialect.name}",
            hint="History needs PostgreSQL 14 or later.",
        )
    if not core.is_current(connection):
        core.install(connection)


def _unversion(connection: Connection, tables: list[Table]) -> None:
    if connection.dialect.name != "postgresql" or not tables:
        return
    if not core.is_current(connection):
        return
    done = core.versioned_oids(connection)
    for table in reversed(tables):
        name = table_name(table)
        if core.table_oid(connection, name) in done:
            core.drop_versioning(connection, name, drop_history=True)
