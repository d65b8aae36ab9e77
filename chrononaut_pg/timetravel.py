"""Time travel: a read-only session for which every read sees the past.

A past session has an identity map of its own and reads on the connection of the live
session. Its statements are compiled as usual; before they are sent, the names of
versioned tables are replaced by those of the views that read them as they were, and
PostgreSQL is told the moment once per transaction.
"""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from chrononaut_pg._past import Moment
from chrononaut_pg._past_session import PastSession


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
        live = _live(self._given() if _is_scoped(self._given) else self._given)
        if not isinstance(live, Session):
            raise TypeError(
                f"cannot travel with a {type(live).__name__}: pass a Session or a "
                "scoped_session; with an AsyncSession use async with"
            )
        past = PastSession(live=live, moment=self._moment)
        past.open()
        self._past = past
        self._hand_out(past)
        return past

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._take_back()
        if kind is None:
            self._past.leave()
        self._past.close()

    async def __aenter__(self) -> AsyncSession:
        live = self._given() if _is_scoped(self._given) else self._given
        if not isinstance(live, AsyncSession):
            raise TypeError(
                f"cannot travel with a {type(live).__name__}: async with takes an "
                "AsyncSession"
            )
        past = AsyncSession(
            sync_session_class=PastSession,
            live=_live(live.sync_session),
            moment=self._moment,
        )
        await past.run_sync(_open)
        self._past = past
        self._hand_out(past)
        return past

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._take_back()
        if kind is None:
            await self._past.run_sync(_leave)
        await self._past.close()

    def _hand_out(self, past: Any) -> None:
        """Have the registry of a scoped session give the past to whoever asks."""
        if _is_scoped(self._given):
            self._replaced = self._given.registry()
            self._given.registry.set(past)

    def _take_back(self) -> None:
        if _is_scoped(self._given):
            self._given.registry.set(self._replaced)


def _is_scoped(session: Any) -> bool:
    return isinstance(session, scoped_session | async_scoped_session)


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
