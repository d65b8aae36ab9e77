"""What each attribute of a model becomes in its history class."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, case, literal
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.ext.hybrid import HybridExtensionType
from sqlalchemy.orm import Mapper, column_property, composite, relationship, synonym
from sqlalchemy.sql import visitors

from chrononaut_pg._views import (
    META_COLUMNS,
    meta_names,
    private_registry,
    versions_view,
    view_columns,
)
from chrononaut_pg.declarations import Declaration, key_columns
from chrononaut_pg.exceptions import HiddenAttributeError, UntrackedAttributeError


class Withheld:
    """An attribute of the model that its history does not have."""

    def __init__(self, name: str, hidden: bool) -> None:
        self._name = name
        self._kind: type[Exception]
        if hidden:
            self._kind = HiddenAttributeError
            self._why = (
                "the column is hidden; that it changed is in "
                "change_info['hidden_cols_changed']"
            )
        else:
            self._kind = UntrackedAttributeError
            self._why = "the column is not tracked"

    def __get__(self, instance: object, owner: type) -> Any:
        raise self._kind(f"{owner.__name__}.{self._name} is not known: {self._why}")


class Mapping:
    """Maps one history class: *root* is the base of all of them.

    *base* is that of the model's parent, if they share a table. *reckoned* makes the
    attribute of a version, given its name, that other tables are read for.
    """

    def __init__(
        self,
        one: Declaration,
        cls: type[Any],
        base: type[Any] | None,
        root: type[Any],
        reckoned: Callable[[str], Any],
    ) -> None:
        self._one = one
        self._cls = cls
        self._base = base
        self._root = root
        self._reckoned = reckoned
        self._mapper: Mapper[Any] = one.mapper
        self._columns = view_columns(one)
        self._view: Table = versions_view(one)
        self._properties: dict[str, Any] = {}

    def map(self) -> None:
        for prop in sorted(self._mapper.column_attrs, key=self._position):
            self._add_column_attribute(prop)
        for together in self._mapper.composites:
            self._add_composite(together)
        for alias in self._mapper.synonyms:
            self._add_synonym(alias.key, alias.name)
        self._add_computed()
        change_id = self._add_meta()
        key = [self._attribute(c) for c in key_columns(self._one, self._one.table)]
        self._cls.__chrononaut_key_names__ = tuple(key)
        private_registry(self._one).map_imperatively(
            self._cls,
            self._view if self._base is None else None,
            **self._options([*key, change_id]),
        )

    def _options(self, primary_key: list[str]) -> dict[str, Any]:
        mapped = {id(found) for found in self._properties.values()}
        options: dict[str, Any] = {
            "properties": self._properties,
            "always_refresh": True,  # an identity once served a rolled-back image
            "primary_key": [self._properties[name] for name in primary_key],
            "exclude_properties": [
                column for column in self._view.columns if id(column) not in mapped
            ],
        }
        if self._base is None:
            return {**options, **self._row_classes()}
        inherited = self._base.__mapper__.attrs.keys()
        own = {n: p for n, p in self._properties.items() if n not in inherited}
        return {
            **options,
            "properties": own,
            "inherits": self._base,
            "polymorphic_identity": self._mapper.polymorphic_identity,
        }

    def _row_classes(self) -> dict[str, Any]:
        """Return options that give each row the class that it has in its own table.

        Rows of subclasses with tables of their own are rows of this class here.
        """
        mappers = [m for m in self._mapper.self_and_descendants if _shares(m, self)]
        kind = self._mapper.polymorphic_on
        if len(mappers) < 2 or self._mapper.single or kind is None:
            return {}
        moved, missing = self._moved(kind)
        if missing:
            return {}
        own = self._mapper.polymorphic_identity
        known = [m.polymorphic_identity for m in mappers if m is not self._mapper]
        return {
            "polymorphic_on": case((moved.in_(known), moved), else_=own),
            "polymorphic_identity": own,
            "with_polymorphic": "*",
        }

    def _add_column_attribute(self, prop: Any) -> None:
        if not isinstance(prop.columns[0], Column):
            self._add_expression(prop.key, prop.columns[0])
            return
        stored = [self._columns[c] for c in prop.columns if c in self._columns]
        if stored:
            self._properties[prop.key] = self._view.columns[stored[0]]
        else:
            self._withhold(prop.key, prop.columns)

    def _position(self, prop: Any) -> int:
        """Return where a column stands in the view; others come last."""
        places = {column: n for n, column in enumerate(self._columns)}
        return min(places.get(column, len(places)) for column in prop.columns)

    def _withhold(self, name: str, columns: list[Column[Any]]) -> None:
        hidden = not self._one.all_hidden.isdisjoint(columns)
        setattr(self._cls, name, Withheld(name, hidden))

    def _add_expression(self, name: str, expression: ColumnElement[Any]) -> None:
        """Map a column_property of the versioned tables' columns over the view."""
        union = getattr(expression, "table", None)
        if union is not None and expression is self._mapper.polymorphic_on:
            # A column of the union of concrete classes, which are not read for this.
            own = literal(self._mapper.polymorphic_identity, expression.type)
            self._properties[name] = column_property(own)
            return
        moved, missing = self._moved(getattr(expression, "element", expression))
        if missing:
            self._withhold(name, missing)
        elif any(isinstance(part, Table) for part in visitors.iterate(moved)):
            # Rows of other tables: those of the present are not what it reckoned with.
            setattr(self._cls, name, self._reckoned(name))
        else:
            self._properties[name] = column_property(moved)

    def _moved(self, expression: Any) -> tuple[Any, list[Column[Any]]]:
        """Return an expression over the view, and the columns that it would need."""
        tables = {*self._one.tables, *self._mapper.tables}
        missing: list[Column[Any]] = []

        def replace(element: Any, **_: Any) -> Any:
            if isinstance(element, Column) and element.table in tables:
                if element in self._columns:
                    return self._view.columns[self._columns[element]]
                missing.append(element)
            return None

        return visitors.replacement_traverse(expression, {}, replace), missing

    def _add_composite(self, prop: Any) -> None:
        parts = [part.key for part in prop.props]
        absent = [part for part in prop.props if part.key not in self._properties]
        if absent:
            self._withhold(prop.key, [c for part in absent for c in part.columns])
            return
        kept = ("return_none_on",) if hasattr(prop, "return_none_on") else ()
        self._properties[prop.key] = composite(
            prop.composite_class,
            *parts,
            comparator_factory=prop.comparator_factory,
            **{name: getattr(prop, name) for name in kept},
        )

    def _add_synonym(self, name: str, target: str) -> None:
        if target in self._properties:
            self._properties[name] = synonym(target)
        elif target in vars(self._cls):
            setattr(self._cls, name, vars(self._cls)[target])

    def _add_computed(self) -> None:
        """Take over what the model computes; methods may write, so they stay behind."""
        descriptors = self._mapper.all_orm_descriptors
        for name, found in descriptors.items():
            if isinstance(found.extension_type, HybridExtensionType):
                setattr(self._cls, str(name), found)
        for name, value in _plain_properties(self._one.model):
            if name not in descriptors and not hasattr(self._root, name):
                setattr(self._cls, name, value)

    def _add_meta(self) -> str:
        """Add the meta columns; the model's own attributes keep their names.

        Only the columns of RecordChanges, never tracked, give way.
        """
        recorded = {
            self._attribute(column)
            for column in self._one.recording
            if column.table in self._one.tables
        }
        taken = set(self._mapper.all_orm_descriptors.keys()) - recorded
        self._add_links(taken)
        stored = meta_names({c.name for t in self._one.tables for c in t.columns})
        names: dict[str, str] = {}
        for name in META_COLUMNS:
            names[name] = attribute = _free(name, taken)
            if attribute in vars(self._cls):
                delattr(self._cls, attribute)
            self._properties[attribute] = self._view.columns[stored[name]]
        self._cls.__chrononaut_meta_names__ = names
        return names["change_id"]

    def _add_links(self, taken: set[Any]) -> None:
        """Add the transactions, and keep what History offers under a free name."""
        from chrononaut_pg._transaction import Transaction, elsewhere

        stored = meta_names({c.name for t in self._one.tables for c in t.columns})
        bind = self._one.table.metadata.info.get("bind_key")
        for name in ("transaction", "created_transaction"):
            if bind is not None:
                setattr(self._cls, _free(name, taken), elsewhere(f"{name}_id", bind))
                continue
            column = self._view.columns[stored[f"{name}_id"]]
            self._properties[_free(name, taken)] = relationship(
                Transaction,
                primaryjoin=sa_inspect(Transaction).local_table.c.id == column,
                foreign_keys=[column],
                viewonly=True,
                uselist=False,
            )
        for name in ("previous", "next", "index", "changeset", "revert"):
            if name in taken:
                setattr(self._cls, _free(name, taken), vars(self._root)[name])

    def _attribute(self, column: Column[Any]) -> str:
        return self._mapper.get_property_by_column(column).key


def _shares(mapper: Mapper[Any], mapping: Mapping) -> bool:
    """Whether rows of *mapper* are stored in the mapped table alone."""
    return mapper.local_table is mapping._one.table


def _free(name: str, taken: set[Any]) -> str:
    while name in taken:
        name = f"chrononaut_{name}"
    return name


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
