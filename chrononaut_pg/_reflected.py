"""What SQLAlchemy finds in history tables and has no type for.

Without it, `reflect()` warns of a column that it does not recognize.
"""

from typing import Any

from sqlalchemy.engine import Dialect
from sqlalchemy.types import UserDefinedType


class TupleId(UserDefinedType[str]):
    """The place of a row version: block and line, such as (0,1)."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name."""
        return "tid"


def recognize(dialect: Dialect) -> None:
    """Have the reflection of a PostgreSQL dialect know the types of history tables."""
    names: dict[str, Any] | None = getattr(dialect, "ischema_names", None)
    if dialect.name == "postgresql" and names is not None:
        names.setdefault("tid", TupleId)
