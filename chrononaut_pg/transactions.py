"""Transactions as objects, and questions about what changed, across rows and tables."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Select, func, select, union_all
from sqlalchemy.orm import QueryableAttribute

from chrononaut_pg import _versions_changed
from chrononaut_pg._row_changes import (
    RowChange,
    row_changes_from,
    select_changes_by,
    select_changes_of,
)
from chrononaut_pg._stretches import between, bounds, once, times
from chrononaut_pg._times import aware
from chrononaut_pg._touched import histories
from chrononaut_pg._transaction import Transaction
from chrononaut_pg.declarations import (
    Declaration,
    declaration,
    is_declared,
    key_columns,
)
from chrononaut_pg.exceptions import UnknownColumnError, UntrackedAttributeError

__all__ = [
    "RowChange",
    "Transaction",
    "row_changes_from",
    "select_changes_by",
    "select_changes_of",
    "select_transactions",
    "select_versions_that_changed",
]


def select_transactions(
    touching: type[Any] | None = None,
    user_id: str | None = None,
    after: datetime | None = None,
    before: datetime | None = None,
    after_id: int | None = None,
    limit: int | None = None,
) -> Select[Any]:
    """Return a statement for transactions, in the order of their ids::

        session.scalars(select_transactions(touching=User, user_id="ann", limit=50))

    *touching* is a versioned model: those in which objects of the class changed, or of
    a subclass. *user_id* is what the first recorded statement said; *after* and
    *before* bound the time of the first change, the second exclusively. Pages: *limit*
    transactions after the one with the id *after_id*. Raises NotVersionedError.
    """
    where = times(
        *(None if at is None else aware(at) for at in (after, before)),
    )
    said = [] if user_id is None else [Transaction.user_id == user_id]
    found = select(Transaction).where(*where, *said)
    if touching is None:
        if after_id is not None:
            found = found.where(Transaction.id > after_id)
    else:
        one = declaration(touching)

        def count(start: Any, end: Any) -> Any:
            here = _touched(one, start, end, start.table)
            number = select(func.count()).where(Transaction.id.in_(here), *where, *said)
            return number.select_from(Transaction).scalar_subquery()

        start, end = bounds(after_id, limit, where, count)
        ids = once(_touched(one, start, end).distinct(), "touched")
        found = found.where(
            Transaction.id.in_(select(ids.c.id)), *between(Transaction.id, start, end)
        )
        if (bind_key := one.table.metadata.info.get("bind_key")) is not None:
            # Databases number alike: what they find asks there for its changes.
            found = found.execution_options(identity_token=bind_key)
    return found.order_by(Transaction.id).limit(limit)


def select_versions_that_changed(
    model: type[Any],
    name: str | QueryableAttribute[Any],
    key: Any = None,
    following: Any = None,
    limit: int | None = None,
) -> Select[Any]:
    """Return a statement for the versions that began with a change of an attribute::

        session.scalars(select_versions_that_changed(User, "email", key=7))

    The attribute may be given as `User.email`, too. It selects history objects: of the
    row with the *key* (a tuple if it has several columns) by version, else of all rows
    in the order of transactions and changes. An insert changed what it did not leave
    null. Of hidden attributes is known that they changed. Pages: *limit* versions after
    *following*, the last one of the page before.

    Raises NotVersionedError, UnknownColumnError or UntrackedAttributeError; ValueError
    if the key has another number of columns.
    """
    one = declaration(model)
    if not isinstance(name, str):
        name = _own_name(one, name)
    column = _tracked(one, name)
    if key is None:
        return _versions_changed.select_of_all(one, column, following, limit)
    values = key if isinstance(key, tuple) else (key,)
    if len(values) != (columns := len(key_columns(one, one.table))):
        raise ValueError(
            f"the key of {model.__name__} has {columns} columns, not {len(values)}"
        )
    return _versions_changed.select_of_one(one, column, values, following, limit)


def _touched(one: Declaration, start: Any, end: Any, *given: Any) -> Select[Any]:
    """Select the ids of transactions within bounds that changed objects of a model.

    *given* is what the bounds come from, where that is part of the whole statement.
    """
    parts = []
    for history, conditions in histories(one):
        transaction = history.c["chrononaut:transaction_id"]
        within = between(transaction, start, end)
        part = select(transaction.label("id")).where(*within, *conditions)
        parts.append(part.correlate(*given) if given else part)
    return select(union_all(*parts).subquery())


def _own_name(one: Declaration, attribute: QueryableAttribute[Any]) -> str:
    """Return the name of an attribute; raise if it is one of another model."""
    owner: Any = getattr(attribute, "parent", None)
    other = getattr(owner, "mapper", one.mapper)
    if is_declared(other.class_) and not (
        one.mapper.isa(other) or other.isa(one.mapper)
    ):
        raise UnknownColumnError(
            f"{attribute} is no attribute of {one.model.__name__}",
            table=one.table.name,
            column=attribute.key,
            hint="Name one of the model that is asked for.",
        )
    return attribute.key


def _tracked(one: Declaration, name: str) -> Column[Any]:
    """Return the column of an attribute that history knows something of."""
    columns = one.mapper.columns
    found = columns.get(name)
    if not isinstance(found, Column):
        raise UnknownColumnError(
            f"{one.model.__name__} has no column attribute {name!r}",
            table=one.table.name,
            column=name,
            hint="Name an attribute that is mapped to a column.",
        )
    if found in one.all_untracked:
        raise UntrackedAttributeError(
            f"{one.model.__name__}.{name} is not known: the column is not tracked"
        )
    return found
