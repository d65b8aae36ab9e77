"""`listen` wires sessions and engines, so that PostgreSQL is told who and why.

Engines get the handlers of `chrononaut_pg._emission`; sessions get hooks around their
flushes, for what only they know: which objects are written, and the extras of each.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from weakref import WeakSet, ref

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
)
from sqlalchemy.orm import InstanceState, Session, scoped_session, sessionmaker

from chrononaut_pg._emission import (
    Listener,
    Provider,
    anybody_strict,
    listen_to_engine,
    listener_of,
)
from chrononaut_pg._strict import FLUSHING, refuse
from chrononaut_pg.capture import SAMPLES, asking, captured, current_capture, overrides
from chrononaut_pg.context import compose, said, to_json
from chrononaut_pg.declarations import (
    declaration,
    is_declared,
    key_columns,
    table_name,
)

_EXTRAS = "chrononaut_extras"

_WRITTEN = "chrononaut_written"

_WITH_EXTRAS: WeakSet[InstanceState[Any]] = WeakSet()
"""The objects that carry extras, so that flushes without any cost nothing."""

_APPEND = text(
    "select chrononaut.append_change_info(cast(:target as regclass),"
    " cast(:keys as jsonb), cast(:extras as jsonb))"
)


def listen(
    target: Any,
    *,
    user_id: Callable[[], Any] | None = None,
    remote_addr: Callable[[], str | None] | None = None,
    extra: Callable[[], Mapping[str, Any] | None] | None = None,
    require_extra: Callable[[], bool] | None = None,
) -> None:
    """Have PostgreSQL told who and why by all writes through *target*::

        chrononaut_pg.listen(engine, user_id=lambda: current_user.get())

    *target* is an Engine, a Session class or object, a sessionmaker, a scoped_session
    or one of their asyncio kinds. *user_id* and *remote_addr* are asked before each
    write where no enclosing `change_info(...)` says them, *extra* once per transaction.
    If *require_extra* returns true, a write without any extra is refused. Listening
    again to the same target renews what is given and changes nothing else.
    """
    provider = Provider(
        user_id=user_id,
        remote_addr=remote_addr,
        extra=extra,
        require_extra=require_extra,
    )
    _hook(Session)
    if isinstance(target, AsyncEngine):
        listen_to_engine(target.sync_engine, provider)
    elif isinstance(target, Engine):
        listen_to_engine(target, provider)
    else:
        _listen_to_sessions(target, provider)


def current_change_info(session: Any = None) -> dict[str, Any]:
    """Return who and why as a write made now would say it; empty if nothing is said.

    With a session, or an engine, its providers are asked, too. Use it to hand the
    change info of a request to a job; the worker calls `restore_change_info`.
    """
    listener = _listener(session) if session is not None else None
    if listener is None:
        return compose(said(), {}, (None, None), {})
    return listener.info(said(), listener.provider.who(), {})


def announce(session: Any) -> None:
    """Tell PostgreSQL who and why now, before a write that SQLAlchemy does not see::

        announce(session)
        cursor = session.connection().connection.cursor()
        with cursor.copy("copy app.user (email) from stdin") as copy:
            ...

    Takes a Session or a Connection whose engine is listened to.
    """
    connection = session if isinstance(session, Connection) else session.connection()
    listener = listener_of(connection.engine)
    if listener is not None:
        listener.announce(connection)


def add_extras(instance: Any, extras: Mapping[str, Any]) -> None:
    """Keep extras on an object until a flush that writes it is committed."""
    to_json(extras)
    state: InstanceState[Any] = sa_inspect(instance)
    _WITH_EXTRAS.add(state)
    state.info[_EXTRAS] = {**state.info.get(_EXTRAS, {}), **extras}


def _listen_to_sessions(target: Any, provider: Provider) -> None:
    """Listen to whatever engine sessions of this kind begin a transaction on."""
    hooked = _session_target(target)

    def after_begin(session: Session, transaction: Any, connection: Any) -> None:
        listen_to_engine(connection.engine, provider)

    event.listen(hooked, "after_begin", after_begin)


def _session_target(target: Any) -> Any:
    """Return what SQLAlchemy's session events can be listened to on."""
    if isinstance(target, AsyncSession):
        return target.sync_session
    if isinstance(target, async_scoped_session):
        target = target.session_factory
    if isinstance(target, async_sessionmaker):
        sync_class = target.kw.get(
            "sync_session_class", target.class_.sync_session_class
        )
        own: type[Session] = type(sync_class.__name__, (sync_class,), {})
        target.configure(sync_session_class=own)
        return own
    if isinstance(target, type) and issubclass(target, AsyncSession):
        return target.sync_session_class
    if isinstance(target, Session | sessionmaker | scoped_session) or (
        isinstance(target, type) and issubclass(target, Session)
    ):
        return target
    raise TypeError(
        f"cannot listen to {target!r}: pass an Engine, a Session class or object, a "
        "sessionmaker, a scoped_session or one of their asyncio kinds"
    )


def _hook(target: type[Session]) -> None:
    if not event.contains(target, "before_flush", _before_flush):
        event.listen(target, "before_flush", _before_flush)
        event.listen(target, "after_flush", _after_flush)
        event.listen(target, "after_commit", _after_commit)
        event.listen(target, "after_soft_rollback", _after_soft_rollback)


def _before_flush(session: Session, flush_context: Any, instances: Any) -> None:
    FLUSHING.set(ref(session))
    if not anybody_strict() and current_capture(None) is None:
        return
    written = _written(session)
    samples: dict[type[Any], Any] = {}
    for instance in written:
        samples.setdefault(type(instance), instance)
        listener = _listener(session, instance)
        if listener is not None and _lacks_extra(listener, instance):
            refuse(type(instance).__name__)
    overriding = {m: o for m, o in samples.items() if overrides(m)}
    SAMPLES.set(overriding or None)


def _lacks_extra(listener: Listener, instance: Any) -> bool:
    strict = listener.provider.require_extra
    if strict is None or not strict() or sa_inspect(instance).info.get(_EXTRAS):
        return False
    info = listener.info(said(), (None, None), {})
    if overrides(type(instance)):
        with asking(info):
            own = captured(declaration(type(instance)), instance)
        return not {**info.get("extra", {}), **own.get("extra", {})}
    return not info.get("extra")


def _after_flush(session: Session, flush_context: Any) -> None:
    FLUSHING.set(None)
    samples = SAMPLES.get() or {}
    if not samples and not _WITH_EXTRAS:
        return
    wanted: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for instance in _written(session):
        state: InstanceState[Any] = sa_inspect(instance)
        extras = {**_own_extras(instance, samples), **state.info.get(_EXTRAS, {})}
        if extras:
            session.info.setdefault(_WRITTEN, []).append(state)
            for table, key in _keys(state):
                wanted.setdefault(table, []).append((key, extras))
    for table, found in wanted.items():
        keys, extra_values = zip(*found, strict=True)
        session.connection().execute(
            _APPEND,
            {
                "target": table,
                "keys": json.dumps(keys, default=str),
                "extras": to_json(extra_values),
            },
        )
    SAMPLES.set(None)


def _own_extras(instance: Any, samples: Mapping[type[Any], Any]) -> dict[str, Any]:
    """Return the extras that a model's methods say of this object and not of all."""
    sample = samples.get(type(instance))
    if sample is None or sample is instance:
        return {}
    with asking({}):
        one = declaration(type(instance))
        common = captured(one, sample).get("extra", {})
        own = captured(one, instance).get("extra", {})
    return {name: value for name, value in own.items() if common.get(name) != value}


def _after_commit(session: Session) -> None:
    if session.in_nested_transaction():
        return
    for state in session.info.pop(_WRITTEN, ()):
        state.info.pop(_EXTRAS, None)
        _WITH_EXTRAS.discard(state)


def _after_soft_rollback(session: Session, previous: Any) -> None:
    FLUSHING.set(None)
    SAMPLES.set(None)
    if previous.parent is None:
        session.info.pop(_WRITTEN, None)


def _written(session: Session) -> list[Any]:
    """Return the versioned objects that a flush writes."""
    changed = (one for one in session.dirty if session.is_modified(one))
    candidates: Iterable[Any] = (*session.new, *changed, *session.deleted)
    return [one for one in candidates if is_declared(type(one))]


def _keys(state: InstanceState[Any]) -> Iterable[tuple[str, dict[str, Any]]]:
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
            yield table_name(table), key


def _key_value(state: InstanceState[Any], column: Any, known: Mapping[Any, Any]) -> Any:
    prop = state.mapper.get_property_by_column(column)
    for one in prop.columns:
        if one in known:
            return known[one]
    return state.dict.get(prop.key)


def _listener(target: Any, instance: Any = None) -> Listener | None:
    """Return the listener of the engine that a session uses for an object."""
    bind = target
    if isinstance(bind, async_scoped_session):
        bind = bind()
    if isinstance(bind, AsyncSession):
        bind = bind.sync_session
    if isinstance(bind, Session | scoped_session):
        mapper = sa_inspect(type(instance)) if instance is not None else None
        bind = bind.get_bind(mapper) if mapper is not None else bind.get_bind()
    if isinstance(bind, AsyncEngine):
        bind = bind.sync_engine
    return listener_of(getattr(bind, "engine", bind))
