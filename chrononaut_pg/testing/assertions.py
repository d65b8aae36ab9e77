"""What a test says about the history of an object."""

from typing import Any

from sqlalchemy.orm import Session

from chrononaut_pg.readers import Change

_WORDS = {"insert": "I", "update": "U", "delete": "D", "truncate": "T"}


def assert_history(
    instance: Any, *expected: str | dict[str, Any], session: Session | None = None
) -> None:
    """Assert that an object's changes are exactly these, the oldest first::

        assert_history(user, "insert", {"email": ("a@example.com", "b@example.com")})

    Each change is named by its operation (insert, update, delete, truncate) or, for an
    update, described by its fields as {attribute: (before, after)}; hidden fields that
    changed are described as {attribute: None}. Raises AssertionError that shows both.
    """
    __tracebackhide__ = True
    changes = list(instance.changes(session=session))
    found = [
        _described(change, wanted)
        for change, wanted in zip(changes, _padded(expected, changes), strict=False)
    ]
    wanted_operations = [
        _WORDS.get(one, one) if isinstance(one, str) else one for one in expected
    ]
    if found != wanted_operations:
        raise AssertionError(
            f"the history of {instance!r} is\n"
            + _listed(_described(change, {}) for change in changes)
            + "\nbut was expected to be\n"
            + _listed(wanted_operations)
        )


def _padded(expected: tuple[Any, ...], changes: list[Change]) -> list[Any]:
    return [*expected, *({} for _ in changes[len(expected) :])]


def _described(change: Change, wanted: Any) -> Any:
    """Return a change in the words of the expectation."""
    if isinstance(wanted, str) or change.operation != "U":
        return change.operation
    hidden = change.change_info.get("hidden_cols_changed", ())
    return {**change.values, **dict.fromkeys(hidden)}


def _listed(items: Any) -> str:
    return "\n".join(f"  {item!r}" for item in items) or "  empty"
