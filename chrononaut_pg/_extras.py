"""Extras of single objects: kept on them, appended to what a flush recorded of them.

A new object has no key before it is flushed, so they are sent after the flush. They
stay on the object until a flush that wrote it is committed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from sqlalchemy import Connection, Numeric, Table, column, text
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import InstanceState, Session

from chrononaut_pg.capture import Sample, asking, captured, differ
from chrononaut_pg.context import to_json
from chrononaut_pg.declarations import (
    declaration,
    is_declared,
    key_columns,
    schemas_of,
    table_name,
)

if TYPE_CHECKING:
    from chrononaut_pg._unheard import Read

_EXTRAS = "chrononaut_extras"

_WRITTEN = "chrononaut_written"

_WITH_EXTRAS: WeakSet[InstanceState[Any]] = WeakSet()
"""The objects that carry extras, so that flushes without any cost nothing."""

_Wanted = dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]
"""Keys and extras, by table."""


def add_extras(instance: Any, extras: Mapping[str, Any]) -> Mapping[str, Any]:
    """Keep extras on an object until a flush that writes it is committed.

    Returns those that the object had before.
    """
    to_json(extras)
    state: InstanceState[Any] = sa_inspect(instance)
    before: Mapping[str, Any] = state.info.get(_EXTRAS, {})
    _WITH_EXTRAS.add(state)
    state.info[_EXTRAS] = {**before, **extras}
    return before


def remove_extras(
    instance: Any, extras: Mapping[str, Any], before: Mapping[str, Any]
) -> None:
    """Take off an object the extras that were added, and have those before again."""
    state: InstanceState[Any] = sa_inspect(instance)
    now = state.info.pop(_EXTRAS, None)
    if now is None:  # committed in the meantime
        return
    mine = {name for name, value in extras.items() if now.get(name) is value}
    kept = {name: value for name, value in now.items() if name not in mine}
    kept |= {name: value for name, value in before.items() if name in mine}
    if kept:
        state.info[_EXTRAS] = kept
    else:
        _WITH_EXTRAS.discard(state)


def has_extras(instance: Any) -> bool:
    """Whether an object carries extras."""
    return bool(sa_inspect(instance).info.get(_EXTRAS))


def append_extras(session: Session, samples: Mapping[type[Any], Sample | None]) -> None:
    """Append to what a flush recorded the extras of each object that it wrote.

    *samples* are what models with capture methods said of all of them.
    """
    if not any(samples.values()) and not _WITH_EXTRAS:
        return
    wanted: dict[Connection, _Wanted] = {}
    named: dict[tuple[Connection, Table], str] = {}
    for instance, is_dirty in _candidates(session):
        state: InstanceState[Any] = sa_inspect(instance)
        extras = {**_own_extras(instance, samples), **state.info.get(_EXTRAS, {})}
        if not extras or (is_dirty and not session.is_modified(instance)):
            continue
        session.info.setdefault(_WRITTEN, []).append(state)
        connection = session.connection(bind_arguments=place_of(session, instance))
        for table, key in _keys(state):
            name = named.get((connection, table))
            if name is None:
                name = table_name(table, schemas_of(connection))
                named[connection, table] = name
            tables = wanted.setdefault(connection, {})
            tables.setdefault(name, []).append((key, extras))
    for connection, tables in wanted.items():
        objects = ", ".join(_appended(name, found) for name, found in tables.items())
        _append().rows(connection, {"objects": f"[{objects}]"})


def forget_extras(session: Session) -> None:
    """Take the extras off the objects that a session wrote: that is committed."""
    for state in session.info.pop(_WRITTEN, ()):
        state.info.pop(_EXTRAS, None)
        _WITH_EXTRAS.discard(state)


def keep_extras(session: Session) -> None:
    """Leave the extras on the objects that a session wrote: that is rolled back."""
    session.info.pop(_WRITTEN, None)


def written(session: Session) -> list[Any]:
    """Return the versioned objects that a flush writes."""
    return [
        one
        for one, is_dirty in _candidates(session)
        if not is_dirty or session.is_modified(one)
    ]


def place_of(session: Session, instance: Any) -> dict[str, Any]:
    """Return what tells a session in which of its databases an object is."""
    place = {"mapper": sa_inspect(type(instance))}
    # A ShardedSession decides by the object.
    return place | ({"instance": instance} if session.connection_callable else {})


@cache
def _append() -> "Read":
    """Return the statement that appends extras.

    No change info is told before it: it amends what was recorded with that.
    """
    from chrononaut_pg._unheard import Read  # most programs have no extras

    return Read(
        text(
            "select sum(chrononaut.append_change_info(cast(o.target as regclass),"
            " o.keys, o.extras)) from jsonb_to_recordset(cast(:objects as jsonb))"
            " o(target text, keys jsonb, extras jsonb)"
        ).columns(column("count", Numeric))
    )


def _appended(name: str, found: Iterable[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """Return as JSON what is appended to changes of one table."""
    keys, extras = zip(*found, strict=True)
    texts = [to_json(one) for one in extras]
    said = texts[0] if len({*texts}) == 1 else f"[{', '.join(texts)}]"
    return (
        f'{{"target": {json.dumps(name)}, "keys": {json.dumps(keys, default=str)}, '
        f'"extras": {said}}}'
    )


def _own_extras(
    instance: Any, samples: Mapping[type[Any], Sample | None]
) -> dict[str, Any]:
    """Return the extras that a model's methods say of this object and not of all."""
    sample = samples.get(type(instance))
    if sample is None or sample.own is None:
        return {}
    with asking({}):
        own = captured(declaration(type(instance)), instance).get("extra", {})
    return {n: value for n, value in own.items() if differ(n, own, sample.extra)}


def _keys(state: InstanceState[Any]) -> Iterable[tuple[Table, dict[str, Any]]]:
    """Yield table and key of each versioned row of an object, before and after."""
    one = declaration(state.class_)
    old = dict(
        zip(one.mapper.primary_key, state.key[1] if state.key else (), strict=False)
    )
    for table in one.tables:
        columns = key_columns(one, table)
        keys = [
            {c.name: _key_value(state, c, known) for c in columns}
            for known in (old, {})
        ]
        for key in keys if keys[0] != keys[1] else keys[:1]:
            yield table, key


def _key_value(state: InstanceState[Any], column: Any, known: Mapping[Any, Any]) -> Any:
    prop = state.mapper.get_property_by_column(column)
    for one in prop.columns:
        if one in known:
            return known[one]
    return state.dict.get(prop.key)


def _candidates(session: Session) -> Iterator[tuple[Any, bool]]:
    """Yield the versioned objects that a flush may write; of dirty ones it is open."""
    for found, is_dirty in (
        (session.new, False),
        (_dirty(session), True),
        (session.deleted, False),
    ):
        for one in found:
            if is_declared(type(one)):
                yield one, is_dirty


def _dirty(session: Session) -> Iterable[Any]:
    """Return the dirty objects in the order in which the session came to have them.

    The session itself has them in the order of their addresses: that is no order.
    """
    dirty = session.dirty
    if len(dirty) < 2:
        return dirty
    return [one for one in session.identity_map.values() if one in dirty]
