"""A moment of the past: as it was asked for, and as each database resolved it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine

from chrononaut_pg._past_grouping import Shape, Table
from chrononaut_pg._past_text import Names
from chrononaut_pg._times import aware
from chrononaut_pg.declarations import is_declared
from chrononaut_pg.exceptions import UnknownMomentError

_END = 1 << 63
"""What PostgreSQL's bigint ends before."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A moment as one database resolved it."""

    text: str
    """What the setting chrononaut.past holds for it."""
    names: Names
    path: str | None
    """The search_path for the past; None if it was opened to be read by name."""
    live_path: str
    """The search_path under which it was resolved."""
    provisional: bool
    """Whether it is what the transaction that asked has left so far."""
    shapes: dict[Table, Shape] = field(default_factory=dict)
    """Of the tables in whose past something was grouped."""


@dataclass(frozen=True, eq=False)
class Moment:
    """Which moment is to be read, as it was asked for; resolved once per database."""

    at: datetime | None
    transaction: int | None
    mark: str | None
    before: bool = False
    strict: bool = False
    by_name: bool = False
    """Whether it is read by statements of mapped classes only, as far as can be."""
    opened: WeakKeyDictionary[Engine, "Opened"] = field(
        default_factory=WeakKeyDictionary
    )
    unfinished: dict[Engine, bool] = field(default_factory=dict)
    """Where it was read by name: whether it is of the transaction that reads."""

    @classmethod
    def of(
        cls,
        at: datetime | None,
        transaction: Any,
        mark: str | None,
        before: bool = False,
        strict: bool = False,
    ) -> "Moment":
        """Return the moment that the arguments of `time_travel` name."""
        given = [one for one in (at, transaction, mark) if one is not None]
        if len(given) != 1 or (before and transaction is None):
            raise ValueError(
                "say which moment: exactly one of at, transaction and mark; before "
                "goes with transaction"
            )
        at = at if at is None else aware(at, "at")
        number = None if transaction is None else transaction_number(transaction)
        if mark is not None and not isinstance(mark, str):
            raise TypeError(f"mark is a str, not a {type(mark).__name__}")
        if number is not None and not -_END <= number < _END:
            raise UnknownMomentError(f"there is no transaction {number}")
        if mark is not None and "\0" in mark:
            raise UnknownMomentError(f"there is no mark {mark!r}")
        return cls(at, number, mark, before, strict)

    @classmethod
    def around(cls, transaction: int, before: bool) -> "Moment":
        """Return the moment after a transaction, or before it, to be read by name."""
        return cls(None, transaction, None, before, by_name=True)

    @classmethod
    def now(cls) -> "Moment":
        """Return the moment at which nothing is later."""
        return cls.of(datetime.max.replace(tzinfo=UTC), None, None)

    @property
    def provisional(self) -> bool:
        """Whether the transaction that reads may still change what there is to see."""
        return any(one.provisional for one in self.opened.values()) or any(
            self.unfinished.values()
        )


def transaction_number(transaction: Any) -> int:
    """Return the id of a transaction that is given by it, or by an object with one.

    Versioned objects and their versions have ids of their own: they raise TypeError.
    """
    kind = type(transaction)
    number = getattr(transaction, "id", transaction)
    if is_declared(kind) or hasattr(kind, "__chrononaut_declaration__"):
        raise TypeError(
            f"transaction is a Transaction or its id, not {kind.__name__}: versions "
            "have them as transaction and created_transaction"
        )
    if type(number) is not int:
        raise TypeError(f"transaction is its id, not a {type(number).__name__}")
    return number
