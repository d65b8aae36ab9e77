"""asyncio, with psycopg and with asyncpg: errors of the core, savepoints, readers."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import chrononaut_pg
from chrononaut_pg import (
    AppendOnlyError,
    CannotVersionError,
    ChangeInfoRequiredError,
    ChrononautException,
    InvalidChangeInfoError,
    Versioned,
    change_info,
    rationale,
)
from tests.orm.conftest import Item, Note, Told
from tests.servers import Db

Work = Callable[[AsyncSession], Coroutine[Any, Any, Any]]
Run = Callable[[Work], Any]


@pytest.fixture(params=["psycopg", "asyncpg"])
def run(session: Session, engine: Engine, request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine function with a session of each driver; returns its result."""
    driver = request.param
    url = engine.url.set(drivername=f"postgresql+{driver}")
    if driver == "asyncpg":
        url = url.difference_update_query(["port"])

    def run_it(work: Work) -> Any:
        async def main() -> Any:
            fresh = create_async_engine(url, poolclass=NullPool)
            chrononaut_pg.listen(fresh)
            try:
                async with AsyncSession(fresh) as own:
                    return await work(own)
            finally:
                await fresh.dispose()

        return asyncio.run(main())

    return run_it


def raised(run: Run, statement: str) -> ChrononautException:
    """Return the error that a statement raises."""

    async def work(own: AsyncSession) -> None:
        await own.execute(text(statement))

    with pytest.raises(ChrononautException) as found:
        run(work)
    return found.value


def require_change_info(db: Db) -> None:
    call = "select chrononaut.alter_versioning('item', require_change_info => true)"
    db.execute(call)
    db.commit()


def place(error: ChrononautException) -> tuple[Any, ...]:
    return error.sqlstate, error.schema, error.table, error.column


def test_error_of_a_trigger_arrives_as_ours_with_place_hint_and_cause(
    run: Run, db: Db
) -> None:
    db.execute(
        "select chrononaut.alter_versioning('item', require_change_info => true)"
    )
    db.commit()
    error = raised(run, "update item set value = 5")

    assert (type(error), *place(error)) == (
        *(ChangeInfoRequiredError, "VH002", "public", "item", None),
    )
    assert (error.hint or "").startswith("Begin with")
    assert error.message == "a write to public.item needs change info"
    assert getattr(error.__cause__, "sqlstate", None) == "VH002"


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("select chrononaut.create_versioning('pg_class')", CannotVersionError),
        ("delete from item_history", AppendOnlyError),
        (
            "update item set value = 1 where set_config("
            "'chrononaut.change_info', '[1]', true) <> ''",
            InvalidChangeInfoError,
        ),
    ],
)
def test_errors_of_the_core_arrive_as_ours(run: Run, statement: str, kind: Any) -> None:
    error = raised(run, statement)

    assert (type(error), bool(error.hint)) == (kind, True)
    assert "<class" not in str(error)


def test_error_inside_a_flush_arrives_as_ours(run: Run, db: Db) -> None:
    db.execute(
        "select chrononaut.alter_versioning('item', require_change_info => true)"
    )
    db.commit()

    async def work(own: AsyncSession) -> Any:
        own.add(Item(id=2))
        with pytest.raises(ChangeInfoRequiredError):
            await own.flush()
        await own.rollback()
        with change_info(user_id="ann"):
            own.add(Item(id=3))
            await own.commit()
        return (await own.scalars(select(Item.id).order_by(Item.id))).all()

    assert run(work) == [1, 3]


def test_other_errors_stay_what_they_are(run: Run) -> None:
    async def work(own: AsyncSession) -> None:
        await own.execute(insert(Item).values(id=1))

    with pytest.raises(IntegrityError):
        run(work)


def test_savepoint_rolled_back_leaves_the_outer_reason(run: Run, told: Told) -> None:
    async def work(own: AsyncSession) -> None:
        with change_info(user_id="ann"), rationale("outer"):
            await own.execute(update(Item).values(value=1))
            nested = await own.begin_nested()
            with rationale("inner"):
                await own.execute(update(Item).values(value=2))
            await nested.rollback()
            await own.execute(update(Item).values(value=3))
            async with own.begin_nested():
                with rationale("kept"):
                    await own.execute(update(Item).values(value=4))
            await own.execute(update(Item).values(value=5))
            await own.commit()

    run(work)

    assert told() == [("ann", why) for why in ("outer", "outer", "kept", "outer")]


def test_failed_flush_in_a_savepoint_leaves_nothing_behind(
    run: Run, told: Told
) -> None:
    async def work(own: AsyncSession) -> None:
        with change_info(user_id="ann"):
            nested = await own.begin_nested()
            own.add(Item(id=1))
            with pytest.raises(IntegrityError), rationale("failed"):
                await own.flush()
            await nested.rollback()
            item = await own.get_one(Item, 1)
            item.value = 7
            await own.commit()
        item.value = 8
        await own.commit()

    run(work)

    assert told() == [("ann", None), (None, None)]


def test_savepoint_in_the_first_statement_of_a_transaction_is_enough(
    run: Run, told: Told
) -> None:
    async def work(own: AsyncSession) -> None:
        async with own.begin(), own.begin_nested():
            with change_info(user_id="ann"):
                own.add(Note(id=2))
                await own.flush()

    run(work)

    assert told("I", "note") == [(None, None), ("ann", None)]


def test_reasons_of_any_text_arrive_as_they_were(run: Run, told: Told) -> None:
    reason = "100 % \\ 'x' \"y\" $1 %s :z \n \U0001f600"

    async def work(own: AsyncSession) -> None:
        with rationale(reason):
            await own.execute(update(Item).values(value=func.coalesce(None, 3)))
            await own.commit()

    run(work)

    assert told() == [(None, reason)]


def test_readers_run_inside_run_sync(run: Run) -> None:
    async def work(own: AsyncSession) -> Any:
        item = await own.get_one(Item, 1)
        item.value = 5
        await own.commit()
        return await own.run_sync(
            lambda _: (
                [one.value for one in item.versions()],
                item.previous_version().value,
            )
        )

    assert run(work) == ([0], 0)


def test_tables_are_created_and_dropped_with_their_versioning(run: Run) -> None:
    class Own(DeclarativeBase):
        pass

    class Parcel(Versioned, Own):
        __tablename__ = "parcel"
        __chrononaut_hidden__ = ["code"]  # noqa: RUF012
        id: Mapped[int] = mapped_column(primary_key=True)
        code: Mapped[str]
        weight: Mapped[int]

    async def work(own: AsyncSession) -> Any:
        connection = await own.connection()
        await connection.run_sync(Own.metadata.create_all)
        parcel = Parcel(id=1, code="x", weight=1)
        own.add(parcel)
        await own.flush()
        parcel.weight = 2
        await own.flush()
        versions = await own.run_sync(lambda _: parcel.versions())
        await connection.run_sync(Own.metadata.drop_all)
        left = await own.scalar(text("select to_regclass('parcel_history')::text"))
        return [version.weight for version in versions], left

    assert run(work) == ([1], None)
