"""Whatever stands between a session and its tables, the past is found behind it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import (
    URL,
    Engine,
    NullPool,
    StaticPool,
    create_engine,
    func,
    insert,
    lambda_stmt,
    select,
    text,
    union,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chrononaut_pg import (
    CoreMissingError,
    CoreOlderError,
    NotVersionedError,
    ReadOnlyPastError,
    Transaction,
    UnknownMomentError,
    Versioned,
    VersioningMissingError,
    core,
    time_travel,
)
from tests.orm.library import Author, Book, Country, change, library
from tests.orm.modelling import statements
from tests.orm.test_pgbouncer import bouncer, client, folder
from tests.orm.test_time_travel_tenants import Item
from tests.servers import Db

__all__ = ["bouncer", "folder"]

NAMES = select(Author.full_name).order_by(Author.id)

BARE = text("select name from author order by id")

NOW, THEN = ["Anna", "Bob", "Cid"], ["Ann", "Bob"]


class NumberedBase(DeclarativeBase):
    pass


class Numbered(Versioned, NumberedBase):
    __tablename__ = "numbered"
    __chrononaut_row_version__ = True
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with library(engine) as opened:
        change(opened)
        yield opened


def test_each_database_resolves_the_moment_itself(
    session: Session, engine: Engine, empty_db: Db
) -> None:
    url = engine.url.set(database=empty_db.info.dbname)
    bare = create_engine(url, poolclass=NullPool)
    lite = create_engine("sqlite://", poolclass=StaticPool)
    Item.metadata.tables["item"].create(bare)
    Country.metadata.tables["country"].create(lite)
    with lite.begin() as connection:
        connection.execute(insert(Country).values(id=1, name="Lite"))
    binds: Any = {Author: engine, Country: lite, Item: bare}
    with (
        Session(binds=binds) as many,
        time_travel(many, mark="before") as past,
    ):
        found: list[Any] = [past.scalars(NAMES).all(), past.get_one(Country, 1).name]
        with pytest.raises(UnknownMomentError, match="there is no mark 'before'"):
            past.get(Item, 1)
        with pytest.raises(ReadOnlyPastError):
            past.execute(insert(Country).values(id=2))
        with pytest.raises(ReadOnlyPastError):
            past.execute(text("delete from x"), bind_arguments={"mapper": Country})
        with (
            time_travel(many, mark="before", strict=True) as strict,
            pytest.raises(NotVersionedError, match="a database of sqlite has no past"),
        ):
            strict.get(Country, 1)
        found.append(many.scalar(select(func.count(Author.id))))
    bare.dispose()
    lite.dispose()

    assert found == [THEN, "Lite", 3]


def test_core_that_is_missing_or_too_old_is_named(
    session: Session, engine: Engine, empty_db: Db
) -> None:
    bare = create_engine(
        engine.url.set(database=empty_db.info.dbname), poolclass=NullPool
    )
    with Session(bare) as live:
        with pytest.raises(CoreMissingError, match="python -m chrononaut_pg install"):
            time_travel(live, mark="before").__enter__()
        live.execute(text("create schema chrononaut"))
        live.execute(
            text(
                "create function chrononaut.core_version() returns int"
                " language sql return 1"
            )
        )
        with pytest.raises(CoreOlderError, match="core version 1, older than"):
            time_travel(live, mark="before").__enter__()
        live.rollback()
        core.install(live.connection())
        live.execute(text("select chrononaut.mark('before')"))
        with time_travel(live, mark="before") as past:
            assert past.scalar(text("select 1")) == 1
    bare.dispose()


def test_autocommit_connections_are_refused(session: Session, engine: Engine) -> None:
    own = engine.execution_options(isolation_level="AUTOCOMMIT")
    with Session(own) as live:
        with pytest.raises(ReadOnlyPastError, match="an autocommit connection cannot"):
            time_travel(live, mark="before").__enter__()
        with time_travel(session, mark="before") as past:
            assert past.scalars(NAMES).all() == THEN
        assert live.scalars(BARE).all() == NOW


def test_two_phase_transactions_end_as_they_would(
    session: Session, engine: Engine
) -> None:
    session.close()
    with Session(engine, twophase=True) as live:
        live.get_one(Author, 2).full_name = "Rob"
        live.flush()
        with time_travel(live, mark="before") as past:
            found = [past.scalars(BARE).all(), live.scalars(BARE).all()]
            past.scalars(BARE).all()
            live.commit()
            found.append(past.scalars(BARE).all())
        found.append(live.scalars(BARE).all())

    now = ["Anna", "Rob", "Cid"]
    assert found == [THEN, now, THEN, now]


def test_clients_of_a_pooler_share_connections_and_no_past(
    session: Session, bouncer: URL
) -> None:
    first, second = client(bouncer, None), client(bouncer, 0)
    found = []
    with (
        Session(first) as ann,
        Session(second) as bob,
        time_travel(ann, mark="before") as past,
    ):
        for _ in range(2):
            found.append(past.scalars(BARE).all())
            ann.commit()
            found.append(bob.scalars(BARE).all())
            bob.rollback()
    for one in (first, second):
        one.dispose()

    assert found == [THEN, NOW] * 2


def test_unknown_moment_leaves_the_transaction_alive(session: Session) -> None:
    session.get_one(Author, 2).full_name = "Rob"
    session.flush()
    unknown: list[dict[str, Any]] = [{"mark": "nope"}, {"mark": "\0"}]
    unknown += [{"transaction": number} for number in (1 << 60, 1 << 63, -1 << 70)]
    for moment in unknown:
        with pytest.raises(UnknownMomentError, match="there is no"):
            time_travel(session, **moment).__enter__()
    session.commit()

    assert session.scalars(BARE).all() == ["Anna", "Rob", "Cid"]


def test_what_a_transaction_changed_is_known_in_the_past(session: Session) -> None:
    last = session.scalars(select(func.max(Transaction.id))).one()
    with time_travel(session, mark="before") as past:
        found = past.get_one(Transaction, last)
        changes = {(one.model, one.operation) for one in found.changes()}
        entities = found.changed_entities

    assert (Author, "U") in changes
    assert {model for model, _ in changes if model is not None} == entities.keys()


def test_travel_costs_two_round_trips_besides_the_reading(
    session: Session, engine: Engine
) -> None:
    with time_travel(session, mark="before") as past:
        past.get_one(Author, 1)
    driver: Any = session.connection().connection.dbapi_connection
    sent: list[str] = []

    class Noting(type(driver.cursor())):  # type: ignore[misc]
        def execute(self, query: str, *arguments: Any, **options: Any) -> Any:
            sent.append(query)
            return super().execute(query, *arguments, **options)

    driver.cursor_factory = Noting
    with statements(engine) as seen, time_travel(session, mark="before") as past:
        past.get_one(Author, 1)
        past.get_one(Book, 1)

    assert (len(sent), len(seen)) == (4, 2)


def test_arguments_that_name_no_moment_are_refused(session: Session) -> None:
    for wrong in (
        {},
        {"mark": "a", "transaction": 1},
        {"mark": "a", "before": True},
    ):
        with pytest.raises(ValueError, match="say which moment"):
            time_travel(session, **wrong)  # type: ignore[arg-type]
    for other in (
        *({"at": "2026-03-01"}, {"mark": 1}),
        *({"transaction": "1"}, {"transaction": True}),
    ):
        with pytest.raises(TypeError):
            time_travel(session, **other)
    with pytest.raises(TypeError, match="cannot travel with a Engine"):
        time_travel(session.get_bind(), mark="before").__enter__()


def test_one_block_is_open_once(session: Session) -> None:
    block = time_travel(session, mark="before")
    with block, pytest.raises(RuntimeError, match="open already"):
        block.__enter__()
    with block as past:
        assert past.scalars(NAMES).all() == THEN


def test_block_that_was_not_entered_or_was_left_already_is_left_without_more(
    session: Session,
) -> None:
    """As by a hook at the end of a request, which may run twice."""
    unknown = time_travel(session, mark="nowhere")
    with pytest.raises(UnknownMomentError):
        unknown.__enter__()
    known = time_travel(session, mark="before")
    known.__enter__()
    for trip in (unknown, known, known):
        trip.__exit__(None, None, None)

    path = session.scalar(text("show search_path"))
    assert path == '"$user", public'


def test_versioned_model_whose_table_is_not_versioned_is_refused(
    session: Session,
) -> None:
    """It would else be read as it is now, which is not what its model says."""
    session.execute(text("select chrononaut.drop_versioning('book')"))
    session.commit()
    reads: list[Callable[[Session], Any]] = [
        lambda past: past.get(Book, 1),
        lambda past: past.get_one(Author, 1).books,
        lambda past: past.execute(select(Author.id).join(Author.books)),
        lambda past: past.execute(select(Book.__table__)),
        lambda past: past.scalar(select(func.count()).select_from(Book.__table__)),
        lambda past: past.execute(select(select(Book.__table__).cte("books"))),
        lambda past: past.execute(lambda_stmt(lambda: select(Book.__table__))),
        lambda past: past.execute(union(*[select(Book.__table__)] * 2)),
    ]
    for read in reads:
        with (
            time_travel(session, mark="before") as past,
            pytest.raises(VersioningMissingError, match="table book has no past"),
        ):
            read(past)
    with time_travel(session, mark="before") as past:
        assert past.get_one(Country, 1).name == "Tchad"


def test_row_version_is_unknown_in_the_past(engine: Engine) -> None:
    Numbered.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Numbered(id=1, value=1))
        session.commit()
        session.execute(text("select chrononaut.mark('numbered')"))
        session.commit()
        session.get_one(Numbered, 1).value = 2
        session.commit()
        with time_travel(session, mark="numbered") as past:
            then = past.get_one(Numbered, 1)
            past.refresh(then)
            found = [then.value, then.row_version]  # type: ignore[attr-defined]
        session.get_one(Numbered, 1).value = 3
        session.commit()

    assert found == [1, None]
