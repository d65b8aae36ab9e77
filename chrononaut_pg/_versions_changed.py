"""Statements for the versions that changed a property."""

from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Text,
    and_,
    any_,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    tuple_,
)
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import aliased

from chrononaut_pg._stretches import between, bounds, listed
from chrononaut_pg._touched import belongs, history_of, left_by, of_class
from chrononaut_pg.declarations import Declaration, key_columns
from chrononaut_pg.history import history_class, key_names, meta, meta_attribute


def select_of_one(
    one: Declaration,
    column: Column[Any],
    key: tuple[Any, ...],
    following: Any,
    limit: int | None,
) -> Select[Any]:
    """Select the versions of one row that began with a change of a column."""
    cls: Any = sa_inspect(history_class(one.model)).base_mapper.class_
    view = sa_inspect(cls).local_table
    stored = {n: _stored(cls, meta_attribute(cls, n)) for n in _METAS}
    begun = view.c[stored["created_operation"]]
    window = {"order_by": view.c[stored["change_id"]].nulls_last()}
    if column in one.all_hidden:
        did = _told(view.c[stored["created_change_info"]], column)
    else:
        value = cast(view.c[column.name], Text)
        last = func.lag(view.c[stored["operation"]]).over(**window)
        inserted = or_(begun == "I", and_(begun.is_(None), last.in_(("D", "T"))))
        differs = value.is_distinct_from(func.lag(value).over(**window))
        did = or_(
            and_(inserted, value.is_not(None)),
            and_(begun == "U", last.is_not(None), differs),
        )
    names = [_stored(cls, getattr(cls, name)) for name in key_names(cls)]
    rows = (
        select(view, func.coalesce(did, False).label("chrononaut_did"))
        .where(*(view.c[n] == value for n, value in zip(names, key, strict=True)))
        .subquery()
    )
    found = select(aliased(cls, rows)).where(rows.c.chrononaut_did)
    number = rows.c[stored["version"]]
    if following is not None:
        found = found.where(number > meta(following, "version"))
    return found.order_by(number).limit(limit).execution_options(populate_existing=True)


def select_of_all(
    one: Declaration, column: Column[Any], following: Any, limit: int | None
) -> Select[Any]:
    """Select the versions of all rows that began with a change of a column."""
    cls = history_class(one.model)
    owner = next(two for two in one.lineage if column.table is two.table)
    cursor = None if following is None else _cursor(one, owner, column, following)

    def count(start: Any, end: Any) -> Any:
        changes = _found(one, owner, column, [start, end], cursor, start.table)
        found = changes.subquery()
        return select(func.count()).select_from(found).scalar_subquery()

    after = None if cursor is None else cursor[0] - 1
    start, end = bounds(after, limit, (), count)
    changes = _found(one, owner, column, [start, end], cursor).subquery()
    page = (
        select(changes)
        .order_by(changes.c.transaction_id, changes.c.change_id)
        .limit(limit)
        .cte("found")
    )
    keys = [getattr(cls, name) for name in key_names(cls)]
    transaction = meta_attribute(cls, "created_transaction_id")
    change = meta_attribute(cls, "created_change_id")
    names = [f"k{n}" for n in range(len(keys))]
    exact = tuple_(*keys, transaction).in_(
        select(*(page.c[name] for name in names), page.c.transaction_id)
    )
    place: Any = change
    if len(one.tables) == 1:
        exact = change.in_(select(page.c.change_id))
    else:
        same = (k == page.c[n] for k, n in zip(keys, names, strict=True))
        number = select(page.c.change_id).where(
            *same, transaction == page.c.transaction_id
        )
        place = number.scalar_subquery()
    near = (
        attribute == any_(listed(select(page.c[name])))
        for attribute, name in zip(keys, names, strict=True)
    )
    return (
        select(cls)
        .where(*near, exact)
        .order_by(transaction, place)
        .execution_options(populate_existing=True)
    )


_METAS = (
    *("version", "created_operation", "created_change_info"),
    *("operation", "change_id"),
)


def _found(
    one: Declaration,
    owner: Declaration,
    column: Column[Any],
    ids: Any,
    cursor: Any,
    *given: Any,
) -> Select[Any]:
    """Select key, transaction and number of the changes of a column.

    Those that one transaction made to a row of several tables are one version. *given*
    is what *ids* come from, if not constants.
    """
    found = (_changes if len(one.tables) == 1 else _merged)(
        owner,
        column,
        history := history_of(owner),
        [
            *between(history.c["chrononaut:transaction_id"], *ids),
            *(
                of_class(one, history)
                if owner is one
                else [belongs(one, owner, history)]
            ),
        ],
        given,
    )
    if cursor is None:
        return found
    changes = found.subquery()
    here = tuple_(changes.c.transaction_id, changes.c.change_id)
    return select(changes).where(here > tuple_(*cursor))


def _changes(
    owner: Declaration, column: Column[Any], history: Any, where: Any, given: Any
) -> Select[Any]:
    """Select the changes of a column, each a version of its own."""
    found = _numbered(owner, history).where(*where, _changed(owner, column, history))
    return found.correlate(*given) if given else found


def _merged(
    owner: Declaration, column: Column[Any], history: Any, where: Any, given: Any
) -> Select[Any]:
    """Select the last of the changes that one transaction made to a row.

    If they left the row, and in the column something else than they found.
    """
    operation = history.c["chrononaut:operation"]
    change = history.c["chrononaut:change_id"]
    keys = [history.c[c.name] for c in key_columns(owner, owner.table)]
    whole = [*keys, history.c["chrononaut:transaction_id"]]
    hidden = column in owner.all_hidden
    told = _told(history.c["chrononaut:change_info"], column)
    found = cast(null(), Text) if hidden else history.c[column.name]
    rows = select(
        *(*whole, change, operation),
        func.first_value(found).over(partition_by=whole, order_by=change).label("was"),
        func.bool_or(operation == "I").over(partition_by=whole).label("begun"),
        func.bool_or(told).over(partition_by=whole).label("told"),
        func.row_number()
        .over(partition_by=whole, order_by=change.desc())
        .label("place"),
    ).where(*where)
    last = (rows.correlate(*given) if given else rows).subquery()
    if hidden:
        did: Any = last.c.told
    else:
        left = left_by(owner, column, last)
        value = cast(left.c.value, Text)
        differs = case(
            (last.c.begun, value.is_not(None)),
            else_=value.is_distinct_from(cast(last.c.was, Text)),
        )
        did = select(differs).order_by(left.c.place).limit(1).scalar_subquery()
    is_left = last.c["chrononaut:operation"].in_(("I", "U"))
    return _numbered(owner, last).where(last.c.place == 1, is_left, did)


def _numbered(owner: Declaration, history: Any) -> Select[Any]:
    """Select key, transaction and number of changes."""
    columns = key_columns(owner, owner.table)
    return select(
        *(history.c[c.name].label(f"k{n}") for n, c in enumerate(columns)),
        history.c["chrononaut:transaction_id"].label("transaction_id"),
        history.c["chrononaut:change_id"].label("change_id"),
    )


def _cursor(
    one: Declaration, owner: Declaration, column: Column[Any], following: Any
) -> tuple[int, Any]:
    """Return transaction and change number of the last version of the page before."""
    transaction = meta(following, "created_transaction_id")
    if len(one.tables) == 1:
        return transaction, meta(following, "created_change_id")
    history = history_of(owner)
    columns = key_columns(owner, owner.table)
    key = [getattr(following, name) for name in key_names(type(following))]
    number = select(func.max(history.c["chrononaut:change_id"])).where(
        *(history.c[c.name] == value for c, value in zip(columns, key, strict=True)),
        history.c["chrononaut:transaction_id"] == transaction,
    )
    return transaction, number.scalar_subquery()


def _changed(
    one: Declaration, column: Column[Any], history: Any
) -> ColumnElement[bool]:
    """Return whether a row of a history is a change of a column."""
    operation = history.c["chrononaut:operation"]
    if column in one.all_hidden:
        did: Any = _told(history.c["chrononaut:change_info"], column)
    else:
        left = left_by(one, column, history)
        value, old = cast(left.c.value, Text), cast(history.c[column.name], Text)
        differs = case(
            (operation == "I", value.is_not(None)), else_=value.is_distinct_from(old)
        )
        did = select(differs).order_by(left.c.place).limit(1).scalar_subquery()
    return and_(operation.in_(("I", "U")), did)


def _told(info: Any, column: Column[Any]) -> ColumnElement[bool]:
    told = info["hidden_cols_changed"].has_key(literal(column.name, Text))
    return func.coalesce(told, False)


def _stored(cls: type[Any], attribute: Any) -> str:
    name: str = sa_inspect(cls).get_property(attribute.key).columns[0].name
    return name
