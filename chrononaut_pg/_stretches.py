"""Walking along the transactions until enough is found.

A history's only index beside its key is a BRIN, which finds the changes of transactions
that are near to each other. So what has no bound of its own is looked for in stretches
of transactions, each twice as long as the one before, and no further than need be.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Select, cast, func, literal, select, true

from chrononaut_pg._transaction import Transaction

BEFORE_ALL = -(2**63)
"""An id before all others."""

_FIRST, _LONGEST = 64, 4096


def bounds(
    after_id: int | None,
    limit: int | None,
    where: Sequence[Any],
    count: Callable[[Any, Any], Any],
) -> tuple[Any, Any]:
    """Return the ids of transactions to look between: after the one, up to the other.

    *where* are conditions on Transaction. *count* returns a scalar subquery: how much
    is found after one id and up to another; enough is *limit*.
    """
    if limit is not None:
        start = BEFORE_ALL if after_id is None else after_id
        return cast(start, BigInteger), _end(start, limit, where, count)
    if not where:
        return cast(BEFORE_ALL if after_id is None else after_id, BigInteger), None
    found = select(Transaction.id).where(*where)
    if after_id is not None:
        found = found.where(Transaction.id > after_id)
    ids = found.offset(0).subquery()
    ends = select(
        (func.min(ids.c.id) - 1).label("start"), func.max(ids.c.id).label("last")
    ).cte("ends")
    return (
        select(ends.c.start).scalar_subquery(),
        select(ends.c.last).scalar_subquery(),
    )


def _end(start: int, limit: int, where: Sequence[Any], count: Any) -> Any:
    """Return the id of the transaction at which enough is found, or the last one's."""
    walk = select(
        literal(start, BigInteger).label("last"),
        literal(_FIRST).label("length"),
        cast(0, BigInteger).label("found"),
    ).cte("walk", recursive=True)
    ids = (
        select(Transaction.id)
        .where(Transaction.id > walk.c.last, *where)
        .order_by(Transaction.id)
        .limit(walk.c.length)
        .correlate(walk)
        .subquery()
    )
    stretch = select(
        (func.min(ids.c.id) - 1).label("start"), func.max(ids.c.id).label("last")
    ).lateral("stretch")
    here = (
        select(count(stretch.c.start, stretch.c.last).label("number"))
        .offset(0)
        .lateral("here")
    )
    walk = walk.union_all(
        select(
            stretch.c.last,
            func.least(walk.c.length * 2, _LONGEST),
            walk.c.found + here.c.number,
        )
        .select_from(walk.join(stretch, true()).join(here, true()))
        .where(walk.c.found < limit, stretch.c.last.is_not(None))
    )
    return select(func.max(walk.c.last)).scalar_subquery()


def between(column: Any, start: Any, end: Any) -> list[Any]:
    """Return conditions that an id lies within what `bounds` returned."""
    within = [column > start]
    return within if end is None else [*within, column <= end]


def times(after: Any, before: Any) -> list[Any]:
    """Return conditions that a transaction's first change lies between two times."""
    found = []
    if after is not None:
        found.append(Transaction.issued_at >= after)
    if before is not None:
        found.append(Transaction.issued_at < before)
    return found


def once(statement: Any, name: str) -> Any:
    """Return a statement as a part of another that is executed once, and first."""
    return statement.cte(name).prefix_with("MATERIALIZED")


def listed(statement: Select[Any]) -> Any:
    """Return the values of a statement as an array, which goes down into views."""
    [one] = statement.selected_columns
    return func.array(statement.scalar_subquery(), type_=ARRAY(one.type))
