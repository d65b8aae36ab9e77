"""Reverts in sessions whose listeners filter what they select, as for soft deletes."""

from collections.abc import Iterator
from datetime import datetime

import pytest
from sqlalchemy import Engine, ForeignKey, event, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    ORMExecuteState,
    Session,
    mapped_column,
    relationship,
    with_loader_criteria,
)

from chrononaut_pg import RevertError, Versioned, history_class, revert, revert_to
from tests.servers import TemplateOf

GONE = datetime(2024, 1, 1)


class Base(DeclarativeBase):
    pass


class Removable:
    removed: Mapped[datetime | None] = mapped_column()


class Team(Removable, Versioned, Base):
    __tablename__ = "team"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    members: Mapped[list["Member"]] = relationship(order_by="Member.id")


class Member(Removable, Versioned, Base):
    __tablename__ = "member"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    team_id: Mapped[int | None] = mapped_column(ForeignKey(Team.id))


class Filtered(Session):
    pass


@event.listens_for(Filtered, "do_orm_execute")
def leave_out_what_is_removed(state: ORMExecuteState) -> None:
    if state.is_select and not state.is_column_load:
        criteria = with_loader_criteria(
            Removable, lambda cls: cls.removed.is_(None), include_aliases=True
        )
        state.statement = state.statement.options(criteria)


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Filtered(engine) as found:
        members = [Member(id=number, name="a") for number in (1, 2)]
        found.add(Team(id=1, name="t", members=members))
        found.commit()
        found.execute(text("select chrononaut.mark('then')"))
        found.commit()
        yield found


def stored(session: Session) -> list[tuple[int, bool]]:
    session.commit()
    found = session.execute(text("select id, removed is null from member order by id"))
    return [(number, there) for number, there in found]


def remove(session: Session, member: Member) -> None:
    member.removed = GONE
    session.commit()


def test_what_was_removed_softly_is_put_back(session: Session) -> None:
    member = session.get_one(Member, 2)
    remove(session, member)
    assert session.get(Member, 1, populate_existing=True)
    assert member.versions()[0].revert() is member

    assert stored(session) == [(1, True), (2, True)]
    assert len(list(member.changes())) == 3


def test_related_ones_are_put_back(session: Session) -> None:
    team = session.get_one(Team, 1)
    member = team.members[1]
    remove(session, member)
    team.name = "u"
    session.commit()
    team.versions()[0].revert(relations=["members"])

    assert stored(session) == [(1, True), (2, True)]
    assert [one.id for one in team.members] == [1, 2]
    assert member in team.members


def test_rows_that_the_session_never_saw_stay_hidden(
    session: Session, engine: Engine
) -> None:
    remove(session, session.get_one(Member, 2))
    with Filtered(engine) as other:
        version = other.query(history_class(Member)).filter_by(id=2, version=0).one()
        with pytest.raises(RevertError, match="filters of the session hide it"):
            version.revert()
    with Filtered(engine) as other, Session(engine) as plain:
        version = other.query(history_class(Member)).filter_by(id=2, version=0).one()
        revert(version, session=plain)
        plain.commit()

    assert stored(session) == [(1, True), (2, True)]


def test_a_moment_at_which_it_was_hidden_is_refused_with_relations(
    session: Session,
) -> None:
    team = session.get_one(Team, 1)
    team.removed = GONE
    session.commit()
    session.execute(text("select chrononaut.mark('removed')"))
    team.removed = None
    session.commit()
    with pytest.raises(RevertError, match="filters of the session hide it"):
        revert_to(team, mark="removed", relations=["members"])
    session.rollback()
    revert_to(team, mark="removed")
    session.commit()

    assert team.removed == GONE


def test_what_is_deleted_comes_again(session: Session) -> None:
    member = session.get_one(Member, 2)
    session.delete(member)
    session.commit()
    revert_to((Member, 2), mark="then", session=session)

    assert stored(session) == [(1, True), (2, True)]


def test_what_did_not_exist_is_deleted_though_it_is_hidden(session: Session) -> None:
    member = Member(id=3, name="c")
    session.add(member)
    session.commit()
    remove(session, member)
    revert_to(member, mark="then")

    assert stored(session) == [(1, True), (2, True)]
