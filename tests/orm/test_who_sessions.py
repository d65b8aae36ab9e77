"""Sessions with providers of their own: each write asks those of its own session."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from sqlalchemy import Engine, NullPool, create_engine, insert, select, text, update
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import chrononaut_pg
from chrononaut_pg import ChangeInfoRequiredError, _providers, rationale
from chrononaut_pg.session import announce, current_change_info
from tests.orm.conftest import Item, Told
from tests.servers import Db


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listen for the length of a test: some listen to all sessions there are."""
    monkeypatch.setattr(_providers, "_OF_TARGET", WeakKeyDictionary())


def named(engine: Any, name: str, **options: Any) -> Any:
    """Return a sessionmaker whose writes are *name*'s."""
    make = sessionmaker(engine, **options)
    chrononaut_pg.listen(make, user_id=lambda: name)
    return make


def async_named(engine: Any, name: str) -> Any:
    make = async_sessionmaker(engine)
    chrononaut_pg.listen(make, user_id=lambda: name)
    return make


def users(told: Told) -> list[Any]:
    """Return who inserted what the fixture `session` has not."""
    return [who for who, _ in told("I")][1:]


def test_sessionmakers_of_one_engine_name_their_own_person(
    session: Session, engine: Engine, told: Told
) -> None:
    ann, bob = named(engine, "ann"), named(engine, "bob")
    with ann() as hers, bob() as his, Session(engine) as plain:
        for number, one in enumerate((hers, his, plain, his, hers), start=2):
            one.execute(insert(Item).values(id=number))
            one.add(Item(id=number + 10))
            one.flush()
        for one in (his, plain, hers):
            one.commit()

    assert users(told) == [
        *("ann", "ann", "bob", "bob", None, None),
        *("bob", "bob", "ann", "ann"),
    ]


@pytest.mark.parametrize("mode", ["create_savepoint", "control_fully"])
def test_sessions_that_share_a_connection_name_their_own_person(
    session: Session, engine: Engine, told: Told, mode: Any
) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        options = {"join_transaction_mode": mode}
        hers, his = (named(connection, n, **options)() for n in ("ann", "bob"))
        plain = Session(connection, join_transaction_mode=mode)
        for number, one in enumerate((hers, his, plain, hers, his, hers), start=2):
            one.execute(text(f"insert into item values ({number}, 0)"))
            one.add(Item(id=number + 10))
            one.flush()
        if mode == "create_savepoint":
            for one in (plain, his, hers):
                one.commit()
            connection.execute(insert(Item).values(id=99))
        transaction.commit()

    names = ["ann", "bob", None, "ann", "bob", "ann"]
    last = [None] if mode == "create_savepoint" else []
    assert users(told) == [name for one in names for name in (one, one)] + last


def test_threads_with_makers_of_their_own_name_their_own_person(
    session: Session, engine: Engine, db: Db
) -> None:
    turn = threading.Barrier(4, timeout=30)

    def work(number: int) -> None:
        with named(engine, f"user {number}")() as own:
            for step in range(5):
                turn.wait()
                own.execute(insert(Item).values(id=number * 10 + step))
                own.execute(update(Item).where(Item.id == number * 10).values(value=1))
            own.commit()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    found = db.execute(
        "select distinct id / 10, change_info ->> 'user_id' from item_history"
        " where id >= 10 order by 1"
    ).fetchall()
    assert found == [(n, f"user {n}") for n in range(1, 5)]


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_async_makers_of_one_engine_name_their_own_person(
    session: Session, engine: Engine, db: Db, driver: str
) -> None:
    async def main() -> None:
        fresh = create_async_engine(async_url(engine, driver), poolclass=NullPool)
        numbers = range(1, 5)
        makers = [async_named(fresh, f"user {number}") for number in numbers]

        async def work(make: Any, number: int) -> None:
            async with make() as own, own.begin():
                for step in range(5):
                    own.add(Item(id=number * 10 + step))
                    await own.flush()
                    async with own.begin_nested():
                        await own.execute(mine(number))
                    await asyncio.sleep(0)

        await asyncio.gather(*map(work, makers, numbers))
        await fresh.dispose()

    def mine(number: int) -> Any:
        return update(Item).where(Item.id == number * 10).values(value=Item.value + 1)

    asyncio.run(main())
    found = db.execute(
        "select distinct id / 10, change_info ->> 'user_id' from item_history"
        " where id >= 10 order by 1"
    ).fetchall()
    assert found == [(n, f"user {n}") for n in range(1, 5)]


def async_url(engine: Engine, driver: str) -> Any:
    url = engine.url.set(drivername=f"postgresql+{driver}")
    return url.difference_update_query(["port"]) if driver == "asyncpg" else url


def test_async_class_and_session_have_providers_of_their_own(
    session: Session, engine: Engine, told: Told
) -> None:
    class Own(AsyncSession):
        pass

    async def main() -> None:
        fresh = create_async_engine(async_url(engine, "psycopg"), poolclass=NullPool)
        chrononaut_pg.listen(Own, user_id=lambda: "class")
        scoped = async_scoped_session(
            async_named(fresh, "scoped"), asyncio.current_task
        )
        chrononaut_pg.listen(scoped)
        single = Own(fresh)
        chrononaut_pg.listen(single, user_id=lambda: "session")
        plain = AsyncSession(fresh)
        opened = (Own(fresh), single, scoped(), plain)
        for number, one in enumerate(opened, start=2):
            one.add(Item(id=number))
            await one.flush()
        for one in opened:
            await one.commit()
            await one.close()
        await fresh.dispose()

    asyncio.run(main())

    assert users(told) == ["class", "session", "scoped", None]


def test_session_wins_over_its_class_and_a_class_over_its_base_and_the_engine(
    session: Session, engine: Engine, told: Told
) -> None:
    class Base(Session):
        pass

    class Derived(Base):
        pass

    chrononaut_pg.listen(engine, user_id=lambda: "engine", extra=lambda: why("engine"))
    chrononaut_pg.listen(Derived, user_id=lambda: "derived")
    chrononaut_pg.listen(Base, user_id=lambda: "base", extra=lambda: why("base"))
    single = Derived(engine)
    chrononaut_pg.listen(single, user_id=lambda: "session")
    opened = (Session(engine), Base(engine), Derived(engine), single)
    for number, one in enumerate(opened, start=2):
        with one:
            one.add(Item(id=number))
            one.commit()

    assert told("I")[1:] == [
        ("engine", "engine"),
        ("base", "base"),
        ("derived", "base"),
        ("session", "base"),
    ]


def why(text: str) -> dict[str, str]:
    return {"rationale": text}


def test_savepoint_rolled_back_leaves_each_session_its_person(
    session: Session, engine: Engine, told: Told
) -> None:
    ann, bob = named(engine, "ann"), named(engine, "bob")
    with ann() as hers, bob() as his:
        for number, one in enumerate((hers, his), start=2):
            savepoint = one.begin_nested()
            one.execute(insert(Item).values(id=number))
            savepoint.rollback()
            one.execute(insert(Item).values(id=number + 10))
        for one in (hers, his):
            one.commit()

    assert users(told) == ["ann", "bob"]


TARGETS: list[Callable[[], Any]] = [
    lambda: type("Own", (Session,), {}),
    Session,
    sessionmaker,
    lambda: scoped_session(sessionmaker()),
    async_sessionmaker,
]


@pytest.mark.parametrize("make", TARGETS)
def test_listening_again_renews_what_is_given_and_adds_no_handler(
    engine: Engine, make: Callable[[], Any]
) -> None:
    target = make()
    chrononaut_pg.listen(target, user_id=lambda: "never")
    before = len(list(Session(engine).dispatch.after_begin))
    for name in ("user 0", "user 1", "user 2"):
        chrononaut_pg.listen(target, user_id=partial(str, name))
        chrononaut_pg.listen(target, remote_addr=lambda: "10.0.0.9")

    found = target() if not isinstance(target, Session) else target
    assert len(list(Session(engine).dispatch.after_begin)) == before
    getattr(found, "sync_session", found).bind = engine
    assert current_change_info(found) == {
        "user_id": "user 2",
        "remote_addr": "10.0.0.9",
    }


def test_strictness_of_a_sessionmaker_binds_its_sessions_from_the_first_flush_on(
    session: Session, engine: Engine, told: Told
) -> None:
    fresh = create_engine(engine.url, poolclass=NullPool)
    strict, lax = named(fresh, "ann"), named(fresh, "bob")
    chrononaut_pg.listen(strict, require_extra=lambda: True)
    with strict() as refused:
        refused.add(Item(id=2))
        with pytest.raises(ChangeInfoRequiredError):
            refused.commit()
    with strict() as refused, pytest.raises(ChangeInfoRequiredError):
        refused.execute(insert(Item).values(id=2))
    with lax() as accepted:
        accepted.add(Item(id=3))
        accepted.commit()
    with strict() as accepted, rationale("why"):
        accepted.add(Item(id=4))
        accepted.commit()

    assert told("I")[1:] == [("bob", None), ("ann", "why")]


def test_announcement_is_the_sessions_own(
    session: Session, engine: Engine, told: Told
) -> None:
    with engine.connect() as connection, connection.begin():
        hers, his = named(connection, "ann")(), named(connection, "bob")()
        for number, one in enumerate((hers, his, hers), start=2):
            announce(one)
            driver: Any = connection.connection.dbapi_connection
            driver.execute(f"insert into item values ({number}, 0)")

    assert users(told) == ["ann", "bob", "ann"]


def test_reading_session_says_nothing(session: Session, engine: Engine) -> None:
    asked: list[int] = []
    make = sessionmaker(engine)
    chrononaut_pg.listen(make, user_id=lambda: asked.append(1))
    with make() as own:
        own.scalars(select(Item)).all()

    assert asked == []
