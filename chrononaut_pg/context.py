"""Who and why, as the running code knows it: held in contextvars and nowhere else.

The context managers here only say; `chrononaut_pg.session` tells the database. What is
said belongs to one thread, one asyncio task, one greenlet.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

from chrononaut_pg.exceptions import InvalidChangeInfoError


class _NotSaid:
    """The type of NOT_SAID."""

    def __repr__(self) -> str:
        return "NOT_SAID"


NOT_SAID: Final = _NotSaid()
"""Stands for a user or an address of which nothing was said: None says "nobody"."""

UserId = str | int | UUID | None
"""What identifies a person; it is recorded as text."""


@dataclass(frozen=True, eq=False)
class Said:
    """What the enclosing blocks say, the inner ones before the outer ones.

    Values may be callables without parameters; they are evaluated once per transaction.
    """

    user_id: Any = NOT_SAID
    remote_addr: Any = NOT_SAID
    extra: Mapping[str, Any] = field(default_factory=dict)
    suppressed: bool = False


@dataclass(eq=False)
class _Block:
    """One block: what it makes of what the blocks around it say."""

    change: Callable[[Said], Said]
    left: bool = False
    """Whether it was left in another context than entered, as generators may do."""


@dataclass(frozen=True, eq=False)
class _Level:
    """A block that was entered, within those around it, and what they say together."""

    block: _Block
    outer: "_Level | None"
    said: Said


_NOTHING: Final = Said()

_INNERMOST: ContextVar[_Level | None] = ContextVar("chrononaut_said", default=None)


def said() -> Said:
    """Return what the enclosing blocks say; the same object until that changes."""
    innermost = level = _INNERMOST.get()
    while level is not None:
        if level.block.left:
            innermost = _without(level.block, innermost)
            _INNERMOST.set(innermost)
        level = level.outer
    return _NOTHING if innermost is None else innermost.said


@contextmanager
def saying(change: Callable[[Said], Said]) -> Iterator[None]:
    """Say inside the block what *change* makes of what is said around it.

    What a block says ends with it, also where generators leave blocks in another order
    than they entered them, or in another thread.
    """
    block = _Block(change)
    token = _INNERMOST.set(_within(_INNERMOST.get(), block))
    try:
        yield
    finally:
        remaining = _without(block, _INNERMOST.get())
        try:
            _INNERMOST.reset(token)
        except ValueError:  # another context: the one that entered learns of it so
            block.left = True
        _INNERMOST.set(remaining)


def _within(outer: _Level | None, block: _Block) -> _Level:
    return _Level(block, outer, block.change(_NOTHING if outer is None else outer.said))


def _without(block: _Block, level: _Level | None) -> _Level | None:
    """Return the levels without that of *block*, those inside it said anew."""
    if level is None or level.block is block:
        return level and level.outer
    outer = _without(block, level.outer)
    return level if outer is level.outer else _within(outer, level.block)


@contextmanager
def change_info(
    *,
    user_id: UserId | Callable[[], UserId] | _NotSaid = NOT_SAID,
    remote_addr: str | Callable[[], str | None] | _NotSaid | None = NOT_SAID,
    **extra: Any,
) -> Iterator[None]:
    """Say who makes the changes inside the block, and anything else about them::

        with change_info(user_id="ann@example.com", ticket=1732):
            session.commit()

    What is left out stays as the outer block, or the web framework, has it. Values may
    be callables, which are evaluated once per transaction.
    """
    given: dict[str, Any] = {"user_id": user_id, "remote_addr": remote_addr}
    who = {name: value for name, value in given.items() if value is not NOT_SAID}
    with saying(lambda outer: replace(_with_extra(outer, extra), **who)):
        yield


@contextmanager
def extra_change_info(**extra: Any) -> Iterator[None]:
    """Add *extra* to the change info of every change flushed inside the block::

        with extra_change_info(ticket=1732):
            user.email = "updated@example.com"
            db.session.commit()

    It is recorded under the key `extra`. Blocks nest: the inner value of a key wins,
    and the outer one is back afterwards. Values are JSON, or callables that return it.
    """
    with saying(lambda outer: _with_extra(outer, extra)):
        yield


@contextmanager
def rationale(text: str) -> Iterator[None]:
    """Record *text* as the reason for every change flushed inside the block::

        with rationale("Updating per user request, see GH #1732"):
            user.email = "updated@example.com"
            db.session.commit()

    Blocks nest: the inner reason wins, and the outer one is back afterwards.
    """
    with extra_change_info(rationale=text):
        yield


def capture_change_info() -> dict[str, Any]:
    """Return who and why as a JSON object, to travel with a job to another process.

    The worker restores it with `restore_change_info`::

        queue.enqueue(send_invoice, invoice.id, change_info=capture_change_info())

    Callables are evaluated here. What a web framework knows is included only through
    `chrononaut_pg.session.current_change_info`, which starts from this.
    """
    return compose(said(), {}, (None, None), {})


@contextmanager
def restore_change_info(captured: Mapping[str, Any] | None) -> Iterator[None]:
    """Say inside the block what `capture_change_info` found elsewhere::

        def send_invoice(invoice_id, change_info):
            with restore_change_info(change_info):
                ...

    It replaces what is said here; None says nothing. Raises InvalidChangeInfoError if
    it is something else.
    """
    info = {} if captured is None else captured
    if not isinstance(info, Mapping) or not isinstance(info.get("extra", {}), Mapping):
        raise InvalidChangeInfoError(
            f"cannot restore change info from {captured!r:.200}",
            hint="Pass the dictionary that capture_change_info() returned.",
        )
    restored = Said(
        user_id=info.get("user_id", NOT_SAID),
        remote_addr=info.get("remote_addr", NOT_SAID),
        extra=dict(info.get("extra", {})),
    )
    with saying(lambda outer: replace(restored, suppressed=outer.suppressed)):
        yield


def compose(
    what: Said,
    more: Mapping[str, Any],
    who: tuple[Any, Any],
    evaluated: dict[Callable[[], Any], Any],
) -> dict[str, Any]:
    """Return change info as it is recorded; empty if there is nothing to say.

    *who* is the user and address to name where *what* names none, *more* are extras for
    which *what* has no value. *evaluated* remembers what callables returned.
    """

    def value(given: Any) -> Any:
        if not callable(given):
            return given
        if given not in evaluated:
            evaluated[given] = given()
        return evaluated[given]

    user_id = value(who[0] if what.user_id is NOT_SAID else what.user_id)
    remote_addr = value(who[1] if what.remote_addr is NOT_SAID else what.remote_addr)
    extra = {name: value(given) for name, given in {**more, **what.extra}.items()}
    if not extra and user_id is None and not remote_addr:
        return {}
    info = {
        "user_id": None if user_id is None else str(user_id),
        "remote_addr": str(remote_addr) if remote_addr else None,
    }
    return {**info, "extra": extra} if extra else info


def to_json(info: Mapping[str, Any]) -> str:
    """Return change info as JSON text. Raises InvalidChangeInfoError if it is none."""
    try:
        text = json.dumps(info, default=_to_json_value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidChangeInfoError(
            f"the change info cannot be written as JSON: {error}",
            hint="Use text, numbers, booleans, None, lists and dictionaries.",
        ) from error
    if "\\u0000" in text and _has_nul(json.loads(text)):
        raise InvalidChangeInfoError(
            "the change info contains U+0000, which PostgreSQL cannot keep",
            hint="Remove it from the reason or the extra values.",
        )
    return text


def _to_json_value(value: Any) -> Any:
    """Return *value* in a type of JSON, for those types that have an obvious one."""
    match value:
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal() | UUID():
            return str(value)
        case Enum():
            return value.value
        case set() | frozenset():
            return sorted(value, key=str)
    raise TypeError(f"{value!r} is of type {type(value).__name__}")


def _has_nul(value: Any) -> bool:
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any(_has_nul(name) or _has_nul(item) for name, item in value.items())
        case list():
            return any(_has_nul(item) for item in value)
    return False


def _with_extra(outer: Said, extra: Mapping[str, Any]) -> Said:
    return replace(outer, extra={**outer.extra, **extra}) if extra else outer
