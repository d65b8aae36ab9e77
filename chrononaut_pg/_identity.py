"""Which object a row is, in whatever session: by model and key."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, select, tuple_
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session

from chrononaut_pg.declarations import (
    Declaration,
    declaration,
    is_declared,
    key_columns,
)
from chrononaut_pg.exceptions import RevertError

Identity = tuple[type[Any], tuple[Any, ...]]
"""The topmost versioned model of an object, or its own, and the values of its key."""

Key = tuple[Any, ...]


def identity(model: type[Any], image: Any) -> Identity:
    """Return the identity of an object or a version of *model*."""
    names = key_names(model)
    return _top(model), tuple([getattr(image, name) for name in names])


def find(session: Session, key: Identity) -> Any:
    """Return the object of an identity as the database has it, None if it is gone."""
    return next(iter(find_all(session, [key]).values()), None)


def find_all(session: Session, keys: Iterable[Identity]) -> dict[Identity, Any]:
    """Return the objects of those identities that the database has."""
    by_model: dict[type[Any], list[Key]] = {}
    for model, values in keys:
        by_model.setdefault(model, []).append(values)
    found: dict[Identity, Any] = {}
    for model, wanted in by_model.items():
        for one in session.scalars(*_found(model, wanted)).unique():
            found[identity(type(one), one)] = one
    return found


def find_behind_filters(session: Session, key: Identity) -> Any:
    """Return an object that the session has, though its listeners hide the row.

    None if the row is gone. Raises RevertError if it is there and the session has no
    object of it: what is filtered is none of its business.
    """
    if not session.dispatch.do_orm_execute:
        return None
    model, values = key
    mapper = declaration(model).mapper if is_declared(model) else sa_inspect(model)
    names = key_names(model)
    columns = [mapper.column_attrs[name].columns[0] for name in names]
    told = select(*mapper.primary_key).where(
        *(column == value for column, value in zip(columns, values, strict=True))
    )
    row = session.connection({"mapper": mapper}).execute(told).first()
    if row is None:
        return None
    found = session.identity_map.get(mapper.identity_key_from_primary_key(tuple(row)))
    if found is None:
        raise hidden(key)
    try:
        session.refresh(found)
    except InvalidRequestError as error:
        raise hidden(key) from error
    return found


def hidden(key: Identity) -> RevertError:
    """Return the error about an object that a session does not see."""
    model, values = key
    return RevertError(
        f"the row of {model.__name__} {values} is there, but filters of the session "
        "hide it",
        hint="Pass a session without them: revert(version, session=...).",
    )


def take_place(session: Session, instance: Any) -> None:
    """Add a new object; let go of one in its place whose row others have deleted."""
    key = sa_inspect(type(instance)).identity_key_from_instance(instance)
    stale = session.identity_map.get(key)
    if stale is not None:  # expunge() would let go of what it leads to as well
        session._expunge_states([sa_inspect(stale)])
    session.add(instance)


def _is_among(model: type[Any], keys: Sequence[Key]) -> ColumnElement[bool]:
    """Return the condition that a row of a model has one of the keys."""
    columns = [getattr(model, name) for name in key_names(model)]
    if len(keys) == 1:
        return and_(*(c == v for c, v in zip(columns, keys[0], strict=True)))
    if len(columns) == 1:
        found: ColumnElement[bool] = columns[0].in_([value for [value] in keys])
        return found
    return tuple_(*columns).in_(keys)


def topmost(one: Declaration) -> Declaration:
    """Return the declaration of all objects that may share a key with one's."""
    return one.lineage[-1] if one.mapper.polymorphic_on is not None else one


def key_names(model: type[Any]) -> tuple[str, ...]:
    """Return the attributes of a model that identify its objects."""
    if not is_declared(model):
        mapper = sa_inspect(model)
        return _names(mapper, mapper.primary_key)
    one = declaration(model)
    found: tuple[str, ...] | None = one.notes.get("key names")
    if found is None:
        found = _names(one.mapper, key_columns(one, one.table))
        one.notes["key names"] = found
    return found


def _names(mapper: Any, columns: Iterable[Any]) -> tuple[str, ...]:
    return tuple(mapper.get_property_by_column(column).key for column in columns)


def _top(model: type[Any]) -> type[Any]:
    if is_declared(model):
        return topmost(declaration(model)).model
    top: type[Any] = sa_inspect(model).base_mapper.class_
    return top


def _found(model: type[Any], keys: list[Key]) -> tuple[Select[Any], dict[str, Any]]:
    """Return a statement for the objects with these keys, and its parameters."""
    if len(keys) > 1 or not is_declared(model) or None in keys[0]:
        return _anew(select(model).where(_is_among(model, keys))), {}
    notes = declaration(model).notes
    values = {f"chrononaut_{n}": value for n, value in enumerate(keys[0])}
    if "by key" not in notes:  # made once, so that SQLAlchemy knows it again at once
        places: Key = tuple(bindparam(name) for name in values)
        notes["by key"] = _anew(select(model).where(_is_among(model, [places])))
    return notes["by key"], values


def _anew(statement: Select[Any]) -> Select[Any]:
    return statement.execution_options(populate_existing=True)
