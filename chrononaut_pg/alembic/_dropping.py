"""Puts the drops of tables into an order that applies; read by autogenerate.

Alembic proposes them in the order of a set.
"""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

from alembic.operations import ops
from sqlalchemy import Column, ForeignKeyConstraint


def drop_last(operations: list[Any]) -> None:
    """Put the drops of tables behind all else, those that refer to others first.

    The downgrade then makes tables first, each after those that it refers to. Where
    tables refer to each other in a circle nothing is changed.
    """
    drops = {
        _name(op.schema, op.table_name): op
        for op in operations
        if isinstance(op, ops.DropTableOp)
    }
    needs = {name: drops.keys() & _referred(op) for name, op in drops.items()}
    order = TopologicalSorter({name: sorted(needs[name] - {name}) for name in drops})
    try:
        made = list(order.static_order())
    except CycleError:
        return
    others = [op for op in operations if not isinstance(op, ops.DropTableOp)]
    operations[:] = [*others, *(drops[name] for name in reversed(made))]


def _name(schema: str | None, table: str) -> str:
    return f"{schema}.{table}" if schema else table


def _referred(op: Any) -> set[str]:
    """Return the names of tables that the keys of a dropped table refer to."""
    made = op._reverse
    found = (key for item in (made.columns if made else ()) for key in _keys(item))
    return {key.target_fullname.rpartition(".")[0] for key in found}


def _keys(item: Any) -> Iterator[Any]:
    if isinstance(item, ForeignKeyConstraint):
        yield from item.elements
    elif isinstance(item, Column):
        yield from item.foreign_keys
