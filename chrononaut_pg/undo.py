"""Undo of one change or a whole transaction, and rows put back, for a session.

The database's functions of the same names do it all (docs/undo.md). This module
flushes before them, so that they see what the session holds, and expires its objects
afterwards, so that the session sees what they did.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import Table, text
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Mapper, Session, scoped_session

from chrononaut_pg._past_moment import transaction_number
from chrononaut_pg._resources import package_core_version
from chrononaut_pg.declarations import is_declared, schemas_of, table_name
from chrononaut_pg.exceptions import (
    CannotUndoError,
    CoreMissingError,
    NoSessionError,
    from_database_error,
    sqlstate_of,
)
from chrononaut_pg.history import History, meta

_REFUSALS = dict.fromkeys(("P0002", "22023", "55000"), CannotUndoError)
"""Not found, wrong arguments, not now."""


@dataclass(frozen=True)
class UndoneRow:
    """What an undo did, or would do.

    *operation* is insert, update or delete, *rows* how many rows of the table
    *relation* it concerns. Where a single row is described, *key*, *before* and *after*
    map its columns' names to values as JSON has them. *conflict* says which later
    change is in the way, or was overwritten.
    """

    relation: str
    operation: str
    rows: int
    key: Mapping[str, Any] | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    conflict: str | None


@dataclass(frozen=True)
class RevertedRow:
    """What putting a row back meant.

    *operation* is insert, update, delete or none; *version* and *change_id* name the
    version that the row was put back to (None: it did not exist). *columns* were set,
    *skipped* maps columns that could not be to the reason.
    """

    relation: str
    operation: str
    version: int | None
    change_id: int | None
    columns: tuple[str, ...]
    skipped: Mapping[str, str]


def undo_transaction(
    session: Session | scoped_session[Any],
    transaction: Any,
    *,
    dry_run: bool = False,
    force: bool = False,
    bind_arguments: Mapping[str, Any] | None = None,
) -> list[UndoneRow]:
    """Undo all changes of a transaction, in all tables or in none::

        for row in undo_transaction(session, transaction, dry_run=True):
            print(row.relation, row.key, row.operation, row.conflict)
        undo_transaction(session, transaction)
        session.commit()

    *transaction* is a `Transaction` or its id. A dry run returns each row that would be
    written, otherwise a summary per table and operation. Raises UndoConflictError if a
    later change is in the way, unless *force*, and CannotUndoError if there is no such
    transaction; the session has to be rolled back then. Raises TypeError for versions.
    *bind_arguments* choose the database of a session that has several.
    """
    number = transaction_number(transaction)
    call = "undo_transaction(:number, dry_run => :dry_run, force => :force)"
    given = {"number": number, "dry_run": dry_run, "force": force}
    return _undone(session, call, given, dry_run, bind_arguments)


def undo_change(
    session: Session | scoped_session[Any],
    change: Any,
    target: type[Any] | Table | str | None = None,
    *,
    dry_run: bool = False,
    force: bool = False,
    bind_arguments: Mapping[str, Any] | None = None,
) -> list[UndoneRow]:
    """Undo one change and no other; later changes of other columns are kept::

        undo_change(session, user.versions()[-1].change_id, User)

    *change* is the number of a change, or an object that has it as `change_id`: a
    history object stands for the change that ended it. With *target* (a model, a Table
    or a name as SQL spells it) no other table is searched. Returns the row, or nothing
    if there was nothing to do. Raises UndoConflictError as `undo_transaction`,
    CannotUndoError for a version that no change has ended, TypeError for live objects.
    """
    call = (
        "undo_change(:number, target => cast(:target as regclass),"
        " dry_run => :dry_run, force => :force)"
    )
    given = {
        "number": _change_number(change),
        "target": None,
        "dry_run": dry_run,
        "force": force,
    }
    bound = bind_arguments or _bind(target)
    return _undone(session, call, given, dry_run, bound, target)


def _change_number(change: Any) -> Any:
    if isinstance(change, History):
        number = meta(change, "change_id")
        if number is None:
            raise CannotUndoError(
                f"no change has ended {change!r} yet",
                hint="The change that began it is its created_change_id.",
            )
        return number
    if is_declared(type(change)):
        raise TypeError(
            f"change is a version, a change or its number, not {type(change).__name__}:"
            " its versions() stand for the changes that ended them"
        )
    return getattr(change, "change_id", change)


def revert_row(
    session: Session | scoped_session[Any],
    target: type[Any] | Table | str,
    key: Any,
    *,
    version: int | None = None,
    at: datetime | None = None,
    change_id: int | None = None,
) -> RevertedRow:
    """Put a row back to one of its versions; name exactly one of the three::

        revert_row(session, User, 7, version=3)

    *key* is a value, a tuple of values, or a mapping of column names to values. *at*
    (timezone-aware) means the version in force then, *change_id* the one before that
    change. A deleted row is inserted again, a row that did not exist then is deleted.
    Relations are left alone. Raises CannotUndoError for a row or version not known.
    """
    call = (
        "select chrononaut.revert_row(cast(:target as regclass), cast(:key as jsonb),"
        " version => :version, at => :at, change_id => :change_id)"
    )
    for name, number in (("version", version), ("change_id", change_id)):
        if number is not None and not isinstance(number, int):
            raise TypeError(f"{name} is a number, not a {type(number).__name__}")
    given = {"version": version, "at": at, "change_id": change_id}
    return _put_back(session, target, key, call, given)


def restore_row(
    session: Session | scoped_session[Any], target: type[Any] | Table | str, key: Any
) -> RevertedRow:
    """Insert a deleted row again as it last was, its key included::

    restore_row(session, User, 7)
    """
    call = (
        "select chrononaut.restore_row(cast(:target as regclass), cast(:key as jsonb))"
    )
    return _put_back(session, target, key, call, {})


def _undone(
    session: Any,
    call: str,
    given: Mapping[str, Any],
    dry_run: bool,
    bind_arguments: Mapping[str, Any] | None,
    target: Any = None,
) -> list[UndoneRow]:
    query = f"select * from chrononaut.{call}"
    found = _call(session, query, given, bind_arguments, not dry_run, target)
    return [UndoneRow(*row) for row in found]


def _put_back(
    session: Any, target: Any, key: Any, call: str, given: Mapping[str, Any]
) -> RevertedRow:
    values = list(key) if isinstance(key, tuple) else key
    named = {"key": json.dumps(values, default=_as_text), **given}
    [[done]] = _call(session, call, named, _bind(target), True, target)
    columns = tuple(done.pop("columns"))
    return RevertedRow(**done, columns=columns)


def _call(
    session: Any,
    query: str,
    given: Mapping[str, Any],
    bind_arguments: Mapping[str, Any] | None,
    changes: bool,
    target: Any,
) -> list[Any]:
    """Call a function that may write to rows which the session has loaded."""
    if isinstance(session, scoped_session):
        session = session()
    if not isinstance(session, Session):
        raise NoSessionError(
            f"cannot undo with a {type(session).__name__}",
            hint="Pass a Session; with an AsyncSession, await session.run_sync(...).",
        )
    session.flush()
    bound = dict(bind_arguments or {})
    if target is not None:
        schemas = schemas_of(session.connection(bind_arguments=bound))
        given = {**given, "target": _name(target, schemas)}
    try:
        found = list(session.execute(text(query), given, bind_arguments=bound))
    except DBAPIError as error:
        if sqlstate_of(error) == "3F000":
            raise CoreMissingError(package_core_version()) from error
        ours = from_database_error(error, _REFUSALS)
        if ours is None:
            raise
        raise ours from error
    if changes:
        session.expire_all()
    return found


def _name(target: type[Any] | Table | str, schemas: Any) -> str:
    """Return the name of a table, as SQL spells it."""
    if isinstance(target, str):
        return target
    return table_name(_table(target), schemas)


def _table(target: type[Any] | Table) -> Any:
    if isinstance(target, Table):
        return target
    mapper: Any = sa_inspect(target, raiseerr=False)
    if not isinstance(mapper, Mapper):
        kind = type(target).__name__
        raise TypeError(f"target is a model, a Table or a name, not a {kind} object")
    return mapper.local_table


def _bind(target: type[Any] | Table | str | None) -> dict[str, Any]:
    """Return what tells a session with several databases where a table is."""
    if isinstance(target, Table):
        return {"clause": target}
    if isinstance(target, type):
        return {"mapper": sa_inspect(target)}
    return {}


def _as_text(value: Any) -> str:
    """Spell a value that JSON lacks as PostgreSQL reads it."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "\\x" + bytes(value).hex()
    return value.name if isinstance(value, Enum) else str(value)
