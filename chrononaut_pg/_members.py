"""Who belongs to a relation of an object, read and changed, whatever its kind."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Select, false, or_, select
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import RelationshipProperty, with_parent
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.collections import KeyFuncDict, collection_adapter
from sqlalchemy.sql import operators, visitors

from chrononaut_pg.exceptions import RevertError

Tree = dict[str, "Tree"]
"""Names of relations, each with those of what it leads to."""

_BY_QUERY = ("dynamic", "write_only")

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
    if relation.lazy in _BY_QUERY:
        return [] if state.pending else queried(owner, relation, options, anew)
    if state.pending or state.transient:
        return _listed(getattr(owner, name), relation)
    if not (known and name in vars(owner)):
        _commit(owner, relation, queried(owner, relation, options, anew))
    return _listed(getattr(owner, name), relation)


def put(owner: Any, relation: RelationshipProperty[Any], one: Any) -> None:
    """Let an object belong to a relation."""
    if is_one(relation):
        setattr(owner, relation.key, one)
    elif relation.lazy in _BY_QUERY:
        getattr(owner, relation.key).add(one)
    else:
        found = getattr(owner, relation.key)
        if one not in _listed(found, relation):
            collection_adapter(found).append_with_event(one)


def take(owner: Any, relation: RelationshipProperty[Any], one: Any) -> None:
    """Let an object no longer belong to a relation."""
    if is_one(relation):
        if getattr(owner, relation.key) is one:
            setattr(owner, relation.key, None)
    elif relation.lazy in _BY_QUERY:
        getattr(owner, relation.key).remove(one)
    else:
        found = getattr(owner, relation.key)
        if any(one is other for other in _listed(found, relation)):
            collection_adapter(found).remove_with_event(one)


def hold(owner: Any, relation: RelationshipProperty[Any], found: list[Any]) -> None:
    """Let a relation be loaded, with what was read of it before, if it no longer is."""
    if relation.lazy not in _BY_QUERY and relation.key not in vars(owner):
        _commit(owner, relation, found)


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
    statement = select(relation.entity).where(_belongs_to(owner, relation))
    return [one for [one] in _rows(owner, relation, statement, options, anew)]


def can_take_along(relation: RelationshipProperty[Any], model: type[Any]) -> bool:
    """Whether other objects of a model can be read along with those of a relation."""
    return (
        relation.lazy not in _BY_QUERY
        and relation.secondary is None
        and relation.entity is relation.mapper
        and relation.mapper.class_ is model
    )


def queried_with(
    owner: Any,
    relation: RelationshipProperty[Any],
    others: ColumnElement[bool],
    options: Iterable[Any] = (),
) -> tuple[list[Any], list[Any]]:
    """Load a relation anew; return its objects, and others that a condition names.

    All are read by one statement.
    """
    nowhere = _leads_nowhere(owner, relation)
    belongs = false() if nowhere else _belongs_to(owner, relation)
    statement = select(relation.entity, belongs).where(or_(belongs, others))
    found = _rows(owner, relation, statement, options, True)
    mine = [one for one, belongs in found if belongs]
    _commit(owner, relation, mine)
    return mine, [one for one, belongs in found if not belongs]


def _belongs_to(owner: Any, relation: RelationshipProperty[Any]) -> ColumnElement[bool]:
    return with_parent(owner, getattr(type(owner), relation.key))


def _rows(
    owner: Any,
    relation: RelationshipProperty[Any],
    statement: Select[Any],
    options: Iterable[Any],
    anew: bool,
) -> list[Any]:
    session = sa_inspect(owner).session
    assert session is not None
    if options:
        statement = statement.options(*options)
    if relation.order_by:
        statement = statement.order_by(*relation.order_by)
    how = _ANEW if anew else _AS_LOADED
    return list(session.execute(statement, execution_options=how).unique())


def _commit(owner: Any, relation: RelationshipProperty[Any], found: list[Any]) -> None:
    """Let what was read be what is loaded of a relation."""
    value: Any = found if relation.uselist else (found or [None])[0]
    set_committed_value(owner, relation.key, value)


def _listed(value: Any, relation: RelationshipProperty[Any]) -> list[Any]:
    if not relation.uselist:
        return [] if value is None else [value]
    return list(collection_adapter(value))
