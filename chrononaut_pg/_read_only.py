"""Objects that the past is read as: nobody makes, changes or writes them."""

from typing import Any

from sqlalchemy import event
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from chrononaut_pg.exceptions import ReadOnlyHistoryError

_KEPT = "chrononaut_kept"
"""Where `Session.info` keeps what a commit is about to expire."""


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

    def _lasts(self) -> bool:
        """Whether the row can never change, so that a commit need not expire it."""
        return False

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


def keep_what_lasts() -> None:
    """Have commits of every session leave those objects loaded that cannot change."""
    if not event.contains(Session, "after_commit", _keep):
        event.listen(Session, "after_commit", _keep)
        event.listen(Session, "after_transaction_end", _bring_back)


def _refuse_read_only(session: Session, flush_context: Any, instances: Any) -> None:
    """Raise before anything is written if read-only objects would be."""
    touched = (one for one in session.dirty if isinstance(one, ReadOnly))
    changed = filter(session.is_modified, touched)  # a merge sets what is there anyway
    for one in (*session.new, *changed, *session.deleted):
        if isinstance(one, ReadOnly):
            raise ReadOnlyHistoryError(
                f"{one!r} cannot be written or deleted: history is read-only",
                hint="Write the live object; expunge this one from the session.",
            )


def _keep(session: Session) -> None:
    """Note the values of objects that last, ahead of their expiry."""
    if session.in_nested_transaction() or not session.expire_on_commit:
        return
    found = (one for one in session.identity_map.values() if isinstance(one, ReadOnly))
    kept = [(one, {**vars(one)}) for one in found if one._lasts()]
    if kept:
        session.info[_KEPT] = kept


def _bring_back(session: Session, transaction: Any) -> None:
    """Give the objects what the commit has taken from them."""
    if transaction.parent is None:
        for one, values in session.info.pop(_KEPT, ()):
            for name in sa_inspect(type(one)).column_attrs.keys():  # noqa: SIM118
                if name in values:
                    set_committed_value(one, name, values[name])
