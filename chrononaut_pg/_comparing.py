"""How two states of a row compare, attribute by attribute."""

import operator
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.types import TypeEngine

from chrononaut_pg.declarations import Declaration, key_columns

_COMPARISON = "__chrononaut_comparison__"


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


def differing_when_loaded(
    instance: Any, old: Any, new: Any
) -> dict[str, tuple[Any, Any]] | None:
    """Return what differs from a version of an object to a later one, or to itself.

    None where there is more to it: values that are not loaded, objects of other classes
    or rows, versions in the wrong order.
    """
    how = vars(type(old)).get(_COMPARISON) or _comparison(type(old))
    if how is None or not how.serves(instance, old, new):
        return None
    try:
        values = how.values(vars(old)), how.values(vars(new))
    except KeyError:
        return None
    found: dict[str, tuple[Any, Any]] = {}
    kinds = how.kinds
    for name, before, after in zip(how.names, *values, strict=True):
        # What same() asks first is asked here: calling it takes longer.
        if before is after or (
            type(before) is type(after) and before == after and name not in kinds
        ):
            continue
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


class _Comparison:
    """What is the same in all comparisons of one history class with itself."""

    def __init__(self, cls: type[Any]) -> None:
        one: Declaration = cls.__chrononaut_declaration__
        key, names = key_columns(one, one.table), attributes(cls)
        self._cls, self._model = cls, one.model
        self._is_keyed = [*map(id, key)] == [*map(id, one.mapper.primary_key)]
        self.kinds = _kinds(cls)
        self.names = names if len(names) > 1 else names * 2
        self.values: Callable[[Any], tuple[Any, ...]] = operator.itemgetter(*self.names)

    def serves(self, instance: Any, old: Any, new: Any) -> bool:
        """Whether *old* is a version of the object, and *new* is a later one or it."""
        if type(instance) is not self._model or not self._is_keyed:
            return False
        row, was = instance_state(instance).key, instance_state(old).key
        if row is None or was is None or row[1] != was[1][:-1] or was[1][-1] is None:
            return False
        if new is instance:
            return True
        now = instance_state(new).key if type(new) is self._cls else None
        if now is None or row[1] != now[1][:-1]:
            return False
        return now[1][-1] is None or not now[1][-1] < was[1][-1]


def _comparison(cls: type[Any]) -> _Comparison | None:
    if "__chrononaut_meta_names__" not in vars(cls):
        return None
    found = _Comparison(cls)
    type.__setattr__(cls, _COMPARISON, found)
    return found


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
