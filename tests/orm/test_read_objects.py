"""History objects: read-only, comparable, hashable, sortable, picklable, readable."""

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    make_transient,
    mapped_column,
)
from sqlalchemy.orm.attributes import flag_modified, set_attribute

from chrononaut_pg import ReadOnlyHistoryError, Versioned, history_class
from tests.orm.modelling import created, saved, statements


class Base(DeclarativeBase):
    pass


class User(Versioned, Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class Group(Versioned, Base):
    __tablename__ = "group"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with created(engine, Base.metadata) as found:
        yield found


@pytest.fixture
def user(session: Session) -> User:
    found: User = saved(session, User(name="a"))
    for name in ("b", "c"):
        found.name = name
        session.commit()
    return found


def test_attributes_cannot_be_set(user: User) -> None:
    [old, _] = user.versions()
    with pytest.raises(ReadOnlyHistoryError, match="read-only"):
        old.name = "forged"
    with pytest.raises(ReadOnlyHistoryError):
        old.change_info = {}
    with pytest.raises(ReadOnlyHistoryError):
        old.something_new = 1

    assert old.name == "a"


def test_attributes_cannot_be_deleted(user: User) -> None:
    with pytest.raises(ReadOnlyHistoryError):
        del user.versions()[0].name


def test_history_objects_cannot_be_made() -> None:
    with pytest.raises(ReadOnlyHistoryError, match="cannot be made by hand"):
        history_class(User)(name="x")


def _delete(session: Session, old: Any) -> None:
    session.delete(old)


def _add(session: Session, old: Any) -> None:
    session.expunge(old)
    make_transient(old)
    session.add(old)


def _flag(session: Session, old: Any) -> None:
    flag_modified(old, "name")


def _set(session: Session, old: Any) -> None:
    set_attribute(old, "name", "forged")


@pytest.mark.parametrize("write", [_delete, _add, _flag, _set])
def test_a_flush_that_would_write_history_writes_nothing(
    session: Session, engine: Engine, user: User, write: Any
) -> None:
    [old, _] = user.versions()
    session.add(User(name="new"))
    session.flush()
    session.add(User(name="newer"))
    write(session, old)
    with statements(engine) as sent, pytest.raises(ReadOnlyHistoryError):
        session.flush()

    assert [one for one in sent if not one.startswith("ROLLBACK")] == []


def test_versions_are_equal_whenever_they_were_read(engine: Engine, user: User) -> None:
    with Session(engine) as other:
        again = other.get_one(User, user.id).versions()

    assert again == user.versions()
    assert len({*again, *user.versions()}) == 2
    assert again[0] != again[1]
    assert again[0] != "a"


def test_versions_sort_by_age(session: Session, user: User) -> None:
    cls = history_class(User)
    three = session.scalars(select(cls).order_by(cls.version.desc())).all()

    assert [one.version for one in sorted(three)] == [0, 1, 2]
    assert sorted(three)[0] <= three[0]


def test_versions_of_different_rows_have_no_order(session: Session, user: User) -> None:
    other = saved(session, User(name="x"), name="y")
    with pytest.raises(TypeError):
        sorted([*user.versions(), *other.versions()])


def test_equal_keys_of_different_classes_are_not_equal(
    session: Session, user: User
) -> None:
    group = saved(session, Group(id=user.id, name="x"), name="y")

    assert group.versions()[0] not in user.versions()


def test_repr_tells_key_version_operation_and_end(user: User) -> None:
    old = user.versions()[0]
    shown = (
        f"<UserHistory id=1 version=0 operation='U' until {old.changed.isoformat()}>"
    )

    assert repr(old) == shown


def test_repr_hash_and_equality_need_no_session(session: Session, user: User) -> None:
    old = user.versions()[0]
    change_id = old.change_id
    session.expire(old)
    session.close()

    assert repr(old) == f"<UserHistory id=1 change {change_id}>"
    assert (hash(old), old) == (hash(old), old)


def test_the_live_row_says_that_it_is_current(session: Session, user: User) -> None:
    live = session.scalars(select(history_class(User)).order_by(text("version"))).all()

    assert repr(live[-1]) == "<UserHistory id=1 version=2 current>"


def test_versions_survive_pickling(session: Session, user: User) -> None:
    versions = user.versions()
    session.close()
    copies = pickle.loads(pickle.dumps(versions))

    assert copies == versions
    assert [(c.name, c.version, c.change_info) for c in copies] == [
        (v.name, v.version, v.change_info) for v in versions
    ]
    assert {*copies} == {*versions}
    assert repr(copies) == repr(versions)
    with pytest.raises(ReadOnlyHistoryError):
        copies[0].name = "forged"


def test_unpickled_versions_serve_readers(session: Session, user: User) -> None:
    old = pickle.loads(pickle.dumps(user.versions()[0]))

    assert user.diff(old) == {"name": ("a", "c")}


def test_changes_can_be_pickled(session: Session, user: User) -> None:
    changes = list(user.changes())

    assert pickle.loads(pickle.dumps(changes)) == changes


def test_a_rolled_back_version_is_never_served(session: Session, user: User) -> None:
    user.name = "never"
    session.flush()
    user.name = "neither"
    session.flush()
    assert [one.name for one in user.versions()] == ["a", "b", "c", "never"]
    session.rollback()
    user.name = "d"
    session.commit()

    assert [one.name for one in user.versions()] == ["a", "b", "c"]


def test_a_savepoint_rolled_back_takes_its_versions_along(
    session: Session, user: User
) -> None:
    nested = session.begin_nested()
    user.name = "never"
    session.flush()
    held = user.versions()
    nested.rollback()
    user.name = "d"
    session.flush()
    user.name = "e"
    session.flush()

    assert len(held) == 3
    assert [one.name for one in user.versions()] == ["a", "b", "c", "d"]


def test_the_live_version_is_read_anew(session: Session, user: User) -> None:
    cls = history_class(User)
    live = session.scalars(select(cls).where(cls.change_id.is_(None))).one()
    assert live.name == "c"
    session.execute(text("""update "user" set name = 'd'"""))

    assert session.scalars(user.select_changes()).all()[-1].name == "d"


def test_history_can_be_joined_counted_and_paged(session: Session, user: User) -> None:
    cls = history_class(User)
    statement = select(cls.name, User.name).join(User, User.id == cls.id)
    rows = session.execute(statement.order_by(cls.version).limit(1).offset(1)).all()

    assert rows == [("b", "c")]
    assert user.versions(return_query=True).filter(cls.name == "b").count() == 1
