"""What may be listened to, and that its first write already names the person."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, insert
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import chrononaut_pg
from chrononaut_pg import change_info
from tests.orm.conftest import Item, Note, Told


def an_engine(engine: Engine) -> Any:
    chrononaut_pg.listen(engine)
    return Session(engine)


def an_engine_with_options(engine: Engine) -> Any:
    derived = engine.execution_options(logging_token="x")
    chrononaut_pg.listen(engine)
    return Session(derived)


def a_session_class(engine: Engine) -> Any:
    class Own(Session):
        pass

    chrononaut_pg.listen(Own)
    return Own(engine)


def a_session(engine: Engine) -> Any:
    session = Session(engine)
    chrononaut_pg.listen(session)
    return session


def a_sessionmaker(engine: Engine) -> Any:
    make = sessionmaker(engine)
    chrononaut_pg.listen(make)
    return make()


def a_scoped_session(engine: Engine) -> Any:
    scoped = scoped_session(sessionmaker(engine))
    chrononaut_pg.listen(scoped)
    return scoped()


@pytest.mark.parametrize(
    "listened",
    [
        an_engine,
        an_engine_with_options,
        a_session_class,
        a_session,
        a_sessionmaker,
        a_scoped_session,
    ],
)
def test_first_write_through_what_is_listened_to_names_the_person(
    session: Session, engine: Engine, told: Told, listened: Callable[[Engine], Any]
) -> None:
    fresh = create_engine(engine.url, poolclass=NullPool)
    with listened(fresh) as own, change_info(user_id="ann"):
        own.add(Item(id=2))
        own.commit()

    assert told("I") == [(None, None), ("ann", None)]


def async_engine_itself(engine: Any) -> Any:
    chrononaut_pg.listen(engine)
    return AsyncSession(engine)


def async_session_class(engine: Any) -> Any:
    class OwnSync(Session):
        pass

    class Own(AsyncSession):
        sync_session_class = OwnSync

    chrononaut_pg.listen(Own)
    return Own(engine)


def async_session(engine: Any) -> Any:
    session = AsyncSession(engine)
    chrononaut_pg.listen(session)
    return session


def async_maker(engine: Any) -> Any:
    make = async_sessionmaker(engine)
    chrononaut_pg.listen(make)
    return make()


def async_scoped(engine: Any) -> Any:
    scoped = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
    chrononaut_pg.listen(scoped)
    return scoped()


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@pytest.mark.parametrize(
    "listened",
    [
        async_engine_itself,
        async_session_class,
        async_session,
        async_maker,
        async_scoped,
    ],
)
def test_first_write_through_asyncio_names_the_person(
    session: Session,
    engine: Engine,
    told: Told,
    listened: Callable[[Any], Any],
    driver: str,
) -> None:
    async def main() -> None:
        fresh = create_async_engine(async_url(engine, driver), poolclass=NullPool)
        async with listened(fresh) as own:
            with change_info(user_id="ann"):
                own.add(Item(id=2))
                await own.commit()
        await fresh.dispose()

    asyncio.run(main())

    assert told("I") == [(None, None), ("ann", None)]


def async_url(engine: Engine, driver: str) -> Any:
    url = engine.url.set(drivername=f"postgresql+{driver}")
    return url.difference_update_query(["port"]) if driver == "asyncpg" else url


def test_other_targets_are_refused() -> None:
    with pytest.raises(TypeError, match="cannot listen to 'x': pass an Engine"):
        chrononaut_pg.listen("x")


def test_functions_say_who_where_no_block_does(session: Session, told: Told) -> None:
    people = iter(["ann", "bob", "never"])
    current = next(people)
    chrononaut_pg.listen(session.get_bind(), user_id=lambda: current)
    session.execute(insert(Item).values(id=2))
    current = next(people)
    session.execute(insert(Item).values(id=3))
    with change_info(user_id="eve"):
        session.execute(insert(Item).values(id=4))
    with change_info(user_id=None):
        session.execute(insert(Item).values(id=5))
    session.commit()

    assert [who for who, _ in told("I")] == [None, "ann", "bob", "eve", None]


def test_listening_again_renews_what_is_given_and_sends_nothing_twice(
    session: Session, told: Told
) -> None:
    engine = session.get_bind()
    chrononaut_pg.listen(engine, user_id=lambda: "ann")
    chrononaut_pg.listen(engine, extra=lambda: {"rationale": "nightly"})
    chrononaut_pg.listen(engine)
    session.add(Note(id=2))
    session.commit()

    assert told("I", "note") == [(None, None), ("ann", "nightly")]


def test_function_for_extras_is_asked_once_per_transaction(
    session: Session, told: Told
) -> None:
    asked = iter(range(9))
    chrononaut_pg.listen(
        session.get_bind(), extra=lambda: {"rationale": f"call {next(asked)}"}
    )
    for number in (2, 3):
        with change_info(user_id=str(number)):
            session.execute(insert(Item).values(id=number))
    session.commit()
    session.execute(insert(Item).values(id=4))
    session.commit()

    assert told("I")[1:] == [("2", "call 0"), ("3", "call 0"), (None, "call 1")]
