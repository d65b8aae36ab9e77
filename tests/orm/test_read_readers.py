"""What each reader says at the edges: before, between and after; one statement each."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from chrononaut_pg import (
    NoSessionError,
    changes_from,
    history_class,
    listen,
)
from tests.orm.modelling import created, saved, statements
from tests.orm.people import Base, User

TICK = timedelta(microseconds=1)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    listen(engine)
    with created(engine, Base.metadata) as found:
        yield found


@pytest.fixture
def user(session: Session) -> User:
    """A user called a, then b, then c."""
    found: User = saved(session, User(id=1, name="a", age=0))
    for name in ("b", "c"):
        found.name = name
        session.commit()
    return found


def names(versions: Any) -> list[str]:
    return [one.name for one in versions]


def deleted(session: Session, user: User) -> datetime:
    """Delete the user, and return when."""
    session.delete(user)
    session.commit()
    found: datetime = user.versions(session=session)[-1].changed
    return found


def test_versions_are_oldest_first_and_numbered_from_0(user: User) -> None:
    found = [(one.version, one.name) for one in user.versions()]

    assert found == [(0, "a"), (1, "b")]


def test_periods_are_contiguous(user: User) -> None:
    first, second = user.versions()

    assert (first.valid_to, second.valid_to) == (second.valid_from, second.changed)


def test_before_and_after_bound_the_end_inclusively(user: User) -> None:
    first, second = user.versions()

    assert user.versions(before=first.changed) == [first]
    assert user.versions(after=second.changed) == [second]
    assert user.versions(before=first.changed - TICK) == []
    assert user.versions(after=second.changed + TICK) == []
    assert user.versions(after=first.changed, before=second.changed) == [first, second]


def test_naive_times_are_taken_for_utc(user: User) -> None:
    first, _ = user.versions()
    naive = first.changed.astimezone(UTC).replace(tzinfo=None)

    assert user.versions(before=naive) == [first]
    assert user.version_at(naive - TICK) == first


def test_a_query_is_a_query(user: User, session: Session) -> None:
    first, second = user.versions()
    cls = history_class(User)

    query = user.versions(return_query=True, after=first.changed, ordered=False)

    assert query.order_by(cls.version.desc()).all() == [second, first]
    assert query.filter(cls.name == "b").one() is second


def test_version_at_a_boundary_is_the_younger_one(user: User) -> None:
    first, second = user.versions()

    assert user.version_at(first.valid_from) == first
    assert user.version_at(first.changed - TICK) == first
    assert user.version_at(first.changed) == second
    assert user.version_at(second.changed) is user


def test_version_at_before_the_first_is_none(user: User) -> None:
    assert user.version_at(user.versions()[0].valid_from - TICK) is None


def test_version_at_after_a_delete_is_none(session: Session, user: User) -> None:
    end = deleted(session, user)

    assert user.version_at(end, session=session) is None
    assert user.version_at(end - TICK, session=session).name == "c"


def test_readers_work_on_a_deleted_object(session: Session, user: User) -> None:
    end = deleted(session, user)
    versions = user.versions(session=session)

    assert names(versions) == ["a", "b", "c"]
    assert user.previous_version(session=session).name == "c"
    assert user.has_changed_since(end - TICK, session=session)
    assert user.blame(session=session)["name"].version == 2
    *_, last = user.changes(session=session)
    assert (last.operation, last.before.name, last.after) == ("D", "c", None)
    assert last.values == {"id": (1, None), "name": ("c", None), "age": (0, None)}


def test_between_delete_and_insert_there_is_nothing(
    session: Session, user: User
) -> None:
    end = deleted(session, user)
    again = saved(session, User(id=1, name="z"), name="y")
    versions = again.versions()

    assert names(versions) == ["a", "b", "c", "z"]
    assert again.version_at(end) is None
    assert again.version_at(versions[3].valid_from - TICK) is None
    assert again.version_at(versions[3].valid_from) == versions[3]
    operations = "".join(one.operation for one in again.changes())
    assert operations == "IUUDIU"
    assert {n: b.version for n, b in again.blame().items()} == {
        **{"id": 3, "name": 4, "age": 3, "secret": 3},
    }


def test_rows_older_than_versioning_have_no_beginning(session: Session) -> None:
    session.execute(text("""select chrononaut.drop_versioning('"user"', true)"""))
    session.execute(text("""insert into "user" (id, name) values (1, 'a')"""))
    session.execute(
        text(
            """select chrononaut.create_versioning('"user"', hidden => '{pass_word}')"""
        )
    )
    session.commit()
    user = saved(session, session.get_one(User, 1), name="b")
    [first] = user.versions()

    assert (first.valid_from, first.created_operation) == (None, None)
    assert user.version_at(datetime(1, 1, 2, tzinfo=UTC)) == first
    assert user.version_at(first.changed) is user
    assert [one.operation for one in user.changes()] == ["U"]
    assert user.blame()["id"].change_info is None
    assert user.blame()["name"].changed == first.changed


def test_previous_version_of_a_new_object_is_none(session: Session) -> None:
    user = saved(session, User(name="a"))

    assert user.previous_version() is None


def test_pending_changes_are_flushed_before_reading(
    session: Session, user: User
) -> None:
    user.name = "d"

    assert names(user.versions()) == ["a", "b", "c"]


def test_a_pending_object_has_no_versions(session: Session) -> None:
    user = User(name="a")
    session.add(user)

    assert (user.versions(), user.previous_version()) == ([], None)
    assert [one.operation for one in user.changes()] == ["I"]


def test_an_object_without_a_session_says_so() -> None:
    with pytest.raises(NoSessionError, match="versions\\(session=session\\)"):
        User(id=1).versions()


def test_a_detached_object_reads_with_the_session_that_is_passed(
    session: Session, user: User, engine: Engine
) -> None:
    session.refresh(user)
    session.close()
    with Session(engine) as other:
        found = names(user.versions(session=other))

    assert found == ["a", "b"]
    with pytest.raises(NoSessionError):
        user.versions()


def test_a_detached_and_expired_object_is_still_found(
    session: Session, user: User, engine: Engine
) -> None:
    session.expire(user)
    session.close()
    with Session(engine) as other:
        assert names(user.versions(session=other)) == ["a", "b"]


def test_a_key_change_starts_a_history_of_its_own(session: Session, user: User) -> None:
    user.id = 5
    session.commit()

    assert user.versions() == []
    user.name = "d"
    session.commit()
    assert names(user.versions()) == ["c"]


def test_every_reader_is_one_statement(
    session: Session, user: User, engine: Engine
) -> None:
    session.refresh(user)
    first = user.versions()[0]
    at = first.changed
    readers: dict[str, Any] = {
        "versions": user.versions,
        "version_at": lambda: user.version_at(at),
        "previous_version": user.previous_version,
        "has_changed_since": lambda: user.has_changed_since(at),
        "changes": lambda: [one.values for one in user.changes()],
        "blame": user.blame,
        "diff": lambda: user.diff(first),
        "diff with hidden": lambda: user.diff(first, include_hidden=True),
    }
    counts = {}
    for name, read in readers.items():
        with statements(engine) as sent:
            read()
        counts[name] = len(sent)

    assert counts == {**dict.fromkeys(readers, 1), "diff": 0}


def test_statement_forms_give_what_the_readers_give(
    session: Session, user: User
) -> None:
    first, second = user.versions()

    assert session.scalars(user.select_versions()).all() == [first, second]
    assert session.scalars(user.select_version_at(first.valid_from)).one() is first
    assert session.scalars(user.select_previous_version()).one() is second
    assert session.scalar(user.select_has_changed_since(first.changed)) is True
    folded = changes_from(session.scalars(user.select_changes()))
    assert list(folded) == list(user.changes())
