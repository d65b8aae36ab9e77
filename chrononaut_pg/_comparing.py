"""How two states of a row compare, attribute by attribute."""

import operator
from collections.abc import Iterable
from typing import Any

from sqlalchemy import inspect as sa_inspect


def attributes(cls: type[Any]) -> tuple[str, ...]:
    """Return the attributes of a history class that hold the row's values."""
    if "__chrononaut_attributes__" not in vars(cls):
        metas = set(cls.__chrononaut_meta_names__.values())
        mapper = sa_inspect(cls)
        columns = {column: n for n, column in enumerate(mapper.local_table.columns)}
        found = {
            columns[prop.columns[0]]: prop.key
            for prop in mapper.column_attrs
            if prop.key not in metas and prop.columns[0] in columns
        }
        names = tuple(found[position] for position in sorted(found))
        type.__setattr__(cls, "__chrononaut_attributes__", names)
    cached: tuple[str, ...] = cls.__chrononaut_attributes__
    return cached


def differing(names: Iterable[str], old: Any, new: Any) -> dict[str, tuple[Any, Any]]:
    """Return {attribute: (old value, new value)} for those that are not the same."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in names:
        values = (_value(old, name), _value(new, name))
        if not same(*values, _kind(old, new, name)):
            found[name] = values
    return found


def same(old: Any, new: Any, kind: Any) -> bool:
    """Whether two values are one to their column; NaN is, True and 1 are not."""
    if old is new:
        return True
    if old is None or new is None or isinstance(old, bool) != isinstance(new, bool):
        return False
    compare = kind.compare_values if kind is not None else operator.eq
    return bool(compare(old, new)) or bool(old != old and new != new)


def _value(version: Any, name: str) -> Any:
    """Return a value of a version; rows of another class may not have it."""
    if version is None:
        return None
    if _is_history(version) and name not in attributes(type(version)):
        return None
    return getattr(version, name)


def _kind(old: Any, new: Any, name: str) -> Any:
    version = old if _is_history(old) else new
    if version is None or name not in attributes(type(version)):
        return None
    return sa_inspect(type(version)).column_attrs[name].columns[0].type


def _is_history(version: Any) -> bool:
    return hasattr(type(version), "__chrononaut_meta_names__")
