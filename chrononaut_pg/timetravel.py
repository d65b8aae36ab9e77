"""Time travel: a read-only session for which every read sees the past.

A past session has an identity map of its own and reads on the connection of the live
session. Its statements are compiled as usual; before they are sent, the names of
versioned tables are replaced by those of the views that read them as they were, and
PostgreSQL is told the moment once per transaction.
"""

from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, scoped_session

from chrononaut_pg._past_moment import Moment
from chrononaut_pg._past_session import PastSession

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


def time_travel(
    session: Any,
    *,
    at: datetime | None = None,
    transaction: Any = None,
    mark: str | None = None,
    before: bool = False,
    strict: bool = False,
) -> "TimeTravel":
    """Read everything as it was at one moment::

        with time_travel(session, at=datetime(2026, 3, 1, tzinfo=UTC)) as past:
            past.get(User, 1).addresses

    The moment is a time (naive ones are taken for UTC), a mark that
    `chrononaut.mark(name)` made, or a transaction (its id, or an object with one): what
    it left behind or, with *before*, what it found. Marks and transactions are exact; a
    time is an estimate among transactions that were just ending.

    *past* is a Session of its own on the connection of *session*: objects of the two
    never mix, and writes on *past* raise `ReadOnlyPastError`. Given a scoped session,
    such as `db.session`, that registry hands out *past* during the block. Given an
    AsyncSession, use `async with`. Unversioned tables are read as they are now; with
    *strict*, reading one raises `NotVersionedError`.

    Hidden and untracked columns are None. Raises ValueError unless exactly one of *at*,
    *transaction* and *mark* is given.
    """
    return TimeTravel(session, Moment.of(at, transaction, mark, before, strict))


class TimeTravel:
    """What `time_travel` returns: a context manager, plain and asynchronous."""

    def __init__(self, session: Any, moment: Moment) -> None:
        self._given = session
        self._moment = moment
        self._past: Any = None
        self._replaced: Any = None

    def __enter__(self) -> "PastSession":
        given = self._begin()
        if not isinstance(given, Session):
            raise TypeError(
                f"cannot travel with a {type(given).__name__}: pass a Session or a "
                "scoped_session; with an AsyncSession use async with"
            )
        past = PastSession(live=_live(given), moment=self._moment).open()
        self._hand_out(past)
        return past

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._past is None:
            return  # not entered, or left already: by hooks of a request
        past, removed = self._take_back()
        try:
            with _in_favour_of(kind):
                past.leave()
        finally:
            past.close()
            if removed is not None:
                removed.close()

    async def __aenter__(self) -> "AsyncSession":
        from sqlalchemy.ext.asyncio import AsyncSession

        given = self._begin()
        if not isinstance(given, AsyncSession):
            raise TypeError(
                f"cannot travel with a {type(given).__name__}: async with takes an "
                "AsyncSession"
            )
        past = object.__new__(type(given))
        AsyncSession.__init__(
            past,
            getattr(given, "bind", None),
            sync_session_class=PastSession,
            live=_live(given.sync_session),
            moment=self._moment,
        )
        for name, value in vars(given).items():
            vars(past).setdefault(name, value)  # what the application has put there
        await past.run_sync(_open)
        self._hand_out(past)
        return past

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._past is None:
            return
        past, removed = self._take_back()
        try:
            with _in_favour_of(kind):
                await past.run_sync(_leave)
        finally:
            await past.close()
            if removed is not None:
                await removed.close()

    def _begin(self) -> Any:
        if self._past is not None:
            raise RuntimeError("this block is open already: call time_travel() anew")
        return self._given() if _is_scoped(self._given) else self._given

    def _hand_out(self, past: Any) -> None:
        """Have the registry of a scoped session give the past to whoever asks."""
        self._past = past
        if _is_scoped(self._given):
            self._replaced = self._given.registry()
            self._given.registry.set(past)

    def _take_back(self) -> tuple[Any, Any]:
        """Return the session of the past; the live one if nobody else will close it."""
        past, replaced = self._past, self._replaced
        self._past = self._replaced = None
        if replaced is None:
            return past, None
        registry = self._given.registry
        if registry.has() and registry() is past:
            registry.set(replaced)
            return past, None
        # It was removed within the block, for instance at the end of its request.
        return past, replaced


def _in_favour_of(
    kind: type[BaseException] | None,
) -> AbstractContextManager[None]:
    """Let an error go on, though the connection turns out to be lost as well."""
    return nullcontext() if kind is None else suppress(DBAPIError)


def _is_scoped(session: Any) -> bool:
    return isinstance(session, scoped_session) or hasattr(session, "registry")


def _live(session: Any) -> Any:
    """Return the session of the present behind a session of the past."""
    while isinstance(session, PastSession):
        session = session.live
    return session


def _open(session: Session) -> None:
    assert isinstance(session, PastSession)
    session.open()


def _leave(session: Session) -> None:
    assert isinstance(session, PastSession)
    session.leave()
