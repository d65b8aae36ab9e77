"""How a table is versioned: the options of `chrononaut.create_versioning`, once.

Read by the mixin, Alembic operations, the CLI and the registry's reader.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

Granularity = Literal["row", "statement"]
OnTruncate = Literal["record", "forbid"]


@dataclass(frozen=True, kw_only=True)
class VersioningOptions:
    """The options of one versioned table; None leaves the choice to the database.

    On a table that is not versioned yet None means the default, on a versioned one "as
    it is". Columns may be given as any sequence of names and are kept as tuples.
    """

    hidden: Sequence[str] | None = None
    """Columns of which only the fact of a change is recorded, never a value."""
    untracked: Sequence[str] | None = None
    """Columns that are ignored altogether."""
    history_table: str | None = None
    """Name of the history table; `<table>_history` by default."""
    key: Sequence[str] | None = None
    """Columns that identify a row; the primary key by default."""
    granularity: Granularity | None = None
    """Triggers per row (the default) or per statement."""
    track_inserts: bool | None = None
    """Whether an insert leaves a row in history; yes by default."""
    require_change_info: bool | None = None
    """Whether a write without change info is refused."""
    lockable: bool | None = None
    """Whether rows can be locked against change."""
    row_version: bool | None = None
    """Whether every UPDATE raises the live column `row_version`, which it adds."""
    indexes: Sequence[str] | None = None
    """Columns of the history table to index."""
    always: bool | None = None
    """Whether replicated and restored changes are recorded, too."""
    on_truncate: OnTruncate | None = None
    """Record a TRUNCATE row by row (the default), or forbid it."""
    parent: str | None = None
    """The versioned table that this one extends by joined-table inheritance."""

    def __post_init__(self) -> None:
        for name in COLUMN_OPTIONS:
            value = getattr(self, name)
            if isinstance(value, str):
                raise TypeError(
                    f"{name} takes a sequence of column names, not the string "
                    f"{value!r}; did you forget a comma, as in ({value!r},)?"
                )
            if value is not None:
                object.__setattr__(self, name, tuple(value))

    def given(self) -> dict[str, Any]:
        """Return the options that are not None, by name, column lists as lists."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value is not None
        }


COLUMN_OPTIONS = ("hidden", "untracked", "key", "indexes")
"""The options that are lists of column names."""
