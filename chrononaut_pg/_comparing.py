"""How two states of a row compare, attribute by attribute."""

import operator
from collections.abc import Iterable
from typing import Any

from sqlalchemy import inspect as sa_inspect
from sqlalchemy.types import TypeEngine


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
    kinds = _kinds(type(old if _is_history(old) else new))
    loaded, loaded_later = _loaded(old), _loaded(new)
    found: dict[str, tuple[Any, Any]] = {}
    for name in names:
        before = loaded[name] if name in loaded else _read(old, name)
        after = loaded_later[name] if name in loaded_later else _read(new, name)
        if not same(before, after, kinds.get(name)):
            found[name] = before, after
    return found


def same(old: Any, new: Any, kind: Any) -> bool:
    """Whether two values are one to their column; NaN is, True and 1 are not."""
    if old is new or (kind is None and type(old) is type(new) and old == new):
        return True
    if old is None or new is None or isinstance(old, bool) != isinstance(new, bool):
        return False
    compare = kind.compare_values if kind is not None else operator.eq
    return bool(compare(old, new)) or bool(old != old and new != new)


def _loaded(version: Any) -> dict[str, Any]:
    return vars(version) if version is not None else {}


def _read(version: Any, name: str) -> Any:
    """Return a value that is not loaded; rows of another class may lack it."""
    lacks = _is_history(version) and name not in attributes(type(version))
    return None if version is None or lacks else getattr(version, name)


def _kinds(cls: type[Any]) -> dict[str, Any]:
    """Return the column types of a history class that compare in their own way."""
    if not hasattr(cls, "__chrononaut_meta_names__"):
        return {}
    if "__chrononaut_kinds__" not in vars(cls):
        loaded = sa_inspect(cls).column_attrs
        types = {name: loaded[name].columns[0].type for name in attributes(cls)}
        usual = TypeEngine.compare_values
        kinds = {n: t for n, t in types.items() if type(t).compare_values is not usual}
        type.__setattr__(cls, "__chrononaut_kinds__", kinds)
    cached: dict[str, Any] = cls.__chrononaut_kinds__
    return cached


def _is_history(version: Any) -> bool:
    return hasattr(type(version), "__chrononaut_meta_names__")
