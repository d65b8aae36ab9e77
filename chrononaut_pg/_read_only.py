"""Objects that the past is read as: nobody makes, changes or writes them."""

from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from chrononaut_pg.exceptions import ReadOnlyHistoryError


class ReadOnly:
    """Base of mapped classes whose objects come from queries only."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ReadOnlyHistoryError(
            f"{type(self).__name__} cannot be made by hand",
            hint="History objects come from versions(), version_at() and queries.",
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_sa_"):
            self._refuse(name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse(name)

    def _refuse(self, name: str) -> None:
        raise ReadOnlyHistoryError(
            f"{type(self).__name__}.{name} cannot be changed: history is read-only",
            column=name,
            hint="Change the live object instead.",
        )


def guard_flushes() -> None:
    """Have every session refuse to write read-only objects."""
    if not event.contains(Session, "before_flush", _refuse_read_only):
        event.listen(Session, "before_flush", _refuse_read_only)


def _refuse_read_only(session: Session, flush_context: Any, instances: Any) -> None:
    """Raise before anything is written if read-only objects would be."""
    for one in (*session.new, *session.dirty, *session.deleted):
        if isinstance(one, ReadOnly):
            raise ReadOnlyHistoryError(
                f"{one!r} cannot be written or deleted: history is read-only",
                hint="Write the live object; expunge this one from the session.",
            )
