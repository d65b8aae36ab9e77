"""Statements that read the history of one object, and what they return.

Every reader is one statement over the versions view, built here; the mixin executes it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Exists,
    Select,
    Text,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Query, Session, aliased, object_session
from sqlalchemy.orm.attributes import instance_state

from chrononaut_pg._changes import (
    Blame,
    Change,
    blame_from,
    changes_from,
    hidden_attributes,
)
from chrononaut_pg._comparing import attributes, differing
from chrononaut_pg._direct import Direct, direct
from chrononaut_pg._times import aware as aware
from chrononaut_pg._views import history_table
from chrononaut_pg.declarations import declaration, key_columns
from chrononaut_pg.exceptions import ChrononautException, NotVersionedError
from chrononaut_pg.history import (
    History,
    history_class,
    key_names,
    meta,
    meta_attribute,
)

_DIRECT = "direct of objects"
"""Where the notes of a declaration keep the statements for its objects."""

__all__ = ["Blame", "Change", "blame_from", "changes_from", "hidden_attributes"]


def select_versions(
    instance: Any,
    before: datetime | None = None,
    after: datetime | None = None,
    ordered: bool = True,
) -> Select[Any]:
    """Select the earlier versions of an object that ended in the given time."""
    cls = _class(instance)
    change_id = meta_attribute(cls, "change_id")
    changed = meta_attribute(cls, "changed")
    statement = _of(instance).where(change_id.is_not(None))
    if before is not None:
        statement = statement.where(changed <= aware(before))
    if after is not None:
        statement = statement.where(changed >= aware(after))
    return statement.order_by(change_id) if ordered else statement


def query_versions(
    instance: Any,
    session: Session,
    before: datetime | None = None,
    after: datetime | None = None,
    ordered: bool = True,
) -> Query[Any]:
    """Return what `select_versions` selects as a Query of the session."""
    statement = select_versions(instance, before, after, ordered)
    query: Query[Any] = session.query(_class(instance)).populate_existing()
    query = query.filter(*statement._where_criteria)
    return query.order_by(*statement._order_by_clauses)


def select_version_at(instance: Any, at: datetime) -> Select[Any]:
    """Select the version in force at a time, the live row included, if there is one."""
    cls = _class(instance)
    ended = meta_attribute(cls, "valid_to")
    newest = select_newest_begun(instance, at).subquery()
    ended_in = newest.c[_stored(cls, ended)]
    version = aliased(cls, newest)
    return select(version).where(or_(ended_in.is_(None), ended_in > aware(at)))


def select_newest_begun(instance: Any, at: datetime) -> Select[Any]:
    """Select the newest version that had begun by a time, ended since or not."""
    cls = _class(instance)
    newest_first = meta_attribute(cls, "change_id").desc().nulls_first()
    began = meta_attribute(cls, "valid_from")
    return (
        _of(instance)
        .where(or_(began.is_(None), began <= aware(at)))
        .order_by(newest_first)
        .limit(1)
    )


def select_version(instance: Any) -> Select[Any]:
    """Select the number of an object's newest version, None without any."""
    cls = _class(instance)
    number = func.max(meta_attribute(cls, "version"))
    return select(number).where(*_key_is(instance, cls))


def select_previous_version(instance: Any) -> Select[Any]:
    """Select the version before the live one, or the last one of a deleted row."""
    change_id = meta_attribute(_class(instance), "change_id")
    return (
        _of(instance).where(change_id.is_not(None)).order_by(change_id.desc()).limit(1)
    )


def select_changes(instance: Any) -> Select[Any]:
    """Select all versions of an object, the live one included, for `changes_from`."""
    change_id = meta_attribute(_class(instance), "change_id")
    return _of(instance).order_by(change_id.nulls_last())


def select_has_changed_since(instance: Any, since: datetime) -> Select[Any]:
    """Select whether any table of an object recorded a change after a time."""
    found: list[Exists] = []
    for one in declaration(type(instance)).lineage:
        table = history_table(one.model)
        columns = key_columns(one, one.table)
        wanted = [
            table.columns[column.name] == value
            for column, value in zip(columns, _values(instance, columns), strict=True)
        ]
        changed = table.columns["chrononaut:changed"]
        found.append(exists().where(*wanted, changed > aware(since)))
    return select(or_(*found))


def select_blame(instance: Any) -> Select[Any]:
    """Select for each attribute the version that last set it; see `blame_from`."""
    cls = history_class(type(instance))
    view = sa_inspect(cls).local_table
    version, since, info, transaction = (
        view.columns[_stored(cls, meta_attribute(cls, name))]
        for name in (
            *("version", "valid_from"),
            *("created_change_info", "created_transaction_id"),
        )
    )
    window = {"order_by": version}
    first = or_(
        func.lag(version).over(**window).is_(None),
        view.columns[_stored(cls, meta_attribute(cls, "created_operation"))] == "I",
    )
    sets: dict[str, ColumnElement[bool]] = {}
    for name in attributes(cls):
        value = cast(view.columns[_stored(cls, getattr(cls, name))], Text)
        sets[name] = or_(first, value.is_distinct_from(func.lag(value).over(**window)))
    one = declaration(type(instance))
    for column in one.hidden_columns:
        name = one.mapper.get_property_by_column(column).key
        told = info["hidden_cols_changed"].has_key(literal(column.name, Text))
        sets[name] = or_(first, func.coalesce(told, False))
    versions = (
        select(
            version.label("version"),
            since.label("since"),
            info.label("info"),
            transaction.label("transaction"),
            *(set_.label(f"set_{n}") for n, set_ in enumerate(sets.values())),
        )
        .where(*_key_is(instance, cls, view))
        .cte("versions")
    )
    parts = [
        select(
            select(
                literal(name).label("name"),
                versions.c.version,
                versions.c.since,
                versions.c.info,
                versions.c.transaction,
            )
            .where(versions.c[f"set_{n}"])
            .order_by(versions.c.version.desc())
            .limit(1)
            .subquery()
        )
        for n, name in enumerate(sets)
    ]
    return select(union_all(*parts).subquery())


def direct_of(instance: Any) -> Direct | None:
    """Return the statements that read an object's history past the view, if any do."""
    notes = declaration(type(instance)).notes
    if _DIRECT not in notes:
        notes[_DIRECT] = direct(_class(instance))
    found: Direct | None = notes[_DIRECT]
    return found


def key_of(instance: Any) -> tuple[Any, ...]:
    """Return the key of an object as the database knows it, without asking it."""
    one = declaration(type(instance))
    return _values(instance, key_columns(one, one.table))


def key_values(instance: Any, columns: Iterable[Any]) -> tuple[Any, ...]:
    """Return the values of key columns, of any table of the object, in their order."""
    return _values(instance, columns)


def in_force_of(instance: Any, begun: Sequence[Any], at: datetime) -> Any:
    """Return what was in force at a time, given what `select_newest_begun` selects.

    That is cheaper than to ask it in SQL, as `select_version_at` does.
    """
    if not begun:
        return None
    (version,) = begun
    if meta(version, "change_id") is None:
        return instance
    return version if meta(version, "valid_to") > aware(at) else None


def diff(instance: Any, from_model: Any, to: Any = None) -> dict[str, tuple[Any, Any]]:
    """Return {attribute: (from, to)} for what differs between two versions.

    *to* is a later version, or None for the object as it is now.
    """
    target = instance if to is None else to
    row, present = _state(instance)
    old_row, old = _state(from_model)
    new_row, new = (row, present) if target is instance else _state(target)
    alive = not isinstance(from_model, History)
    if alive and (old_row is None or old_row == row or old_row[0] is not row[0]):
        raise ChrononautException("Cannot diff from a non-history model.")
    if not row == old_row == new_row:
        raise ChrononautException(
            "You can only diff models with the same primary keys."
        )
    if new is not None and (old is None or new < old):
        raise ChrononautException(
            "Diffs must be chronological. Your from_model post-dates your to."
        )
    names = attributes(history_class(type(instance)))
    if target is instance:
        _load_deferred(instance, names)
    return differing(names, from_model, target)


def _load_deferred(instance: Any, names: Iterable[str]) -> None:
    """Load deferred attributes of an object at once, those that refuse that, too."""
    session, state = object_session(instance), instance_state(instance)
    wanted = state.unloaded.intersection(names) - state.expired_attributes
    if session is not None and state.persistent and wanted:
        with session.no_autoflush:
            session.refresh(instance, wanted)


def select_hidden_changed_since(instance: Any, version: Any) -> Select[Any]:
    """Select lists of hidden columns that changed since a version, one per change."""
    cls = _class(instance)
    told = meta_attribute(cls, "change_info")["hidden_cols_changed"]
    since = meta_attribute(cls, "change_id") >= meta(version, "change_id")
    return select(told).where(*_key_is(instance, cls), told.is_not(None), since)


def _class(instance: Any) -> type[Any]:
    """Return the history class of all that the row ever was.

    Of single-table inheritance that is the topmost: each row finds its own class.
    """
    found: type[Any] = sa_inspect(history_class(type(instance))).base_mapper.class_
    return found


def _of(instance: Any) -> Select[Any]:
    cls = _class(instance)
    return select(cls).where(*_key_is(instance, cls))


def _key_is(
    instance: Any, cls: type[Any], view: Any = None
) -> list[ColumnElement[bool]]:
    """Return the conditions on the key, on attributes or on columns of the view."""
    attributes_ = [getattr(cls, name) for name in key_names(cls)]
    keys = (
        attributes_
        if view is None
        else [view.columns[_stored(cls, one)] for one in attributes_]
    )
    return [key == value for key, value in zip(keys, key_of(instance), strict=True)]


def _values(instance: Any, columns: Iterable[Any]) -> tuple[Any, ...]:
    """Return the values of key columns as they were when last read or flushed."""
    state = instance_state(instance)
    wanted, primary = tuple(columns), state.mapper.primary_key
    if state.key is not None and [*map(id, wanted)] == [*map(id, primary)]:
        return tuple(state.key[1])
    known = dict(zip(primary, state.identity or (), strict=False))
    return tuple(_key_value(state, column, known) for column in wanted)


def _key_value(state: Any, column: Any, known: Mapping[Any, Any]) -> Any:
    prop = state.mapper.get_property_by_column(column)
    for one in prop.columns:
        if one in known:
            return known[one]
    return getattr(state.obj(), prop.key)


def _state(one: Any) -> tuple[Any, Any]:
    """Return which row an object is or was, and the change that ended that.

    The row is the topmost model and the key; None for what is of no versioned model.
    """
    if isinstance(one, History):
        *row, change_id = one._identity
        return row, change_id
    try:
        declared = declaration(type(one))
    except NotVersionedError:
        return None, None
    key = _values(one, key_columns(declared, declared.table))
    return [declared.lineage[-1].model, key], None


def _stored(cls: type[Any], attribute: Any) -> str:
    name: str = sa_inspect(cls).get_property(attribute.key).columns[0].name
    return name
