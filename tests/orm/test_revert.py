"""`version.revert()` puts an object back, by an ordinary change of the session."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Computed,
    Engine,
    ForeignKey,
    Identity,
    Integer,
    UniqueConstraint,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import (
    Composite,
    DeclarativeBase,
    Mapped,
    Session,
    composite,
    mapped_column,
    relationship,
    validates,
)

import chrononaut_pg
from chrononaut_pg import (
    NoSessionError,
    NotVersionedError,
    RevertError,
    RevertWarning,
    Versioned,
    change_info,
    deleted,
    restore,
    revert,
    revert_to,
    time_travel,
)
from tests.orm.modelling import saved, statements
from tests.servers import TemplateOf


class Base(DeclarativeBase):
    pass


class Point:
    def __init__(self, x: int | None, y: int | None) -> None:
        self.x, self.y = x, y

    def __composite_values__(self) -> tuple[Any, ...]:
        return self.x, self.y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)


class User(Versioned, Base):
    __tablename__ = "user"
    __chrononaut_hidden__ = ("password",)
    __chrononaut_untracked__ = ("logins",)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column("full name")
    data: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    password: Mapped[str] = mapped_column(default="unset")
    logins: Mapped[int] = mapped_column(server_default="7")
    loud: Mapped[str | None] = mapped_column(
        Computed('upper("full name")', persisted=True)
    )
    place: Composite[Point] = composite(
        Point,
        mapped_column("x", Integer, nullable=True),
        mapped_column("y", Integer, nullable=True),
    )


class Seat(Versioned, Base):
    __tablename__ = "Se at"
    __table_args__ = {"schema": "Hall"}  # noqa: RUF012
    line: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    taken: Mapped[bool | None]


class Ticket(Versioned, Base):
    __tablename__ = "ticket"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    text: Mapped[str | None]
    notes: Mapped[list["TicketNote"]] = relationship(
        back_populates="ticket", cascade="all, delete-orphan"
    )


class TicketNote(Versioned, Base):
    __tablename__ = "ticket_note"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    ticket_id: Mapped[int] = mapped_column(ForeignKey(Ticket.id))
    text: Mapped[str | None]
    ticket: Mapped[Ticket] = relationship(back_populates="notes")


class Counted(Versioned, Base):
    __tablename__ = "counted"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column()
    name: Mapped[str | None]
    __mapper_args__ = {"version_id_col": number}  # noqa: RUF012


class Being(Versioned, Base):
    __tablename__ = "being"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str | None]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "being"}  # noqa: RUF012


class Cat(Being):
    lives: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "cat"}  # noqa: RUF012


class Robot(Being):
    __tablename__ = "robot"
    id: Mapped[int] = mapped_column(ForeignKey(Being.id), primary_key=True)
    volts: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "robot"}  # noqa: RUF012


class Drone(Robot):
    __tablename__ = "drone"
    id: Mapped[int] = mapped_column(ForeignKey(Robot.id), primary_key=True)
    height: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "drone"}  # noqa: RUF012


class Strange(Versioned, Base):
    __tablename__ = "strange"
    id: Mapped[int] = mapped_column(primary_key=True)
    revert: Mapped[str | None]


class Checked(Versioned, Base):
    __tablename__ = "checked"
    __table_args__ = (UniqueConstraint("name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]

    @validates("name")
    def _check(self, key: str, value: str) -> str:
        if value == "refused":
            raise ValueError(key)
        return value


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of('create schema "Hall"', Base.metadata)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as found:
        yield found


@pytest.fixture
def user(session: Session) -> User:
    one = User(id=1, name="ann", data={"a": [1]}, password="s1", place=Point(1, 2))
    found: User = saved(session, one, name="bob", data={"b": 2}, place=Point(3, None))
    return found


def last_info(session: Session, instance: Any) -> Any:
    """Return the change info of the newest change of an object."""
    *_, last = instance.changes(session=session)
    return last.change_info["extra"]


def test_tracked_values_become_those_of_the_version(user: User) -> None:
    found = user.versions()[0].revert()

    assert found is user
    assert (user.name, user.data, user.place) == ("ann", {"a": [1]}, Point(1, 2))


def test_it_is_pending_until_the_commit(session: Session, user: User) -> None:
    user.versions()[0].revert()
    assert user in session.dirty
    session.rollback()

    assert user.name == "bob"


def test_hidden_and_untracked_columns_are_left_alone(
    session: Session, user: User
) -> None:
    user.password, user.logins = "s2", 9
    session.commit()
    user.versions()[0].revert()
    session.commit()

    assert (user.name, user.password, user.logins) == ("ann", "s2", 9)


def test_the_change_says_what_it_reverted_to(session: Session, user: User) -> None:
    first = user.versions()[0]
    with change_info(user_id="eve", rationale="a mistake"):
        first.revert()
        session.commit()

    assert last_info(session, user)["reverted_to"] == {
        "version": 0,
        "change_id": first.change_id,
    }


def test_a_revert_to_what_is_writes_nothing(
    engine: Engine, session: Session, user: User
) -> None:
    user.name = "carl"
    session.commit()
    user.name = "bob"
    session.commit()
    same = user.versions()[3]
    assert same.name == "bob"
    same.revert()
    with statements(engine) as sent:
        session.commit()
    assert [one for one in sent if one.startswith("UPDATE")] == []
    user.name = "dora"
    session.commit()

    assert "extra" not in list(user.changes())[-1].change_info


def test_later_changes_in_place_do_not_reach_the_version(user: User) -> None:
    first = user.versions()[0]
    first.revert()
    assert user.data is not None
    user.data["a"].append(2)

    assert first.data == {"a": [1]}


def test_a_deleted_object_comes_again_with_its_key(
    session: Session, user: User
) -> None:
    session.delete(user)
    session.commit()
    first, *_ = user.versions(session=session)
    found = first.revert()
    session.commit()

    assert found is not user
    assert (found.id, found.name, found.data, found.loud) == (
        1,
        "ann",
        {"a": [1]},
        "ANN",
    )
    assert (found.password, found.logins) == ("unset", 7)
    assert [one.operation for one in found.changes()][-2:] == ["D", "I"]
    assert last_info(session, found)["reverted_to"]["version"] == 0


def test_what_a_resurrected_object_lacks_can_be_set_before_the_flush(
    session: Session, user: User
) -> None:
    session.delete(user)
    session.commit()
    found = user.versions(session=session)[-1].revert()
    found.password = "known"
    session.commit()

    assert found.password == "known"


def test_a_delete_that_is_not_flushed_yet_is_reverted(
    session: Session, user: User
) -> None:
    first = user.versions()[0]
    session.delete(user)
    found = first.revert()
    session.commit()

    assert (found.id, found.name) == (1, "ann")


def test_a_delete_by_other_sessions_is_noticed(
    engine: Engine, session: Session, user: User
) -> None:
    first = user.versions()[0]
    with Session(engine) as other:
        other.delete(other.get_one(User, 1))
        other.commit()
    found = first.revert()
    session.commit()

    assert session.scalar(select(User.name)) == found.name == "ann"


@pytest.mark.parametrize("put_back", [revert, restore])
def test_object_whose_row_others_deleted_makes_way_for_the_new_one(
    engine: Engine, session: Session, user: User, put_back: Any
) -> None:
    """In the transaction that had loaded it, and still takes it for the live one."""
    held = session.get_one(User, 1)
    version = held.versions()[0]
    assert held.name == "bob"
    with Session(engine) as other:
        other.delete(other.get_one(User, 1))
        other.commit()
    found = put_back(version)
    session.commit()

    assert (held in session, session.get(User, 1) is found) == (False, True)


@pytest.mark.parametrize("put_back", [revert, restore])
def test_a_version_that_was_the_live_row_says_that_it_is_deleted(
    session: Session, user: User, put_back: Any
) -> None:
    (live,) = session.scalars(
        select(chrononaut_pg.history_class(User)).filter_by(change_id=None)
    )
    session.delete(user)
    session.commit()

    with pytest.raises(RevertError, match="was the live row, which is deleted since"):
        put_back(live)


def test_composite_keys_other_schemas_and_strange_names(session: Session) -> None:
    seat = saved(session, Seat(line='"a"', number=2, taken=False), taken=True)
    session.delete(seat)
    session.commit()
    seat.versions(session=session)[0].revert()
    session.commit()

    assert session.get_one(Seat, ('"a"', 2)).taken is False


def test_keys_that_the_database_always_makes_come_again(session: Session) -> None:
    ticket = saved(session, Ticket(text="a", notes=[TicketNote(text="n")]), text="b")
    session.delete(ticket)
    session.commit()
    ticket.versions(session=session)[0].revert(relations=["notes"])
    session.add(Ticket(text="new"))
    session.commit()
    found = session.scalars(select(Ticket).order_by(Ticket.id)).all()

    assert [(one.id, one.text) for one in found] == [(1, "a"), (2, "new")]
    assert [(one.id, one.text) for one in found[0].notes] == [(1, "n")]


def test_keys_are_not_overridden_for_other_inserts(session: Session) -> None:
    ticket = saved(session, Ticket(text="a"))
    session.delete(ticket)
    session.commit()
    restore(ticket.versions(session=session)[0])
    session.commit()
    session.add(Ticket(id=99))
    with pytest.raises(Exception, match="GENERATED ALWAYS"):
        session.commit()


def test_version_counters_count_on(session: Session) -> None:
    one = saved(session, Counted(id=1, name="a"), name="b")
    one.versions()[0].revert()
    session.commit()

    assert (one.name, one.number) == ("a", 3)


def test_joined_inheritance_puts_all_tables_back(session: Session) -> None:
    drone = saved(session, Drone(id=1, name="d", volts=5, height=1), name="e", height=2)
    drone.versions()[0].revert()
    session.commit()
    assert (drone.name, drone.volts, drone.height) == ("d", 5, 1)
    session.delete(drone)
    session.commit()
    drone.versions(session=session)[1].revert()
    session.commit()
    found = session.scalars(select(Being)).one()

    assert (type(found), found.id) == (Drone, 1)
    assert (found.name, found.volts, found.height) == ("e", 5, 1)  # type: ignore[attr-defined]


def test_single_table_inheritance_keeps_the_class(session: Session) -> None:
    cat = saved(session, Cat(id=1, name="c", lives=9), lives=8)
    session.delete(cat)
    session.commit()
    cat.versions(session=session)[0].revert()
    session.commit()
    found = session.scalars(select(Being)).one()

    assert (type(found), found.name, found.lives) == (Cat, "c", 9)  # type: ignore[attr-defined]


def test_a_part_of_an_object_does_not_come_again_alone(session: Session) -> None:
    drone = saved(session, Drone(id=1, name="d"))
    session.delete(drone)
    session.commit()
    cls = chrononaut_pg.history_class(Being)
    part = session.scalars(select(cls)).one()
    with pytest.raises(RevertError, match="was a Drone"):
        part.revert()


def test_a_row_of_another_class_is_refused(session: Session) -> None:
    cat = saved(session, Cat(id=1, name="c"))
    session.delete(cat)
    session.commit()
    saved(session, Robot(id=1, name="r"))
    with pytest.raises(RevertError, match="is a Robot now"):
        cat.versions(session=session)[0].revert()


def test_an_attribute_called_revert_wins(session: Session) -> None:
    one = saved(session, Strange(id=1, revert="a"), revert="b")
    version = one.versions()[0]
    assert version.revert == "a"
    revert(version)
    session.commit()
    assert one.revert == "a"
    one.versions()[1].chrononaut_revert()

    assert one.revert == "b"


def test_events_and_validators_see_the_change(session: Session) -> None:
    one = saved(session, Checked(id=1, name="a"), name="b")
    session.execute(text("update checked set name = 'refused'"))
    session.execute(text("update checked set name = 'c'"))
    session.commit()
    with pytest.raises(ValueError, match="name"):
        one.versions()[2].revert()


def synced(session: Session, *commands: str) -> None:
    """Change the table user, and let its versioning follow.

    It is brought into line before, too: where a database was copied, names decide which
    column is which until then.
    """
    sync = text("select chrononaut.sync_versioning('user')")
    session.execute(sync)
    for command in commands:
        session.execute(text(f'alter table "user" {command}'))
    session.execute(sync)
    session.commit()


def test_columns_that_were_added_since_are_left_alone_and_named(
    session: Session, user: User
) -> None:
    synced(session, "drop column data", "add column data jsonb default '{}'")
    first = user.versions()[0]
    with pytest.warns(RevertWarning, match="not put back: user.data was not") as told:
        first.revert()
    session.commit()
    [one] = told

    assert one.filename == __file__
    assert one.message.skipped == {"user": {"data": "was not recorded at the time"}}  # type: ignore[union-attr]
    assert (user.name, user.data) == ("ann", {})


def test_columns_that_are_no_more_are_named(session: Session, user: User) -> None:
    synced(session, "add column nick text")
    user.name = "carl"
    session.commit()
    user.name = "dora"
    session.commit()
    old, new = user.versions()[2], user.versions()[4]
    with pytest.warns(RevertWarning, match="user.nick is not in the model"):
        new.revert()
    session.rollback()
    synced(session, "drop column nick")
    with pytest.warns(RevertWarning, match="user.nick no longer exists"):
        new.revert()
    session.rollback()
    old.revert()

    assert user.name == "bob"


def test_a_version_of_another_session_is_reverted_in_the_given_one(
    engine: Engine, user: User
) -> None:
    first = user.versions()[0]
    with Session(engine) as other:
        found = first.revert(session=other)
        other.commit()
        assert found.name == "ann"
    assert user.name == "ann"


def test_without_a_session_it_says_so(session: Session, user: User) -> None:
    first = user.versions()[0]
    session.expunge(first)
    with pytest.raises(NoSessionError):
        first.revert()


def test_only_history_objects_can_be_reverted_to(user: User) -> None:
    with pytest.raises(TypeError, match="not a history object"):
        revert(user)
    with pytest.raises(NotVersionedError):
        revert_to(object(), mark="x")


def test_the_past_reverts_in_the_present(session: Session, user: User) -> None:
    with time_travel(session, transaction=user.versions()[0].transaction_id) as past:
        found = revert(past.get_one(User, 1).versions()[0])
    session.commit()

    assert (found is user, user.name) == (True, "ann")


def test_revert_to_a_transaction(session: Session, user: User) -> None:
    began = user.versions()[0].created_transaction_id
    revert_to(user, transaction=began)
    session.commit()
    assert user.name == "ann"
    assert last_info(session, user)["reverted_to"]["version"] == 0


def test_revert_to_a_mark_and_a_time(session: Session, user: User) -> None:
    session.execute(text("select chrononaut.mark('here')"))
    session.commit()
    at = session.scalar(text("select clock_timestamp()"))
    session.commit()
    user.name = "carl"
    session.commit()
    revert_to((User, 1), mark="here", session=session)
    session.commit()
    assert user.name == "bob"
    user.name = "dora"
    session.commit()
    revert_to(user.versions()[0], at=at)

    assert user.name == "bob"


def test_revert_to_what_did_not_exist_deletes(session: Session, user: User) -> None:
    began = user.versions()[0].created_transaction_id
    assert revert_to(user, transaction=began, before=True) is None
    session.commit()
    *_, last = user.changes(session=session)

    assert session.scalars(select(User)).all() == []
    assert (last.operation, last.change_info["extra"]) == (
        "D",
        {"reverted_to": {"version": None, "change_id": None}},
    )
    assert revert_to((User, 1), transaction=began, before=True, session=session) is None


def test_revert_to_a_time_of_a_deleted_row_resurrects(
    session: Session, user: User
) -> None:
    session.delete(user)
    session.commit()
    [first, *_] = user.versions(session=session)
    found = revert_to((User, 1), transaction=first.transaction_id, session=session)
    session.commit()

    assert (found.id, found.name) == (1, "bob")


def test_restore_leaves_what_is_there(session: Session, user: User) -> None:
    assert restore(user.versions()[0]) is user
    assert user.name == "bob"


def test_restore_brings_back_what_deleted_shows(session: Session, user: User) -> None:
    session.delete(user)
    session.commit()
    [gone] = deleted(User, session)
    restore(gone)
    session.commit()

    assert session.scalars(select(User.name)).all() == ["bob"]
    assert deleted(User, session) == []
