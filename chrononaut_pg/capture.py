"""The override points of the mixin: models that say for themselves who and why.

What a model's methods return goes under the key `tables` of the setting, from where the
table's trigger takes it; if all versioned models say the same, it is said once for all.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy.orm import configure_mappers

from chrononaut_pg.declarations import Declaration, declared, latest

HOOKS = (
    "_capture_change_info",
    "_fetch_current_user_id",
    "_fetch_remote_addr",
    "_get_custom_change_info",
)
"""The methods of the mixin that a model may override."""

DEFAULTS: ContextVar[dict[str, Any]] = ContextVar("chrononaut_defaults")
"""The change info that a model's methods start from, while they are asked."""

SAMPLES: ContextVar[dict[type[Any], Any] | None] = ContextVar(
    "chrononaut_samples", default=None
)
"""One object per model from the flush that runs, for methods that look at `self`."""

_Hooks = tuple[Any, ...]


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

    def override(self, info: dict[str, Any]) -> dict[str, Any]:
        """Return *info* with what the models say."""
        tables: dict[str, dict[str, Any]] = {}
        with asking(info):
            for models in self._by_hooks.values():
                samples = SAMPLES.get() or {}
                chosen = next((m for m in models if m.model in samples), models[0])
                said = captured(chosen, samples.get(chosen.model))
                if len(self._by_hooks) == 1 and not self._others:
                    return _merged(info, said)
                if not _adds_nothing(info, said):
                    tables |= {self._name(one): said for one in models}
        return {**info, "tables": tables} if tables else info

    def _name(self, one: Declaration) -> str:
        return f"{one.table.schema or self._schema}.{one.table.name}"


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


def _mixin(model: type[Any]) -> type[Any]:
    """Return the class that defines the override points to begin with."""
    return next(
        base for base in reversed(model.__mro__) if all(h in vars(base) for h in HOOKS)
    )
