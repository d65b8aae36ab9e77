"""What lies between the versions of one row: changes, and who set which column."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chrononaut_pg._comparing import attributes, differing
from chrononaut_pg.declarations import Declaration, declaration
from chrononaut_pg.exceptions import ChrononautException
from chrononaut_pg.history import meta


@dataclass(frozen=True)
class Change:
    """One change of one row: an insert, an update, a delete or a truncate.

    *before* and *after* are history objects; *before* is None for an insert, *after*
    for the end of a row. *changed* is when it happened, *change_info* who did it and
    why.
    """

    operation: str
    changed: datetime
    change_info: Mapping[str, Any]
    before: Any
    after: Any
    change_id: int
    transaction_id: int

    @property
    def fields(self) -> list[str]:
        """The attributes that changed, hidden ones included, in the model's order."""
        columns = self.change_info.get("hidden_cols_changed", ())
        return [*self.values, *hidden_attributes(self._model, columns)]

    @property
    def values(self) -> dict[str, tuple[Any, Any]]:
        """What changed, as {attribute: (before, after)}, but for hidden attributes."""
        versions = [one for one in (self.before, self.after) if one is not None]
        names = dict.fromkeys(n for one in versions for n in attributes(type(one)))
        return differing(names, self.before, self.after)

    @property
    def _model(self) -> type[Any]:
        version = self.before if self.before is not None else self.after
        one: Declaration = version.__chrononaut_declaration__
        return one.model


@dataclass(frozen=True)
class Blame:
    """Which version last set a column: its number, since when, who and why.

    *changed* and *change_info* are None if the row is older than its history.
    """

    version: int
    changed: datetime | None
    change_info: Mapping[str, Any] | None
    transaction_id: int | None


def blame_from(rows: Iterable[Any]) -> dict[str, Blame]:
    """Return what rows of `select_blame` say, by attribute."""
    return {row[0]: Blame(*row[1:]) for row in rows}


def changes_from(versions: Iterable[Any], fold: str | None = None) -> Iterator[Change]:
    """Yield the changes that lie between versions of one object, the oldest first.

    *versions* are what `select_changes` selects. With *fold* "transaction" the changes
    that one transaction made are one change.
    """
    if fold not in (None, "transaction"):
        raise ChrononautException(
            f"changes cannot be folded by {fold!r}", hint='Use None or "transaction".'
        )
    changes = _changes(versions)
    return _folded(changes) if fold else changes


def hidden_attributes(model: type[Any], columns: Iterable[str]) -> list[str]:
    """Return the attributes of hidden columns, given the names that history has."""
    wanted = set(columns)
    one = declaration(model)
    return [
        one.mapper.get_property_by_column(column).key
        for column in one.hidden_columns
        if column.name in wanted
    ]


def _changes(versions: Iterable[Any]) -> Iterator[Change]:
    previous: Any = None
    for version in versions:
        if previous is not None:
            yield _closing(previous, version)
        if meta(version, "created_operation") == "I":
            yield Change(
                "I",
                meta(version, "valid_from"),
                meta(version, "created_change_info"),
                None,
                version,
                meta(version, "created_change_id"),
                meta(version, "created_transaction_id"),
            )
        previous = version
    if previous is not None and meta(previous, "change_id") is not None:
        yield _closing(previous, None)


def _closing(version: Any, following: Any) -> Change:
    operation = meta(version, "operation")
    return Change(
        operation,
        meta(version, "changed"),
        meta(version, "change_info"),
        version,
        following if operation == "U" else None,
        meta(version, "change_id"),
        meta(version, "transaction_id"),
    )


def _folded(changes: Iterable[Change]) -> Iterator[Change]:
    group: list[Change] = []
    for change in changes:
        if group and change.transaction_id != group[0].transaction_id:
            yield from _one(group)
            group = []
        group.append(change)
    yield from _one(group)


def _one(group: list[Change]) -> Iterator[Change]:
    """Yield what several changes of one transaction come to, if to anything."""
    if not group:
        return
    first, last = group[0], group[-1]
    if first.before is None and last.after is None:
        return
    operation = "I" if first.before is None else last.operation
    if first.before is not None and last.after is not None:
        operation = "U"
    yield Change(
        operation,
        last.changed,
        last.change_info,
        first.before,
        last.after,
        last.change_id,
        last.transaction_id,
    )
