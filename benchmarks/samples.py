"""Measurements, kept by round, so that only neighbours in time are compared."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Samples:
    """Seconds by what was measured, one per round and in the order of the rounds."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, key: str, seconds: float) -> None:
        """Append the *seconds* of one round."""
        self.seconds[key].append(seconds)

    def median(self, key: str) -> float:
        """Return the median of *key* in seconds."""
        return statistics.median(self.seconds[key])

    def best(self, key: str) -> float:
        """Return the least of *key* in seconds."""
        return min(self.seconds[key])

    def ratio(self, key: str, base: str) -> float:
        """Return the median of *key* / *base*, each pair taken from one round."""
        pairs = zip(self.seconds[key], self.seconds[base], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def best_ratio(self, key: str, base: str) -> float:
        """Return the least of *key* over the least of *base*."""
        return self.best(key) / self.best(base)


def rotations(items: Iterable[T], rounds: int) -> Iterator[list[T]]:
    """Yield *items* once per round, each round beginning with another one."""
    order = list(items)
    for number in range(rounds):
        start = number % len(order)
        yield order[start:] + order[:start]
