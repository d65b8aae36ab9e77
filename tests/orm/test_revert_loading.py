"""What a revert reads of the live rows is loaded as SQLAlchemy's own loader does it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, Text, TypeDecorator, event, text
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from chrononaut_pg import Versioned
from tests.servers import TemplateOf


class Shouted(TypeDecorator[str]):
    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value and value.lower()

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value and value.upper()


class Base(DeclarativeBase):
    pass


class Crew(Versioned, Base):
    __tablename__ = "crew"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(Shouted)
    sailors: Mapped[list["Sailor"]] = relationship(
        back_populates="crew", order_by="Sailor.id"
    )


class Sailor(Versioned, Base):
    __tablename__ = "sailor"
    id: Mapped[int] = mapped_column("number", primary_key=True)
    rank: Mapped[str | None] = mapped_column(Shouted)
    crew_id: Mapped[int | None] = mapped_column(ForeignKey(Crew.id))
    crew: Mapped["Crew | None"] = relationship(back_populates="sailors")


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@contextmanager
def listening() -> Iterator[list[Any]]:
    """Listen to objects being loaded: then it is SQLAlchemy that loads them."""
    heard: list[Any] = []

    def on_refresh(one: Any, *_: Any) -> None:
        heard.append(one)

    event.listen(Base, "refresh", on_refresh, propagate=True)
    try:
        yield heard
    finally:
        event.remove(Base, "refresh", on_refresh)


def expired(session: Session) -> None:
    session.expire_all()


def forgotten(session: Session) -> None:
    session.expunge_all()


def known(session: Session) -> None:
    """Load everything, and have others change it."""
    for one in session.query(Crew):
        assert [sailor.crew for sailor in one.sailors] == [one] * len(one.sailors)
    bind: Any = session.get_bind()
    with bind.begin() as other:
        other.execute(text("update crew set name = 'others' where id = 1"))
        other.execute(text("update sailor set rank = 'others', crew_id = 2"))


def deleted_here(session: Session) -> None:
    session.delete(session.get_one(Sailor, 1))


def changed_here(session: Session) -> None:
    session.get_one(Crew, 1).name = "here"
    session.get_one(Sailor, 1).rank = "here"


def partly_expired(session: Session) -> None:
    for sailor in session.query(Sailor):
        assert sailor.crew is not None
        session.expire(sailor, ["rank"])


def seen(session: Session) -> list[Any]:
    """Return what a session knows of its live objects."""
    found = []
    for one in session:
        state = sa_inspect(one)
        if not isinstance(one, (Crew, Sailor)):
            continue
        values = {
            name: [other.id for other in value]
            if isinstance(value, list)
            else getattr(value, "id", value)
            for name, value in vars(one).items()
            if name != "_sa_instance_state"
        }
        found.append(
            (
                type(one).__name__,
                state.key,
                sorted(values.items()),
                sorted(state.expired_attributes),
                sorted(state.committed_state),
                session.is_modified(one),
            )
        )
    return sorted(found, key=repr)


BEFORE = [expired, forgotten, known, deleted_here, changed_here, partly_expired]


def fill(session: Session) -> None:
    """Make two crews, the first of three sailors, and have all of that changed."""
    session.add_all([Crew(id=1, name="a"), Crew(id=2, name="b")])
    session.flush()
    session.add_all([Sailor(id=n, rank="a", crew_id=1) for n in (1, 2, 3)])
    session.commit()
    session.execute(text("update crew set name = 'z'"))
    session.execute(text("update sailor set rank = 'z'"))
    session.execute(text("delete from sailor where number = 3"))
    session.execute(text("update sailor set crew_id = 2 where number = 2"))
    session.commit()


def played(engine: Engine, before: Callable[[Session], None]) -> list[Any]:
    """Return what a session knows, and the database has, after a revert."""
    with Session(engine, autoflush=False) as session:
        fill(session)
        session.get_one(Crew, 1).versions()[0].revert(relations=["sailors"])
        session.rollback()  # by now, the past is known to be there
        first = session.get_one(Crew, 1).versions()[0]
        held = [*session.query(Crew), *session.query(Sailor)]
        before(session)
        first.revert(relations=["sailors"], session=session)
        found = [seen(session)]
        session.flush()
        found.append(seen(session))
        session.commit()
        del held
        for query in (
            "select * from crew order by 1",
            "select * from sailor order by 1",
        ):
            found.append([tuple(row) for row in session.execute(text(query))])
    return found


BEFORE = [expired, forgotten, known, deleted_here, changed_here, partly_expired]


@pytest.mark.parametrize("before", BEFORE, ids=lambda one: one.__name__)
def test_objects_made_of_rows_cannot_be_told_from_others(
    engine: Engine, before: Callable[[Session], None]
) -> None:
    made = played(engine, before)
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    with listening():
        loaded = played(engine, before)

    assert made == loaded
    crews, sailors = made[2:]
    assert crews == [(1, "a"), (2, "z")]
    assert sailors == [(1, "a", 1), (2, "a", 1), (3, "a", 1)]


def test_who_listens_to_objects_being_loaded_hears_of_those_that_a_revert_loads(
    engine: Engine,
) -> None:
    with Session(engine) as session, listening() as heard:
        fill(session)
        crew = session.get_one(Crew, 1)
        for _ in ("opened", "known"):  # the past
            session.refresh(crew)
            heard.clear()
            crew.versions()[0].revert(relations=["sailors"])
            assert crew in heard
            session.rollback()
