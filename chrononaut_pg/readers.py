"""Statements that read the history of one object, and what they return.

Every reader is one statement over the versions view, built here; the mixin executes it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
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

from chrononaut_pg._views import history_table
from chrononaut_pg.declarations import declaration, key_columns
from chrononaut_pg.exceptions import ChrononautException
from chrononaut_pg.history import (
    History,
    history_class,
    key_names,
    meta,
    meta_attribute,
)


@dataclass(frozen=True)
class Change:
    """One change of one row: an insert, an update, a delete or a truncate.

    *before* and *after* are history objects; *before* is None for an insert, *after*
    for the end of a row. *changed* is when it happened, *change_info* who did it and
    why.
    """

    operation: str
    changed: datetime
    change_info: Mapping[str, Any]
    before: Any
    after: Any
    change_id: int
    transaction_id: int

    @property
    def fields(self) -> list[str]:
        """The attributes that changed, hidden ones included, in the model's order."""
        cls = type(self.before if self.before is not None else self.after)
        return [
            name for name in _attributes(cls) if self._value(name) is not None
        ] + list(self.change_info.get("hidden_cols_changed", ()))

    @property
    def values(self) -> dict[str, tuple[Any, Any]]:
        """What changed, as {attribute: (before, after)}, but for hidden attributes."""
        names = _attributes(
            type(self.before if self.before is not None else self.after)
        )
        return {n: found for n in names if (found := self._value(n)) is not None}

    def _value(self, name: str) -> tuple[Any, Any] | None:
        old = getattr(self.before, name) if self.before is not None else None
        new = getattr(self.after, name) if self.after is not None else None
        return None if _same(old, new) else (old, new)


@dataclass(frozen=True)
class Blame:
    """Which version last set a column: its number, since when, who and why.

    *changed* and *change_info* are None if the row is older than its history.
    """

    version: int
    changed: datetime | None
    change_info: Mapping[str, Any] | None
    transaction_id: int | None


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


def select_version_at(instance: Any, at: datetime) -> Select[Any]:
    """Select the version in force at a time, the live row included, if there is one."""
    cls = _class(instance)
    newest_first = meta_attribute(cls, "change_id").desc().nulls_first()
    began, ended = (meta_attribute(cls, n) for n in ("valid_from", "valid_to"))
    moment = aware(at)
    newest = (
        _of(instance)
        .where(or_(began.is_(None), began <= moment))
        .order_by(newest_first)
        .limit(1)
        .subquery()
    )
    ended_in = newest.c[_stored(cls, ended)]
    version = _aliased(cls, newest)
    return select(version).where(or_(ended_in.is_(None), ended_in > moment))


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
        wanted = [
            table.columns[column.name] == value
            for column, value in zip(
                key_columns(one, one.table), key_of(instance), strict=True
            )
        ]
        changed = table.columns["chrononaut:changed"]
        found.append(exists().where(*wanted, changed > aware(since)))
    return select(or_(*found))


def select_blame(instance: Any) -> Select[Any]:
    """Select for each attribute the version that last set it; see `blame_from`."""
    cls = _class(instance)
    names = ("version", "valid_from", "created_change_info", "created_transaction_id")
    version, since, info, transaction = (meta_attribute(cls, n) for n in names)
    window = {"order_by": version}
    first = or_(
        func.lag(version).over(**window).is_(None),
        meta_attribute(cls, "created_operation") == "I",
    )
    sets: dict[str, ColumnElement[bool]] = {}
    for name in _attributes(cls):
        value = cast(getattr(cls, name), Text)
        sets[name] = or_(first, value.is_distinct_from(func.lag(value).over(**window)))
    for column in declaration(type(instance)).all_hidden:
        name = sa_inspect(type(instance)).get_property_by_column(column).key
        told = info["hidden_cols_changed"].has_key(column.name)
        sets[name] = or_(first, func.coalesce(told, False))
    versions = (
        select(
            version.label("version"),
            since.label("since"),
            info.label("info"),
            transaction.label("transaction"),
            *(set_.label(f"set_{n}") for n, set_ in enumerate(sets.values())),
        )
        .where(*_key_is(instance, cls))
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


def blame_from(rows: Iterable[Any]) -> dict[str, Blame]:
    """Return what rows of `select_blame` say, by attribute."""
    return {row[0]: Blame(*row[1:]) for row in rows}


def changes_from(versions: Iterable[Any], fold: str | None = None) -> Iterator[Change]:
    """Yield the changes that lie between versions of one object, the oldest first.

    *versions* are what `select_changes` selects. With *fold* "transaction" the changes
    that one transaction made are one change.
    """
    if fold not in (None, "transaction"):
        raise ChrononautException(
            f"changes cannot be folded by {fold!r}", hint='Use None or "transaction".'
        )
    changes = _changes(versions)
    return _folded(changes) if fold else changes


def key_of(instance: Any) -> tuple[Any, ...]:
    """Return the key of an object as the database knows it, without asking it."""
    state = sa_inspect(instance)
    one = declaration(type(instance))
    known = dict(zip(one.mapper.primary_key, state.identity or (), strict=False))
    return tuple(_key_value(state, c, known) for c in key_columns(one, one.table))


def aware(moment: datetime) -> datetime:
    """Return a time with its zone; without one it is taken for UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def diff(
    instance: Any, from_model: Any, to: Any = None, hidden: Iterable[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """Return {attribute: (from, to)} for what differs between two versions.

    *to* is a later version, or None for the object as it is now. *hidden* names hidden
    attributes that have changed in between, to be shown with the present value.
    """
    if not isinstance(from_model, History):
        raise ChrononautException("Cannot diff from a non-history model.")
    target = instance if to is None else to
    cls = _class(instance)
    if not _same_row(instance, from_model) or not _same_row(instance, target):
        raise ChrononautException(
            "You can only diff models with the same primary keys."
        )
    if isinstance(target, History) and target < from_model:
        raise ChrononautException(
            "Diffs must be chronological. Your from_model is newer than your to."
        )
    found = {}
    for name in _attributes(cls):
        old, new = getattr(from_model, name), getattr(target, name)
        if not _same(old, new):
            found[name] = (old, new)
    return {**found, **{name: (None, getattr(instance, name)) for name in hidden}}


def hidden_attributes(instance: Any, columns: Iterable[str]) -> list[str]:
    """Return the attributes of hidden columns, by the names that history has."""
    mapper = sa_inspect(type(instance))
    wanted = set(columns)
    hidden = declaration(type(instance)).all_hidden
    return [mapper.get_property_by_column(c).key for c in hidden if c.name in wanted]


def _changes(versions: Iterable[Any]) -> Iterator[Change]:
    previous: Any = None
    for version in versions:
        if previous is not None:
            yield _closing(previous, version)
        if meta(version, "created_operation") == "I":
            yield Change(
                "I",
                meta(version, "valid_from"),
                meta(version, "created_change_info"),
                None,
                version,
                meta(version, "created_change_id"),
                meta(version, "created_transaction_id"),
            )
        previous = version
    if previous is not None and meta(previous, "change_id") is not None:
        yield _closing(previous, None)


def _closing(version: Any, following: Any) -> Change:
    operation = meta(version, "operation")
    return Change(
        operation,
        meta(version, "changed"),
        meta(version, "change_info"),
        version,
        following if operation == "U" else None,
        meta(version, "change_id"),
        meta(version, "transaction_id"),
    )


def _folded(changes: Iterable[Change]) -> Iterator[Change]:
    group: list[Change] = []
    for change in changes:
        if group and change.transaction_id != group[0].transaction_id:
            yield from _one(group)
            group = []
        group.append(change)
    yield from _one(group)


def _one(group: list[Change]) -> Iterator[Change]:
    """Yield what several changes of one transaction come to, if to anything."""
    if not group:
        return
    first, last = group[0], group[-1]
    if first.before is None and last.after is None:
        return
    operation = "I" if first.before is None else last.operation
    if first.before is not None and last.after is not None:
        operation = "U"
    yield Change(
        operation,
        last.changed,
        last.change_info,
        first.before,
        last.after,
        last.change_id,
        last.transaction_id,
    )


def _class(instance: Any) -> type[Any]:
    return history_class(type(instance))


def _of(instance: Any) -> Select[Any]:
    cls = _class(instance)
    return select(cls).where(*_key_is(instance, cls))


def _key_is(instance: Any, cls: type[Any]) -> list[ColumnElement[bool]]:
    return [
        getattr(cls, name) == value
        for name, value in zip(key_names(cls), key_of(instance), strict=True)
    ]


def _key_value(state: Any, column: Any, known: Mapping[Any, Any]) -> Any:
    prop = state.mapper.get_property_by_column(column)
    for one in prop.columns:
        if one in known:
            return known[one]
    return getattr(state.obj(), prop.key)


def _attributes(cls: type[Any]) -> list[str]:
    """Return the attributes of a history class that hold the row's values."""
    metas = set(cls.__chrononaut_meta_names__.values())
    mapper = sa_inspect(cls)
    columns = list(mapper.local_table.columns)
    found = {
        columns.index(prop.columns[0]): prop.key
        for prop in mapper.column_attrs
        if prop.key not in metas and prop.columns[0] in set(columns)
    }
    return [found[position] for position in sorted(found)]


def _same_row(instance: Any, other: Any) -> bool:
    one = declaration(type(instance)).lineage[-1]
    if isinstance(other, History):
        if other.__chrononaut_declaration__.lineage[-1] is not one:
            return False
        names = key_names(type(other))
        return tuple(getattr(other, name) for name in names) == key_of(instance)
    related = isinstance(other, one.model)
    return related and key_of(other) == key_of(instance)


def _same(old: Any, new: Any) -> bool:
    if old is new:
        return True
    if (old is None) != (new is None):
        return False
    return (bool(old == new) and type(old) is type(new)) or (old != old and new != new)


def _stored(cls: type[Any], attribute: Any) -> str:
    name: str = sa_inspect(cls).get_property(attribute.key).columns[0].name
    return name


def _aliased(cls: type[Any], subquery: Any) -> Any:
    from sqlalchemy.orm import aliased

    return aliased(cls, subquery)
