"""What models declare: which tables are versioned, and how.

`chrononaut_pg.mixins` declares a model as soon as it is mapped; DDL, readers and
emission ask here. Nothing is read from a database.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Column, MetaData, Table
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Mapper

from chrononaut_pg.exceptions import (
    DeclarationError,
    NotVersionedError,
    UnknownColumnError,
)
from chrononaut_pg.options import VersioningOptions

_SPELLINGS = ("__chrononaut_{}__", "__version_{}__")

_SCALARS = tuple(
    field.name
    for field in fields(VersioningOptions)
    if field.name not in ("hidden", "untracked", "history_table", "indexes", "parent")
)


@dataclass(frozen=True, eq=False)
class Declaration:
    """One versioned model; *hidden* and *untracked* are columns, of all its tables."""

    model: type[Any]
    mapper: Mapper[Any]
    hidden: frozenset[Column[Any]]
    untracked: frozenset[Column[Any]]

    @property
    def table(self) -> Table:
        """The table that the model adds columns to, or shares with its parent."""
        table = self.mapper.local_table
        assert isinstance(table, Table)
        return table

    @property
    def parent(self) -> "Declaration | None":
        """The nearest versioned model that this one inherits from, not concretely."""
        mapper = self.mapper
        while mapper.inherits is not None and not mapper.concrete:
            mapper = mapper.inherits
            if (found := _DECLARED.get(mapper.class_)) is not None:
                return found
        return None

    @property
    def lineage(self) -> "tuple[Declaration, ...]":
        """This declaration and those above it, the nearest first."""
        parent = self.parent
        return (self,) if parent is None else (self, *parent.lineage)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The versioned tables of a row of this model, the nearest first."""
        return tuple(dict.fromkeys(one.table for one in self.lineage))

    @property
    def all_hidden(self) -> frozenset[Column[Any]]:
        """The hidden columns of its tables, whichever model of them says so."""
        return frozenset(c for one in self._related for c in one.hidden)

    @property
    def all_untracked(self) -> frozenset[Column[Any]]:
        """The untracked columns of its tables, whichever model of them says so."""
        return frozenset(c for one in self._related for c in one.untracked)

    @property
    def _related(self) -> "list[Declaration]":
        tables = self.tables
        return [one for one in declared() if one.table in tables]


_DECLARED: WeakKeyDictionary[type[Any], Declaration] = WeakKeyDictionary()

_SERIAL = itertools.count(1)

_LATEST = [0]


def declare(model: type[Any], mapper: Mapper[Any]) -> Declaration:
    """Note a model that has the mixin; raise if it cannot be versioned as it says."""
    if not isinstance(mapper.local_table, Table):
        raise DeclarationError(
            f"{model.__name__} is mapped to a {type(mapper.local_table).__name__}",
            hint="Only models of a table can be Versioned.",
        )
    _DECLARED[model] = Declaration(
        model,
        mapper,
        frozenset(_named_columns(model, mapper, "hidden")),
        frozenset(_named_columns(model, mapper, "untracked")),
    )
    _LATEST[0] = next(_SERIAL)
    return _DECLARED[model]


def latest() -> int:
    """Return a number that grows with every declaration, for caches."""
    return _LATEST[0]


def declaration(model: type[Any]) -> Declaration:
    """Return a model's declaration. Raises NotVersionedError if it has none."""
    found = _DECLARED.get(model)
    if found is None:
        raise NotVersionedError(
            f"{getattr(model, '__name__', model)!s} is not versioned",
            hint="Add the mixin Versioned to the model.",
        )
    return found


def is_declared(model: type[Any]) -> bool:
    """Whether a class is a versioned model."""
    return model in _DECLARED


def declared() -> tuple[Declaration, ...]:
    """Return all declarations, in the order of their definition."""
    return tuple(_DECLARED.values())


def declared_tables(metadata: MetaData | None = None) -> dict[Table, VersioningOptions]:
    """Return the versioned tables, of one metadata if given, and their options.

    Parents come before their children.
    """
    by_table: dict[Table, list[Declaration]] = {}
    for one in sorted(declared(), key=lambda found: len(found.lineage)):
        if metadata is None or one.table.metadata is metadata:
            by_table.setdefault(one.table, []).append(one)
    return {table: _options(table, found) for table, found in by_table.items()}


def key_columns(one: Declaration, table: Table) -> tuple[Column[Any], ...]:
    """Return the columns of *table* that identify a row."""
    named = getattr(one.model, "__chrononaut_key__", None)
    if named and table is one.table:
        return tuple(table.columns[name] for name in named)
    return tuple(table.primary_key.columns)


def table_name(table: Table) -> str:
    """Return a table's name as SQL writes it, with its schema if it has one."""
    quote = _PREPARER.quote
    name = quote(table.name)
    return f"{quote(table.schema)}.{name}" if table.schema else name


def _options(table: Table, models: list[Declaration]) -> VersioningOptions:
    owner = models[0]
    for one in models:
        _check_key(one)
    indexes = _names(_named_columns(owner.model, owner.mapper, "indices"), table)
    if _own(owner.model, "disable_indices"):
        indexes = []
    return VersioningOptions(
        hidden=_names({c for one in models for c in one.hidden}, table),
        untracked=_names({c for one in models for c in one.untracked}, table),
        history_table=_history_table(owner),
        indexes=indexes or None,
        parent=_parent_table(owner),
        **{
            name: value
            for name in _SCALARS
            if (value := _inherited(owner.model, name)) is not None
        },
    )


def _check_key(one: Declaration) -> None:
    if not one.table.primary_key.columns and not _inherited(one.model, "key"):
        raise DeclarationError(
            f"{one.model.__name__} has no primary key in table {one.table.name}",
            hint="Give the table one, or set __chrononaut_key__ to unique columns.",
        )


def _names(columns: Any, table: Table) -> list[str]:
    """Return the names of those columns that belong to *table*, in its order."""
    return [column.name for column in table.columns if column in columns]


def _parent_table(owner: Declaration) -> str | None:
    above = [one.table for one in owner.lineage if one.table is not owner.table]
    return table_name(above[0]) if above else None


def own_history_name(one: Declaration) -> str | None:
    """Return the name that a model gives its history table, if it does."""
    found: str | None = _own(one.model, "tablename")
    return found


def _history_table(owner: Declaration) -> str | None:
    name = own_history_name(owner)
    if name is None:
        return None
    schema = _own(owner.model, "history_schema")
    quoted = _PREPARER.quote(name)
    return f"{_PREPARER.quote(schema)}.{quoted}" if schema else str(quoted)


def _named_columns(
    model: type[Any], mapper: Mapper[Any], option: str
) -> Iterator[Column[Any]]:
    """Yield the columns that an option of the model or of its bases names."""
    for base in model.__mro__:
        for name in _column_names(base, option):
            column = _column(mapper, name)
            if column is not None:
                yield column
            elif base is model:
                raise UnknownColumnError(
                    f"{model.__name__} has no column {name!r}, named in "
                    f"{_spelling(base, option)}",
                    table=mapper.local_table.description,
                    column=str(name),
                    hint="Check the spelling: give the names of columns or attributes.",
                )


def _column_names(base: type[Any], option: str) -> tuple[Any, ...]:
    spelling = _spelling(base, option)
    if spelling is None:
        return ()
    value = vars(base)[spelling]
    if isinstance(value, str):
        raise DeclarationError(
            f"{base.__name__}.{spelling} is the string {value!r}",
            hint=f"Make it a list: {spelling} = [{value!r}].",
        )
    return tuple(value or ())


def _column(mapper: Mapper[Any], name: Any) -> Column[Any] | None:
    """Return the column of that attribute or column name, the nearest table's first."""
    if isinstance(name, Column):
        return name
    found = mapper.columns.get(name)
    if isinstance(found, Column):
        return found
    for one in (mapper.local_table, *mapper.tables):
        if name in one.columns:
            column: Column[Any] = one.columns[name]
            return column
    return None


def _spelling(base: type[Any], option: str) -> str | None:
    for form in _SPELLINGS:
        if form.format(option) in vars(base):
            return form.format(option)
    return None


def _inherited(model: type[Any], option: str) -> Any:
    """Return an option of the model or of the nearest base that has it."""
    for base in model.__mro__:
        if (spelling := _spelling(base, option)) is not None:
            return vars(base)[spelling]
    return None


def _own(model: type[Any], option: str) -> Any:
    """Return an option of the model or its mixins, but of no other mapped class."""
    for base in model.__mro__:
        if base is not model and sa_inspect(base, raiseerr=False) is not None:
            continue
        if (spelling := _spelling(base, option)) is not None:
            return vars(base)[spelling]
    return None


def _preparer() -> Any:
    from sqlalchemy.dialects import postgresql

    return postgresql.dialect().identifier_preparer  # type: ignore[no-untyped-call]


_PREPARER = _preparer()
