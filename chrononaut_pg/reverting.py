"""Puts objects, and what is related to them, back to what they were.

The result is an ordinary change of the session: pending until it is committed, written
by its unit of work, recorded like any other. What is hidden or untracked stays.
"""

import inspect
import warnings
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Session, object_session
from sqlalchemy.orm.exc import ObjectDeletedError

from chrononaut_pg._deleted import deleted, select_deleted
from chrononaut_pg._identity import (
    Identity,
    find,
    find_behind_filters,
    hidden,
    identity,
    topmost,
)
from chrononaut_pg._in_force import version_in_force
from chrononaut_pg._members import Tree, paths
from chrononaut_pg._past import Moment
from chrononaut_pg._past_session import PastSession
from chrononaut_pg._reading import session_for
from chrononaut_pg._recorded import Span
from chrononaut_pg._related import past_instance
from chrononaut_pg._restorable import check_paths, whole_class
from chrononaut_pg._revert import Plan
from chrononaut_pg.declarations import declaration
from chrononaut_pg.exceptions import RevertError, RevertWarning
from chrononaut_pg.history import History, meta
from chrononaut_pg.session import hear_flushes

__all__ = ["deleted", "restore", "revert", "revert_to", "select_deleted"]


def revert(version: Any, relations: Iterable[Any] = (), session: Any = None) -> Any:
    """Put an object back to one of its versions; return the live object::

        revert(user.versions()[0], relations=["articles.tags"])
        session.commit()

    Its tracked values become those of the version. A deleted object comes again with
    its key; what is hidden or untracked then takes its defaults. *relations* names, by
    strings or attributes, those that become what they were when the version began.
    Also a method of history objects.

    Every changed object is recorded with `extra.reverted_to`. Columns that the history
    did not have at the time, or that are no longer there, are left alone and named by a
    RevertWarning. Raises RevertError for relations that cannot be put back, and for a
    version that was the live row when that is deleted.
    """
    model, tree = _model(version), paths(relations)
    live = _session(model, version, session)
    _check_there(version)
    past = past_instance(version, live) if tree else None
    return _done(live, model, version, past, tree)


def restore(version: Any, relations: Iterable[Any] = (), session: Any = None) -> Any:
    """Bring a deleted object back as it was in a version; return it::

        restore(deleted(User)[0])

    What `revert` does, but an object that is there is returned as it is.
    """
    model = _model(version)
    live = _session(model, version, session)
    _check_there(version)
    found = find(live, identity(model, version))
    return revert(version, relations, live) if found is None else found


def revert_to(
    target: Any,
    *,
    at: datetime | None = None,
    transaction: Any = None,
    mark: str | None = None,
    before: bool = False,
    relations: Iterable[Any] = (),
    session: Any = None,
) -> Any:
    """Put an object back to what it was at a moment; delete it if it did not exist::

        revert_to(user, at=datetime(2026, 3, 1, tzinfo=UTC))
        revert_to((User, 17), mark="before the import", session=session)

    *target* is an object, one of its versions, or a model (a base class will do) and a
    key. The moment is named as for `time_travel`. Returns the live object, None if it
    is deleted: with those whom it has in the *relations* and who did not exist either.
    """
    model, key = _target(target)
    live = _session(model, target, session)
    past = PastSession(live=live, moment=Moment.of(at, transaction, mark, before))
    past.open(sa_inspect(model))
    version = version_in_force(live, past, model, key)
    if version is None:
        return _gone(live, key, past, paths(relations))
    whole = whole_class(declaration(_model(version)), version)
    if whole is not None:
        version = version_in_force(live, past, whole, key)
    tree = paths(relations)
    image = find(past, key) if tree else None
    if tree and image is None:
        raise hidden(key)
    return _done(live, _model(version), version, image, tree)


def _check_there(version: Any) -> None:
    """Raise RevertError for the live row as a version, once that row is deleted."""
    try:
        meta(version, "change_id")
    except ObjectDeletedError as error:
        raise RevertError(
            f"{version!r} was the live row, which is deleted since",
            hint="What it was last is among deleted(Model).",
        ) from error


def _gone(live: Session, key: Identity, past: PastSession, tree: Tree) -> None:
    """Delete an object that did not exist, with whom it has in the relations."""
    found = find(live, key) or find_behind_filters(live, key)
    if found is not None:
        check_paths(type(found), tree)
        hear_flushes()
        said = {"version": None, "change_id": None}
        with live.no_autoflush:
            Plan(live, said, Span(None, None)).unmake(key, found, past, tree)


def _done(live: Session, model: type[Any], version: Any, past: Any, tree: Tree) -> Any:
    check_paths(model, tree)
    hear_flushes()
    change, began = meta(version, "change_id"), meta(version, "created_change_id")
    said = {"version": meta(version, "version"), "change_id": change}
    plan = Plan(live, said, Span(change, began))
    with live.no_autoflush:
        found = plan.root(version, model, past, tree)
    if plan.skipped:
        warnings.warn(RevertWarning(plan.skipped), stacklevel=_callers())
    return found


def _session(model: type[Any], target: Any, session: Any) -> Session:
    """Return the live session to revert in, with nothing left to flush."""
    given = session
    if given is None and not isinstance(target, tuple):
        given = object_session(target)
    while isinstance(given, PastSession):
        given = given.live
    live = session_for(model, given)
    if live.new or live.dirty or live.deleted:
        live.flush()
    return live


def _target(target: Any) -> tuple[type[Any], Identity]:
    """Return model and identity of an object, a version, or a model and a key."""
    if isinstance(target, tuple):
        model, key = target
        values = key if isinstance(key, tuple) else (key,)
        return model, (topmost(declaration(model)).model, values)
    model = _model(target) if isinstance(target, History) else type(target)
    declaration(model)
    return model, identity(model, target)


def _model(version: Any) -> type[Any]:
    if not isinstance(version, History):
        raise TypeError(f"not a history object: {version!r}")
    model: type[Any] = version.__chrononaut_declaration__.model
    return model


def _callers() -> int:
    """Return how many of the calls that led here are of this package, and one more."""
    frame, count = inspect.currentframe(), 0
    while frame is not None and frame.f_globals["__name__"].startswith(__package__):
        frame, count = frame.f_back, count + 1
    return count
