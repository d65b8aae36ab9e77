"""Times as callers give them: a datetime, taken for UTC where it names no zone."""

from datetime import UTC, datetime


def aware(moment: datetime, name: str = "a time") -> datetime:
    """Return a time with its zone. Raises TypeError if it is no datetime."""
    if not isinstance(moment, datetime):
        raise TypeError(f"{name} is a datetime, not a {type(moment).__name__}")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
