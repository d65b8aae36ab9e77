"""Reverts with relations that lead to several classes, and to none."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Column, Engine, ForeignKey, Table, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
)

from chrononaut_pg import RevertError, Versioned, revert_to, versioned_table
from tests.orm.modelling import created


class Base(DeclarativeBase):
    pass


follow = versioned_table(
    Table(
        "follows",
        Base.metadata,
        Column("who_id", ForeignKey("person.id"), primary_key=True),
        Column("whom_id", ForeignKey("person.id"), primary_key=True),
    )
)


class Team(Versioned, Base):
    __tablename__ = "team"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    members: Mapped[list["Person"]] = relationship(
        back_populates="team", order_by="Person.id"
    )


class Person(Versioned, Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str | None]
    team_id: Mapped[int | None] = mapped_column(ForeignKey(Team.id))
    boss_id: Mapped[int | None] = mapped_column(
        ForeignKey("manager.id", use_alter=True, name="boss")
    )
    team: Mapped[Team | None] = relationship(back_populates="members")
    boss: Mapped["Manager | None"] = relationship(
        foreign_keys=[boss_id], back_populates="staff", post_update=True
    )
    follows: Mapped[list["Person"]] = relationship(
        secondary=follow,
        primaryjoin=lambda: Person.id == follow.c.who_id,
        secondaryjoin=lambda: Person.id == follow.c.whom_id,
        back_populates="followers",
        order_by=lambda: Person.id,
    )
    followers: Mapped[list["Person"]] = relationship(
        secondary=follow,
        primaryjoin=lambda: Person.id == follow.c.whom_id,
        secondaryjoin=lambda: Person.id == follow.c.who_id,
        back_populates="follows",
        order_by=lambda: Person.id,
    )
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012


class Worker(Person):
    __tablename__ = "worker"
    id: Mapped[int] = mapped_column(ForeignKey(Person.id), primary_key=True)
    wage: Mapped[int | None]
    tools: Mapped[list["Tool"]] = relationship(
        foreign_keys="Tool.worker_id",
        back_populates="worker",
        cascade="all, delete-orphan",
        order_by="Tool.id",
    )
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_identity": "worker",
        "inherit_condition": id == Person.id,
    }


class Manager(Person):
    __tablename__ = "manager"
    id: Mapped[int] = mapped_column(ForeignKey(Person.id), primary_key=True)
    bonus: Mapped[int | None]
    staff: Mapped[list[Person]] = relationship(
        foreign_keys=[Person.boss_id], back_populates="boss", order_by=Person.id
    )
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_identity": "manager",
        "inherit_condition": id == Person.id,
    }


class Intern(Person):
    school: Mapped[str | None] = mapped_column(nullable=True)
    __mapper_args__ = {"polymorphic_identity": "intern"}  # noqa: RUF012


class Tool(Versioned, Base):
    __tablename__ = "tool"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    worker_id: Mapped[int] = mapped_column(ForeignKey(Worker.id))
    lent_to_id: Mapped[int | None] = mapped_column(ForeignKey(Person.id))
    volts: Mapped[int | None]
    worker: Mapped[Worker] = relationship(
        foreign_keys=[worker_id], back_populates="tools"
    )
    lent_to: Mapped[Person | None] = relationship(foreign_keys=[lent_to_id])
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "tool"}  # noqa: RUF012


class Drill(Tool):
    __mapper_args__ = {"polymorphic_identity": "drill"}  # noqa: RUF012


PATHS = "members.follows", "members.followers", "members.boss", "members.tools.lent_to"

OLD = (
    "t",
    [
        ("Manager", 1, "m", 1, None, [], [2], []),
        ("Worker", 2, "w", 1, 1, [1, 3], [3], [("Tool", 1, 3), ("Drill", 2, None)]),
        ("Intern", 3, "i", "s", 1, [2], [2], []),
    ],
)
"""What `told` tells of the first version."""


def told(session: Session, team: Any) -> tuple[str, list[Any]]:
    """Tell name and members: class, key, values, boss, whom, who, tools."""
    session.expire_all()
    return team.name, [
        (
            type(one).__name__,
            one.id,
            one.name,
            getattr(one, {"Manager": "bonus", "Worker": "wage"}.get(kind, "school")),
            one.boss and one.boss.id,
            [other.id for other in one.follows],
            [other.id for other in one.followers],
            [
                (type(t).__name__, t.id, t.lent_to and t.lent_to.id)
                for t in getattr(one, "tools", [])
            ],
        )
        for one in team.members
        for kind in [type(one).__name__]
    ]


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with created(engine, Base.metadata) as found:
        yield found


@pytest.fixture
def team(session: Session) -> Team:
    """A team of a manager, a worker with two tools and an intern, as in OLD."""
    manager = Manager(id=1, name="m", bonus=1)
    worker = Worker(id=2, name="w", wage=1, boss=manager, tools=[Tool(id=1)])
    intern = Intern(id=3, name="i", school="s", boss=manager)
    worker.tools.append(Drill(id=2, volts=9))
    worker.follows, intern.follows = [manager, intern], [worker]
    worker.tools[0].lent_to = intern
    found = Team(id=1, name="t", members=[manager, worker, intern])
    session.add_all([found, Person(id=4, name="p")])
    session.commit()
    return found


def change(session: Session, team: Team) -> None:
    """Change values, relations and members of the team."""
    worker, intern = session.get_one(Worker, 2), session.get_one(Intern, 3)
    team.name, worker.name, worker.wage = "u", "x", 5
    worker.tools = [worker.tools[0], Drill(id=5)]
    worker.tools[0].lent_to = None
    worker.follows, intern.follows = [session.get_one(Person, 4)], []
    intern.boss = intern.team = None
    team.members.append(Intern(id=9, name="new"))
    session.commit()


def leave(session: Session) -> None:
    """Delete the worker and the intern."""
    for one in session.get_one(Worker, 2), session.get_one(Intern, 3):
        one.follows, one.followers, one.boss = [], [], None
        session.flush()
        session.delete(one)
    session.commit()


def test_a_path_of_some_of_the_classes_is_followed_for_them(
    session: Session, team: Team
) -> None:
    change(session, team)
    now = told(session, team)
    found = []
    for number in (0, -1):
        team.versions()[number].revert(PATHS)
        session.commit()
        found.append(told(session, team))

    assert found == [OLD, now]


def test_members_of_several_classes_come_again(session: Session, team: Team) -> None:
    change(session, team)
    leave(session)
    team.versions()[0].revert(PATHS)
    session.commit()

    assert told(session, team) == OLD


def test_a_related_row_that_is_of_another_class_now_is_refused(
    session: Session, team: Team
) -> None:
    session.get_one(Worker, 2).tools[0].lent_to = None
    team.name = "u"
    session.commit()
    leave(session)
    session.add(Worker(id=3, name="again", team=team))
    session.commit()
    with pytest.raises(RevertError, match="the row of Intern is a Worker now"):
        team.versions()[0].revert(["members"])


def test_no_class_has_a_relation_of_that_name(session: Session, team: Team) -> None:
    change(session, team)
    with pytest.raises(RevertError, match="has no relation 'wings'"):
        team.versions()[0].revert(["members.wings"])


def test_paths_that_lead_nowhere_are_refused_where_nobody_is_at_their_end(
    session: Session, team: Team
) -> None:
    empty = Team(id=7, name="empty")
    session.add(empty)
    session.commit()
    empty.name = "changed"
    session.commit()
    [first] = empty.versions()
    for path in ("members.wings", "members.tools.wings"):
        with pytest.raises(RevertError, match="has no relation 'wings'"):
            first.revert([path])
    first.revert(["members.tools.worker", "members.boss"])

    assert empty.name == "empty"


@pytest.mark.parametrize("base", [Person, Worker])
@pytest.mark.parametrize("gone", [False, True])
def test_object_named_by_a_base_class_and_its_key_is_put_back_wholly(
    session: Session, team: Team, base: type[Person], gone: bool
) -> None:
    session.execute(text("select chrononaut.mark('then')"))
    session.commit()
    change(session, team)
    if gone:
        leave(session)
    session.expunge_all()
    revert_to((base, 2), mark="then", session=session)
    session.commit()
    worker = session.get_one(Person, 2)

    assert isinstance(worker, Worker)
    assert (worker.name, worker.wage) == ("w", 1)
