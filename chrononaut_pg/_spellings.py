"""How a model spells its options, and which of its bases speak for it."""

from collections.abc import Iterator
from typing import Any

SPELLINGS = ("__chrononaut_{}__", "__version_{}__")


def spelling(base: type[Any], option: str) -> str | None:
    """Return the attribute in which a class itself gives an option, if it does."""
    for form in SPELLINGS:
        if form.format(option) in vars(base):
            return form.format(option)
    return None


def value_of(model: type[Any], base: type[Any], option: str) -> Any:
    """Return what a class says of an option; it may be a declared_attr."""
    value = vars(base)[str(spelling(base, option))]
    found = getattr(type(value), "__get__", None)
    return found(value, None, model) if found else value


def inherited(model: type[Any], option: str) -> Any:
    """Return an option of the model or of the nearest base that has it."""
    for base in model.__mro__:
        if spelling(base, option) is not None:
            return value_of(model, base, option)
    return None


def own(model: type[Any], option: str) -> Any:
    """Return an option of the model or its mixins, but of no other mapped class."""
    for base in unmapped(model):
        if spelling(base, option) is not None:
            return value_of(model, base, option)
    return None


def unmapped(model: type[Any]) -> Iterator[type[Any]]:
    """Yield the model and those of its bases that are no models."""
    for base in model.__mro__:
        if base is model or "__mapper__" not in vars(base):
            yield base
