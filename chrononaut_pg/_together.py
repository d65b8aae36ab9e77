"""Reads together, by one statement each, what a revert would else ask for one by one.

Whom an object has in a relation, others of the same model, and the object itself.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, null, or_, select, tuple_
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Mapper, RelationshipProperty, Session

from chrononaut_pg._identity import Identity, Key, find, identity, key_names
from chrononaut_pg._loading import loader_of
from chrononaut_pg._members import (
    BY_QUERY,
    Tree,
    commit,
    compared,
    condition,
    equal,
    in_order,
    made_once,
    members,
    rows,
)
from chrononaut_pg._recorded import RECORDED, Recorded
from chrononaut_pg._restorable import declared_below, eager, relation_of
from chrononaut_pg._straight import read_straight
from chrononaut_pg._unheard import Read

Along = dict[str, tuple[list[Any], list[Any]]]
"""Whom an object has in a relation, by its name, and others that were read along."""

_OTHERS = "chrononaut_others"

_ANY_NUMBER = -1

_MOST = 8
"""Of how many others the keys are parameters of their own; lists are slower."""

_TOLD_BY_KEY = "chrononaut_told_by_key"
"""Where the info of a relation keeps whether the key of an object says whom it has."""

_READS = "chrononaut_reads"
"""Where it keeps what reads an object with whom it has."""

_JOINING = ("joined", False, "subquery")


def can_take_along(relation: RelationshipProperty[Any], model: type[Any]) -> bool:
    """Whether other objects of a model can be read along with those of a relation."""
    return (
        relation.lazy not in BY_QUERY
        and relation.secondary is None
        and relation.entity is relation.mapper
        and relation.mapper.class_ is model
    )


def queried_with(
    owner: Any,
    relation: RelationshipProperty[Any],
    others: Sequence[Key],
    options: Iterable[Any] = (),
) -> tuple[list[Any], list[Any]]:
    """Load a relation anew; return its objects, and others that have certain keys."""
    belongs, values = condition(owner, relation)
    size = _size(relation, others)
    statement = made_once(
        relation, belongs, size, lambda: _with_others(relation, belongs, size)
    )
    values.update(_values(size, others))
    found = rows(sa_inspect(owner).session, statement, values, options, True)
    mine = [one for one, is_mine in found if is_mine]
    commit(owner, relation, mine)
    return mine, [one for one, is_mine in found if not is_mine]


def load_past(past: Any, tree: Tree, model: type[Any], recorded: Recorded) -> None:
    """Load anew, of an object of the past, the relations in *tree*.

    What *recorded* will be asked for is brought along where the past is opened.
    """
    relations = {name: relation_of(type(past), name) for name in tree}
    rest = [
        name
        for name, relation in relations.items()
        if not _is_read_straight(past, relation, tree[name])
    ]
    if rest:
        recorded.ask_along(declared_below(model, tree))
    for name in rest:
        relation = relations[name]
        members(past, relation, eager(relation.entity.class_, tree[name]))


def _is_read_straight(
    past: Any, relation: RelationshipProperty[Any], below: Tree
) -> bool:
    """Load a relation by one statement, if that can be; return whether it is loaded."""
    if below or relation.lazy in BY_QUERY:
        return False
    vars(past).pop(relation.key, None)
    read_straight(past, relation)
    return relation.key in vars(past)


def found_along(
    session: Session, key: Identity, past: Any, tree: Tree, recorded: Recorded
) -> tuple[Any, Along]:
    """Return an object as it is, and what was read along with it for a revert.

    *past* is it as it was, with the relations in *tree*: those whom it had in the first
    one are read along if possible, and what *recorded* will be asked for. None stands
    for an object that is gone.
    """
    for name, below in [*tree.items()][:1]:
        relation = relation_of(type(past), name)
        options = eager(relation.entity.class_, below)
        was = members(past, relation, options, known=True)
        others = [identity(type(one), one) for one in was]
        if all(can_take_along(relation, model) for model, _ in others):
            keys = [values for _, values in others]
            if not _can_take_owner_along(session, key, relation):
                break
            along = recorded.bring(declared_below(key[0], tree))
            read = _found_with(session, key, relation, keys, options, along)
            if read is not None:
                live, now, found, told = read
                recorded.brought(told)
                return live, {name: (now, found)}
    return find(session, key), {}


def _can_take_owner_along(
    session: Session, key: Identity, relation: RelationshipProperty[Any]
) -> bool:
    """Whether an object can be read along with whom it has in a relation."""
    return (
        _is_told_by_key(relation)
        and relation.parent.class_ is key[0]
        and None not in key[1]
        and _are_in_one_place(session, relation.parent, relation.mapper)
    )


def _found_with(
    session: Session,
    key: Identity,
    relation: RelationshipProperty[Any],
    others: Sequence[Key],
    options: Iterable[Any],
    along: Mapping[str, Any],
) -> tuple[Any, list[Any], list[Any], str | None] | None:
    """Return an object, whom it has in a relation, and others that have certain keys.

    All are read anew; last is what the registry says, if *along* asks for that. None:
    there is no such object.
    """
    size = _size(relation, others)
    own = dict(zip(key_names(key[0]), key[1], strict=True))
    values = {place: own[name] for place, name, _ in compared(relation) or ()}
    values.update((f"chrononaut_key_{n}", value) for n, value in enumerate(key[1]))
    values.update(_values(size, others))
    values.update(along)
    if not options and size != _ANY_NUMBER and _serve(session, relation):
        found = _loaded(session, relation, size, values, bool(along))
    else:
        statement = made_once(
            relation,
            equal(relation),
            ("owner", size, bool(along)),
            lambda: _with_owner(relation, size, bool(along)),
        )
        found = rows(session, statement, values, options, True)
    if not found:
        return None
    live, told = found[0][0], found[0][3]
    mine = [one for _, one, is_mine, _ in found if is_mine]
    commit(live, relation, mine)
    rest = [one for _, one, is_mine, _ in found if one is not None and not is_mine]
    return live, mine, rest, told


def _serve(session: Session, relation: RelationshipProperty[Any]) -> bool:
    """Whether objects on both sides of a relation can be made of rows at once."""
    return all(
        loader_of(mapper.class_).serves(session)
        for mapper in (relation.parent, relation.mapper)
    )


def _loaded(
    session: Session,
    relation: RelationshipProperty[Any],
    size: int,
    values: Mapping[str, Any],
    asks: bool,
) -> list[Any]:
    """Return what `_with_owner` reads, without the ORM's loader."""
    owner, other = loader_of(relation.parent.class_), loader_of(relation.mapper.class_)
    reads: dict[Any, Read] = relation.info.setdefault(_READS, {})
    if (size, asks) not in reads:
        reads[size, asks] = Read(_with_owner(relation, size, asks, _columns_of))
    read = reads[size, asks]
    place = {"mapper": relation.parent, "clause": read.statement}
    found = read.rows(session.connection(bind_arguments=place), values)
    first, last = len(owner.attributes), len(owner.attributes) + len(other.attributes)
    own = owner.values([*owner.attributes], [row[:first] for row in found[:1]])
    rest = other.values([*other.attributes], [row[first:last] for row in found])
    lives = owner.objects(session, own)
    return [
        (lives[0], one, *row[last:])
        for one, row in zip(other.objects(session, rest), found, strict=True)
    ]


def _columns_of(model: type[Any]) -> list[Any]:
    return [getattr(model, name) for name in loader_of(model).attributes]


def _size(relation: RelationshipProperty[Any], others: Sequence[Key]) -> int:
    """Return how many parameters a statement has for the keys of others."""
    if len(others) > _MOST or (others and len(key_names(relation.mapper.class_)) > 1):
        return _ANY_NUMBER
    return 1 << (len(others) - 1).bit_length() if others else 0


def _values(size: int, others: Sequence[Key]) -> dict[str, Any]:
    if size == _ANY_NUMBER:
        keys = others if len(others[0]) > 1 else [value for [value] in others]
        return {_OTHERS: keys}
    last = len(others) - 1
    return {f"{_OTHERS}_{n}": others[min(n, last)][0] for n in range(size)}


def _among(
    relation: RelationshipProperty[Any], belongs: ColumnElement[bool], size: int
) -> ColumnElement[bool]:
    """Return the condition that an object belongs to a relation, or is an other one."""
    model = relation.mapper.class_
    columns = [getattr(model, name) for name in key_names(model)]
    if size == _ANY_NUMBER:
        key: Any = columns[0] if len(columns) == 1 else tuple_(*columns)
        return or_(belongs, key.in_(bindparam(_OTHERS, expanding=True)))
    places: Any = (bindparam(f"{_OTHERS}_{n}") for n in range(size))
    return or_(belongs, *(columns[0] == place for place in places))


def _with_others(
    relation: RelationshipProperty[Any], belongs: ColumnElement[bool], size: int
) -> Select[Any]:
    found = select(relation.entity, belongs).where(_among(relation, belongs, size))
    return in_order(relation, found)


def _with_owner(
    relation: RelationshipProperty[Any],
    size: int,
    asks: bool,
    selected: Callable[[type[Any]], list[Any]] = lambda model: [model],
) -> Select[Any]:
    """Return a statement for an object and others; *selected* is what of each."""
    owner, other = relation.parent.class_, relation.mapper.class_
    belongs = equal(relation)
    keys = [getattr(owner, name) for name in key_names(owner)]
    wanted = (*selected(owner), *selected(other), belongs)
    found = (
        select(*wanted, RECORDED if asks else null())
        .select_from(owner)
        .outerjoin(other, _among(relation, belongs, size))
        .where(*(key == bindparam(f"chrononaut_key_{n}") for n, key in enumerate(keys)))
    )
    return in_order(relation, found)


def _is_told_by_key(relation: RelationshipProperty[Any]) -> bool:
    """Whether the key of an object says whom it has, and a join doubles nothing."""
    known: bool | None = relation.info.get(_TOLD_BY_KEY)
    if known is None:
        pairs, names = compared(relation), key_names(relation.parent.class_)
        known = relation.info[_TOLD_BY_KEY] = (
            pairs is not None
            and bool(relation.uselist)
            and relation.lazy not in BY_QUERY
            and all(name in names for _, name, _ in pairs)
            and relation.parent.local_table is not relation.mapper.local_table
            and all(map(_stands_alone, (relation.parent, relation.mapper)))
        )
    return known


def _stands_alone(mapper: Mapper[Any]) -> bool:
    """Whether a class has neither relatives nor relations that a join would load."""
    return (
        mapper.inherits is None
        and mapper.polymorphic_on is None
        and not any(one.lazy in _JOINING for one in mapper.relationships)
    )


def _are_in_one_place(session: Session, *mappers: Mapper[Any]) -> bool:
    """Whether objects of these mappers are in one database, whichever they are."""
    if session.connection_callable:
        return False
    first, *rest = (session.get_bind(mapper) for mapper in mappers)
    return all(one is first for one in rest)
