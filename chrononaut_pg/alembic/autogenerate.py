"""Autogenerate: compares what models declare with the registry in the database.

Runs after every other comparison. Never reads DDL text. What belongs to the core, such
as history tables and versions views, is taken out of what others have proposed to drop.
"""

import functools
from collections.abc import Container
from typing import Any

from alembic.operations import ops
from sqlalchemy import Connection, Table, inspect, text

from chrononaut_pg import core
from chrononaut_pg.alembic import rendering as _rendering  # noqa: F401
from chrononaut_pg.alembic._dropping import drop_last
from chrononaut_pg.alembic.operations import (
    AlterVersioningOp,
    CreateVersioningOp,
    DropRecordChangesOp,
    DropVersioningOp,
    InstallChrononautOp,
    RecordChangesOp,
    SyncVersioningOp,
    at_the_end,
)
from chrononaut_pg.ddl import recorded_tables
from chrononaut_pg.declarations import declared_tables, table_name, to_create
from chrononaut_pg.drift import differences, given, shown
from chrononaut_pg.options import VersioningOptions

_OWN_SCHEMAS = ("chrononaut", "chrononaut_history")

_PAST = "chrononaut_past_"
"""What the names of schemas begin with in which the past is read."""

_OWN_TRIGGERS = ("00_chrononaut_", "99_chrononaut_", "zz_chrononaut_")

_VISIBLE = """
select c.relname, n.nspname
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname <> 'pg_catalog'
    and pg_table_is_visible(c.oid)
"""

Name = tuple[str, str]


def hide(context: Any) -> None:
    """Keep the core's tables out of what the other comparisons see."""
    connection: Connection = context.connection
    if connection is None or connection.dialect.name != "postgresql":
        return
    own = _own_names(connection) if core.is_current(connection) else frozenset()
    schemas = _Schemas(connection)

    def is_visible(name: str | None, kind: str, parents: Any) -> bool:
        if kind == "schema":
            return not _is_own_schema(name)
        if kind != "table" or name is None:
            return True
        return schemas.full(parents.get("schema_name"), name) not in own

    context._name_filters.append(is_visible)


def compare(context: Any, upgrade_ops: Any) -> None:
    """Add what versioning needs to *upgrade_ops*, and remove what must not be done."""
    connection: Connection = context.connection
    if connection is None or connection.dialect.name != "postgresql":
        return
    found = _Comparison(context, connection, upgrade_ops)
    found.leave_alone()
    found.propose()


class _Comparison:
    """One run: what is declared, what is registered, and what is proposed so far."""

    def __init__(self, context: Any, connection: Connection, upgrade_ops: Any) -> None:
        self._context = context
        self._connection = connection
        self._ops = upgrade_ops
        self._schemas = _Schemas(connection)
        self._current = core.is_current(connection)
        self._registered: dict[Name, core.VersionedTable] = {}
        self._recorded: dict[Name, bool] = {}
        if self._current:
            tables = core.versioned_tables(connection)
            self._registered = {(one.schema, one.name): one for one in tables}
            self._recorded = core.recorded_tables(connection)
        self._declared = {
            self._name(table): (table, options)
            for metadata in _metadatas(context)
            for table, options in declared_tables(metadata).items()
            if self._included(table)
        }
        self._recording = {
            self._name(table): table
            for metadata in _metadatas(context)
            for table in recorded_tables(metadata)
            if self._included(table)
        }

    def leave_alone(self) -> None:
        """Take out what others propose for tables, views and functions of ours."""
        own = _own_names(self._connection) if self._current else frozenset()
        self._ops.ops[:] = [op for op in self._ops.ops if not self._is_own(op, own)]

    def propose(self) -> None:
        """Add operations in an order that applies, up and down."""
        first: list[Any] = []
        last: list[Any] = []
        if (self._declared or self._recording) and not self._current:
            first.append(InstallChrononautOp())
        for name, one in sorted(self._registered.items(), key=_children_first):
            if self._is_given_up(name, self._declared):
                created = self._given(one)
                first.append(DropVersioningOp(self._target(name), created=created))
        if first:
            drop_last(self._ops.ops)
        for name, (table, options) in self._declared.items():
            registered = self._registered.get(name)
            if registered is None:
                wanted = shown(to_create(table, options))
                last.append(CreateVersioningOp(table_name(table), **wanted))
            elif pair := self._changed(table, options, registered):
                first.append(pair[0])
                last.append(pair[1])
        self._propose_recording(first, last)
        self._ops.ops[:] = [*first, *self._ops.ops, *last]

    def _propose_recording(self, first: list[Any], last: list[Any]) -> None:
        """Add what the columns of RecordChanges need."""
        for name in sorted(self._recorded):
            if self._is_given_up(name, self._recording):
                first.append(DropRecordChangesOp(self._target(name)))
        for name, table in self._recording.items():
            target = table_name(table)
            generated = any(column.computed is not None for column in table.columns)
            if name not in self._recorded:
                last.append(RecordChangesOp(target))
            elif self._recorded[name] != generated:
                again = at_the_end(RecordChangesOp(target), RecordChangesOp(target))
                first.append(again[0])
                last.append(again[1])

    def _changed(
        self, table: Table, options: VersioningOptions, one: core.VersionedTable
    ) -> Any:
        """Return operations to alter or sync a table that is versioned already."""
        target = table_name(table)
        after, before = differences(self._connection, table, options, one.options)
        if after:
            forward = AlterVersioningOp(target, before=before, **after)
            return at_the_end(forward, forward.reverse())
        if one.drifted or self._alters_columns(table):
            return at_the_end(SyncVersioningOp(target), SyncVersioningOp(target))
        return None

    def _given(self, one: core.VersionedTable) -> dict[str, Any]:
        """Return the options to version a table with again, though it be a new one."""
        options = given(one.options)
        own_key = inspect(self._connection).get_pk_constraint(one.name, one.schema)
        if one.options.key and list(one.options.key) != own_key["constrained_columns"]:
            options["key"] = list(one.options.key)
        schema, history = next(iter(one.own_names), (one.schema, f"{one.name}_history"))
        if schema == one.schema and history != f"{one.name}_history":
            options["history_table"] = core.quoted("", history, default="")
        elif schema not in (one.schema, "chrononaut_history"):
            options["history_table"] = core.quoted(schema, history, default="")
        return options

    def _is_given_up(self, name: Name, wanted: Container[Name]) -> bool:
        """Whether a table's model is gone, or does not ask for this any more.

        Tables that no model is mapped to are somebody else's and stay as they are; so
        do those that `include_object` leaves out.
        """
        return name not in wanted and name in self._known

    @functools.cached_property
    def _known(self) -> set[Name]:
        """The tables of models, and those that are dropped along with them."""
        known = {
            self._name(table)
            for metadata in _metadatas(self._context)
            for table in metadata.tables.values()
            if self._included(table)
        }
        return known | {
            self._schemas.full(op.schema, op.table_name)
            for op in self._ops.ops
            if isinstance(op, ops.DropTableOp)
        }

    def _alters_columns(self, table: Table) -> bool:
        name = self._name(table)
        kinds = (ops.AddColumnOp, ops.DropColumnOp, ops.AlterColumnOp)
        return any(
            isinstance(op, ops.ModifyTableOps)
            and self._schemas.full(op.schema, op.table_name) == name
            and any(isinstance(inner, kinds) for inner in op.ops)
            for op in self._ops.ops
        )

    def _is_own(self, op: Any, own: frozenset[Name]) -> bool:
        if isinstance(op, ops.DropTableOp | ops.CreateTableOp | ops.ModifyTableOps):
            name = self._schemas.full(op.schema, op.table_name)
            return _is_own_schema(name[0]) or name in own
        if isinstance(op, ops.DropIndexOp | ops.CreateIndexOp):
            name = self._schemas.full(op.schema, op.table_name or "")
            return name[0] in _OWN_SCHEMAS or name in own
        return self._is_own_entity(getattr(op, "target", None), own)

    def _is_own_entity(self, entity: Any, own: frozenset[Name]) -> bool:
        """Whether an entity of alembic-utils is the core's."""
        schema = getattr(entity, "schema", None)
        signature = str(getattr(entity, "signature", "")).strip('"')
        table = str(getattr(entity, "table", "") or getattr(entity, "on_entity", ""))
        return (
            _is_own_schema(schema)
            or (schema, signature) in own
            or signature.startswith(_OWN_TRIGGERS)
            or (schema, table.rpartition(".")[2].strip('"')) in own
        )

    def _included(self, table: Table) -> bool:
        filters = self._context.run_object_filters
        return bool(filters(table, table.name, "table", False, None))

    def _target(self, name: Name) -> str:
        return core.quoted(*name, default=self._schemas.default)

    def _name(self, table: Table) -> Name:
        return self._schemas.full(table.schema, table.name)


class _Schemas:
    """In which schema a table is that is named without one."""

    def __init__(self, connection: Connection) -> None:
        self.default: str = connection.dialect.default_schema_name or "public"
        self._visible: dict[str, str] = {
            name: schema for name, schema in connection.execute(text(_VISIBLE))
        }

    def full(self, schema: str | None, name: str) -> Name:
        """Return schema and name; a table that is not there yet is the default's."""
        return schema or self._visible.get(name, self.default), name


def _is_own_schema(name: str | None) -> bool:
    return name is not None and (name in _OWN_SCHEMAS or name.startswith(_PAST))


def _own_names(connection: Connection) -> frozenset[Name]:
    """Return what belongs to the core, history of former versioning included."""
    registered = core.versioned_tables(connection)
    views = {name for one in registered for name in one.own_names}
    return core.history_names(connection) | views


def _metadatas(context: Any) -> list[Any]:
    metadata = context.metadata
    if metadata is None:
        return []
    return list(metadata) if isinstance(metadata, list | tuple) else [metadata]


def _children_first(item: tuple[Name, core.VersionedTable]) -> tuple[bool, Name]:
    return item[1].options.parent is None, item[0]
