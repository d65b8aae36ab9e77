"""A FastAPI application with AsyncSession: each of many requests has its own person."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from sqlalchemy import Engine, select
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session

import chrononaut_pg
from chrononaut_pg import change_info, changes_from, rationale
from tests.orm.conftest import Note
from tests.orm.test_emission_listen import async_url


def make_app(make_session: async_sessionmaker[AsyncSession]) -> FastAPI:
    """Return the application as its author would write it."""
    app = FastAPI()

    async def who(
        request: Request, x_user: Annotated[str | None, Header()] = None
    ) -> AsyncIterator[None]:
        address = request.client.host if request.client else None
        with change_info(user_id=x_user, remote_addr=address):
            yield

    async def database(_: Annotated[None, Depends(who)]) -> AsyncIterator[AsyncSession]:
        async with make_session() as session:
            yield session

    Database = Annotated[AsyncSession, Depends(database)]

    @app.put("/notes/{number}")
    async def put(number: int, body: str, session: Database, why: str = "") -> None:
        note = await session.get(Note, number) or Note(id=number)
        session.add(note)
        note.body = body
        if body == "refused":
            await session.flush()
            raise HTTPException(422)
        with rationale(why):
            await session.commit()

    @app.get("/notes/{number}/history")
    async def history(number: int, session: Database) -> list[Any]:
        note = (await session.scalars(select(Note).where(Note.id == number))).one()
        versions = await session.scalars(note.select_changes())
        return [
            [one.change_info["user_id"], one.change_info.get("extra")]
            for one in changes_from(versions)
        ]

    return app


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_requests_at_once_name_their_own_person(
    engine: Engine, session: Session, driver: str
) -> None:
    async def main() -> list[Any]:
        async_engine = create_async_engine(
            async_url(engine, driver), pool_size=2, max_overflow=0
        )
        make_session = async_sessionmaker(async_engine)
        chrononaut_pg.listen(make_session)
        transport = httpx.ASGITransport(app=make_app(make_session))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as web:
            await asyncio.gather(
                *(
                    web.put(
                        f"/notes/{number if body == 'kept' else number + 100}",
                        params={"body": body, "why": f"why {number}"},
                        headers={"x-user": f"user {number}"},
                    )
                    for number in range(10, 20)
                    for body in ("kept", "refused")
                )
            )
            await web.put("/notes/10", params={"body": "last", "why": "no user"})
            found = await asyncio.gather(
                *(web.get(f"/notes/{number}/history") for number in range(10, 20))
            )
        await async_engine.dispose()
        return [one.json() for one in found]

    histories = asyncio.run(main())

    by_themselves = [
        [[f"user {number}", {"rationale": f"why {number}"}]] for number in range(10, 20)
    ]
    by_themselves[0].append([None, {"rationale": "no user"}])  # type: ignore[list-item]
    assert histories == by_themselves
