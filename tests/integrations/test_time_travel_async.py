"""AsyncSession travels with `async with`, on psycopg and on asyncpg."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, selectinload

from chrononaut_pg import (
    NotVersionedError,
    ReadOnlyPastError,
    UnknownMomentError,
    time_travel,
)
from tests.orm.library import Author, Book, Country, change, library
from tests.orm.test_emission_listen import async_url

NAMES = text("select name from author order by id")

NOW, THEN = ["Anna", "Bob", "Cid"], ["Ann", "Bob"]

Main = Callable[[async_sessionmaker[AsyncSession]], Awaitable[Any]]


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with library(engine) as opened:
        change(opened)
        opened.close()
        yield opened


@pytest.fixture(params=["psycopg", "asyncpg"])
def run(
    engine: Engine, session: Session, request: pytest.FixtureRequest
) -> Callable[[Main], Any]:
    """Run a coroutine function with a session maker of a driver."""

    def run_it(main: Main) -> Any:
        async def around() -> Any:
            own = create_async_engine(async_url(engine, request.param))
            found = await main(async_sessionmaker(own))
            await own.dispose()
            return found

        return asyncio.run(around())

    return run_it


async def names(session: AsyncSession | async_scoped_session[AsyncSession]) -> Any:
    return (await session.scalars(NAMES)).all()


def test_session_reads_the_past_by_turns_with_the_present(
    run: Callable[[Main], Any],
) -> None:
    async def main(make: async_sessionmaker[AsyncSession]) -> Any:
        found: list[Any] = []
        async with make() as live:
            async with time_travel(live, mark="before") as past:
                for _ in range(7):
                    found.append([await names(past), await names(live)])
                author = await past.get_one(Author, 1)
                await live.commit()
                books = await past.run_sync(
                    lambda _: [one.title for one in author.books]
                )
                found.append(books)
            found.append(await names(live))
        return found

    assert run(main) == [[THEN, NOW]] * 7 + [["Sea", "Sky"], NOW]


def test_same_text_of_other_types_is_never_taken_for_the_other(
    run: Callable[[Main], Any],
) -> None:
    title = text("select title, name from book, author where book.id = 3 limit 1")

    async def main(make: async_sessionmaker[AsyncSession]) -> Any:
        found: list[Any] = []
        async with make() as live:
            for _ in range(3):
                async with time_travel(live, mark="before") as past:
                    found.append((await past.scalars(title)).one())
                    found.append((await live.scalars(title)).one())
        return found

    assert run(main) == ["Sun", "Suns"] * 3


def test_eager_and_streamed_objects_are_of_the_past(
    run: Callable[[Main], Any],
) -> None:
    async def main(make: async_sessionmaker[AsyncSession]) -> Any:
        statement = select(Author).options(selectinload(Author.books))
        statement = statement.order_by(Author.id)
        async with make() as live, time_travel(live, mark="before") as past:
            eager = await past.scalars(statement)
            found = [[book.title for book in one.books] for one in eager]
            streamed = await past.stream_scalars(
                select(Book).order_by(Book.id).execution_options(yield_per=2)
            )
            first = await streamed.fetchmany(1)
            now = await names(live)
            rest = await streamed.all()
            await streamed.close()
            return [*found, [one.title for one in [*first, *rest]], now]

    assert run(main) == [["Sea", "Sky"], ["Sun"], ["Sea", "Sky", "Sun"], NOW]


def test_the_past_has_what_the_application_put_on_the_session(
    run: Callable[[Main], Any],
) -> None:
    class Tenants(AsyncSession):
        def __init__(self, *arguments: Any, tenant: str = "a", **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.tenant = tenant

    async def main(make: async_sessionmaker[AsyncSession]) -> Any:
        options = {"bind": make.kw["bind"], "tenant": "b"}
        async with Tenants(**options) as live, time_travel(live, mark="before") as past:
            assert isinstance(past, Tenants)
            return past.tenant, past.bind is live.bind, await names(past)

    assert run(main) == ("b", True, THEN)


def test_writes_and_unknown_moments_are_refused(run: Callable[[Main], Any]) -> None:
    async def main(make: async_sessionmaker[AsyncSession]) -> Any:
        async with make() as live:
            with pytest.raises(UnknownMomentError):
                await time_travel(live, mark="nope").__aenter__()
            async with time_travel(live, mark="before", strict=True) as past:
                with pytest.raises(ReadOnlyPastError):
                    past.add(Book())
                with pytest.raises(ReadOnlyPastError):
                    await past.execute(text("delete from book"))
                with pytest.raises(ReadOnlyPastError):
                    await past.connection()
                with pytest.raises(NotVersionedError):
                    await past.get(Country, 1)
                (await past.get_one(Book, 1)).title = "Lake"
                with pytest.raises(ReadOnlyPastError):
                    await past.commit()
            async with time_travel(live, mark="before") as past:
                with pytest.raises(DBAPIError):
                    await past.execute(text("select 1 / 0"))
            await live.rollback()
            return await names(live)

    assert run(main) == NOW


def test_scoped_session_hands_out_the_past_to_its_task_only(
    run: Callable[[Main], Any],
) -> None:
    async def main(make: async_sessionmaker[AsyncSession]) -> Any:
        scoped = async_scoped_session(make, scopefunc=asyncio.current_task)

        async def elsewhere() -> Any:
            found = await names(scoped)
            await scoped.remove()
            return found

        live = scoped()
        async with time_travel(scoped, mark="before") as past:
            found = [scoped() is past, await names(scoped)]
            found += [await asyncio.create_task(elsewhere())]
        found += [scoped() is live, await names(scoped)]
        await scoped.remove()
        return found

    assert run(main) == [True, THEN, NOW, True, NOW]


def test_concurrent_tasks_read_moments_of_their_own(run: Callable[[Main], Any]) -> None:
    async def main(make: async_sessionmaker[AsyncSession]) -> Any:
        async def read(number: int) -> Any:
            async with make() as live:
                if number % 2:
                    return await names(live)
                async with time_travel(live, mark="before") as past:
                    return await names(past)

        return await asyncio.gather(*(read(number) for number in range(10)))

    assert run(main) == [THEN, NOW] * 5


def test_subclass_of_async_session_keeps_its_methods(
    run: Callable[[Main], Any],
) -> None:
    class Own(AsyncSession):
        async def all(self, statement: Any) -> Any:
            return (await self.scalars(statement)).all()

    async def main(make: async_sessionmaker[AsyncSession]) -> Any:
        engine = make.kw["bind"]
        async with Own(engine) as live, time_travel(live, mark="before") as past:
            return await past.all(NAMES)  # type: ignore[attr-defined]

    assert run(main) == THEN


def test_sessions_of_the_other_kind_are_refused(
    engine: Engine, run: Callable[[Main], Any]
) -> None:
    async def main(make: async_sessionmaker[AsyncSession]) -> None:
        async with make() as live:
            with pytest.raises(TypeError, match="with an AsyncSession use async with"):
                time_travel(live, mark="before").__enter__()
        with (
            Session(engine) as plain,
            pytest.raises(TypeError, match="async with takes an AsyncSession"),
        ):
            await time_travel(plain, mark="before").__aenter__()

    run(main)


def test_fastapi_endpoint_answers_for_any_moment(run: Callable[[Main], Any]) -> None:
    async def main(make: async_sessionmaker[AsyncSession]) -> Any:
        app = FastAPI()

        async def session(as_of: str | None = None) -> AsyncIterator[AsyncSession]:
            async with make() as live:
                if as_of is None:
                    yield live
                else:
                    async with time_travel(live, mark=as_of) as past:
                        yield past

        @app.get("/authors")
        async def authors(session: Annotated[AsyncSession, Depends(session)]) -> Any:
            found = await session.scalars(select(Author).order_by(Author.id))
            return [one.full_name for one in found]

        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as web:
            answers = [await web.get("/authors" + q) for q in ("", "?as_of=before", "")]
        return [one.json() for one in answers]

    assert run(main) == [NOW, THEN, NOW]
