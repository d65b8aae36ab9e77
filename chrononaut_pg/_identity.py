"""Which object a row is, in whatever session: by model and key."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, and_, select, tuple_
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Session

from chrononaut_pg.declarations import (
    Declaration,
    declaration,
    is_declared,
    key_columns,
)

Identity = tuple[type[Any], tuple[Any, ...]]
"""The topmost versioned model of an object, or its own, and the values of its key."""


def identity(model: type[Any], image: Any) -> Identity:
    """Return the identity of an object or a version of *model*."""
    if is_declared(model):
        top = topmost(declaration(model)).model
    else:
        top = sa_inspect(model).base_mapper.class_
    return top, tuple(getattr(image, name) for name in _key_names(model))


def find(session: Session, key: Identity, options: Iterable[Any] = ()) -> Any:
    """Return the object of an identity as the database has it, None if it is gone."""
    return next(iter(find_all(session, [key], options).values()), None)


def find_all(
    session: Session, keys: Iterable[Identity], options: Iterable[Any] = ()
) -> dict[Identity, Any]:
    """Return the objects of those identities that the database has."""
    by_model: dict[type[Any], list[tuple[Any, ...]]] = {}
    for model, values in keys:
        by_model.setdefault(model, []).append(values)
    found: dict[Identity, Any] = {}
    for model, wanted in by_model.items():
        statement = (
            select(model)
            .where(_is_among([getattr(model, n) for n in _key_names(model)], wanted))
            .options(*options)
            .execution_options(populate_existing=True)
        )
        for one in session.scalars(statement).unique():
            found[identity(type(one), one)] = one
    return found


def topmost(one: Declaration) -> Declaration:
    """Return the declaration of all objects that may share a key with one's."""
    return one.lineage[-1] if one.mapper.polymorphic_on is not None else one


def _key_names(model: type[Any]) -> list[str]:
    mapper = sa_inspect(model)
    columns: Iterable[Any] = mapper.primary_key
    if is_declared(model):
        one = declaration(model)
        columns = key_columns(one, one.table)
    return [mapper.get_property_by_column(column).key for column in columns]


def _is_among(names: list[Any], wanted: list[tuple[Any, ...]]) -> ColumnElement[bool]:
    if len(wanted) == 1:
        [values] = wanted
        return and_(*(n == v for n, v in zip(names, values, strict=True)))
    if len(names) == 1:
        found: ColumnElement[bool] = names[0].in_([value for [value] in wanted])
        return found
    return tuple_(*names).in_(wanted)
