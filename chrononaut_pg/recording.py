"""The mixin `RecordChanges`, for rows that say themselves who wrote them last."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Table, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, MappedColumn, Mapper, declared_attr, mapped_column
from sqlalchemy.schema import FetchedValue

from chrononaut_pg import ddl
from chrononaut_pg.mixins import Capturing


class RecordChanges(Capturing):
    """Mixin for models that keep who changed a row last, and when, on the row itself.

    Adds the columns `change_info` (as in history) and `changed`, which a trigger keeps;
    `metadata.create_all()` creates it. A dataclass declares both columns itself, with
    `init=False` and `FetchedValue()` as server default. Source: Chrononaut.
    """

    __chrononaut_recording__ = ("change_info", "changed")

    # Without annotations of the class itself, which Pydantic would take for its fields.
    @declared_attr
    def change_info(cls) -> Mapped[dict[str, Any] | None]:
        """The change info of the last change, as in history."""
        return _kept(JSONB, sort_order=1000)

    @declared_attr
    def changed(cls) -> Mapped[datetime | None]:
        """When the row was changed last."""
        return _kept(DateTime(timezone=True), sort_order=1001)


def _kept(type_: Any, sort_order: int) -> MappedColumn[Any]:
    """Return a column that a trigger keeps."""
    return mapped_column(
        type_,
        nullable=True,
        server_default=FetchedValue(),
        server_onupdate=FetchedValue(),
        sort_order=sort_order,
    )


@event.listens_for(RecordChanges, "after_mapper_constructed", propagate=True)
def _declare_recording(mapper: Mapper[Any], model: type[Any]) -> None:
    if isinstance(mapper.local_table, Table):
        ddl.record_changes(mapper.local_table)
