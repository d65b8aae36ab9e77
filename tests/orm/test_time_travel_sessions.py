"""Past and present never mix: in objects, in one transaction, in one pool."""

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, make_transient, undefer
from sqlalchemy.orm.exc import DetachedInstanceError

from chrononaut_pg import ReadOnlyPastError, announce, time_travel
from tests.orm.library import Author, Book, change, library

NAMES = text("select name from author order by id")
"""It finds its table through search_path."""

PATH = text("show search_path")

NOW, THEN = ["Anna", "Bob", "Cid"], ["Ann", "Bob"]


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with library(engine) as opened:
        change(opened)
        yield opened


def names(session: Session) -> Any:
    return session.scalars(NAMES).all()


def test_live_objects_stay_as_they_are(session: Session) -> None:
    live = session.get_one(Author, 1)
    with time_travel(session, mark="before") as past:
        gone = past.get_one(Author, 1)
        past.scalars(select(Author).execution_options(populate_existing=True)).all()
        past.refresh(gone)
        past.expire_all()
        seen = gone.full_name
        live.full_name = "Anne"
        session.commit()
        found = [gone.full_name, past.get_one(Author, 1) is gone, live.full_name]

    assert (seen, *found) == ("Ann", "Ann", True, "Anne")
    assert session.get_one(Author, 1) is live


def test_objects_outlive_the_block_without_loading_any_more(session: Session) -> None:
    with time_travel(session, mark="before") as past:
        author = past.get_one(Author, 1, options=[undefer(Author.bio)])
        assert author.country is not None

    assert (author.full_name, author.bio, author.country.name) == (
        "Ann",
        "wise",
        "Tchad",
    )
    with pytest.raises(DetachedInstanceError):
        _ = author.books


def test_objects_can_be_pickled(session: Session) -> None:
    with time_travel(session, mark="before") as past:
        author = past.get_one(Author, 1)
        inside = pickle.loads(pickle.dumps(author))
    outside = pickle.loads(pickle.dumps(author))

    assert (inside.full_name, outside.full_name) == ("Ann", "Ann")


def test_the_past_names_the_bind_of_the_live_session(session: Session) -> None:
    with time_travel(session, mark="before") as past:
        assert past.bind is session.bind is not None
        assert names(past) == THEN


def test_object_of_the_past_becomes_no_object_of_the_present(session: Session) -> None:
    with time_travel(session, mark="before") as past:
        book = past.get_one(Book, 3)
    loaded = pickle.loads(pickle.dumps(book))

    for one in (book, loaded):
        with pytest.raises(ReadOnlyPastError, match="cannot be added"):
            session.add(one)
    assert session.merge(book).title == "Sun"
    session.rollback()
    make_transient(loaded)
    loaded.id = 9
    session.add(loaded)
    session.commit()
    assert session.get_one(Book, 9).title == "Sun"


def test_two_pasts_and_the_present_take_turns(session: Session) -> None:
    session.execute(text("select chrononaut.mark('after')"))
    session.get_one(Author, 2).full_name = "Rob"
    session.commit()
    found = []
    with time_travel(session, mark="before") as first:
        for _ in range(2):
            found.append([names(first), names(session)])
            with time_travel(session, mark="after") as second:
                found.append([names(second), names(first), names(session)])
                author = second.get_one(Author, 1)
                found.append([author.full_name, first.get_one(Author, 1).full_name])
        with time_travel(first, mark="after") as third:
            found.append([names(third), names(first)])

    now = ["Anna", "Rob", "Cid"]
    turn = [[THEN, now], [NOW, THEN, now], ["Anna", "Ann"]]
    assert found == [*turn, *turn, [NOW, THEN]]


def test_live_transactions_may_end_within_the_block(session: Session) -> None:
    found = []
    with time_travel(session, mark="before") as past:
        author = past.get_one(Author, 1)
        for end in (session.commit, session.rollback, session.close):
            end()
            found.append([names(past), names(session)])
        session.add(Author(id=4, full_name="Dan", bio=""))
        session.commit()
        found.append([names(past), [book.title for book in author.books]])

    assert found == [[THEN, NOW]] * 3 + [[THEN, ["Sea", "Sky"]]]
    assert names(session) == [*NOW, "Dan"]


@pytest.mark.parametrize("inside", [False, True])
def test_savepoints_lead_back_to_the_present(session: Session, inside: bool) -> None:
    found = []
    with time_travel(session, mark="before") as past:
        if inside:
            found.append(names(past))
        savepoint = session.begin_nested()
        found.append(names(past))
        session.get_one(Author, 1).full_name = "X"
        session.flush()
        found.append(names(past))
        savepoint.rollback()
        found.append(names(session))
        found.append(names(past))
        with session.begin_nested():
            found.append(names(past))
        found.append(names(session))
    found.append(names(session))

    assert found[inside:] == [THEN, THEN, NOW, THEN, THEN, NOW, NOW]


def test_textual_savepoint_leads_back_to_the_present(session: Session) -> None:
    found = []
    with time_travel(session, mark="before") as past:
        names(past)
        session.execute(text("savepoint a"))
        found.append(names(session))
        session.execute(text("rollback to a"))
        found.append(names(session))
        found.append(names(past))
        session.execute(text("rollback to a"))
        found.append(names(session))

    assert found == [NOW, NOW, THEN, NOW]


def test_failed_statement_fails_its_transaction_and_nothing_else(
    session: Session,
) -> None:
    found = []
    with time_travel(session, mark="before") as past:
        with pytest.raises(DBAPIError), session.begin_nested():
            past.execute(text("select 1 / 0 from author"))
        found.append([names(past), names(session)])
        with pytest.raises(DBAPIError):
            past.execute(text("select 1 / 0 from author"))
        session.rollback()
        found.append([names(past), names(session)])
        with pytest.raises(DBAPIError):
            past.execute(text("select 1 / 0 from author"))
    session.rollback()
    found.append([names(session)])

    assert found == [[THEN, NOW], [THEN, NOW], [NOW]]


def test_error_in_the_block_brings_back_the_present_too(session: Session) -> None:
    def fail() -> None:
        with time_travel(session, mark="before") as past:
            names(past)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    cursor: Any = session.connection().connection.cursor()
    assert cursor.execute("show search_path").fetchone() == ('"$user", public',)


def test_lost_connection_raises_what_it_raises_and_no_more(session: Session) -> None:
    """Such as one whose statement a timeout of asyncio has cancelled."""

    def lose() -> None:
        with time_travel(session, mark="before") as past:
            names(past)
            session.connection().invalidate()
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        lose()
    session.rollback()
    with time_travel(session, mark="before") as past:
        found = [names(past), names(session)]
    assert found == [["Ann", "Bob"], ["Anna", "Bob", "Cid"]]


@pytest.mark.parametrize("error", [DBAPIError, ZeroDivisionError])
def test_connection_found_lost_at_the_end_hides_no_error_of_the_block(
    session: Session, error: type[Exception]
) -> None:
    """As where the server ended a transaction that was idle for too long."""
    backend = session.scalar(text("select pg_backend_pid()"))

    def fail() -> None:
        with time_travel(session, mark="before") as past:
            names(past)
            with Session(session.get_bind()) as other:
                end = text("select pg_terminate_backend(:pid, 10000)")
                assert other.scalar(end, {"pid": backend})
            if error is ZeroDivisionError:
                _ = 1 / 0

    with pytest.raises(error):
        fail()
    session.rollback()
    assert names(session) == ["Anna", "Bob", "Cid"]


def test_tables_made_during_the_block_are_made_in_the_present(session: Session) -> None:
    with time_travel(session, mark="before") as past:
        names(past)
        session.execute(text("create table made (n int)"))
        names(past)
        Author.metadata.create_all(session.connection())
        names(past)
        session.execute(text("set local search_path = public, pg_temp"))
        names(past)
        path = session.scalar(PATH)

    schema = session.scalar(text("select 'public.made'::regclass::text"))
    assert (schema, path) == ("made", "public, pg_temp")


@pytest.mark.parametrize("pool", [{"poolclass": NullPool}, {"pool_size": 1}])
@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
def test_next_user_of_a_connection_finds_the_present(
    session: Session, engine: Engine, pool: dict[str, Any], end: str
) -> None:
    session.close()
    own = create_engine(engine.url, **pool)
    moment = text("select current_setting('chrononaut.past', true)")
    with Session(own) as first, time_travel(first, mark="before") as past:
        names(past)
        getattr(first, end)()
        with Session(own) as second:
            found = [names(second), second.scalar(PATH), second.scalar(moment) or ""]
        names(past)
    own.dispose()

    assert found == [NOW, '"$user", public', ""]


def test_streams_read_one_moment_to_their_end(session: Session) -> None:
    many = (
        "insert into book (id, title, pages) select n, 'B', 1 from"
        " generate_series(10, 10000) n"
    )
    session.execute(text(many))
    session.execute(text("select chrononaut.mark('many')"))
    session.execute(text("delete from book where id > 20"))
    session.commit()
    with time_travel(session, mark="many") as past:
        stream = past.execute(select(Book.id).execution_options(yield_per=1000))
        first = stream.fetchmany(5)
        live = session.scalar(select(func.count(Book.id)))
        other = time_travel(session, mark="before")
        with pytest.raises(ReadOnlyPastError, match="still being streamed"):
            other.__enter__()
        rest = stream.fetchall()
        with other as older:
            then = names(older)
        loaded = past.scalars(select(Book)).all()

    assert (len(first) + len(rest), live, then) == (9993, 13, THEN)
    assert len(loaded) == 9993


def test_announcing_a_copy_brings_back_the_present(session: Session) -> None:
    with time_travel(session, mark="before") as past:
        names(past)
        announce(session)
        cursor: Any = session.connection().connection.cursor()
        with cursor.copy("copy author (id, name, bio) from stdin") as copy:
            copy.write_row((9, "Eve", ""))
        found = [names(past), names(session)]

    assert found == [THEN, [*NOW, "Eve"]]
