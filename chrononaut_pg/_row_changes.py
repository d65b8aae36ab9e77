"""Changes of rows of any table, from the SQL core, in the words of the models."""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    Text,
    cast,
    column,
    func,
    select,
)
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapper

from chrononaut_pg._times import aware
from chrononaut_pg._typed import parse, plain, typed
from chrononaut_pg.declarations import (
    Declaration,
    declared,
    is_declared,
    latest,
    models_of,
)


@dataclass(frozen=True)
class RowChange:
    """One change of one row of any versioned table.

    *model* is the class of the row, None for a table without a model. *key*, *before*
    and *after* are {attribute: value}, of tables without a model {column: value as in
    JSON}; *before* is None for an insert, *after* for the end of a row, or if what came
    next was not recorded. *fields* names what changed, hidden attributes included.
    """

    change_id: int
    changed: datetime
    transaction_id: int
    relation: str
    model: type[Any] | None
    operation: str
    key: Mapping[str, Any]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    fields: list[str]
    change_info: Mapping[str, Any]

    @property
    def values(self) -> dict[str, tuple[Any, Any]]:
        """What changed, as {attribute: (before, after)}, but for hidden attributes."""
        old, new = self.before or {}, self.after or {}
        return {
            name: (old.get(name), new.get(name))
            for name in self.fields
            if name in old or name in new
        }


def select_changes_of(
    transaction_id: int, after_id: int | None = None, limit: int | None = None
) -> Select[Any]:
    """Return a statement for what a transaction changed, for `row_changes_from`.

    Pages: *limit* changes after the one with number *after_id*.
    """
    about = cast(transaction_id, BigInteger)
    found = func.chrononaut.changes_of(about, *_page(after_id, limit))
    columns = [one for one in _columns() if one.name != "transaction_id"]
    return _select(found.table_valued(*columns), about.label("transaction_id"))


def select_changes_by(
    user_id: str | None,
    after: datetime,
    before: datetime | None = None,
    after_id: int | None = None,
    limit: int | None = None,
) -> Select[Any]:
    """Return a statement for what a user changed between two times::

        rows = session.execute(select_changes_by("ann", monday, tuesday))
        for change in row_changes_from(rows): ...

    From *after* on and before *before*, in order, whatever the table; a *user_id* of
    None means nobody known. Pages: *limit* changes after the one with number
    *after_id*. Every page reads what anybody changed between the times.
    """
    times = (None if at is None else aware(at) for at in (after, before))
    found = func.chrononaut.changes_by(
        cast(user_id, Text),
        *(cast(at, DateTime(timezone=True)) for at in times),
        *_page(after_id, limit),
    ).table_valued(*_columns())
    return _select(found, found.c.transaction_id)


def row_changes_from(rows: Iterable[Any]) -> Iterator[RowChange]:
    """Yield what rows say that `select_changes_of` or `select_changes_by` selected."""
    shapes: dict[Any, _Shape] = {}
    for row in rows:
        key, before, after = (parse(getattr(row, name)) for name in _IMAGES)
        image = after if before is None else before
        table = table_of(row.relation, row.visible, image, row.schemas)
        model = None if table is None else _model_of(table, image)
        shape = shapes.setdefault((table, model), _Shape(table, model))
        yield RowChange(
            change_id=row.change_id,
            changed=row.changed,
            transaction_id=row.transaction_id,
            relation=row.relation,
            model=shape.model,
            operation=row.operation,
            key=shape.values(key),
            before=before and shape.values(before),
            after=after and shape.values(after),
            fields=[shape.name(one) for one in row.fields or ()],
            change_info=row.change_info,
        )


def table_of(
    relation: str,
    visible: str | None,
    image: Mapping[str, Any] | None,
    schemas: str,
) -> Table | None:
    """Return the Table of a versioned model that a relation is, None if there is none.

    *visible* is its name as the search path has it, *schemas* what `mapped_schemas`
    selected. Where several Tables have the name, that with the columns of *image* is
    meant and nothing else, the one declared last among equals.
    """
    names = {
        (declared_as, table)
        for schema, table in (_parts(name) for name in (relation, visible) if name)
        for declared_as in _schemas_by_name(schemas).get(schema, ())
    }
    found = [one for name in names for one in _named(latest()).get(name, ())]
    if len(found) > 1:
        found = [max(found, key=lambda one: (_fit(one, image or {}), one.position))]
    return found[0].table if found else None


def row_class(one: Declaration, value: Any) -> type[Any]:
    """Return the model of a row, given its discriminator; unknown ones say nothing."""
    mapper = one.mapper.polymorphic_map.get(value)
    return mapper.class_ if mapper and is_declared(mapper.class_) else one.model


_IMAGES = ("key", "before", "after")

_NAME = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')


class mapped_schemas(ColumnElement[Any]):
    """Where a `schema_translate_map` has the schemas of models, for `table_of`."""

    inherit_cache = False
    type = Text()


@compiles(mapped_schemas)
def _compile_schemas(element: mapped_schemas, compiler: Any, **_: Any) -> str:
    # A literal, since maps take effect on names in the text; none is quoted like this.
    preparer = compiler.preparer
    names = (
        preparer.format_table(Table(_stand_in(schema), MetaData(), schema=schema))
        for schema in dict.fromkeys(schema for schema, _ in _named(latest()))
    )
    return f"CAST($chrononaut${' '.join(names)}$chrononaut$ AS TEXT)"


def _stand_in(schema: str | None) -> str:
    """Return the name of a table that tells the schema that models give it."""
    return "n" if schema is None else f"s{schema.encode().hex()}"


@functools.lru_cache(maxsize=256)
def _schemas_by_name(mapped: str) -> dict[str | None, list[str | None]]:
    """Return the schemas that models declare, by what the database calls them."""
    found: dict[str | None, list[str | None]] = {}
    for quoted, bare, name in _MAPPED.findall(mapped):
        schema = quoted.replace('""', '"') or bare or None
        declares = None if name == "n" else bytes.fromhex(name[1:]).decode()
        found.setdefault(schema, []).append(declares)
    return found


_MAPPED = re.compile(r'(?:(?:"((?:[^"]|"")*)"|([^". ]+))\.)?(n|s[0-9a-f]*)(?: |$)')


def _columns() -> list[Any]:
    from sqlalchemy.dialects.postgresql import JSONB

    return [
        column("change_id", BigInteger),
        column("changed", DateTime(timezone=True)),
        column("relation", Text),
        column("operation", String),
        *(column(name, JSONB) for name in _IMAGES),
        column("fields", ARRAY(Text)),
        column("transaction_id", BigInteger),
        column("change_info", JSONB),
    ]


def _page(after_id: int | None, limit: int | None) -> tuple[Any, Any]:
    return cast(after_id, BigInteger), cast(limit, Integer)


def _select(found: Any, transaction_id: Any) -> Select[Any]:
    relation = found.c.relation
    return select(
        found.c.change_id,
        found.c.changed,
        relation,
        cast(func.to_regclass(relation), Text).label("visible"),
        mapped_schemas().label("schemas"),
        found.c.operation,
        *(cast(found.c[name], Text).label(name) for name in _IMAGES),
        found.c.fields,
        transaction_id,
        found.c.change_info,
    ).order_by(found.c.change_id)


def _parts(name: str) -> tuple[str | None, str]:
    """Return schema and table of a name as SQL writes it."""
    parts = [
        quoted.replace('""', '"') if quoted or not bare else bare
        for quoted, bare in _NAME.findall(name)
    ]
    return (parts[-2] if len(parts) > 1 else None), parts[-1]


@dataclass
class _Named:
    """A Table of models, with its columns and those of which images tell values."""

    table: Table
    position: int
    columns: frozenset[str]
    told: set[str]


@functools.lru_cache(maxsize=1)
def _named(serial: int) -> dict[tuple[str | None, str], list[_Named]]:
    """Return the Tables of models by schema and name; *serial* is for the cache."""
    found: dict[Table, _Named] = {}
    for one in declared():
        names = frozenset(column.name for column in one.table.columns)
        named = found.setdefault(
            one.table, _Named(one.table, len(found), names, {*names})
        )
        named.told.difference_update(
            column.name
            for column in one.hidden | one.untracked
            if column.table is one.table
        )
    by_name: dict[tuple[str | None, str], list[_Named]] = {}
    for named in found.values():
        by_name.setdefault((named.table.schema, named.table.name), []).append(named)
    return by_name


def _fit(one: _Named, image: Mapping[str, Any]) -> tuple[int, int]:
    """Return how well a Table fits an image, columns that the image lacks last."""
    foreign = len(image.keys() - one.columns)
    missing = len(one.told - image.keys()) if image else 0
    return len(one.columns & image.keys()) - foreign, -missing


class _Shape:
    """The attributes of a row's columns; columns without one keep their names."""

    def __init__(self, table: Table | None, model: type[Any] | None) -> None:
        self.model = model
        mapper: Mapper[Any] | None = sa_inspect(model) if model else None
        self._columns: dict[str, Column[Any]] = {}
        self._names: dict[str, str] = {}
        for one in table.columns if table is not None else ():
            self._columns[one.name] = one
            if mapper is not None and one in mapper._columntoproperty:
                self._names[one.name] = mapper.get_property_by_column(one).key

    def name(self, stored: str) -> str:
        return self._names.get(stored, stored)

    def values(self, image: Mapping[str, Any]) -> dict[str, Any]:
        """Return an image by attribute, in the model's order, without foreign nulls."""
        ordered = (*(n for n in self._columns if n in image), *image)
        return {
            self.name(stored): self._value(stored, image[stored])
            for stored in dict.fromkeys(ordered)
            if image[stored] is not None
            or stored in self._names
            or stored not in self._columns
        }

    def _value(self, stored: str, value: Any) -> Any:
        known = self._columns.get(stored)
        return plain(value) if known is None else typed(value, known.type)


def _model_of(table: Table, image: Mapping[str, Any] | None) -> type[Any]:
    """Return the model of a row of a table, by its discriminator if that is there."""
    one = models_of(table)[0]
    kind = one.mapper.polymorphic_on
    if isinstance(kind, Column) and kind.table is table and image:
        return row_class(one, typed(image.get(kind.name), kind.type))
    return one.model
