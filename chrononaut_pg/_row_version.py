"""Row versions: the column of a model, and how SQLAlchemy checks writes with it.

A trigger raises the column; SQLAlchemy compares it in the WHERE of its UPDATEs and
DELETEs, and raises StaleDataError where the row is not the one that was read.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import BigInteger, Column, DefaultClause, Integer, event, select, text
from sqlalchemy.orm import InstanceState, Mapper, Session, persistence
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.schema import FetchedValue

from chrononaut_pg import _spellings
from chrononaut_pg.exceptions import DeclarationError

NAME = "row_version"

_STALE = "chrononaut_stale_versions"


def wire(model: type[Any], mapper: Mapper[Any]) -> None:
    """Map the column of a model that has `__chrononaut_row_version__`, if need be.

    In joined inheritance it stands on the base table only. Raises DeclarationError if
    the base lacks the option, or if the model checks another column.
    """
    if not _spellings.inherited(model, NAME):
        return
    if mapper.inherits is not None and not mapper.concrete:
        _check_base(model, mapper.inherits)
        return
    if mapper.version_id_col is not None:
        raise DeclarationError(
            f"{model.__name__} has both a version_id_col and "
            "__chrononaut_row_version__",
            hint="Leave one of them out.",
        )
    column = _column(model, mapper)
    mapper.version_id_col = column
    mapper.version_id_generator = False
    _listen(model)


def column_of(model: type[Any], mapper: Mapper[Any]) -> Column[Any] | None:
    """Return the row version of a model, None if it has none."""
    found = mapper.version_id_col
    if isinstance(found, Column) and _spellings.inherited(model, NAME):
        return found
    return None


def _check_base(model: type[Any], base: Mapper[Any]) -> None:
    if column_of(base.class_, base) is None:
        raise DeclarationError(
            f"{model.__name__} has __chrononaut_row_version__, but its base "
            f"{base.class_.__name__} has not",
            hint="Set it on the base: one row version counts for the whole object.",
        )


def _column(model: type[Any], mapper: Mapper[Any]) -> Column[Any]:
    """Return the column, mapped; the model's own if it declares one."""
    table: Any = mapper.local_table
    if NAME not in table.columns:
        table.append_column(Column(NAME, BigInteger, nullable=False))
    column: Column[Any] = table.columns[NAME]
    if not isinstance(column.type, Integer):
        raise DeclarationError(
            f"{model.__name__} has a column {NAME} that is no integer",
            hint="Rename it, or leave __chrononaut_row_version__ out.",
        )
    if column.server_default is None:
        DefaultClause(text("1"))._set_parent_with_dispatch(column)
    if column.server_onupdate is None:
        FetchedValue(for_update=True)._set_parent_with_dispatch(column)
    if column not in mapper._columntoproperty:
        mapper.add_property(NAME, column)
    return column


def _listen(model: type[Any]) -> None:
    event.listen(model, "refresh", _after_evaluation, propagate=True)
    if not event.contains(Session, "after_flush", _after_flush):
        event.listen(Session, "after_flush", _after_flush)
        event.listen(Session, "after_flush_postexec", _after_flush_postexec)
        # There is no event for what is written by post_update.
        if _sqlalchemy_post_update is not None:
            _SQLALCHEMY._emit_post_update_statements = _post_update


def _after_evaluation(target: Any, context: Any, attributes: Any) -> None:
    """Forget the version of an object that an UPDATE ... WHERE of the ORM has changed.

    SQLAlchemy sets its attributes without asking the database, and without a context.
    """
    mapper = target.__mapper__
    key = _key(mapper)
    if context is None and attributes is not None and key not in attributes:
        state: InstanceState[Any] = target._sa_instance_state
        state._expire_attributes(state.dict, [key])


_SQLALCHEMY: Any = persistence

_sqlalchemy_post_update: Any = getattr(
    _SQLALCHEMY, "_emit_post_update_statements", None
)
"""Not public: without it, SQLAlchemy's own limits hold for post_update."""


def _post_update(
    base: Any, flush_context: Any, mapper: Any, table: Any, update: Any
) -> None:
    """Write a relationship with post_update, row by row where a row version is checked.

    SQLAlchemy would ask one statement for several rows to return what the trigger gave,
    which no driver can, and would look for rows that are to be deleted next with the
    version that they had before.
    """
    if not _is_versioned(mapper):
        _sqlalchemy_post_update(base, flush_context, mapper, table, update)
        return
    for record in update:
        _sqlalchemy_post_update(base, flush_context, mapper, table, (record,))
        state, connection = record[0], record[3]
        if flush_context.is_deleted(state):
            row = [
                column == value
                for column, value in zip(mapper.primary_key, state.key[1], strict=True)
            ]
            found = connection.scalar(select(mapper.version_id_col).where(*row))
            set_committed_value(state.obj(), _key(mapper), found)


def _after_flush(session: Session, flush_context: Any) -> None:
    """Note the objects for which SQLAlchemy forgets what the trigger gave.

    Where only another table of the object changed, or a relationship is written by
    post_update, it puts the old version in the place of the one that came back.
    """
    found = [
        one
        for one in session.dirty
        if len(_tables(one)) > 1 and session.is_modified(one)
    ]
    stale = [one._sa_instance_state for one in found]
    for states, _ in flush_context.post_update_states.values():
        stale += [state for state in states if _is_versioned(state.mapper)]
    if stale:
        session.info.setdefault(_STALE, []).extend(stale)


def _after_flush_postexec(session: Session, flush_context: Any) -> None:
    for state in _live(session, session.info.pop(_STALE, ())):
        key = _key(state.mapper)
        state._expire_attributes(state.dict, [key])
        if not session.expire_on_commit:
            # Nothing else would tell later what version this object is.
            getattr(state.obj(), key)


def _live(
    session: Session, states: Iterable[InstanceState[Any]]
) -> list[InstanceState[Any]]:
    return [one for one in states if one.persistent and one.session is session]


def _tables(instance: Any) -> Any:
    mapper: Mapper[Any] | None = getattr(type(instance), "__mapper__", None)
    return mapper.tables if mapper is not None and _is_versioned(mapper) else ()


def _is_versioned(mapper: Mapper[Any]) -> bool:
    return column_of(mapper.class_, mapper) is not None


def _key(mapper: Mapper[Any]) -> str:
    assert isinstance(mapper.version_id_col, Column)
    return str(mapper.get_property_by_column(mapper.version_id_col).key)
