"""Which rows of histories are changes of objects of a class."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, and_, exists, literal_column, or_, select, union_all

from chrononaut_pg._views import history_table
from chrononaut_pg.declarations import Declaration, declared, key_columns, models_of


def histories(one: Declaration) -> Iterator[tuple[Any, list[Any]]]:
    """Yield aliases of the histories of a model's objects, with conditions on the rows.

    Objects of subclasses count, and rows of a parent's table that are of the class.
    """
    kinds = {mapper.class_ for mapper in one.mapper.self_and_descendants}
    below = dict.fromkeys(other.table for other in declared() if other.model in kinds)
    for table in below:
        owner = models_of(table)[0]
        history = history_of(owner if table is not one.table else one)
        yield history, of_class(one, history) if table is one.table else []
    for parent in one.lineage:
        if parent.table not in below:
            history = history_of(parent)
            yield history, [belongs(one, parent, history)]


def history_of(one: Declaration) -> Any:
    """Return an alias of the history of a model's own table."""
    return history_table(models_of(one.table)[0].model).alias()


def of_class(one: Declaration, history: Any) -> list[Any]:
    """Return conditions that rows of a shared table are, or become, of the class."""
    kind = _kind(one)
    if not one.mapper.single or kind is None:
        return []
    wanted = [mapper.polymorphic_identity for mapper in one.mapper.self_and_descendants]
    # What an insert has is its key, and an update may give a row to another class.
    left = left_by(one, kind, history)
    became = select(left.c.value).order_by(left.c.place).limit(1).scalar_subquery()
    lasts = history.c["chrononaut:operation"].in_(("I", "U"))
    return [or_(history.c[kind.name].in_(wanted), and_(lasts, became.in_(wanted)))]


def left_by(one: Declaration, column: Column[Any], history: Any) -> Any:
    """Return what a change left of a column: the next image's value or the live."""
    later = history_of(one)
    number = later.c["chrononaut:change_id"]
    image = (
        select(later.c[column.name].label("value"), literal_column("0").label("place"))
        .where(
            *same_key(one, later, history), number > history.c["chrononaut:change_id"]
        )
        .order_by(number)
        .limit(1)
        .correlate(history)
    )
    live = (
        select(column.label("value"), literal_column("1").label("place"))
        .where(*live_key(one, history))
        .correlate(history)
    )
    return union_all(image, live).subquery()


def same_key(one: Declaration, left: Any, right: Any) -> list[Any]:
    """Return conditions that two rows of a history have the same key."""
    names = [column.name for column in key_columns(one, one.table)]
    return [left.c[name] == right.c[name] for name in names]


def live_key(one: Declaration, history: Any) -> list[Any]:
    """Return conditions that the live row has the key of a row of its history."""
    columns = key_columns(one, one.table)
    return [column == history.c[column.name] for column in columns]


def belongs(one: Declaration, parent: Declaration, history: Any) -> Any:
    """Return whether the row of a parent's table is part of an object of the model."""
    above = [history.c[column.name] for column in key_columns(parent, parent.table)]
    columns = key_columns(one, one.table)
    own = history_of(one)
    stored = [own.c[column.name] for column in columns]
    return or_(
        *(
            exists().where(*(k == a for k, a in zip(keys, above, strict=True)))
            for keys in (columns, stored)
        )
    )


def _kind(one: Declaration) -> Column[Any] | None:
    """Return the column of the model's own history that tells a row's class."""
    kind = one.mapper.polymorphic_on
    if not isinstance(kind, Column) or kind.table is not one.table:
        return None
    return None if kind in one.all_hidden | one.all_untracked else kind
