"""What of an object a revert can put back, and what stands in its way."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Table, UniqueConstraint
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Mapper, PassiveFlag, RelationshipProperty, selectinload
from sqlalchemy.orm.attributes import flag_modified, get_history

from chrononaut_pg._members import Tree
from chrononaut_pg.declarations import (
    Declaration,
    declaration,
    is_declared,
    key_columns,
    known_tables,
)
from chrononaut_pg.exceptions import (
    ChrononautException,
    NotVersionedError,
    RevertError,
)


def is_versioned(relation: RelationshipProperty[Any]) -> bool:
    """Whether the objects that a relation leads to have a history."""
    return is_declared(relation.mapper.class_)


def relation_of(model: type[Any], name: str) -> RelationshipProperty[Any]:
    """Return a relation that a revert can put back; raise if it cannot."""
    found: RelationshipProperty[Any] | None = sa_inspect(model).relationships.get(name)
    if found is None:
        raise RevertError(
            f"{model.__name__} has no relation {name!r}",
            hint="Name relations by their attributes, deep ones as in 'articles.tags'.",
        )
    if found.viewonly:
        raise RevertError(
            f"{model.__name__}.{name} is viewonly",
            hint="Name the relation that it is a view of.",
        )
    missing = found.secondary is not None and found.secondary not in known_tables()
    if missing or (
        found.secondary is None
        and found.direction.name == "ONETOMANY"
        and not is_versioned(found)
    ):
        what = found.secondary if found.secondary is not None else found.target
        raise NotVersionedError(
            f"{model.__name__}.{name} cannot be put back: {what} is not versioned",
            hint="Version it with Versioned or versioned_table().",
        )
    return found


def check_paths(model: type[Any], tree: Tree) -> None:
    """Raise unless each path is one of relations that can be put back.

    What a path leads to may be nobody; then nothing else would notice. Below the first
    relation one of the classes that it leads to is enough.
    """
    for name, below in tree.items():
        target = relation_of(model, name).mapper
        for step, rest in below.items():
            classes = [m.class_ for m in target.self_and_descendants]
            having = [c for c in classes if step in sa_inspect(c).relationships]
            refused: list[ChrononautException] = []
            for one in having or [target.class_]:
                try:
                    check_paths(one, {step: rest})
                except (RevertError, NotVersionedError) as error:
                    refused.append(error)
            if len(refused) == len(having or [target.class_]):
                raise refused[0]


def is_only_of_others(
    above: RelationshipProperty[Any], model: type[Any], name: str
) -> bool:
    """Whether other classes that a relation leads to have a relation, *model* not."""
    return name not in sa_inspect(model).relationships and any(
        name in mapper.relationships for mapper in above.mapper.self_and_descendants
    )


def eager(model: type[Any], tree: Tree) -> list[Any]:
    """Return options that load the relations of *tree* along, where they can be."""
    found = []
    for name, below in tree.items():
        relation = sa_inspect(model).relationships.get(name)
        if relation is not None and relation.lazy not in ("dynamic", "write_only"):
            deeper = eager(relation.entity.class_, below)
            found.append(selectinload(getattr(model, name)).options(*deeper))
    return found


def declared_below(model: type[Any], tree: Tree) -> Iterator[Declaration]:
    """Yield the declarations of a model and of those that relations lead to."""
    if is_declared(model):
        yield declaration(model)
    for name, below in tree.items():
        relation = sa_inspect(model).relationships.get(name)
        for mapper in relation.mapper.self_and_descendants if relation else ():
            yield from declared_below(mapper.class_, below)


def model_of(image: Any) -> type[Any]:
    one = getattr(type(image), "__chrononaut_declaration__", None)
    return type(image) if one is None else one.model


@dataclass(frozen=True, slots=True)
class Part:
    """An attribute of a model that holds a column, of which an image has the value."""

    name: str
    column: Column[Any]
    is_fixed: bool
    """Whether it cannot be set where the row exists, or is of its key."""


def parts(one: Declaration, image: type[Any]) -> tuple[Part, ...]:
    """Return what of a model can be set by the values that a class of images has."""
    found: tuple[Part, ...] | None = one.notes.get(("parts", image))
    if found is None:
        found = one.notes["parts", image] = tuple(_parts(one, image))
    return found


def _parts(one: Declaration, image: type[Any]) -> Iterator[Part]:
    withheld = one.all_hidden | one.all_untracked
    shown = sa_inspect(image).column_attrs
    version_id = one.mapper.version_id_col
    key = set(key_columns(one, one.table))
    for prop in one.mapper.column_attrs:
        columns = [c for c in prop.columns if isinstance(c, Column)]
        if (
            columns
            and prop.key in shown
            and any(c.table in one.tables and c not in withheld for c in columns)
            and not any(c.computed is not None or c is version_id for c in columns)
        ):
            fixed = any(
                c in key or (c.identity is not None and c.identity.always)
                for c in columns
            )
            yield Part(prop.key, columns[0], fixed)


def without_later(found: Iterable[Part], relations: Iterable[Any]) -> Iterator[Part]:
    """Leave out foreign keys that lead to rows which come again, and follow them."""
    later = {
        column
        for relation in relations
        if relation.of.post_update
        and relation.of.direction.name == "MANYTOONE"
        and any(one.live is None or one.resurrected for one in relation.wanted)
        for column in relation.of.local_columns
    }
    return (part for part in found if part.is_fixed or part.column not in later)


def check_class(live: Any, model: type[Any]) -> None:
    """Raise if the row of an object is one of another class now."""
    if live is not None and not isinstance(live, model):
        raise RevertError(
            f"the row of {model.__name__} is a {type(live).__name__} now",
            hint="Delete that object first, or use chrononaut.revert_row in SQL.",
        )


def check_kind(one: Declaration, image: Any) -> None:
    """Raise if the row belonged to a subclass, of which *image* knows only a part."""
    own = whole_class(one, image)
    if own is not None:
        raise RevertError(
            f"the row was a {own.__name__}, of which this is only the part "
            f"that {one.model.__name__} has",
            hint=f"Revert a version of {own.__name__}.",
        )


def whole_class(one: Declaration, image: Any) -> type[Any] | None:
    """Return the subclass whose row *image* has only a part of, None if it has all."""
    kind = one.mapper.polymorphic_on
    if kind is None or kind not in one.mapper._columntoproperty:
        return None
    value = getattr(image, one.mapper.get_property_by_column(kind).key, None)
    own = one.mapper.polymorphic_map.get(value)
    if own is None or own.local_table in one.mapper.tables:
        return None
    return own.class_


def is_unique(live: Any) -> bool:
    """Whether a row may stand in the way of another one, but for its key."""
    return any(
        index.unique
        for table in sa_inspect(type(live)).tables
        for index in table.indexes
    ) or any(
        isinstance(constraint, UniqueConstraint)
        for table in sa_inspect(type(live)).tables
        for constraint in table.constraints
    )


def led_by_changed_keys(live: Any) -> list[str]:
    """Return the many-to-one relations whose foreign keys were changed, not they."""
    mapper = sa_inspect(live).mapper
    return [
        one.key
        for one in mapper.relationships
        if one.direction.name == "MANYTOONE"
        and one.key in vars(live)
        and not _is_changed(live, one.key)
        and any(
            _is_changed(live, name_of(mapper, local))
            for local in one.local_columns
            if mapper.columns.contains_column(local)
        )
    ]


def keep(live: Any, steady: Iterable[tuple[str, Table]]) -> None:
    """Have attributes written as they are where the row is written.

    Their columns' `onupdate` would give them other values.
    """
    state = sa_inspect(live)
    written = {
        column.table
        for name in state.committed_state
        if name in state.mapper.column_attrs and _is_changed(live, name)
        for column in state.mapper.column_attrs[name].columns
    }
    for name, table in steady:
        if table in written:
            flag_modified(live, name)


def _is_changed(live: Any, name: str) -> bool:
    return get_history(live, name, PassiveFlag.PASSIVE_NO_INITIALIZE).has_changes()


def name_of(mapper: Mapper[Any], column: Any) -> str:
    return mapper.get_property_by_column(column).key


def own(value: Any) -> Any:
    """Return a value that changes of the history object's do not reach."""
    return copy.deepcopy(value) if isinstance(value, dict | list | set) else value
