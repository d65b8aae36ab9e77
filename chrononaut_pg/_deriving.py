"""What versions take from the changes before and after them: nothing is sent twice."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

DERIVED = (
    *("version", "valid_from", "valid_to", "created_change_id", "created_operation"),
    *("created_transaction_id", "created_change_info"),
)
"""The meta values that `derive` gives."""

ENDS = ("D", "T")
"""Operations after which nobody knows what began a version, but for an insert."""

_TOLD = ("change_id", "operation", "transaction_id")
"""What a version knows of the change that began it."""


def derive(
    changes: Iterable[dict[str, Any]],
    named: dict[str, str],
    loads: Callable[[str], Any] | None = None,
) -> None:
    """Give the values of changes their numbers, periods and beginnings, in place.

    *changes* are all changes of one key in their order, the live row behind them, with
    change info as text and None for what is derived. An insert's stay as they are. The
    meta values are under the names that *named* has for them.
    """
    number, began, ended = named["version"], named["valid_from"], named["valid_to"]
    operation, changed = named["operation"], named["changed"]
    info, told = named["change_info"], named["created_change_info"]
    same = [(named[f"created_{name}"], named[name]) for name in _TOLD]
    parse = _Parser(loads or json.loads).parse
    text, last, count = None, None, 0
    for values in changes:
        if last is not None:
            values[began] = last[changed]
            if last[operation] not in ENDS:
                values[told] = parse(text)
                for created, name in same:
                    values[created] = last[name]
        text, last = values[info], values
        if values[operation] != "I":
            values[number] = count
            values[ended] = values[changed]
            values[info] = parse(text)
            count += 1


def begun_by(
    changes: Sequence[dict[str, Any]], named: dict[str, str], live: bool, at: datetime
) -> int:
    """Return which of the changes ended the newest version that had begun by a time.

    That is the one behind the last change that was not later and that a version
    followed, *live* the last one; 0 if there is no such change.
    """
    operation, changed = named["operation"], named["changed"]
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
        self._flat = False

    def parse(self, text: str | None) -> Any:
        """Return the value of *text*, an object of its own."""
        if text is None:
            return None
        if text != self._text:
            self._text, self._value = text, self._loads(text)
            self._flat = isinstance(self._value, dict) and not any(
                isinstance(one, dict | list) for one in self._value.values()
            )
        return {**self._value} if self._flat else _copied(self._value)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(one) for name, one in value.items()}
    return [_copied(one) for one in value] if isinstance(value, list) else value
