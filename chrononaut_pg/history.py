"""The history class of a model: its versions as mapped, read-only objects.

Made on first use and mapped imperatively over the versions view of the model's table,
in a private MetaData, so that neither `create_all` nor Alembic see it. Names follow
from the model alone, by the rules of the SQL core.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    MetaData,
    String,
    Table,
)
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.hybrid import HybridExtensionType
from sqlalchemy.orm import Mapper, column_property, configure_mappers, registry, synonym
from sqlalchemy.sql import visitors
from sqlalchemy.sql.base import SchemaEventTarget

from chrononaut_pg.declarations import (
    Declaration,
    declaration,
    is_declared,
    key_columns,
    own_history_name,
)
from chrononaut_pg.exceptions import (
    HiddenAttributeError,
    ReadOnlyHistoryError,
    UntrackedAttributeError,
)

META_COLUMNS: dict[str, Any] = {
    "version": BigInteger,
    "valid_from": DateTime(timezone=True),
    "valid_to": DateTime(timezone=True),
    "operation": String,
    "changed": DateTime(timezone=True),
    "change_id": BigInteger,
    "transaction_id": BigInteger,
    "change_info": JSONB,
    "created_change_id": BigInteger,
    "created_operation": String,
    "created_transaction_id": BigInteger,
    "created_change_info": JSONB,
}
"""The columns of a versions view that are not the table's."""


@functools.total_ordering
class History:
    """Base of all history classes: one version of one row, as it was.

    `version` counts from 0, `valid_from` and `valid_to` bound its period (None: without
    bound). `changed`, `operation`, `change_info` and `transaction_id` tell what ended
    it, `created_change_info` and its like what began it. All times are timezone-aware.
    """

    __chrononaut_declaration__: Declaration
    __chrononaut_meta_names__: dict[str, str]

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ReadOnlyHistoryError(
            f"{type(self).__name__} cannot be made by hand",
            hint="History objects come from versions(), version_at() and queries.",
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_sa_"):
            self._refuse(name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse(name)

    def _refuse(self, name: str) -> None:
        raise ReadOnlyHistoryError(
            f"{type(self).__name__}.{name} cannot be changed: history is read-only",
            column=name,
            hint="Change the live object instead.",
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __lt__(self, other: object) -> bool:
        """Order versions of one row by their age."""
        if not isinstance(other, History) or self._identity[:2] != other._identity[:2]:
            return NotImplemented
        mine, others = meta(self, "change_id"), meta(other, "change_id")
        return mine is not None and (others is None or mine < others)

    def __repr__(self) -> str:
        key = {name: getattr(self, name) for name in key_names(type(self))}
        shown = {**key, **{n: meta(self, n) for n in ("version", "operation")}}
        values = " ".join(f"{name}={value!r}" for name, value in shown.items())
        changed = meta(self, "changed")
        until = f"until {changed.isoformat()}" if changed else "current"
        return f"<{type(self).__name__} {values} {until}>"

    def __reduce__(self) -> Any:
        names = sa_inspect(type(self)).column_attrs.keys()
        model = self.__chrononaut_declaration__.model
        return _restore, (model, {name: getattr(self, name) for name in names})

    @property
    def _identity(self) -> tuple[Any, ...]:
        one = type(self).__chrononaut_declaration__.lineage[-1].model
        key = tuple(getattr(self, name) for name in key_names(type(self)))
        return one, key, meta(self, "change_id"), meta(self, "version")

    @property
    def chrononaut_meta(self) -> dict[str, Any]:
        """What Chrononaut 0.3 and later tell of a version, in their words."""
        info = meta(self, "change_info") or {}
        return {
            "table_name": self.__chrononaut_declaration__.table.name,
            "changed": meta(self, "changed"),
            "version": meta(self, "version"),
            "user_info": {name: info.get(name) for name in ("user_id", "remote_addr")},
            "extra_info": info.get("extra", {}),
        }


class _Withheld:
    """An attribute of the model that its history does not have."""

    def __init__(self, kind: type[Exception], why: str) -> None:
        self._kind = kind
        self._why = why

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        raise self._kind(f"{owner.__name__}.{self._name} is not known: {self._why}")


def history_class(model: type[Any]) -> type[Any]:
    """Return the history class of a versioned model, such as UserHistory for User::

        select(history_class(User)).where(history_class(User).email == "a@example.com")

    Its objects include the live row as the newest version, whose `change_id` is None.
    Raises NotVersionedError for other classes.
    """
    found = _CLASSES.get(model)
    if found is None:
        one = declaration(model)
        configure_mappers()
        found = _make(one)
    for mapper in sa_inspect(model).self_and_descendants:
        if (
            mapper.single
            and mapper.class_ not in _CLASSES
            and mapper.class_ is not model
            and is_declared(mapper.class_)
        ):
            _make(declaration(mapper.class_))
    return found


def history_table(model: type[Any]) -> Table:
    """Return the history table of a model's own table: its key and meta columns.

    For statements that need neither version numbers nor periods.
    """
    one = declaration(model)
    view = view_name(one.table)
    name = own_history_name(one) or clip(one.table.name, "_history")
    metadata = _metadata(one)
    schema = _schema(one)
    full = f"{schema}.{name}" if schema else name
    if full in metadata.tables:
        return metadata.tables[full]
    names = meta_names([column.name for column in one.table.columns])
    wanted = ("change_id", "changed", "operation", "transaction_id", "change_info")
    return Table(
        name,
        metadata,
        *(Column(c.name, _type(c)) for c in key_columns(one, one.table)),
        *(Column(names[n], META_COLUMNS[n], key=f"chrononaut:{n}") for n in wanted),
        schema=schema,
        info={"view": view},
    )


def key_names(cls: type[Any]) -> tuple[str, ...]:
    """Return the attributes of a history class that identify a row."""
    names: tuple[str, ...] = cls.__chrononaut_key_names__
    return names


def meta(version: Any, name: str) -> Any:
    """Return a meta value of a history object, whatever it is called there."""
    return getattr(version, type(version).__chrononaut_meta_names__[name])


def meta_attribute(cls: type[Any], name: str) -> Any:
    """Return the attribute of a history class that holds a meta value, for queries."""
    return getattr(cls, cls.__chrononaut_meta_names__[name])


def meta_names(taken: Any) -> dict[str, str]:
    """Return the names that meta columns have beside columns called *taken*."""
    found: dict[str, str] = {}
    for name in META_COLUMNS:
        wanted = name
        while wanted in taken:
            wanted = clip(f"chrononaut_{wanted}", "")
        found[name] = wanted
    return found


def clip(base: str, suffix: str) -> str:
    """Return both in at most 63 bytes; twin of `chrononaut._clip`."""
    if len(base.encode()) + len(suffix.encode()) <= 63:
        return base + suffix
    suffix = f"_{hashlib.md5(base.encode()).hexdigest()[:8]}{suffix}"
    while len((base + suffix).encode()) > 63:
        base = base[:-1]
    return base + suffix


def view_name(table: Table) -> str:
    """Return the name of a table's versions view."""
    return clip(table.name, "_versions")


_CLASSES: WeakKeyDictionary[type[Any], type[Any]] = WeakKeyDictionary()

_METADATA: WeakKeyDictionary[MetaData, MetaData] = WeakKeyDictionary()


def _make(one: Declaration) -> type[Any]:
    parent = one.mapper.inherits
    if one.mapper.single and parent is not None and is_declared(parent.class_):
        history_class(parent.class_)
        if one.model in _CLASSES:
            return _CLASSES[one.model]
    cls = _class(one)
    _CLASSES[one.model] = cls
    _Mapping(one, cls).map()
    return cls


def _class(one: Declaration) -> type[Any]:
    parent = one.mapper.inherits
    base: type[Any] = History
    if _is_polymorphic_child(one) and parent is not None:
        base = _CLASSES[parent.class_]
    return type(
        f"{one.model.__name__}History",
        (base,),
        {
            "__module__": one.model.__module__,
            "__doc__": f"Versions of {one.model.__name__}.",
            "__chrononaut_declaration__": one,
        },
    )


def _is_polymorphic_child(one: Declaration) -> bool:
    parent = one.mapper.inherits
    return (
        one.mapper.single
        and parent is not None
        and parent.class_ in _CLASSES
        and sa_inspect(_CLASSES[parent.class_]).polymorphic_on is not None
    )


class _Mapping:
    """Maps one history class: what each attribute of the model becomes."""

    def __init__(self, one: Declaration, cls: type[Any]) -> None:
        self._one = one
        self._cls = cls
        self._mapper: Mapper[Any] = one.mapper
        self._columns = _view_columns(one)
        self._view = _view(one, self._columns)
        self._properties: dict[str, Any] = {}

    def map(self) -> None:
        for prop in sorted(self._mapper.column_attrs, key=self._position):
            self._add_column_attribute(prop)
        self._add_descriptors()
        taken = set(self._mapper.all_orm_descriptors.keys())
        names = {n: self._free(n, taken) for n in META_COLUMNS}
        self._cls.__chrononaut_meta_names__ = names
        stored = meta_names({c.name for t in self._one.tables for c in t.columns})
        for name, attribute in names.items():
            self._properties[attribute] = self._view.columns[stored[name]]
        for alias in self._mapper.synonyms:
            self._add_synonym(alias.key, alias.name)
        key = [self._attribute(c) for c in key_columns(self._one, self._one.table)]
        self._cls.__chrononaut_key_names__ = tuple(key)
        self._map(names["change_id"], key)

    def _map(self, change_id: str, key: list[str]) -> None:
        options: dict[str, Any] = {}
        if _is_polymorphic_child(self._one):
            assert self._mapper.inherits is not None
            base = _CLASSES[self._mapper.inherits.class_]
            inherited = set(sa_inspect(base).attrs.keys())
            own = {n: p for n, p in self._properties.items() if n not in inherited}
            options["inherits"] = base
            options["polymorphic_identity"] = self._mapper.polymorphic_identity
            self._properties, table = own, None
        else:
            table = self._view
            columns = {id(p) for p in self._properties.values()}
            options["exclude_properties"] = [
                column for column in self._view.columns if id(column) not in columns
            ]
            options["primary_key"] = [
                *(self._properties[name] for name in key),
                self._properties[change_id],
            ]
            if self._rows_have_classes():
                column = self._columns[self._mapper.polymorphic_on]
                options["polymorphic_on"] = self._view.columns[column]
                options["polymorphic_identity"] = self._mapper.polymorphic_identity
        _registry(self._one).map_imperatively(
            self._cls, table, properties=self._properties, **options
        )

    def _rows_have_classes(self) -> bool:
        """Whether one table holds rows of several classes, all of them in it."""
        others = list(self._mapper.self_and_descendants)[1:]
        return (
            bool(others)
            and not self._mapper.single
            and all(mapper.single for mapper in others)
            and self._mapper.polymorphic_on in self._columns
        )

    def _add_column_attribute(self, prop: Any) -> None:
        column = prop.columns[0]
        if not isinstance(column, Column):
            self._add_expression(prop.key, column)
            return
        stored = [self._columns[c] for c in prop.columns if c in self._columns]
        if stored:
            self._properties[prop.key] = self._view.columns[stored[0]]
        else:
            self._withhold(prop.key, prop.columns)

    def _position(self, prop: Any) -> int:
        """Return where a column stands in the view; others come last."""
        columns = list(self._columns)
        found = [columns.index(c) for c in prop.columns if c in self._columns]
        return min(found, default=len(columns))

    def _withhold(self, name: str, columns: list[Column[Any]]) -> None:
        hidden = not self._one.all_hidden.isdisjoint(columns)
        kind, why = (
            (HiddenAttributeError, "the column is hidden; that it changed is in")
            if hidden
            else (UntrackedAttributeError, "the column is not tracked")
        )
        why += " change_info['hidden_cols_changed']" if hidden else ""
        descriptor = _Withheld(kind, why)
        setattr(self._cls, name, descriptor)
        descriptor.__set_name__(self._cls, name)

    def _add_expression(self, name: str, expression: ColumnElement[Any]) -> None:
        """Map a column_property of the versioned tables' columns over the view."""
        tables = {*self._one.tables, *self._mapper.tables}
        missing: list[Column[Any]] = []

        def replace(element: Any, **_: Any) -> Any:
            if isinstance(element, Column) and element.table in tables:
                if element in self._columns:
                    return self._view.columns[self._columns[element]]
                missing.append(element)
            return None

        inner = getattr(expression, "element", expression)
        moved = visitors.replacement_traverse(inner, {}, replace)
        if missing:
            self._withhold(name, missing)
        else:
            self._properties[name] = column_property(moved)

    def _add_synonym(self, name: str, target: str) -> None:
        if target in self._properties:
            self._properties[name] = synonym(target)
        else:
            setattr(self._cls, name, property(lambda self: getattr(self, target)))

    def _add_descriptors(self) -> None:
        """Take over what the model computes from its columns."""
        for name, found in self._mapper.all_orm_descriptors.items():
            if isinstance(found.extension_type, HybridExtensionType):
                setattr(self._cls, str(name), found)
        for prop in self._mapper.composites:
            setattr(self._cls, prop.key, _composite(prop))
        for name, value in _plain_properties(self._one.model):
            if name not in self._mapper.all_orm_descriptors and not hasattr(
                History, name
            ):
                setattr(self._cls, name, value)

    def _attribute(self, column: Column[Any]) -> str:
        return self._mapper.get_property_by_column(column).key

    @staticmethod
    def _free(name: str, taken: set[Any]) -> str:
        while name in taken:
            name = f"chrononaut_{name}"
        return name


def _view_columns(one: Declaration) -> dict[Any, str]:
    """Return the tracked columns of the model's tables and their names in the view.

    Where tables of a chain have columns of one name, the view shows the nearest one;
    the key of the others equals it.
    """
    withheld = one.all_hidden | one.all_untracked
    shown: dict[str, Column[Any]] = {}
    found: dict[Any, str] = {}
    for table in one.tables:
        for column in table.columns:
            if column in withheld:
                continue
            nearest = shown.setdefault(column.name, column)
            if nearest is column or (column.primary_key and nearest.primary_key):
                found[column] = column.name
    return found


def _view(one: Declaration, columns: dict[Any, str]) -> Table:
    metadata = _metadata(one)
    name, schema = view_name(one.table), _schema(one)
    full = f"{schema}.{name}" if schema else name
    if full in metadata.tables:
        return metadata.tables[full]
    stored = meta_names({c.name for table in one.tables for c in table.columns})
    unique: dict[str, Column[Any]] = {}
    for column, stored_name in columns.items():
        unique.setdefault(stored_name, column)
    return Table(
        name,
        metadata,
        *(Column(stored[name], kind) for name, kind in META_COLUMNS.items()),
        *(Column(name, _type(column)) for name, column in unique.items()),
        schema=schema,
    )


def _type(column: Column[Any]) -> Any:
    kind = column.type
    return kind.copy() if isinstance(kind, SchemaEventTarget) else kind


def _schema(one: Declaration) -> str | None:
    return getattr(one.model, "__chrononaut_history_schema__", one.table.schema)


def _metadata(one: Declaration) -> MetaData:
    public = one.table.metadata
    private = _METADATA.get(public)
    if private is None:
        private = _METADATA[public] = MetaData(schema=public.schema)
        private.info.update(public.info)
    return private


def _registry(one: Declaration) -> registry:
    metadata = _metadata(one)
    if "registry" not in metadata.info:
        metadata.info["registry"] = registry(metadata=metadata)
    found: registry = metadata.info["registry"]
    return found


def _composite(prop: Any) -> property:
    def read(self: Any) -> Any:
        values = [getattr(self, part.key) for part in prop.props]
        if all(value is None for value in values):
            return None
        return prop.composite_class(*values)

    return property(read)


def _plain_properties(model: type[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the model's computed properties; methods may write, so they stay behind."""
    seen: set[str] = set()
    for base in model.__mro__:
        if base.__module__.startswith(("chrononaut_pg.", "flask_sqlalchemy.")):
            continue
        for name, value in vars(base).items():
            computed = isinstance(value, property | functools.cached_property)
            if computed and name not in seen and not name.startswith("__"):
                yield name, value
            seen.add(name)


def _restore(model: type[Any], values: dict[str, Any]) -> Any:
    cls = history_class(model)
    version = sa_inspect(cls).class_manager.new_instance()
    vars(version).update(values)
    return version
