"""The mixin `RecordChanges`, for rows that say themselves who wrote them last."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Table, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Mapper, mapped_column
from sqlalchemy.schema import FetchedValue

from chrononaut_pg import ddl
from chrononaut_pg.mixins import Capturing


class RecordChanges(Capturing):
    """Mixin for models that keep who changed a row last, and when, on the row itself.

    Adds the columns `change_info` (as in history) and `changed`, which a trigger keeps;
    `metadata.create_all()` creates it. Source: Chrononaut.
    """

    __chrononaut_recording__ = ("change_info", "changed")

    change_info: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB,
        nullable=True,
        server_default=FetchedValue(),
        server_onupdate=FetchedValue(),
        sort_order=1000,
    )
    changed: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True),
        nullable=True,
        server_default=FetchedValue(),
        server_onupdate=FetchedValue(),
        sort_order=1001,
    )


@event.listens_for(RecordChanges, "after_mapper_constructed", propagate=True)
def _declare_recording(mapper: Mapper[Any], model: type[Any]) -> None:
    if isinstance(mapper.local_table, Table):
        ddl.record_changes(mapper.local_table)
