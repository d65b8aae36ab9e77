"""The override points of the mixin: models that say for themselves who and why.

What a model's methods return goes under the key `tables` of the setting, from where the
table's trigger takes it; if all versioned models say the same, it is said once for all.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table
from sqlalchemy.orm import configure_mappers

from chrononaut_pg.declarations import Declaration, declaration, declared, latest

HOOKS = (
    "_capture_change_info",
    "_fetch_current_user_id",
    "_fetch_remote_addr",
    "_get_custom_change_info",
)
"""The methods of the mixin that a model may override."""

DEFAULTS: ContextVar[dict[str, Any]] = ContextVar("chrononaut_defaults")
"""The change info that a model's methods start from, while they are asked."""

_Hooks = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Sample:
    """What a flush knows of the objects of one model that it writes.

    *first* speaks for them. *extra* is what all say; *own* names what each says alone,
    None where the methods cannot look at the object.
    """

    first: Any
    extra: Mapping[str, Any]
    own: frozenset[str] | None


SAMPLES: ContextVar[dict[type[Any], Sample | None] | None] = ContextVar(
    "chrononaut_samples", default=None
)
"""By model, from the flush that runs; None for models without methods of their own."""


class Capture:
    """The models that override, by what they override."""

    def __init__(self, schema: str | None) -> None:
        self._schema = schema
        self._by_hooks: dict[_Hooks, list[Declaration]] = {}
        self._others = False
        for one in declared():
            if overrides(one.model):
                self._by_hooks.setdefault(_hooks(one.model), []).append(one)
            else:
                self._others = True

    def __bool__(self) -> bool:
        return bool(self._by_hooks)

    def override(self, info: dict[str, Any], table: Any = None) -> dict[str, Any]:
        """Return *info* with what the models say; *table* is what is written, if known.

        Of several models whose tables are called alike that of the table is meant.
        """
        tables: dict[str, dict[str, Any]] = {}
        meant = self._written()
        if isinstance(table, Table):
            meant[self._name(table)] = table
        with asking(info):
            for models in self._by_hooks.values():
                answers = _answers(models)
                said = [*answers.values()]
                alike = all(one == said[0] for one in said[1:])
                if alike and len(self._by_hooks) == 1 and not self._others:
                    return _merged(info, said[0])
                for one in models:
                    name, found = self._name(one.table), answers.get(one, said[0])
                    is_meant = meant.get(name, one.table) == one.table  # or annotated
                    if is_meant and not _adds_nothing(info, found):
                        tables[name] = found
        return {**info, "tables": tables} if tables else info

    def _written(self) -> dict[str, Table]:
        """Return the tables of a flush by name: others may be called alike."""
        written = (declaration(model) for model in SAMPLES.get() or ())
        return {self._name(table): table for one in written for table in one.tables}

    def _name(self, table: Table) -> str:
        return f"{table.schema or self._schema}.{table.name}"


def current_capture(schema: str | None) -> Capture | None:
    """Return the models that override, None if there are none.

    *schema* is that of tables that name none.
    """
    serial, capture = _CACHE.get(schema, (0, None))
    if serial != latest():
        capture = Capture(schema) or None
        _CACHE[schema] = (latest(), capture)
    return capture


_CACHE: dict[str | None, tuple[int, Capture | None]] = {}


def overrides(model: type[Any]) -> bool:
    """Whether a model has override points of its own."""
    return _hooks(model) != _hooks(_mixin(model))


def sampled(model: type[Any], instances: Iterable[Any]) -> Sample:
    """Ask the objects of a model that a flush writes, in their order."""
    first, *others = instances
    if not _looks_at_objects(model):
        return Sample(first, {}, None)
    one = declaration(model)
    with asking({}):
        extra = dict(captured(one, first).get("extra", {}))
        own: set[str] = set()
        for other in others:
            found = captured(one, other).get("extra", {})
            own |= {n for n in extra.keys() | found.keys() if differ(n, extra, found)}
    return Sample(
        first, {n: v for n, v in extra.items() if n not in own}, frozenset(own)
    )


def differ(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two say a name differently, or one of them does not say it."""
    return (name in one) != (name in other) or one.get(name) != other.get(name)


def captured(one: Declaration, sample: Any | None) -> dict[str, Any]:
    """Return what a model says of who and why; *sample* stands for all its objects."""
    if sample is None:
        configure_mappers()  # else attributes of the new object cannot be read
        sample = one.mapper.class_manager.new_instance()
    found = sample._capture_change_info() or {}
    said = {name: value for name, value in found.items() if value not in ({}, [])}
    if said.get("user_id") is not None:
        said["user_id"] = str(said["user_id"])
    return said


@contextmanager
def asking(info: dict[str, Any]) -> Iterator[None]:
    """Let the mixin's own methods answer with *info*."""
    token = DEFAULTS.set(info)
    try:
        yield
    finally:
        DEFAULTS.reset(token)


def _answers(models: list[Declaration]) -> dict[Declaration, dict[str, Any]]:
    """Return what models with the same methods say; the first one speaks for the rest.

    Those whose objects are written are asked for themselves.
    """
    samples = SAMPLES.get() or {}
    asked = ((one, samples.get(one.model)) for one in models)
    found = {one: _said_alike(one, sample) for one, sample in asked if sample}
    return found or {models[0]: captured(models[0], None)}


def _said_alike(one: Declaration, sample: Sample) -> dict[str, Any]:
    """Return what a model says of all objects; what is their own is appended."""
    said = captured(one, sample.first)
    if not sample.own or "extra" not in said:
        return said
    extra = {n: v for n, v in said["extra"].items() if n not in sample.own}
    rest = {name: value for name, value in said.items() if name != "extra"}
    return {**rest, "extra": extra} if extra else rest


def _merged(info: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    if _adds_nothing(info, said):
        return info
    extra = {**info.get("extra", {}), **said.get("extra", {})}
    merged = {"user_id": None, "remote_addr": None, **info, **said}
    return {**merged, "extra": extra} if extra else merged


def _adds_nothing(info: dict[str, Any], said: dict[str, Any]) -> bool:
    return all(info.get(name) == value for name, value in said.items())


def _hooks(model: type[Any]) -> _Hooks:
    return tuple(inspect.getattr_static(model, name) for name in HOOKS)


def _looks_at_objects(model: type[Any]) -> bool:
    """Whether some method that a model has of its own is one of its objects."""
    return any(
        not isinstance(mine, classmethod | staticmethod)
        for mine, given in zip(_hooks(model), _hooks(_mixin(model)), strict=True)
        if mine is not given
    )


def _mixin(model: type[Any]) -> type[Any]:
    """Return the class that defines the override points to begin with."""
    return next(
        base for base in reversed(model.__mro__) if all(h in vars(base) for h in HOOKS)
    )
