"""Record locks: objects that nobody may change, in whatever way, until unlocked.

The database keeps and enforces them (docs/locks.md), on tables whose models have
`__chrononaut_lockable__ = True`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, cast, column, func, select, table
from sqlalchemy import inspect as sa_inspect
from sqlalchemy import literal as literal_value
from sqlalchemy.dialects.postgresql import JSONB, REGCLASS
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.types import Boolean, DateTime, Text

from chrononaut_pg._reading import plain_session, rows, session_of
from chrononaut_pg.declarations import (
    Declaration,
    declaration,
    declared_tables,
    key_columns,
)
from chrononaut_pg.exceptions import (
    NO_DATA_FOUND,
    ChrononautException,
    from_database_error,
    sqlstate_of,
)
from chrononaut_pg.readers import key_values


@dataclass(frozen=True)
class RecordLock:
    """One lock that is set now; *enforced* is false where the table is not lockable.

    *relation* names the table as the connection would write it, *key* maps its key's
    columns to values as JSON has them. *locked_at* is timezone-aware.
    """

    relation: str
    key: Mapping[str, Any]
    user_id: str | None
    db_user: str
    locked_at: datetime
    rationale: str | None
    change_info: Mapping[str, Any]
    enforced: bool


def lock_record(
    instance: Any, rationale: str | None = None, session: Session | None = None
) -> None:
    """Lock the rows of an object against every UPDATE and DELETE, by anybody::

        lock_record(invoice, rationale="Booked")
        session.commit()

    Flushes first. The lock holds from the commit on, for all sessions and for psql; who
    locked it is said by the change info. Raises RecordLockedError if it is locked
    already, ChrononautException if the database has no such row.
    """
    _call(instance, session, lambda: select_lock_record(instance, rationale))


def unlock_record(
    instance: Any, rationale: str | None = None, session: Session | None = None
) -> bool:
    """End the lock of an object; return whether there was one.

    Raises NotPermittedError unless the same user, as the same role, has locked it or
    the role is a member of the table's owner.
    """
    found = _call(instance, session, lambda: select_unlock_record(instance, rationale))
    return any(found[0])


def record_locks(session: Session, model: type[Any] | None = None) -> list[RecordLock]:
    """Return the locks that are set now, the oldest first, of one model if given."""
    mapper = {"mapper": sa_inspect(model)} if model is not None else {}
    live = plain_session(session)
    found = live.execute(select_record_locks(model), bind_arguments=mapper)
    return [RecordLock(*row) for row in found]


def select_lock_record(instance: Any, rationale: str | None = None) -> Select[Any]:
    """Return the statement of `lock_record`, for an AsyncSession::

    await session.execute(select_lock_record(invoice, rationale="Booked"))
    """
    return select(*_calls("lock_record", instance, rationale))


def select_unlock_record(instance: Any, rationale: str | None = None) -> Select[Any]:
    """Return the statement of `unlock_record`; it selects a boolean for each table."""
    return select(*_calls("unlock_record", instance, rationale))


def select_record_locks(model: type[Any] | None = None) -> Select[Any]:
    """Return the statement of `record_locks`; its rows have a RecordLock's fields."""
    types: dict[str, Any] = {
        "locked_at": DateTime(timezone=True),
        "enforced": Boolean(),
        **dict.fromkeys(("key", "change_info"), JSONB()),
    }
    names = [field.name for field in fields(RecordLock)]
    view = table(
        "record_locks",
        *(column(name, types.get(name, Text())) for name in names),
        schema="chrononaut",
    )
    shown: list[Any] = [view.c[name] for name in names]
    shown[0] = cast(view.c.relation, Text).label("relation")
    order = (view.c.locked_at, view.c.key, cast(view.c.relation, Text))
    found = select(*shown).order_by(*order)
    if model is None:
        return found
    tables = [_Regclass(one) for one in declaration(model).tables]
    return found.where(cast(view.c.relation, REGCLASS).in_(tables))


def _calls(
    function: str, instance: Any, rationale: str | None
) -> list[ColumnElement[Any]]:
    """Return one call for each table that the object's row is in."""
    one = declaration(type(instance))
    called = getattr(func.chrononaut, function)
    return [
        called(_Regclass(found), _key(instance, one, found), rationale).label(
            f"{function}_{number}"
        )
        for number, found in enumerate(_lockable_tables(one))
    ]


def _lockable_tables(one: Declaration) -> tuple[Table, ...]:
    """Return the object's lockable tables; its own if no model says so."""
    options = declared_tables(one.table.metadata)
    found = tuple(t for t in one.tables if t in options and options[t].lockable)
    return found or (one.table,)


class _Regclass(ColumnElement[Any]):
    """A table's regclass, in the schema that a `schema_translate_map` gives it."""

    inherit_cache = False
    type = REGCLASS()

    def __init__(self, found: Table) -> None:
        self.table = found


@compiles(_Regclass)
def _compile_regclass(element: _Regclass, compiler: Any, **_: Any) -> str:
    # A literal, since maps take effect on names in the text; none is quoted like this.
    name = compiler.preparer.format_table(element.table)
    return f"CAST($chrononaut${name}$chrononaut$ AS REGCLASS)"


def _key(instance: Any, one: Declaration, found: Table) -> ColumnElement[Any]:
    columns = key_columns(one, found)
    parts: list[Any] = []
    for key, value in zip(columns, key_values(instance, columns), strict=True):
        parts += [
            cast(literal_value(key.name), Text()),
            cast(literal_value(value, key.type), key.type),
        ]
    return func.jsonb_build_object(*parts)


def _call(
    instance: Any, session: Session | None, statement: Callable[[], Select[Any]]
) -> list[Any]:
    found = session_of(instance, session)
    found.flush()
    try:
        return rows(instance, found, statement)
    except DBAPIError as error:
        if sqlstate_of(error) == NO_DATA_FOUND:
            raise ChrononautException(
                f"{type(instance).__name__} object has no row in the database",
                sqlstate=NO_DATA_FOUND,
                hint="It was deleted, or policies of the table hide it.",
            ) from error
        translated = from_database_error(error)
        if translated is None:
            raise
        raise translated from error
