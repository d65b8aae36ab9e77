"""A time that is no datetime is refused by name, and sends nothing."""

from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from chrononaut_pg import (
    revert_to,
    select_changes_by,
    select_transactions,
    time_travel,
)
from tests.orm.modelling import created, statements
from tests.orm.people import Base, User


def asked(session: Session, user: User, at: Any) -> dict[str, Any]:
    """Return everything that takes a time, given *at*."""
    return {
        "version_at": lambda: user.version_at(at),
        "select_version_at": lambda: user.select_version_at(at),
        "versions before": lambda: user.versions(before=at),
        "versions after": lambda: user.versions(after=at, return_query=True),
        "has_changed_since": lambda: user.has_changed_since(at),
        "select_transactions": lambda: select_transactions(after=at),
        "select_changes_by": lambda: select_changes_by("ann", at),
        "time_travel": lambda: time_travel(session, at=at).__enter__(),
        "revert_to": lambda: revert_to(user, at=at),
    }


@pytest.mark.parametrize("at", ["2026-03-01", date(2026, 3, 1), 1772323200])
def test_what_is_no_datetime_is_refused(engine: Engine, at: Any) -> None:
    with created(engine, Base.metadata) as session:
        session.add(User(id=1, name="a"))
        session.commit()
        user = session.get_one(User, 1)
        with statements(engine) as sent:
            for name, ask in asked(session, user, at).items():
                with pytest.raises(TypeError, match=r"is a datetime, not a \w+$"):
                    pytest.fail(f"{name} returned {ask()!r}")

    assert sent == []
