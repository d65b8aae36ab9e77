"""`listen` wires sessions and engines, so that PostgreSQL is told who and why.

Engines get the handlers of `chrononaut_pg._emission`; sessions get hooks around their
flushes, for what only they know: which objects are written, and the extras of each.
"""

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from chrononaut_pg._emission import Listener, listen_to_engine, listener_of
from chrononaut_pg._extras import (
    append_extras,
    forget_extras,
    has_extras,
    keep_extras,
    place_of,
    written,
)
from chrononaut_pg._providers import (
    Provider,
    act,
    anybody_strict,
    asked,
    async_classes,
    is_async,
    provide,
    provider_of,
    share,
)
from chrononaut_pg._strict import FLUSHING, refuse
from chrononaut_pg.capture import (
    SAMPLES,
    asking,
    captured,
    current_capture,
    overrides,
    sampled,
)
from chrononaut_pg.context import UserId, compose, said
from chrononaut_pg.declarations import (
    declaration,
)


def listen(
    target: Any,
    *,
    user_id: Callable[[], Any] | UserId = None,
    remote_addr: Callable[[], str | None] | str | None = None,
    extra: Callable[[], Mapping[str, Any] | None] | Mapping[str, Any] | None = None,
    require_extra: Callable[[], bool] | bool | None = None,
) -> None:
    """Have PostgreSQL told who and why by all writes through *target*::

        chrononaut_pg.listen(engine, user_id=lambda: current_user.get())

    *target* is an Engine, a Session class or object, a sessionmaker, a scoped_session
    or one of their asyncio kinds. *user_id* and *remote_addr* are asked before each
    write where no enclosing `change_info(...)` says them, *extra* once per transaction.
    If *require_extra* returns true, a write without any extra is refused. What is given
    for sessions is asked for their writes only, and before what is given for the engine
    that they use. Listening again to the same target renews what is given and changes
    nothing else. Each may also be a plain value, for a script that is one user's.
    """
    provider = Provider(
        user_id=asked(user_id),
        remote_addr=asked(remote_addr),
        extra=asked(extra),
        require_extra=asked(require_extra),
    )
    _hook(Session)
    if is_async(target, "AsyncEngine"):
        listen_to_engine(target.sync_engine, provider)
    elif isinstance(target, Engine):
        listen_to_engine(target, provider)
    else:
        provide(_session_target(target), provider)


def current_change_info(session: Any = None) -> dict[str, Any]:
    """Return who and why as a write made now would say it; empty if nothing is said.

    With a session, or an engine, its providers are asked, too. Use it to hand the
    change info of a request to a job; the worker calls `restore_change_info`.
    """
    provider = _provider(session) if session is not None else None
    if provider is None:
        return compose(said(), {}, (None, None), {})
    return provider.info(said(), provider.who(), {})


def announce(session: Any) -> None:
    """Tell PostgreSQL who and why now, before a write that SQLAlchemy does not see::

        announce(session)
        cursor = session.connection().connection.cursor()
        with cursor.copy("copy app.user (email) from stdin") as copy:
            ...

    Takes a Session or a Connection whose engine is listened to.
    """
    if isinstance(session, Connection):
        connection = session
    else:
        act(session() if isinstance(session, scoped_session) else session)
        connection = session.connection()
    if "chrononaut_past" in connection.info:
        from chrononaut_pg._past import leave

        leave(connection)  # its search_path is not for writes
    listener = listener_of(connection.engine)
    if listener is not None:
        listener.announce(connection)


def hear_flushes() -> None:
    """Have the extras of objects sent by the flushes of all sessions."""
    _hook(Session)


def _session_target(target: Any) -> Any:
    """Return the session, or the class of sessions, that is meant."""
    if isinstance(target, scoped_session) or is_async(target, "async_scoped_session"):
        target = target.session_factory
    if isinstance(target, sessionmaker):
        return target.class_
    if is_async(target, "async_sessionmaker"):
        if target not in _OWN_CLASSES:  # a sessionmaker has one to begin with
            own = type(target.class_.__name__, (target.class_,), {})
            _OWN_CLASSES[target] = target.class_ = own
        return _OWN_CLASSES[target]
    kind = target if isinstance(target, type) else type(target)
    if issubclass(kind, (Session, *async_classes("AsyncSession"))):
        return target
    raise TypeError(
        f"cannot listen to {target!r}: pass an Engine, a Session class or object, a "
        "sessionmaker, a scoped_session or one of their asyncio kinds"
    )


_OWN_CLASSES: WeakKeyDictionary[Any, type[Any]] = WeakKeyDictionary()
"""The classes of asyncio sessions that were made for their makers."""


def _hook(target: type[Session]) -> None:
    if not event.contains(target, "before_flush", _before_flush):
        event.listen(target, "after_begin", _after_begin)
        event.listen(target, "before_flush", _before_flush)
        event.listen(target, "after_flush", _after_flush)
        event.listen(target, "after_commit", _after_commit)
        event.listen(target, "after_soft_rollback", _after_soft_rollback)


def _after_begin(session: Session, transaction: Any, connection: Connection) -> None:
    """Listen to whatever engine a session begins on, if it is listened to itself."""
    own = provider_of(session)
    if own is not None:
        listen_to_engine(connection.engine, Provider())
    if listener_of(connection.engine) is not None:
        share(connection, session, own)


def _before_flush(session: Session, flush_context: Any, instances: Any) -> None:
    FLUSHING.set(ref(session))
    act(session)
    if not anybody_strict() and current_capture(None) is None:
        return
    by_model: dict[type[Any], list[Any]] = {}
    for instance in written(session):
        by_model.setdefault(type(instance), []).append(instance)
        provider = _provider(session, instance)
        if provider is not None and _lacks_extra(provider, instance):
            refuse(type(instance).__name__)
    SAMPLES.set(
        {m: sampled(m, n) if overrides(m) else None for m, n in by_model.items()}
    )


def _lacks_extra(provider: Provider, instance: Any) -> bool:
    strict = provider.require_extra
    if strict is None or not strict() or has_extras(instance):
        return False
    info = provider.info(said(), (None, None), {})
    if overrides(type(instance)):
        with asking(info):
            own = captured(declaration(type(instance)), instance)
        return not {**info.get("extra", {}), **own.get("extra", {})}
    return not info.get("extra")


def _after_flush(session: Session, flush_context: Any) -> None:
    FLUSHING.set(None)
    append_extras(session, SAMPLES.get() or {})
    SAMPLES.set(None)


def _after_commit(session: Session) -> None:
    if session.in_nested_transaction():
        return
    forget_extras(session)


def _after_soft_rollback(session: Session, previous: Any) -> None:
    FLUSHING.set(None)
    SAMPLES.set(None)
    if previous.parent is None:
        keep_extras(session)


def _provider(target: Any, instance: Any = None) -> Provider | None:
    """Return what a session, or an engine, is asked when it writes an object."""
    if isinstance(target, scoped_session) or is_async(target, "async_scoped_session"):
        target = target()
    if is_async(target, "AsyncSession"):
        target = target.sync_session
    if not isinstance(target, Session):
        listener = _listener(target)
        return None if listener is None else listener.provider
    bind = target.get_bind(**({} if instance is None else place_of(target, instance)))
    own, listener = provider_of(target), _listener(bind)
    if listener is None or own is None:
        return own if listener is None else listener.provider
    return listener.provider.merged(own)


def _listener(bind: Any) -> Listener | None:
    """Return the listener of an engine or connection, if it is listened to."""
    if is_async(bind, "AsyncEngine"):
        bind = bind.sync_engine
    return listener_of(getattr(bind, "engine", bind))
