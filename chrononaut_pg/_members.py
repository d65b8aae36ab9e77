"""Who belongs to a relation of an object, read and changed, whatever its kind."""

from collections.abc import Callable, Iterable
from typing import Any, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    and_,
    bindparam,
    false,
    select,
)
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import RelationshipProperty, Session, with_parent
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.collections import KeyFuncDict, collection_adapter
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BinaryExpression

from chrononaut_pg.exceptions import RevertError

Tree = dict[str, "Tree"]
"""Names of relations, each with those of what it leads to."""

BY_QUERY = ("dynamic", "write_only")

_Pairs = list[tuple[str, str, Any]]
"""Parameters, attributes of an owner for them, and columns that equal them."""

_COMPARED = "chrononaut_compared"
"""Where the info of a relation keeps its pairs."""

_EQUAL = "chrononaut_equal"
"""Where it keeps the condition that is made once."""

_MADE = "chrononaut_statements"
"""Where it keeps the statements that are made once, by what they select."""

_ANEW = {"populate_existing": True}

_AS_LOADED: dict[str, Any] = {}


def paths(relations: Iterable[Any]) -> Tree:
    """Return the tree of relations that are named by strings or attributes.

    "articles.tags" and (User.articles, Article.tags) name the same.
    """
    if isinstance(relations, str):
        raise RevertError(
            f"relations is the string {relations!r}",
            hint=f"Make it a list: relations=[{relations!r}].",
        )
    tree: Tree = {}
    for path in relations:
        parts = path if isinstance(path, list | tuple) else [path]
        place = tree
        for part in parts:
            name = part if isinstance(part, str) else part.key
            for step in name.split("."):
                place = place.setdefault(step, {})
    return tree


def is_one(relation: RelationshipProperty[Any]) -> bool:
    """Whether a relation leads to one object at most."""
    return not relation.uselist


def members(
    owner: Any,
    relation: RelationshipProperty[Any],
    options: Iterable[Any] = (),
    known: bool = False,
    anew: bool = False,
) -> list[Any]:
    """Return the objects of a relation, as a list.

    *known*: what is loaded is right. Otherwise it is read, whatever the relation's
    loading says; *anew*, with all that is loaded of its objects.
    """
    state, name = sa_inspect(owner), relation.key
    if relation.lazy in BY_QUERY:
        return [] if state.pending else queried(owner, relation, options, anew)
    if state.pending or state.transient:
        return _listed(getattr(owner, name), relation)
    if not (known and name in vars(owner)):
        commit(owner, relation, queried(owner, relation, options, anew))
    return _listed(getattr(owner, name), relation)


def put(owner: Any, relation: RelationshipProperty[Any], one: Any) -> None:
    """Let an object belong to a relation."""
    if is_one(relation):
        setattr(owner, relation.key, one)
    elif relation.lazy in BY_QUERY:
        getattr(owner, relation.key).add(one)
    else:
        found = getattr(owner, relation.key)
        if not any(one is other for other in _listed(found, relation)):
            collection_adapter(found).append_with_event(one)


def take(owner: Any, relation: RelationshipProperty[Any], one: Any) -> None:
    """Let an object no longer belong to a relation."""
    if is_one(relation):
        if getattr(owner, relation.key) is one:
            setattr(owner, relation.key, None)
    elif relation.lazy in BY_QUERY:
        getattr(owner, relation.key).remove(one)
    else:
        found = getattr(owner, relation.key)
        if any(one is other for other in _listed(found, relation)):
            collection_adapter(found).remove_with_event(one)


def hold(owner: Any, relation: RelationshipProperty[Any], found: list[Any]) -> None:
    """Let a relation be loaded, with what was read of it before, if it no longer is."""
    if relation.lazy not in BY_QUERY and relation.key not in vars(owner):
        commit(owner, relation, found)


def mixed(owner: Any, relation: RelationshipProperty[Any]) -> bool:
    """Whether a collection is kept by values of its members, which may change."""
    return not is_one(relation) and isinstance(
        vars(owner).get(relation.key), KeyFuncDict
    )


def _leads_nowhere(owner: Any, relation: RelationshipProperty[Any]) -> bool:
    """Whether a many-to-one relation has a null in its foreign key.

    Its condition may ask for nulls in other columns, or for one of several keys.
    """
    if relation.direction.name != "MANYTOONE":
        return False
    mapper = sa_inspect(owner).mapper
    nulls = [
        getattr(owner, mapper.get_property_by_column(column).key) is None
        for _, column in relation.synchronize_pairs
        if mapper.columns.contains_column(column)
    ]
    parts = visitors.iterate(relation.primaryjoin)
    either = any(getattr(one, "operator", None) is operators.or_ for one in parts)
    return all(nulls) if either and nulls else any(nulls)


def queried(
    owner: Any,
    relation: RelationshipProperty[Any],
    options: Iterable[Any] = (),
    anew: bool = False,
) -> list[Any]:
    """Return the objects of a relation as the database has them.

    *anew*: what is loaded of them is loaded again.
    """
    if _leads_nowhere(owner, relation):
        return []
    belongs, values = condition(owner, relation)
    statement = made_once(
        relation,
        belongs,
        None,
        lambda: in_order(relation, select(relation.entity).where(belongs)),
    )
    found = rows(sa_inspect(owner).session, statement, values, options, anew)
    return [one for [one] in found]


def condition(
    owner: Any, relation: RelationshipProperty[Any]
) -> tuple[ColumnElement[bool], dict[str, Any]]:
    """Return the condition that an object belongs to a relation, and its parameters.

    Where columns are equal and no more, it is made once.
    """
    if _leads_nowhere(owner, relation):
        return false(), {}
    pairs = compared(relation)
    if pairs is None:
        return with_parent(owner, getattr(type(owner), relation.key)), {}
    values = {place: getattr(owner, name) for place, name, _ in pairs}
    return equal(relation), values


def equal(relation: RelationshipProperty[Any]) -> ColumnElement[bool]:
    """Return the condition of a relation that only compares columns, made once."""
    found: ColumnElement[bool] | None = relation.info.get(_EQUAL)
    if found is None:
        pairs = compared(relation) or ()
        found = and_(*(column == bindparam(place) for place, _, column in pairs))
        relation.info[_EQUAL] = found
    return found


def made_once(
    relation: RelationshipProperty[Any],
    belongs: ColumnElement[bool],
    name: Any,
    make: Callable[[], Select[Any]],
) -> Select[Any]:
    """Return a statement with a condition; it is made once if that was."""
    if belongs is not relation.info.get(_EQUAL):
        return make()
    made: dict[Any, Select[Any]] = relation.info.setdefault(_MADE, {})
    if name not in made:
        made[name] = make()
    return made[name]


def in_order(relation: RelationshipProperty[Any], found: Select[Any]) -> Select[Any]:
    """Return a statement with the order of a relation."""
    return found.order_by(*relation.order_by) if relation.order_by else found


def compared(relation: RelationshipProperty[Any]) -> _Pairs | None:
    """Return attributes of owners and what they equal, if a relation is no more."""
    if _COMPARED not in relation.info:
        found = _pairs(relation) if _is_plain(relation) else None
        relation.info[_COMPARED] = found
    known: _Pairs | None = relation.info[_COMPARED]
    return known


def _pairs(relation: RelationshipProperty[Any]) -> _Pairs:
    owner, target = relation.parent, relation.mapper
    return [
        (
            f"chrononaut_{n}",
            owner.get_property_by_column(local).key,
            getattr(target.class_, target.get_property_by_column(remote).key),
        )
        for n, (local, remote) in enumerate(relation.local_remote_pairs or ())
    ]


def _is_plain(relation: RelationshipProperty[Any]) -> bool:
    """Whether the condition of a relation is that mapped columns are equal."""
    pairs = relation.local_remote_pairs or ()
    wanted = {frozenset(pair) for pair in pairs}
    return (
        relation.secondary is None
        and relation.entity is relation.mapper
        and all(relation.parent.columns.contains_column(local) for local, _ in pairs)
        and all(relation.mapper.columns.contains_column(one) for _, one in pairs)
        and all(
            isinstance(part, Column)
            or getattr(part, "operator", None) is operators.and_
            or (_is_equality(part) and frozenset([part.left, part.right]) in wanted)
            for part in cast(Iterable[Any], visitors.iterate(relation.primaryjoin))
        )
    )


def _is_equality(part: Any) -> bool:
    return isinstance(part, BinaryExpression) and part.operator is operators.eq


def rows(
    session: Session | None,
    statement: Select[Any],
    values: dict[str, Any],
    options: Iterable[Any],
    anew: bool,
) -> list[Any]:
    """Return the rows of a statement; *anew*, with all that is loaded of objects."""
    assert session is not None
    if options:
        statement = statement.options(*options)
    how = _ANEW if anew else _AS_LOADED
    return list(session.execute(statement, values, execution_options=how).unique())


def commit(owner: Any, relation: RelationshipProperty[Any], found: list[Any]) -> None:
    """Let what was read be what is loaded of a relation."""
    value: Any = found if relation.uselist else (found or [None])[0]
    set_committed_value(owner, relation.key, value)


def _listed(value: Any, relation: RelationshipProperty[Any]) -> list[Any]:
    if not relation.uselist:
        return [] if value is None else [value]
    return list(collection_adapter(value))
