"""A reverted object is read along with whom it has, where one statement can do that."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Engine,
    ForeignKey,
    NullPool,
    Select,
    create_engine,
    delete,
    event,
    text,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    ORMExecuteState,
    Session,
    mapped_column,
    relationship,
    with_loader_criteria,
)

from chrononaut_pg import Versioned, deleted, revert_to
from tests.orm.modelling import statements
from tests.servers import TemplateOf


class Base(DeclarativeBase):
    pass


class Box(Versioned, Base):
    __tablename__ = "box"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    tenant: Mapped[int] = mapped_column(default=1)
    things: Mapped[list["Thing"]] = relationship(order_by="Thing.id")


class Thing(Versioned, Base):
    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    tenant: Mapped[int] = mapped_column(default=1)
    box_id: Mapped[int | None] = mapped_column(ForeignKey(Box.id))


class Part(Versioned, Base):
    __tablename__ = "part"
    number: Mapped[int] = mapped_column(primary_key=True)
    letter: Mapped[str] = mapped_column(primary_key=True)
    kit_id: Mapped[int | None] = mapped_column(ForeignKey("kit.id"))


class Kit(Versioned, Base):
    __tablename__ = "kit"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    parts: Mapped[list[Part]] = relationship(lazy="joined", order_by=Part.letter)


class Loose(Versioned, Base):
    __tablename__ = "loose"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    elsewhere: Mapped[list["Elsewhere"]] = relationship(
        primaryjoin="Loose.id == foreign(Elsewhere.loose_id)"
    )


class Elsewhere(Versioned, Base):
    __tablename__ = "elsewhere"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    loose_id: Mapped[int | None]


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as found:
        yield found


def boxed(session: Session, count: int) -> Box:
    """Return a box of some things."""
    things = [Thing(id=n, name="a") for n in range(1, count + 1)]
    box = Box(id=1, name="a", things=things)
    session.add(box)
    session.commit()
    return box


def things(session: Session) -> list[tuple[Any, ...]]:
    found = session.execute(text("select id, name, box_id from thing order by id"))
    return [tuple(row) for row in found]


@pytest.mark.parametrize("count", [0, 1, 3, 8, 9, 20])
@pytest.mark.parametrize("gone", ["deleted", "elsewhere"])
def test_any_number_of_others_comes_along(
    session: Session, count: int, gone: str
) -> None:
    box = boxed(session, count)
    box.name = "b"
    session.execute(text("update thing set box_id = null, name = 'b'"))
    if gone == "deleted":
        session.execute(delete(Thing))
    session.commit()
    box.versions()[0].revert(relations=["things"])
    session.commit()

    assert things(session) == [(n, "a", 1) for n in range(1, count + 1)]
    assert box.name == "a"


def test_a_deleted_object_comes_again_with_those_that_are_elsewhere(
    session: Session,
) -> None:
    boxed(session, 2)
    session.execute(text("update thing set box_id = null, name = 'b'"))
    session.execute(text("delete from box"))
    session.commit()
    [version] = deleted(Box, session=session)
    version.revert(relations=["things"])
    session.commit()

    assert things(session) == [(1, "a", 1), (2, "a", 1)]


@pytest.mark.parametrize("how", ["criteria", "where"])
def test_an_object_without_anyone_left_is_found_by_those_who_filter_all_classes(
    session: Session, how: str
) -> None:
    box = boxed(session, 2)
    box.name = "b"
    session.execute(text("delete from thing"))
    session.commit()
    [first] = box.versions()

    @event.listens_for(session, "do_orm_execute")
    def only_own(state: ORMExecuteState) -> None:
        if not isinstance(state.statement, Select):
            return
        for model in (Box, Thing):
            if how == "criteria":
                option = with_loader_criteria(model, model.tenant == 1)
                state.statement = state.statement.options(option)
            elif any(
                one["type"] is model for one in state.statement.column_descriptions
            ):
                state.statement = state.statement.where(model.tenant == 1)

    first.revert(relations=["things"])
    session.commit()

    assert session.execute(text("select id, name from box")).all() == [(1, "a")]
    assert things(session) == [(1, "a", 1), (2, "a", 1)]


def test_relations_that_are_loaded_by_joins_are_read_apart(
    session: Session, engine: Engine
) -> None:
    kit = Kit(id=1, parts=[Part(number=1, letter=letter) for letter in "abc"])
    session.add(kit)
    session.commit()
    kit.name = "b"
    session.delete(kit.parts[1])
    session.commit()
    [first] = kit.versions()
    with statements(engine) as sent:
        first.revert(relations=["parts"])
    session.commit()

    assert [one.letter for one in kit.parts] == ["a", "b", "c"]
    assert len(sent) == 3


def test_models_with_engines_of_their_own_are_read_apart(engine: Engine) -> None:
    second = create_engine(engine.url, poolclass=NullPool)
    with Session(binds={Loose: engine, Elsewhere: second}) as session:
        elsewhere = [Elsewhere(id=n, name="a") for n in (1, 2)]
        one = Loose(id=1, name="a", elsewhere=elsewhere)
        session.add(one)
        session.commit()
        one.name = "b"
        session.delete(elsewhere[0])
        session.commit()
        [first] = one.versions()
        with statements(engine) as sent:
            revert_to(first, at=first.changed, relations=["elsewhere"])
        session.commit()

        assert not [statement for statement in sent if "elsewhere" in statement]
        assert one.name == "a"
        assert sorted(found.id for found in one.elsewhere) == [1, 2]
