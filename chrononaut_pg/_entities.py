"""The history objects of what a transaction changed."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Select,
    Table,
    Text,
    and_,
    any_,
    case,
    cast,
    column,
    func,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from chrononaut_pg._row_changes import (
    mapped_schemas,
    row_class,
    table_of,
)
from chrononaut_pg._typed import parse
from chrononaut_pg._views import history_table
from chrononaut_pg.declarations import (
    Declaration,
    declaration,
    declared,
    key_columns,
    models_of,
)


def changed_entities(
    transaction_id: int, session: Session, bind: dict[str, Any]
) -> dict[type[Any], list[Any]]:
    """Return {model: [history objects]} of what a transaction changed, in its order."""
    rows = session.execute(_select_relations(transaction_id), bind_arguments=bind)
    tables = {
        table_of(row.relation, row.visible, parse(row.image), row.schemas)
        for row in rows
    }
    found: dict[type[Any], list[Any]] = {}
    for one in _topmost(tables):
        for version in _left(one, tables, transaction_id, session):
            found.setdefault(type(version), []).append(version)
    return {_model(cls): versions for cls, versions in found.items()}


def _select_relations(transaction_id: int) -> Select[Any]:
    change = func.chrononaut.changes_of(cast(transaction_id, BigInteger)).table_valued(
        column("relation", Text), column("before", JSONB), column("after", JSONB)
    )
    image = func.coalesce(change.c.before, change.c.after)
    return (
        select(
            change.c.relation,
            cast(func.to_regclass(change.c.relation), Text).label("visible"),
            mapped_schemas().label("schemas"),
            cast(func.array_agg(image, type_=ARRAY(JSONB))[1], Text).label("image"),
        )
        .group_by(change.c.relation)
        .order_by(change.c.relation)
    )


def _topmost(tables: set[Table | None]) -> list[Declaration]:
    """Return the topmost model of each table whose rows these tables hold parts of."""
    concerned = [one for one in declared() if tables.intersection(one.tables)]
    return [models_of(t)[0] for t in dict.fromkeys(one.table for one in concerned)]


def _left(
    one: Declaration, tables: set[Table | None], transaction_id: int, session: Session
) -> Iterable[Any]:
    """Return the newest version of each object that the transaction began or ended."""
    cls = one.model.__history_mapper__.class_
    versions = session.scalars(
        _select_left(one, cls, tables, transaction_id),
        bind_arguments={"bind": session.get_bind(one.mapper)},
        execution_options={"populate_existing": True},
    )
    names = cls.__chrononaut_key_names__
    newest = {tuple(getattr(v, name) for name in names): v for v in versions}
    return [v for v in newest.values() if _is_home(one, v)]


def _select_left(
    one: Declaration, cls: type[Any], tables: set[Table | None], transaction_id: int
) -> Select[Any]:
    def meta(name: str) -> Any:
        return getattr(cls, cls.__chrononaut_meta_names__[name])

    ended = and_(
        meta("transaction_id") == transaction_id, meta("operation").in_(("D", "T"))
    )
    begun = meta("created_transaction_id") == transaction_id
    came = case((begun, meta("created_change_id")), else_=meta("change_id"))
    return (
        select(cls)
        .where(*_keys_touched(one, cls, tables, transaction_id))
        .where(or_(begun, ended))
        .order_by(came)
    )


def _keys_touched(
    one: Declaration, cls: type[Any], tables: set[Table | None], transaction_id: int
) -> list[Any]:
    """Return conditions that let the view read no more than the rows touched.

    An array goes down into the view where a join does not. Of a key of several columns
    each is held against its own array, which lets a few more rows through.
    """
    parents = [two for two in one.lineage if two.table in tables]
    by_table = {two.table: two for two in parents}.values()
    conditions = []
    for n, name in enumerate(cls.__chrononaut_key_names__):
        attribute = getattr(cls, name)
        touched = []
        for two in by_table:
            history = history_table(two.model)
            stored = history.c[key_columns(two, two.table)[n].name]
            is_its = history.c["chrononaut:transaction_id"] == transaction_id
            touched.append(select(stored).where(is_its))
        keys = union_all(*touched) if len(touched) > 1 else touched[0]
        array = func.array(keys.scalar_subquery(), type_=ARRAY(attribute.type))
        conditions.append(attribute == any_(array))
    return conditions


def _is_home(one: Declaration, version: Any) -> bool:
    """Whether the row of a version has no part in the table of a subclass."""
    kind = one.mapper.polymorphic_on
    if kind is None or kind not in one.mapper._columntoproperty:
        return True
    name = one.mapper.get_property_by_column(kind).key
    value = vars(version).get(name)
    return declaration(row_class(one, value)).table is one.table


def _model(cls: type[Any]) -> type[Any]:
    model: type[Any] = cls.__chrononaut_declaration__.model
    return model
