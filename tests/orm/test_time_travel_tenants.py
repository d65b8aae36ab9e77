"""What keeps tenants and roles apart in the present keeps them apart in the past."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, event, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    ORMExecuteState,
    Session,
    mapped_column,
    sessionmaker,
    with_loader_criteria,
)

from chrononaut_pg import UnknownMomentError, Versioned, time_travel
from tests.orm.library import Author, Book, change, library
from tests.servers import MakeRole

NAMES = select(Author.full_name).order_by(Author.id)


class Tenants(DeclarativeBase):
    pass


class Item(Versioned, Tenants):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[str]


class Shared(Versioned, Tenants):
    __tablename__ = "shared"
    __table_args__ = {"schema": "per_tenant"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[str]


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with library(engine) as opened:
        change(opened)
        yield opened


@pytest.fixture
def tenants(engine: Engine) -> dict[str, Engine]:
    """Engines for two tenants, whose tables stand in schemas of their own."""
    found: dict[str, Engine] = {}
    for name in ("ann", "Bo b"):
        with engine.begin() as connection:
            connection.execute(text(f'create schema "{name}"'))
        map_ = {None: name, "per_tenant": name}
        found[name] = engine.execution_options(schema_translate_map=map_)
        Tenants.metadata.create_all(found[name])
        with Session(found[name]) as session:
            session.add_all([Item(id=1, value=name), Shared(id=1, value=name)])
            session.commit()
            session.execute(text("select chrononaut.mark(:name)"), {"name": name})
            session.get_one(Item, 1).value = session.get_one(Shared, 1).value = "new"
            session.commit()
    return found


def both(session: Session) -> list[str]:
    return [session.scalars(select(one.value)).one() for one in (Item, Shared)]


def test_schema_translate_map_of_the_application_is_honoured(
    tenants: dict[str, Engine], engine: Engine
) -> None:
    found: list[Any] = []
    for name, own in tenants.items():
        with Session(own) as session, time_travel(session, mark=name) as past:
            found.append([both(past), both(session)])
    translated = {"schema_translate_map": {None: "ann", "per_tenant": "Bo b"}}
    with Session(engine) as session, time_travel(session, mark="ann") as past:
        found.append(
            [
                past.scalar(select(one.value), execution_options=translated)
                for one in (Item, Shared)
            ]
        )

    assert found[:2] == [[[name] * 2, ["new"] * 2] for name in tenants]
    assert found[2][0] == "ann"


def test_search_path_of_each_transaction_is_honoured(
    tenants: dict[str, Engine], engine: Engine
) -> None:
    found = []
    with Session(engine) as session, time_travel(session, mark="Bo b") as past:
        for name in ("ann", "Bo b"):
            session.execute(text(f'set local search_path = "{name}"'))
            found += [past.scalars(select(Item.value)).one(), value(session)]
            session.rollback()

    assert found == ["new", "new", "Bo b", "new"]


def value(session: Session) -> Any:
    return session.scalars(text("select value from item")).one()


def test_filters_of_the_live_session_filter_the_past(engine: Engine) -> None:
    """Rows that a tenant must not see are not seen in the past, either."""

    class Own(Session):
        name = ""

        def hello(self) -> str:
            return f"hello {self.name}"

    make = sessionmaker(engine, class_=Own, info={"author": 1})

    def filter_by_author(state: ORMExecuteState) -> None:
        if state.is_select and not state.is_column_load:
            number = state.session.info["author"]
            criteria = with_loader_criteria(Author, Author.id == number)
            state.statement = state.statement.options(criteria)

    def filter_books(state: ORMExecuteState) -> None:
        if state.is_select:
            criteria = with_loader_criteria(Book, Book.id > 1)
            state.statement = state.statement.options(criteria)

    event.listen(make, "do_orm_execute", filter_by_author)
    with library(engine), make() as live:
        live.name = "Ann"
        event.listen(live, "do_orm_execute", filter_books)
        with time_travel(live, mark="before") as past:
            found = [past.scalars(NAMES).all(), sorted(past.scalars(select(Book.id)))]
            said = past.hello()  # type: ignore[attr-defined]

    assert (found, said) == ([["Ann"], [2, 3]], "hello Ann")


def test_role_without_rights_on_a_table_reads_no_past_of_it(
    session: Session, engine: Engine, role: MakeRole
) -> None:
    name = role()
    session.execute(text(f"grant select on author to {name}"))
    session.execute(text("select chrononaut.sync_versioning('author')"))
    session.commit()
    url = engine.url.set(username=name)
    own = create_engine(url, poolclass=NullPool)
    with Session(own) as live:
        with time_travel(live, mark="before") as past:
            found = past.scalars(NAMES).all()
            with pytest.raises(ProgrammingError, match="permission denied for table"):
                past.scalars(select(Book)).all()
        live.rollback()
        with pytest.raises(UnknownMomentError):
            time_travel(live, transaction=1 << 60).__enter__()
        assert live.scalar(text("select 1")) == 1
    own.dispose()

    assert found == ["Ann", "Bob"]
