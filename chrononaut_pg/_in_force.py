"""Which version of a row a moment of the past shows; the rule is that of `as_of`."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Text,
    and_,
    cast,
    func,
    literal,
    not_,
    or_,
    select,
)
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Session

from chrononaut_pg._identity import Identity
from chrononaut_pg._past_session import PastSession
from chrononaut_pg._views import history_table
from chrononaut_pg.declarations import declaration, key_columns
from chrononaut_pg.history import history_class, key_names, meta, meta_attribute


def version_in_force(
    live: Session, past: PastSession, model: type[Any], key: Identity
) -> Any:
    """Return the version that *past* shows of a row, None if it shows none.

    That is the first version ended by a change that is later than the moment.
    """
    cls: type[Any] = sa_inspect(history_class(model)).base_mapper.class_
    [opened] = past.moment.opened.values()
    moment = json.loads(opened.text)
    conditions = [
        getattr(cls, name) == value
        for name, value in zip(key_names(cls), key[1], strict=True)
    ]
    change_id = meta_attribute(cls, "change_id")
    later = _is_later(model, moment, key, *_ending(cls))
    statement = (
        select(cls, _is_later(model, moment, key, *_beginning(cls)))
        .where(*conditions, or_(change_id.is_(None), later))
        .order_by(change_id.nulls_last())
        .limit(1)
        .execution_options(populate_existing=True)
    )
    bind = {"bind": live.get_bind(sa_inspect(model))}
    found = live.execute(statement, bind_arguments=bind).first()
    if found is None:
        return None
    version, began_later = found
    if meta(version, "created_change_id") is not None and began_later:
        return None
    return version


def _ending(cls: type[Any]) -> tuple[Any, ...]:
    names = ("transaction_id", "change_id", "changed")
    return tuple(meta_attribute(cls, name) for name in names)


def _beginning(cls: type[Any]) -> tuple[Any, ...]:
    names = ("created_transaction_id", "created_change_id", "valid_from")
    return tuple(meta_attribute(cls, name) for name in names)


def _is_later(
    model: type[Any],
    moment: Mapping[str, Any],
    key: Identity,
    transaction: Any,
    change: Any,
    changed: Any,
) -> ColumnElement[bool]:
    own, upto = moment["own"], moment["upto"]
    later = or_(
        transaction >= moment["first"], transaction.in_(moment["running"] or [])
    )
    if moment["since"] is not None:
        since = cast(literal(moment["since"], Text), DateTime(timezone=True))
        later = or_(later, and_(transaction < 0, changed > since))
    if own is None:
        return later
    later = or_(later, transaction == own)
    later = and_(later, not_(and_(transaction == own, change <= upto)))
    if not moment["keyed"]:
        return later
    # What came before the named transaction's own change of the key is not later.
    one = declaration(model).lineage[-1]
    history = history_table(one.model)
    columns = key_columns(one, one.table)
    last = (
        select(func.max(history.c["chrononaut:change_id"]))
        .where(
            *(
                history.c[column.name] == value
                for column, value in zip(columns, key[1], strict=True)
            ),
            history.c["chrononaut:transaction_id"] == own,
        )
        .scalar_subquery()
    )
    return and_(later, change > func.coalesce(last, -(2**63)))
