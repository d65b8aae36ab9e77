"""The right person and the right reason: blocks, threads and tasks."""

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import (
    Engine,
    NullPool,
)
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

import chrononaut_pg
from chrononaut_pg import (
    change_info,
    rationale,
)
from tests.orm.conftest import Item, Told
from tests.servers import Cluster, Db


def test_write_after_a_block_does_not_carry_its_reason(
    session: Session, told: Told
) -> None:
    item = session.get_one(Item, 1)
    with rationale("first"):
        item.value = 1
        session.flush()
    item.value = 2
    session.commit()

    assert told() == [(None, "first"), (None, None)]


def test_nested_block_gives_the_outer_reason_back(session: Session, told: Told) -> None:
    item = session.get_one(Item, 1)
    with change_info(user_id="ann"), rationale("outer"):
        item.value = 1
        session.flush()
        with change_info(user_id="bob"), rationale("inner"):
            item.value = 2
            session.flush()
        item.value = 3
        session.commit()

    assert told() == [("ann", "outer"), ("bob", "inner"), ("ann", "outer")]


def test_threads_do_not_see_each_other(listening: Engine, db: Db) -> None:
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        with Session(listening) as own, change_info(user_id=str(number)):
            own.add(Item(id=number))
            barrier.wait()
            own.commit()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    rows = db.execute("select id::text, change_info ->> 'user_id' from item_history")
    assert sorted(rows.fetchall()) == [(str(n), str(n)) for n in range(4)]


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_tasks_do_not_see_each_other(
    listening: Engine, server: Cluster, superuser: str, db: Db, driver: str
) -> None:
    async def work(engine: Any, number: int, turn: asyncio.Barrier) -> None:
        async with AsyncSession(engine) as own:
            with change_info(user_id=str(number)):
                own.add(Item(id=number))
                await turn.wait()
                await own.commit()

    async def main() -> None:
        url = listening.url.set(drivername=f"postgresql+{driver}")
        if driver == "asyncpg":
            url = url.difference_update_query(["port"])
        engine = create_async_engine(url, poolclass=NullPool)
        chrononaut_pg.listen(engine)
        turn = asyncio.Barrier(4)
        await asyncio.gather(*(work(engine, number, turn) for number in range(4)))
        await engine.dispose()

    asyncio.run(main())
    rows = db.execute("select id::text, change_info ->> 'user_id' from item_history")
    assert sorted(rows.fetchall()) == [(str(n), str(n)) for n in range(4)]
