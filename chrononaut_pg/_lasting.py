"""What follows from the models that are declared: worked out until one more is."""

import itertools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Found = TypeVar("Found")

_SERIAL = itertools.count(1)

_LATEST = [0]


def latest() -> int:
    """Return a number that grows with every declaration, for caches."""
    return _LATEST[0]


def renew() -> None:
    """Say that one more model is declared."""
    _LATEST[0] = next(_SERIAL)


class lasting(Generic[Found]):
    """A property that is worked out anew only when one more model was declared."""

    def __init__(self, work: Callable[[Any], Found]) -> None:
        self._work = work
        self.__doc__ = work.__doc__

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = f"lasting {name}"

    def __get__(self, one: Any, owner: type[Any]) -> Found:
        known: tuple[int, Found] | None = vars(one).get(self._name)
        if known is None or known[0] != _LATEST[0]:
            known = vars(one)[self._name] = _LATEST[0], self._work(one)
        return known[1]
