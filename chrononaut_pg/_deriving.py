"""What versions take from the changes before and after them: nothing is sent twice."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

DERIVED = (
    *("version", "valid_from", "valid_to", "created_change_id", "created_operation"),
    *("created_transaction_id", "created_change_info"),
)
"""The meta values that are derived."""

ENDS = ("D", "T")
"""Operations after which nobody knows what began a version, but for an insert."""

_TOLD = ("change_id", "operation", "transaction_id")
"""What a version knows of the change that began it."""


class Derivation:
    """What is derived, in values under the names that *named* has for the meta values.

    Change info comes as text and None stands for what is derived.
    """

    def __init__(self, named: dict[str, str]) -> None:
        self.change_id, self.operation = named["change_id"], named["operation"]
        self.changed, self.info = named["changed"], named["change_info"]
        self._number, self._ended = named["version"], named["valid_to"]
        self._began, self._told = named["valid_from"], named["created_change_info"]
        self._same = [(named[f"created_{name}"], named[name]) for name in _TOLD]

    def all(
        self,
        changes: Iterable[dict[str, Any]],
        loads: Callable[[str], Any] | None = None,
    ) -> None:
        """Give the values of changes their numbers, periods and beginnings, in place.

        *changes* are all changes of one key in their order, the live row behind them.
        An insert's stay as they are.
        """
        parse = _Parser(loads or json.loads).parse
        text, last, count = None, None, 0
        for values in changes:
            if last is not None:
                self._begin(values, last, text, parse)
            text, last = values[self.info], values
            if values[self.operation] != "I":
                self._end(values, count, parse)
                count += 1

    def one(
        self,
        values: dict[str, Any],
        before: dict[str, Any] | None,
        number: int,
        loads: Callable[[str], Any] | None = None,
    ) -> None:
        """Give a version its number, and what the change *before* says, in place."""
        parse = _Parser(loads or json.loads).parse
        if before is not None:
            self._begin(values, before, before[self.info], parse)
        self._end(values, number, parse)

    def _begin(
        self,
        values: dict[str, Any],
        last: dict[str, Any],
        text: str | None,
        parse: Callable[[str | None], Any],
    ) -> None:
        values[self._began] = last[self.changed]
        if last[self.operation] not in ENDS:
            values[self._told] = parse(text)
            for created, name in self._same:
                values[created] = last[name]

    def _end(
        self,
        values: dict[str, Any],
        number: int,
        parse: Callable[[str | None], Any],
    ) -> None:
        values[self._number] = number
        values[self._ended] = values[self.changed]
        values[self.info] = parse(values[self.info])

    def begun_by(
        self, changes: Sequence[dict[str, Any]], live: bool, at: datetime
    ) -> int:
        """Return which change ended the newest version that had begun by a time.

        That is the one behind the last change that was not later and that a version
        followed, *live* the last one; 0 if there is no such change.
        """
        operation, changed = self.operation, self.changed
        is_followed = [one[operation] != "I" for one in changes[1:]] + [live]
        for number in range(len(changes), 0, -1):
            if is_followed[number - 1] and changes[number - 1][changed] <= at:
                return number
        return 0


class _Parser:
    """Parses change info; what repeats is copied, which is faster."""

    def __init__(self, loads: Callable[[str], Any]) -> None:
        self._loads = loads
        self._text: str | None = None
        self._value: Any = None
        self._is_flat: bool | None = None

    def parse(self, text: str | None) -> Any:
        """Return the value of *text*, an object of its own."""
        if text is None:
            return None
        if text != self._text:
            self._text, self._value = text, self._loads(text)
            self._is_flat = None
            return self._value
        if self._is_flat is None:
            self._is_flat = isinstance(self._value, dict) and not any(
                isinstance(one, _NESTED) for one in self._value.values()
            )
        return {**self._value} if self._is_flat else _copied(self._value)


_NESTED = (dict, list)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(one) for name, one in value.items()}
    return [_copied(one) for one in value] if isinstance(value, list) else value
