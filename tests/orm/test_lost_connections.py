"""What a connection that is gone raises, and who is named once there is a new one."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import create_engine, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import chrononaut_pg
from chrononaut_pg import Versioned, announce, change_info, time_travel
from chrononaut_pg.unsafe import suppress_versioning
from tests.orm.test_drivers import _arguments as arguments_of
from tests.servers import Cluster, Db, TemplateOf

Work = Callable[[Session], Any]
Run = Callable[[Work], Any]
Write = Callable[[Session, int], Any]


class Base(DeclarativeBase):
    pass


class Parcel(Versioned, Base):
    __tablename__ = "parcel"
    id: Mapped[int] = mapped_column(primary_key=True)
    weight: Mapped[int] = mapped_column(default=0)


def by_statement(session: Session, weight: int) -> None:
    session.execute(update(Parcel).values(weight=weight))


def by_many(session: Session, weight: int) -> None:
    changed = text("update parcel set weight = :weight where id = :id")
    session.execute(changed, [{"weight": weight, "id": one} for one in (1, 2)])


def by_inserts(session: Session, weight: int) -> None:
    session.add_all([Parcel(weight=weight) for _ in range(3)])
    session.flush()
    by_statement(session, weight)


def by_script(session: Session, weight: int) -> None:
    script = f"select 1; update parcel set weight = {weight}"
    connection = session.connection()
    if connection.dialect.driver in ("asyncpg", "pg8000"):  # they prepare it
        return by_statement(session, weight)
    connection.exec_driver_sql(script)


def by_announcement(session: Session, weight: int) -> None:
    announce(session)
    by_statement(session, weight)


def unseen_at_first(session: Session, weight: int) -> None:
    with suppress_versioning():
        by_statement(session, weight - 1)
    by_statement(session, weight)


WRITES = [
    by_statement,
    by_many,
    by_inserts,
    by_script,
    by_announcement,
    unseen_at_first,
]


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    """A database with two parcels."""
    return template_of(Base.metadata, "insert into parcel (weight) values (0), (0)")


@pytest.fixture(params=["psycopg", "psycopg2", "pg8000", "asyncpg"])
def run(
    server: Cluster, superuser: str, dbname: str, request: pytest.FixtureRequest
) -> Run:
    """Runs a function with a session of each driver, whose pool has one connection."""
    given = server.url(dbname, user=superuser, driver="psycopg")
    url, arguments = arguments_of(request.param, given)
    pool = {"pool_size": 1, "max_overflow": 0, "connect_args": arguments}

    async def run_asynchronously(work: Work) -> Any:
        engine = create_async_engine(url, **pool)
        chrononaut_pg.listen(engine)
        async with AsyncSession(engine) as session:
            result = await session.run_sync(work)
        await engine.dispose()
        return result

    def run_it(work: Work) -> Any:
        if request.param == "asyncpg":
            return asyncio.run(run_asynchronously(work))
        engine = create_engine(url, **pool)
        chrononaut_pg.listen(engine)
        with Session(engine) as session:
            result = work(session)
        engine.dispose()
        return result

    return run_it


@pytest.mark.parametrize("moment", ["between transactions", "in one"])
@pytest.mark.parametrize("write", WRITES)
def test_lost_connection_is_sqlalchemys_error_and_the_next_one_names_the_person(
    run: Run, connect: Any, moment: str, write: Write
) -> None:
    admin: Db = connect(autocommit=True)

    def work(session: Session) -> Any:
        with change_info(user_id="ann"):
            pid = session.scalar(text("select pg_backend_pid()"))
            session.commit()
            if moment == "in one":
                session.execute(text("select 1"))
            admin.execute("select pg_terminate_backend(%s, 10000)", [pid])
            with pytest.raises(DBAPIError) as found:
                write(session, 5)
            session.rollback()
        with change_info(user_id="bob"):
            write(session, 7)
            session.commit()
        return found.value.connection_invalidated

    newest = (
        "select change_info ->> 'user_id', weight from parcel_versions"
        " where id = 1 order by version desc limit 1"
    )
    people = (
        "select array_agg(distinct change_info ->> 'user_id') from parcel_history"
        " where change_info ->> 'user_id' is not null"
    )
    assert run(work) is True
    assert admin.execute(people).fetchone() == (["bob"],)
    assert admin.execute(newest).fetchone() == (None, 7)


@pytest.mark.parametrize("moment", ["between transactions", "in one"])
def test_lost_connection_in_the_past_is_sqlalchemys_error_and_the_next_one_reads(
    run: Run, connect: Any, moment: str
) -> None:
    admin: Db = connect(autocommit=True)
    admin.execute("select chrononaut.mark('before')")
    admin.execute("update parcel set weight = 9")

    def weights(session: Session) -> list[int]:
        with time_travel(session, mark="before") as past:
            return list(past.scalars(select(Parcel.weight)))

    def work(session: Session) -> Any:
        pid = session.scalar(text("select pg_backend_pid()"))
        session.commit()
        if moment == "in one":
            weights(session)
        admin.execute("select pg_terminate_backend(%s, 10000)", [pid])
        with pytest.raises(DBAPIError) as found:
            weights(session)
        session.rollback()
        return found.value.connection_invalidated, weights(session)

    assert run(work) == (True, [0, 0])
