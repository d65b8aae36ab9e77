"""The statement forms of readers answer like the readers, at every boundary."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from chrononaut_pg import append_change_info, listen
from tests.orm.modelling import created, saved
from tests.orm.people import Base, User

TICK = timedelta(microseconds=1)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    listen(engine)
    with created(engine, Base.metadata) as found:
        yield found


def boundaries(user: User, session: Session) -> list[datetime]:
    """Return every time at which a version began or ended, and those around it."""
    versions = user.versions(session=session)
    ends = {t for one in versions for t in (one.valid_from, one.changed) if t}
    return sorted({t + step for t in ends for step in (-TICK, TICK * 0, TICK)})


def shown(found: Any) -> Any:
    """Return the number of a version or the newest name; None for nothing."""
    return None if found is None else (found.name, type(found).__name__)


def test_version_at_as_a_statement_agrees_at_every_boundary(session: Session) -> None:
    user = saved(session, User(id=1, name="a"), name="b")
    session.delete(user)
    session.commit()
    user = saved(session, User(id=1, name="c"), name="d")
    found = {}
    for at in boundaries(user, session):
        object_ = user.version_at(at)
        selected = session.scalars(user.select_version_at(at)).one_or_none()
        # The statement gives the live row as a history object.
        same = object_ if object_ is not user else selected
        found[at] = (shown(same), shown(selected))

    assert len(found) >= 12
    assert [at for at, (read, selected) in found.items() if read != selected] == []
    assert {read and read[0] for read, _ in found.values()} == {None, *"abcd"}


def test_version_at_as_a_statement_is_nothing_from_the_deletion_on(
    session: Session,
) -> None:
    user = saved(session, User(id=1, name="a"))
    session.delete(user)
    session.commit()
    end = user.versions(session=session)[-1].changed

    def selected(at: datetime) -> Any:
        return session.scalars(user.select_version_at(at)).one_or_none()

    assert (shown(selected(end - TICK)), selected(end), selected(end + TICK)) == (
        ("a", "UserHistory"),
        None,
        None,
    )


def test_extras_that_a_change_got_after_it_was_read_are_read(session: Session) -> None:
    user = saved(session, User(id=1, name="a"))
    user.name = "b"
    session.flush()
    [first] = user.versions()
    assert "extra" not in first.change_info
    session.execute(
        text(
            """select chrononaut.append_change_info('"user"', '[[1]]', '{"why": 1}')"""
        )
    )
    [again] = user.versions()
    extra, same = again.change_info["extra"], again is first
    with append_change_info(user, ticket=7):
        user.name = "c"
        session.commit()

    assert (extra, same) == ({"why": 1}, True)
    assert [one.change_info.get("extra") for one in user.versions()] == [
        {"why": 1},
        {"ticket": 7},
    ]
