"""Where a revert sends those whom an object has now and had not then."""

from collections.abc import Iterator
from typing import Any, Protocol

from sqlalchemy import Column, select
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Mapper, RelationshipProperty, Session
from sqlalchemy.sql import visitors

from chrononaut_pg._identity import identity
from chrononaut_pg._members import put, take
from chrononaut_pg._nodes import Node, Relation
from chrononaut_pg._restorable import keep, name_of
from chrononaut_pg.exceptions import RevertError


class Writes(Protocol):
    """What a revert offers to those who write a part of it."""

    session: Session

    def say(self, live: Any) -> None:
        """Note what an object is reverted to."""

    def restore(self, node: Node, names: set[str] | None = None) -> None:
        """Give an object the values that are known of it, or those of some names."""


def go_back(plan: Writes, node: Node, relation: Relation, one: Any, was: Node) -> None:
    """Move an object to the parent that it had then, if it is another one."""
    of = relation.of
    pairs = of.local_remote_pairs or []
    source: Mapper[Any] = of.parent
    mine = sa_inspect(type(one))
    wanted = {
        name_of(source, local): getattr(was.past, name_of(mine, remote))
        for local, remote in pairs
    }
    asked = [name_of(mine, column) for column in _asked_for(of, mine)]
    if any(getattr(was.past, name) != getattr(one, name) for name in asked):
        # Its key alone does not say whose it was: perhaps that of another class.
        _be_again(plan, node, relation, was, {*asked, *_remote_names(of, mine)})
        plan.say(one)
        return
    if all(getattr(node.live, name) == v for name, v in wanted.items()):
        _be_again(plan, node, relation, was, None)
        return
    take(node.live, of, one)
    plan.say(one)
    if any(value is None for value in wanted.values()):
        return
    conditions = [getattr(source.class_, n) == v for n, v in wanted.items()]
    other = plan.session.scalars(select(source.class_).where(*conditions)).first()
    if other is not None:
        put(other, of, one)
    elif any(not remote.nullable for _, remote in pairs) or of.cascade.delete_orphan:
        raise RevertError(
            f"{type(one).__name__} {identity(type(one), one)[1]} belonged to "
            f"another {source.class_.__name__} then, which is gone",
            hint="Restore that one first, or revert without this relation.",
        )


def _be_again(
    plan: Writes, node: Node, relation: Relation, was: Node, names: set[str] | None
) -> None:
    """Give an object values that it had, by which it is not of the relation any more.

    The unit of work would clear its key if it were taken out for good.
    """
    take(node.live, relation.of, was.live)  # collections may go by its values
    plan.restore(was, names)
    put(node.live, relation.of, was.live)
    plan.restore(was, names)  # listeners may have set others
    keep(was.live, was.steady)


def _asked_for(
    of: RelationshipProperty[Any], mine: Mapper[Any]
) -> Iterator[Column[Any]]:
    """Yield the columns of members that a condition names besides its keys."""
    keys = {remote for _, remote in of.local_remote_pairs or []}
    for part in visitors.iterate(of.primaryjoin):
        if (
            isinstance(part, Column)
            and part not in keys
            and mine.columns.contains_column(part)
            and ("remote" in part._annotations or part.table not in of.parent.tables)
        ):
            yield part


def _remote_names(of: RelationshipProperty[Any], mine: Mapper[Any]) -> Iterator[str]:
    for _, remote in of.local_remote_pairs or []:
        yield name_of(mine, remote)
