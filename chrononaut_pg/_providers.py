"""Where who and why come from when no enclosing block says it.

An engine has one `Provider`; sessions may have their own, which wins. Each transaction
remembers on its connection which sessions share it, so that a write asks the provider
of the session that makes it. Filled by `chrononaut_pg.session.listen`.
"""

import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session

from chrononaut_pg.context import Said, compose
from chrononaut_pg.exceptions import InvalidChangeInfoError

_KEY = "chrononaut_sessions"
"""Where `Connection.info` keeps the sessions of its transaction."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Provider:
    """Where change info comes from when no enclosing block says it.

    Its functions may refer to what it belongs to, so only that may refer to it.
    """

    user_id: Callable[[], Any] | None = None
    remote_addr: Callable[[], str | None] | None = None
    extra: Callable[[], Mapping[str, Any] | None] | None = None
    require_extra: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        if self.require_extra is not None:
            _STRICT.add(self)

    def who(self) -> tuple[Any, Any]:
        """Return the user and the address; asked before every write."""
        return (
            self.user_id() if self.user_id else None,
            self.remote_addr() if self.remote_addr else None,
        )

    def more(self, evaluated: dict[Any, Any]) -> Mapping[str, Any]:
        """Return the extras; asked once per transaction."""
        if self.extra is None:
            return {}
        if self.extra not in evaluated:
            evaluated[self.extra] = _extras(self.extra)
        more: Mapping[str, Any] = evaluated[self.extra]
        return more

    def info(
        self, what: Said, who: tuple[Any, Any], evaluated: dict[Any, Any]
    ) -> dict[str, Any]:
        """Return the change info that all tables share."""
        return compose(what, self.more(evaluated), who, evaluated)

    def merged(self, newer: "Provider") -> "Provider":
        """Return this provider with whatever *newer* has in place of its own."""
        given = {name: value for name, value in vars(newer).items() if value}
        return replace(self, **given) if given else self


def _extras(function: Callable[[], Mapping[str, Any] | None]) -> Mapping[str, Any]:
    found = function() or {}
    if not isinstance(found, Mapping):
        raise InvalidChangeInfoError(
            f"the extra change info is {found!r:.200}, not a dictionary",
            hint="Have the function given as extra=..., or set as "
            "CHRONONAUT_EXTRA_CHANGE_INFO_FUNC, return a dictionary or None.",
        )
    return found


_STRICT: WeakSet[Provider] = WeakSet()
"""The providers in use that may refuse writes."""


class _Sharing:
    """One session on a connection, and its provider over that of the engine."""

    __slots__ = ("_base", "_merged", "_own", "session")

    def __init__(self, session: Session, own: Provider | None) -> None:
        self.session = ref(session)
        self._own = own
        self._base: Provider | None = None
        self._merged = own

    def is_open(self) -> bool:
        """Whether the session is still in a transaction."""
        session = self.session()
        return session is not None and session.in_transaction()

    def over(self, base: Provider) -> Provider:
        """Return the engine's provider with what the session's own has."""
        if self._own is None or self._merged is None:
            return base
        if base is not self._base:
            self._base, self._merged = base, base.merged(self._own)
        return self._merged


_ASYNCIO = "sqlalchemy.ext.asyncio"
"""A module that costs 20 ms to import, so that this is left to those who use it."""

_OF_TARGET: WeakKeyDictionary[type[Any], Provider] = WeakKeyDictionary()
"""The providers of classes of sessions, asyncio ones included."""

_OWN = "_chrononaut_provider"
"""Where a session keeps its own provider."""

_ACTING: ContextVar[ref[Session] | None] = ContextVar("chrononaut_acting", default=None)
"""The session that last did something in this context."""


def asked(given: Any) -> Callable[[], Any] | None:
    """Return what is given as the function that a provider asks."""
    return given if given is None or callable(given) else lambda: given


def provide(target: Any, provider: Provider) -> None:
    """Give a session, or a class of sessions, a provider, or renew what it has."""
    if isinstance(target, type):
        _OF_TARGET[target] = _OF_TARGET.get(target, Provider()).merged(provider)
    else:
        own = vars(target)
        own[_OWN] = own.get(_OWN, Provider()).merged(provider)


def provider_of(session: Session) -> Provider | None:
    """Return the session's own provider; None if only its engine may have one.

    The session's wins over its class's, a class's over those of its bases.
    """
    asyncio = sys.modules.get(_ASYNCIO)
    wrapper = asyncio.async_session(session) if asyncio is not None else None
    found: Provider | None = None
    for one in (session, wrapper) if wrapper is not None else (session,):
        classes = (_OF_TARGET.get(kind) for kind in reversed(type(one).__mro__[:-1]))
        for given in (*classes, vars(one).get(_OWN)):
            if given is not None:
                found = given if found is None else found.merged(given)
    return found


def is_async(target: Any, name: str) -> bool:
    """Whether *target* is of that class of `sqlalchemy.ext.asyncio`."""
    return isinstance(target, async_classes(name))


def async_classes(name: str) -> tuple[type[Any], ...]:
    """Return the class of that name; none while nobody has imported the module."""
    asyncio = sys.modules.get(_ASYNCIO)
    return () if asyncio is None else (getattr(asyncio, name),)


def anybody_strict() -> bool:
    """Whether some engine or session may refuse writes that have no reason."""
    return len(_STRICT) > 0


def act(session: Session) -> None:
    """Note that what is executed next is the session's."""
    _ACTING.set(ref(session))


def share(connection: Connection, session: Session, own: Provider | None) -> None:
    """Note that a session has begun on a connection, on which there may be others."""
    info, mine = connection.info, _Sharing(session, own)
    found: list[_Sharing] = info.get(_KEY) or []
    others = [one for one in found if one.is_open() and one.session() is not session]
    info[_KEY] = [*others, mine]
    act(session)
    if others:
        for one in info[_KEY]:
            _follow(one.session())


def leave_all(connection: Connection) -> None:
    """Forget which sessions shared a connection: it begins anew."""
    connection.info.pop(_KEY, None)


def provider_on(connection: Connection, base: Provider) -> Provider:
    """Return the provider for a write made now; *base* is that of the engine."""
    found: list[_Sharing] = connection.info.get(_KEY) or []
    sharing = [one for one in found if one.is_open()]
    if not sharing:
        return base
    acting = _ACTING.get() if len(sharing) > 1 else None
    for one in sharing:
        if one.session == acting:
            return one.over(base)
    return sharing[-1].over(base)


def _follow(session: Session | None) -> None:
    """Have a session that shares its connection say when it executes something."""
    if session is not None and not event.contains(session, "do_orm_execute", _note):
        event.listen(session, "do_orm_execute", _note)


def _note(state: Any) -> None:
    act(state.session)
