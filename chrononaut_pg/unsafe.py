"""What weakens the audit trail, kept apart so that a review finds it by its import."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from chrononaut_pg.context import saying
from chrononaut_pg.exceptions import NotPermittedError


@contextmanager
def suppress_versioning(allow_deleting_history: bool = False) -> Iterator[None]:
    """Record no history for what is written inside the block::

        with suppress_versioning():
            session.execute(update(User).values(email=func.lower(User.email)))

    The database obeys only members of the role that owns the core, and keeps a row in
    `chrononaut.transaction` that says what was suppressed; for anybody else changes are
    recorded as ever. History itself is append-only: *allow_deleting_history*, which
    Chrononaut has, is refused with NotPermittedError.
    """
    if allow_deleting_history:
        raise NotPermittedError(
            "history cannot be deleted: it is append-only",
            hint="drop_versioning(..., drop_history => true) removes all of it.",
        )
    with saying(lambda outer: replace(outer, suppressed=True)):
        yield
