"""The rows of a model that are deleted now, each as the last version that it had.

Keys are found in the history table, by its primary key; the versions view is then asked
for these keys alone.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Select,
    Table,
    any_,
    exists,
    func,
    literal_column,
    select,
    tuple_,
    union_all,
)

from chrononaut_pg._reading import session_for
from chrononaut_pg._views import history_table
from chrononaut_pg.declarations import (
    Declaration,
    declaration,
    is_declared,
    key_columns,
)
from chrononaut_pg.history import History, history_class, key_names, meta_attribute

_ENDS = ("D", "T")


def deleted(
    model: type[Any], session: Any = None, after: Any = None, limit: int | None = None
) -> list[Any]:
    """Return the last version of every row of a model that is deleted now::

        [user.email for user in deleted(User, session)]

    They are history objects in the order of their keys; `restore` brings them back. For
    pages pass *limit* and, as *after*, the last one of the page before. Rows of
    subclasses come along as their own class; where these have tables of their own, each
    is asked for itself.
    """
    one = declaration(model)
    classes = [one, *_with_own_tables(one)]
    live = session_for(model, session)
    bind = {"bind": live.get_bind(one.mapper)}
    if len(classes) == 1:
        return list(
            live.scalars(select_deleted(model, after, limit), bind_arguments=bind)
        )
    keys = live.execute(_page(classes, after, limit), bind_arguments=bind).all()
    found: dict[int, dict[Any, Any]] = {}
    for number in {key[0] for key in keys}:
        statement = select_deleted(classes[number].model, after, limit)
        versions = live.scalars(statement, bind_arguments=bind)
        found[number] = {_key(version): version for version in versions}
    known = (found[number].get(tuple(key)) for number, *key in keys)
    return [one for one in known if one is not None]  # else restored meanwhile


def select_deleted(
    model: type[Any], after: Any = None, limit: int | None = None
) -> Select[Any]:
    """Return the statement of `deleted`, for one class::

        session.scalars(select_deleted(User, limit=50))

    Rows of subclasses that have tables of their own are not among them.
    """
    one, cls = declaration(model), history_class(model)
    history = history_table(model)
    columns = [history.c[column.name] for column in key_columns(one, one.table)]
    gone = _gone(one, history, columns, after, limit).cte("gone")
    attributes = [getattr(cls, name) for name in key_names(cls)]
    later = history.alias("later")
    newer = exists().where(
        *(
            later.c[column.name] == attribute
            for column, attribute in zip(columns, attributes, strict=True)
        ),
        later.c["chrononaut:change_id"] > meta_attribute(cls, "change_id"),
    )
    return (
        select(cls)
        .where(
            *_is_among(attributes, gone),
            meta_attribute(cls, "operation").in_(_ENDS),
            ~newer,
        )
        .order_by(*attributes)
        .execution_options(populate_existing=True)
    )


def _page(classes: list[Declaration], after: Any, limit: int | None) -> Select[Any]:
    """Select the keys of a page, each behind the position of its class."""
    parts = []
    for number, one in enumerate(classes):
        history = history_table(one.model)
        key = [history.c[column.name] for column in key_columns(one, one.table)]
        part = _gone(one, history, key, after, limit).subquery()
        named = [column.label(f"k{n}") for n, column in enumerate(part.c)]
        parts.append(select(literal_column(str(number)).label("class"), *named))
    together = union_all(*parts).subquery()
    place, *keys = together.c
    return select(together).order_by(*keys, place).limit(limit)


def _gone(
    one: Declaration, history: Table, key: list[Any], after: Any, limit: int | None
) -> Select[Any]:
    """Select the keys of rows whose last change is that they went."""
    later = history.alias("l")
    followed = exists().where(
        *(later.c[column.key] == column for column in key),
        later.c["chrononaut:change_id"] > history.c["chrononaut:change_id"],
    )
    live = exists().where(
        *(
            column == gone
            for column, gone in zip(key_columns(one, one.table), key, strict=True)
        )
    )
    found = (
        select(*key)
        .where(history.c["chrononaut:operation"].in_(_ENDS), ~followed, ~live)
        .where(*_is_of_class(one, history, key))
        .order_by(*key)
        .limit(limit)
    )
    if after is not None:
        values = _key(after)
        found = found.where(tuple_(*key) > tuple_(*values))
    return found


def _is_of_class(
    one: Declaration, history: Table, key: list[Any]
) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that a row is of the class or of one that shares its table."""
    for two in _with_own_tables(one):
        part = history_table(two.model).alias()
        columns = key_columns(two, two.table)
        yield ~exists().where(
            *(part.c[c.name] == mine for c, mine in zip(columns, key, strict=True)),
            part.c["chrononaut:transaction_id"]
            == history.c["chrononaut:transaction_id"],
            part.c["chrononaut:operation"].in_(_ENDS),
        )
    kind = one.mapper.polymorphic_on
    if (
        one.mapper.single
        and kind is not None
        and one.table.columns.contains_column(kind)
        and kind.name in history.columns
    ):
        known = [m.polymorphic_identity for m in one.mapper.self_and_descendants]
        yield history.c[kind.name].in_(known)


def _with_own_tables(one: Declaration) -> Iterator[Declaration]:
    """Yield the subclasses that add a table to the rows of a model."""
    seen = {one.table}
    for mapper in one.mapper.self_and_descendants:
        if mapper.concrete and mapper is not one.mapper:
            continue
        if mapper.local_table not in seen and is_declared(mapper.class_):
            two = declaration(mapper.class_)
            if one in two.lineage:
                seen.add(two.table)
                yield two


def _is_among(attributes: list[Any], gone: CTE) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that the view can push down: an array where a join would not."""
    for attribute, column in zip(attributes, gone.c, strict=True):
        keys = select(column).scalar_subquery()
        yield attribute == any_(func.array(keys, type_=ARRAY(attribute.type)))
    if len(attributes) > 1:
        yield tuple_(*attributes).in_(select(*gone.c))


def _key(after: Any) -> tuple[Any, ...]:
    if isinstance(after, History):
        names = key_names(type(after))
        return tuple(getattr(after, name) for name in names)
    return after if isinstance(after, tuple) else (after,)
