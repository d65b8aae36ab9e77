"""Trees in which a parent has become a child of its child, and goes back.

SQLAlchemy writes rows of a table in an order that suits both the old parents and the
new ones. Here there is none, and none is needed, since all rows are there: their
foreign keys are set, and their relations follow without events.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy.orm import RelationshipProperty
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.collections import collection_adapter

from chrononaut_pg._nodes import Node

_Edges = dict[int, set[int]]


def turn(nodes: Iterable[Node]) -> set[int]:
    """Let rows that exchange places in a tree be with their parents of then.

    Returns the ids of these objects; what is left is to set their foreign keys.
    """
    there = [node for node in nodes if node.live is not None]
    trees = {
        frozenset({one.of, *one.of._reverse_property}): one.of
        for node in there
        for one in node.relations
        if _is_tree(one.of)
    }
    turned: set[int] = set()
    for relations, of in trees.items():
        for child, old, new in _in_circles(there, of):
            _move(child, old, new, relations)
            turned.add(id(child))
    return turned


def _is_tree(of: RelationshipProperty[Any]) -> bool:
    """Whether rows of one table refer to each other, many of them to one."""
    both = {of, *of._reverse_property}
    return (
        of.secondary is None
        and not of.post_update
        and of.parent.base_mapper is of.mapper.base_mapper
        and all(one.uselist for one in both if one.direction.name == "ONETOMANY")
        and all(one.lazy not in ("dynamic", "write_only") for one in both)
    )


def _in_circles(
    nodes: list[Node], of: RelationshipProperty[Any]
) -> Iterator[tuple[Any, Any, Any]]:
    """Yield objects that come to be above themselves, with old and new parents."""
    pairs = of.local_remote_pairs or []
    upwards = of.direction.name == "MANYTOONE"
    names = [
        tuple(of.parent.get_property_by_column(column).key for column in columns)
        for columns in zip(*pairs, strict=True)
    ]
    referring, referred = names if upwards else reversed(names)
    parents = {_values(node.live, referred): node.live for node in nodes}
    moves, edges = [], _Edges()
    for node in nodes:
        old = parents.get(_values(node.live, referring))
        new = parents.get(_values(node.past, referring))
        above = {id(one) for one in (old, new) if one is not None}
        edges.setdefault(id(node.live), set()).update(above)
        if old is not new:
            moves.append((node.live, old, new))
    return (move for move in moves if _reaches(edges, id(move[0])))


def _values(one: Any, names: Iterable[str]) -> tuple[Any, ...]:
    return tuple(getattr(one, name, None) for name in names)


def _reaches(edges: _Edges, start: int) -> bool:
    """Whether a way leads from an object back to it."""
    seen: set[int] = set()
    ahead = [*edges[start]]
    while ahead:
        place = ahead.pop()
        if place == start:
            return True
        if place not in seen:
            seen.add(place)
            ahead.extend(edges.get(place, ()))
    return False


def _move(
    child: Any, old: Any, new: Any, relations: Iterable[RelationshipProperty[Any]]
) -> None:
    """Let what is loaded of relations say that an object has another parent."""
    for one in relations:
        if one.direction.name == "MANYTOONE":
            if one.key in vars(child):
                set_committed_value(child, one.key, new)
            continue
        if old is not None and one.key in vars(old):
            found = collection_adapter(vars(old)[one.key])
            if any(other is child for other in found):
                found.remove_without_event(child)
        if new is not None and one.key in vars(new):
            found = collection_adapter(vars(new)[one.key])
            if not any(other is child for other in found):
                found.append_without_event(child)
