"""Columns of association rows besides their keys: a revert puts them back, too.

SQLAlchemy writes nothing but the keys. So rows that are there are updated at once, and
those that come again as soon as the session's flush has inserted them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Column, Table, Update, event, select, update
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import RelationshipProperty, Session, object_session

from chrononaut_pg.declarations import options_of
from chrononaut_pg.options import VersioningOptions

_KEY = "chrononaut_association_rows"
"""Where a session keeps the updates that wait for its flush."""

Row = Mapping[Any, Any]

Knows = Callable[[Column[Any], Any], bool]
"""Whether a value that is read from history says what a column held."""


def rows_of(owner: Any, relation: RelationshipProperty[Any]) -> dict[Any, Row]:
    """Return the association rows of an object, by the keys of what they lead to.

    They are those of its session, of the past or of the present. Empty where the table
    has no columns besides keys.
    """
    table: Any = relation.secondary
    state = sa_inspect(owner)
    session = object_session(owner)
    if session is None or not state.persistent or not own_columns(relation):
        return {}
    mapper = state.mapper
    found = session.execute(
        select(*table.columns).where(
            *(
                column == getattr(owner, mapper.get_property_by_column(mine).key)
                for mine, column in relation.synchronize_pairs
            )
        ),
        bind_arguments={"mapper": mapper},
    )
    rows = [dict(zip(table.columns, row, strict=True)) for row in found]
    others = [column for _, column in relation.secondary_synchronize_pairs or ()]
    return {tuple(row[column] for column in others): row for row in rows}


def own_columns(relation: RelationshipProperty[Any]) -> list[Column[Any]]:
    """Return the columns of an association table that are recorded and no keys."""
    table = relation.secondary
    if not isinstance(table, Table):
        return []
    keys = set(_keys(relation))
    found = [
        column
        for column in table.columns
        if column not in keys
        and not column.primary_key
        and column.computed is None
        and not (column.identity is not None and column.identity.always)
    ]
    if not found:
        return []
    options = options_of(table) or VersioningOptions()
    withheld = {*(options.hidden or ()), *(options.untracked or ())}
    return [column for column in found if column.name not in withheld]


def put_back(
    live: Any,
    relation: RelationshipProperty[Any],
    wanted: Mapping[Any, Row],
    knows: Knows,
) -> None:
    """Give the association rows of an object the values that they had."""
    session = object_session(live)
    assert session is not None
    present = rows_of(live, relation) if wanted else {}
    columns = own_columns(relation)
    for key, row in wanted.items():
        values = {c: row[c] for c in columns if knows(c, row[c])}
        now = present.get(key)
        if not values or (now and all(now[c] == value for c, value in values.items())):
            continue
        statement = (
            update(relation.secondary)  # type: ignore[arg-type]
            .where(*(column == row[column] for column in _keys(relation)))
            .values(values)
        )
        if now is None:
            _note(session, relation, statement)
        else:
            _execute(session, relation, statement)


def _keys(relation: RelationshipProperty[Any]) -> list[Any]:
    pairs = [*relation.synchronize_pairs, *(relation.secondary_synchronize_pairs or ())]
    return [column for _, column in pairs]


def _execute(
    session: Session, relation: RelationshipProperty[Any], statement: Update
) -> None:
    bind = {"mapper": relation.parent}
    session.connection(bind_arguments=bind).execute(statement)


def _note(
    session: Session, relation: RelationshipProperty[Any], statement: Update
) -> None:
    session.info.setdefault(_KEY, []).append((relation, statement))
    if not event.contains(session, "after_flush", _after_flush):
        event.listen(session, "after_flush", _after_flush)
        event.listen(session, "after_soft_rollback", _after_soft_rollback)


def _after_flush(session: Session, flush_context: Any) -> None:
    for relation, statement in session.info.pop(_KEY, ()):
        _execute(session, relation, statement)


def _after_soft_rollback(session: Session, previous: Any) -> None:
    session.info.pop(_KEY, None)
