"""Reads of ours go to the driver itself only where nobody can tell."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool, QueuePool

from chrononaut_pg import Versioned, VersioningMissingError, listen, time_travel
from tests.orm.modelling import created, saved


class Base(DeclarativeBase):
    pass


class Song(Versioned, Base):
    __tablename__ = "song"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


@pytest.fixture
def place(engine: Engine) -> Iterator[Engine]:
    """An engine that nobody listens to, on a database with a song of three names."""
    with created(engine, Base.metadata) as session:
        saved(session, Song(id=1, name="a"), name="b")
        saved(session, session.get_one(Song, 1), name="c")
    quiet = create_engine(engine.url, poolclass=QueuePool, pool_size=1, max_overflow=0)
    yield quiet
    quiet.dispose()


def names(session: Session) -> list[str | None]:
    return [one.name for one in session.get_one(Song, 1).versions()]


class Heard:
    """Collects what reached the driver with SQLAlchemy knowing, and without."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[str] = []
        execute = psycopg.Cursor.execute

        def note(cursor: Any, query: Any, *given: Any, **more: Any) -> Any:
            self.sent.append(str(query))
            return execute(cursor, query, *given, **more)

        monkeypatch.setattr(psycopg.Cursor, "execute", note)

    def read_history(self) -> int:
        return sum("song_history" in one for one in self.sent)


def on_before_execute(engine: Engine, note: Callable[[str], None]) -> None:
    @event.listens_for(engine, "before_execute")
    def heard(_: Any, clause: Any, *__: Any) -> None:
        note(str(clause))


def on_after_execute(engine: Engine, note: Callable[[str], None]) -> None:
    @event.listens_for(engine, "after_execute")
    def heard(_: Any, clause: Any, *__: Any) -> None:
        note(str(clause))


def on_before_cursor_execute(engine: Engine, note: Callable[[str], None]) -> None:
    @event.listens_for(engine, "before_cursor_execute")
    def heard(_: Any, __: Any, statement: str, *___: Any) -> None:
        note(statement)


def on_after_cursor_execute(engine: Engine, note: Callable[[str], None]) -> None:
    @event.listens_for(engine, "after_cursor_execute")
    def heard(_: Any, __: Any, statement: str, *___: Any) -> None:
        note(statement)


def on_do_execute(engine: Engine, note: Callable[[str], None]) -> None:
    @event.listens_for(engine, "do_execute")
    def heard(_: Any, statement: str, *__: Any) -> None:
        note(statement)


@pytest.mark.parametrize("listens", [False, True], ids=["plain", "listened"])
@pytest.mark.parametrize(
    "attach",
    [
        on_before_execute,
        on_after_execute,
        on_before_cursor_execute,
        on_after_cursor_execute,
        on_do_execute,
    ],
)
def test_whoever_listens_is_told(
    place: Engine, attach: Callable[..., None], listens: bool
) -> None:
    if listens:
        listen(place)
    heard: list[str] = []
    attach(place, heard.append)
    with Session(place) as session:
        found = names(session)

    assert found == ["a", "b"]
    assert [one for one in heard if "song_history" in one] != []


def test_whoever_listens_to_one_connection_is_told(place: Engine) -> None:
    heard: list[str] = []
    with Session(place) as session:
        on_before_cursor_execute(session.connection(), heard.append)  # type: ignore[arg-type]
        names(session)

    assert [one for one in heard if "song_history" in one] != []


def test_what_is_logged_is_all(place: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sqlalchemy.engine"), Session(place) as session:
        names(session)

    assert "song_history" in caplog.text


def test_an_engine_that_echoes(
    engine: Engine, place: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    loud = create_engine(place.url, poolclass=NullPool, echo=True)
    with Session(loud) as session:
        names(session)

    assert "song_history" in caplog.text


def test_where_nobody_listens_the_driver_is_asked_itself(
    place: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen(place)
    with Session(place) as session:
        names(session)
        executed: list[str] = []
        execute = Connection.execute

        def note(to: Connection, statement: Any, *given: Any, **more: Any) -> Any:
            executed.append(str(statement))
            return execute(to, statement, *given, **more)

        monkeypatch.setattr(Connection, "execute", note)
        heard = Heard(monkeypatch)
        found = names(session)

    assert found == ["a", "b"]
    assert heard.read_history() == 1
    assert [one for one in executed if "song_history" in one] == []


def test_execution_options_are_heeded(place: Engine) -> None:
    with place.begin() as connection:
        connection.execute(text("create schema other"))
    there = place.execution_options(schema_translate_map={None: "other"})
    Base.metadata.create_all(there)
    with Session(there) as session:
        saved(session, Song(id=1, name="x"), name="y")
        found = names(session)

    assert found == ["x"]


def test_the_present_is_read_within_a_block_of_the_past(place: Engine) -> None:
    with Session(place) as session:
        first: Any = session.get_one(Song, 1).versions()[0]
        with time_travel(session, transaction=first.transaction_id) as past:
            assert past.execute(text("select count(*) from song")).scalar() == 1
            found = names(session)
            there = past.get_one(Song, 1).name

    assert found == ["a", "b"]
    assert there == "b"


@pytest.mark.parametrize("listens", [False, True], ids=["plain", "listened"])
def test_errors_are_those_of_sqlalchemy(
    engine: Engine, place: Engine, listens: bool
) -> None:
    if listens:
        listen(place)
    heard: list[str] = []
    raised = []
    with Session(place) as session, engine.begin() as other:
        names(session)
        session.rollback()
        other.execute(text("lock table song_history in access exclusive mode"))
        for _ in range(2):
            song = session.get_one(Song, 1)
            session.execute(text("set local statement_timeout = 50"))
            with pytest.raises(DBAPIError) as error:
                song.versions()
            raised.append(error.value)
            session.rollback()
            on_after_execute(place, heard.append)

    assert [type(one.orig) for one in raised] == [psycopg.errors.QueryCanceled] * 2
    assert type(raised[0]) is type(raised[1])
    assert str(raised[0]) == str(raised[1])
    assert raised[0].connection_invalidated is False


def test_a_history_that_is_gone_is_explained(place: Engine) -> None:
    with Session(place) as session:
        song = session.get_one(Song, 1)
        song.versions()
        session.execute(text("select chrononaut.drop_versioning('song', true)"))
        session.commit()
        song = session.get_one(Song, 1)
        with pytest.raises(VersioningMissingError, match="song is not versioned"):
            song.versions()


def test_a_connection_that_is_gone_leaves_the_pool(
    engine: Engine, place: Engine
) -> None:
    with Session(place) as session:
        song = session.get_one(Song, 1)
        song.versions()
        driver: Any = session.connection().connection.driver_connection
        with engine.begin() as other:
            other.execute(
                text("select pg_terminate_backend(:pid, 5000)"),
                {"pid": driver.info.backend_pid},
            )
        with pytest.raises(DBAPIError) as raised:
            song.versions()
        session.rollback()
        found = names(session)

    assert raised.value.connection_invalidated
    assert found == ["a", "b"]
