"""What models declare: which tables are versioned, and how.

`chrononaut_pg.mixins` declares a model as soon as it is mapped; DDL, readers and
emission ask here. Nothing is read from a database.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import Column, MetaData, Table
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BinaryExpression

from chrononaut_pg import _row_version, _spellings
from chrononaut_pg._declared_columns import (
    indexed_foreign_keys,
    known_column,
    named_columns,
    recording_columns,
)
from chrononaut_pg._lasting import lasting, renew
from chrononaut_pg._lasting import latest as latest
from chrononaut_pg.exceptions import (
    DeclarationError,
    NotVersionedError,
    UnknownColumnError,
)
from chrononaut_pg.options import VersioningOptions

_SCALARS = tuple(
    field.name
    for field in fields(VersioningOptions)
    if field.name
    not in ("hidden", "untracked", "key", "history_table", "indexes", "parent")
)


@dataclass(frozen=True, eq=False)
class Declaration:
    """One versioned model; *hidden* and *untracked* are columns, of all its tables.

    *recording* are those of RecordChanges, which are never tracked.
    """

    model: type[Any]
    mapper: Mapper[Any]
    hidden: frozenset[Column[Any]]
    untracked: frozenset[Column[Any]]
    recording: frozenset[Column[Any]]

    @property
    def table(self) -> Table:
        """The table that the model adds columns to, or shares with its parent."""
        table = self.mapper.local_table
        assert isinstance(table, Table)
        return table

    @lasting
    def parent(self) -> "Declaration | None":
        """The nearest versioned model that this one inherits from, not concretely."""
        mapper = self.mapper
        while mapper.inherits is not None and not mapper.concrete:
            mapper = mapper.inherits
            if (found := _DECLARED.get(mapper.class_)) is not None:
                return found
        return None

    @lasting
    def lineage(self) -> "tuple[Declaration, ...]":
        """This declaration and those above it, the nearest first."""
        parent = self.parent
        return (self,) if parent is None else (self, *parent.lineage)

    @lasting
    def tables(self) -> tuple[Table, ...]:
        """The versioned tables of a row of this model, the nearest first."""
        return tuple(dict.fromkeys(one.table for one in self.lineage))

    @lasting
    def all_hidden(self) -> frozenset[Column[Any]]:
        """The hidden columns of its tables, whichever model of them says so."""
        return frozenset(c for one in self._related for c in one.hidden)

    @property
    def hidden_columns(self) -> list[Column[Any]]:
        """The hidden columns that the model maps, in the order of the tables."""
        hidden = self.all_hidden & self.mapper._columntoproperty.keys()
        return [c for table in self.tables for c in table.columns if c in hidden]

    @lasting
    def all_untracked(self) -> frozenset[Column[Any]]:
        """The untracked columns of its tables, whichever model of them says so."""
        return frozenset(c for one in self._related for c in one.untracked)

    @lasting
    def notes(self) -> dict[Any, Any]:
        """What was worked out of it, by what was asked for."""
        return {}

    @lasting
    def _related(self) -> "list[Declaration]":
        tables = self.tables
        return [one for one in declared() if one.table in tables]


_DECLARED: dict[type[Any], Declaration] = {}
"""Kept for good: what follows from them must not hang on the garbage collector."""


def declare(model: type[Any], mapper: Mapper[Any]) -> Declaration:
    """Note a model that has the mixin; raise if it cannot be versioned as it says."""
    if not isinstance(mapper.local_table, Table):
        raise DeclarationError(
            f"{model.__name__} is mapped to a {type(mapper.local_table).__name__}",
            hint="Only models of a table can be Versioned.",
        )
    recording = frozenset(recording_columns(model, mapper))
    found = _row_version.column_of(model, mapper)
    version = frozenset(() if found is None else (found,))
    _DECLARED[model] = Declaration(
        model,
        mapper,
        frozenset(named_columns(model, mapper, "hidden")) - recording,
        frozenset(named_columns(model, mapper, "untracked")) | recording | version,
        recording,
    )
    renew()
    return _DECLARED[model]


def declaration(model: type[Any]) -> Declaration:
    """Return a model's declaration. Raises NotVersionedError if it has none."""
    found = _DECLARED.get(model) if isinstance(model, type) else None
    if found is None:
        raise _undeclared(model)
    return found


def _undeclared(model: Any) -> NotVersionedError:
    """Say what is wrong with something that should be a versioned model."""
    if isinstance(model, Table):
        return NotVersionedError(
            f"{model.name} is a table: a versioned model is asked for",
            hint="Look for it by name in chrononaut.recent_changes.",
        )
    if not isinstance(model, type):
        return NotVersionedError(
            f"a versioned model is asked for, not a {type(model).__name__} object",
            hint="Pass the class.",
        )
    return NotVersionedError(
        f"{model.__name__} is not versioned",
        hint="Add the mixin Versioned to the model.",
    )


def is_declared(model: type[Any]) -> bool:
    """Whether a class is a versioned model."""
    return model in _DECLARED


def declared() -> tuple[Declaration, ...]:
    """Return all declarations, in the order of their definition."""
    return tuple(_DECLARED.copy().values())  # at once: a thread may declare one more


def declared_tables(metadata: MetaData | None = None) -> dict[Table, VersioningOptions]:
    """Return the versioned tables, of one metadata if given, and their options.

    Parents come before their children. Raises DeclarationError for a model of that
    metadata that has no key; without a metadata such models are listed as they are.
    """
    by_table: dict[Table, list[Declaration]] = {}
    for one in _parents_first():
        if metadata is None or one.table.metadata is metadata:
            by_table.setdefault(one.table, []).append(one)
            if metadata is not None:
                _check_key(one)
    plain = {
        table: options
        for table, options in _PLAIN.copy().items()
        if table not in by_table and (metadata is None or table.metadata is metadata)
    }
    models = {table: _options(table, found) for table, found in by_table.items()}
    return {**models, **plain}


def known_tables() -> list[Table]:
    """Return the versioned tables, parents before their children."""
    return list(dict.fromkeys([*(one.table for one in _parents_first()), *_PLAIN]))


def models_of(table: Table) -> list[Declaration]:
    """Return the declarations of the models of a table, the topmost one first."""
    return [one for one in _parents_first() if one.table is table]


def options_of(table: Table) -> VersioningOptions | None:
    """Return the options of a table, None if it is not versioned."""
    found = models_of(table)
    return _options(table, found) if found else _PLAIN.get(table)


def _parents_first() -> list[Declaration]:
    return sorted(declared(), key=lambda one: len(one.lineage))


def declare_table(table: Table, options: VersioningOptions) -> None:
    """Note a table that is versioned without a model of its own."""
    for name in (*(options.hidden or ()), *(options.untracked or ())):
        if name not in table.columns:
            raise UnknownColumnError(
                f"{table.name} has no column {name!r}",
                table=table.name,
                column=name,
                hint="Check the spelling of hidden and untracked.",
            )
    _PLAIN[table] = options
    renew()


_PLAIN: dict[Table, VersioningOptions] = {}
"""The tables without a model; kept like those with one."""


def key_columns(one: Declaration, table: Table) -> tuple[Column[Any], ...]:
    """Return the columns of *table* that identify a row.

    A child's come in the order of its parent's, which may differ from its own.
    """
    found: tuple[Column[Any], ...] | None = one.notes.get(table)
    if found is None:
        found = one.notes[table] = _key_columns(one, table)
    return found


def _key_columns(one: Declaration, table: Table) -> tuple[Column[Any], ...]:
    owner = next((found for found in one.lineage if found.table is table), one)
    if named := _spellings.own(owner.model, "key"):
        return tuple(known_column(owner.model, owner.mapper, n, "key") for n in named)
    own = tuple(table.primary_key.columns)
    if len(own) < 2 or owner.parent is None or owner.parent.table is table:
        return own
    above = key_columns(owner.parent, owner.parent.table)
    twins = _twins(owner.mapper, owner.parent.mapper)
    found = tuple(c for key in above for c in own if c in twins.get(key, ()))
    return found if len(found) == len(own) == len(above) else own


def history_schema(one: Declaration) -> str | None:
    """Return the schema of a model's history, None for that of the connection."""
    found: str | None = _spellings.own(one.model, "history_schema")
    return found or one.table.schema


def table_name(table: Table, schemas: Mapping[Any, Any] | None = None) -> str:
    """Return a table's name as SQL writes it, with its schema if it has one.

    *schemas* is a `schema_translate_map`.
    """
    quote = _preparer().quote
    name = quote(table.name)
    schema = (schemas or {}).get(table.schema, table.schema)
    return f"{quote(schema)}.{name}" if schema else name


def schemas_of(connection: Any) -> Mapping[Any, Any] | None:
    """Return the `schema_translate_map` of a connection, for `table_name`."""
    found: Mapping[Any, Any] | None = connection.get_execution_options().get(
        "schema_translate_map"
    )
    return found


def to_create(table: Table, options: VersioningOptions) -> VersioningOptions:
    """Return the options with which versioning is created where a model declares them.

    Where it says nothing of indexes, the history gets those by which its relations are
    read.
    """
    if options.indexes is not None:
        return options
    unread = {*(options.hidden or ()), *(options.untracked or ())}
    found = [one for one in indexed_foreign_keys(table) if one not in unread]
    return replace(options, indexes=found) if found else options


def _options(table: Table, models: list[Declaration]) -> VersioningOptions:
    owner = models[0]
    indexes: list[str] | None = _names(
        named_columns(owner.model, owner.mapper, "indices"), table
    )
    if _spellings.own(owner.model, "disable_indices"):
        indexes = []
    elif _spellings.own(owner.model, "indices") is None:
        indexes = None
    scalars = {
        name: value
        for name in _SCALARS
        if (value := _spellings.inherited(owner.model, name)) is not None
    }
    found = _row_version.column_of(owner.model, owner.mapper)
    version = set() if found is None else {found}
    if found is None or found.table is not table:
        scalars.pop("row_version", None)
    key = key_columns(owner, table)
    if key != tuple(table.primary_key.columns):
        scalars["key"] = [column.name for column in key]
    return VersioningOptions(
        hidden=_names({c for one in models for c in one.hidden}, table),
        untracked=_names({c for one in models for c in one.untracked} - version, table),
        history_table=_history_table(owner),
        indexes=indexes,
        parent=_parent_table(owner),
        **scalars,
    )


def _twins(child: Mapper[Any], parent: Mapper[Any]) -> dict[Any, set[Any]]:
    """Return for each column those that joined inheritance makes equal to it."""
    twins: dict[Any, set[Any]] = {}
    mapper: Mapper[Any] | None = child
    while mapper is not None and mapper is not parent:
        condition = mapper.inherit_condition
        for part in visitors.iterate(condition) if condition is not None else ():
            if isinstance(part, BinaryExpression):
                pair: set[Any] = {part.left, part.right}
                group = pair.union(*(twins.get(column, ()) for column in pair))
                twins.update(dict.fromkeys(group, group))
        mapper = mapper.inherits
    return twins


def _check_key(one: Declaration) -> None:
    if not one.table.primary_key.columns and not _spellings.own(one.model, "key"):
        raise DeclarationError(
            f"{one.model.__name__} has no primary key in table {one.table.name}",
            hint="Give the table one, or set __chrononaut_key__ to unique columns.",
        )


def _names(columns: Iterable[Column[Any]], table: Table) -> list[str]:
    """Return the names of those columns that belong to *table*, in its order."""
    wanted = set(columns)
    return [column.name for column in table.columns if column in wanted]


def _parent_table(owner: Declaration) -> str | None:
    above = [one.table for one in owner.lineage if one.table is not owner.table]
    return table_name(above[0]) if above else None


def own_history_name(one: Declaration) -> str | None:
    """Return the name that a model gives its history table, if it does."""
    for base in _spellings.unmapped(one.model):
        if _spellings.spelling(base, "tablename") and _names_table(base, one.model):
            found: str | None = _spellings.value_of(one.model, base, "tablename")
            return found
    return None


def _names_table(base: type[Any], model: type[Any]) -> bool:
    """Whether a class says what table the model has."""
    named = "__tablename__" in vars(base) or "__table__" in vars(base)
    return named or (base is model and not hasattr(model, "__tablename__"))


def _history_table(owner: Declaration) -> str | None:
    name = own_history_name(owner)
    if name is None:
        return None
    schema = _spellings.own(owner.model, "history_schema")
    quoted = _preparer().quote(name)
    return f"{_preparer().quote(schema)}.{quoted}" if schema else str(quoted)


@functools.cache
def _preparer() -> Any:
    from sqlalchemy.dialects import postgresql

    # Of a driver without percent placeholders, which would have them doubled.
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    return dialect.identifier_preparer
