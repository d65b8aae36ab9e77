"""Other drivers than psycopg: from a database without core to readers and errors."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import chrononaut_pg
from chrononaut_pg import (
    AppendOnlyError,
    InvalidChangeInfoError,
    Versioned,
    change_info,
    rationale,
)
from tests.servers import Cluster, Db

Work = Callable[[Session], Any]
Run = Callable[[Work], Any]


class Base(DeclarativeBase):
    pass


class Parcel(Versioned, Base):
    __tablename__ = "parcel"
    __chrononaut_hidden__ = ("code",)
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(default="x")
    weight: Mapped[int] = mapped_column(default=0)


def _arguments(driver: str, url: str) -> tuple[Any, dict[str, Any]]:
    """Return the URL for a driver, and what else it needs to find the server."""
    found = make_url(url).set(drivername=f"postgresql+{driver}")
    host, port = found.query.get("host"), str(found.query.get("port", "5432"))
    if driver not in ("pg8000", "asyncpg") or host is None:
        return found, {}
    if driver == "asyncpg":
        return found.difference_update_query(["port"]).set(port=int(port)), {}
    socket = f"{host}/.s.PGSQL.{port}"
    return found.difference_update_query(["port", "host"]), {"unix_sock": socket}


@pytest.fixture(params=["psycopg", "psycopg2", "pg8000", "asyncpg"])
def run(
    server: Cluster, superuser: str, empty_db: Db, request: pytest.FixtureRequest
) -> Run:
    """Runs a function with a session of each driver, on a database without core."""
    given = server.url(empty_db.info.dbname, user=superuser, driver="psycopg")
    url, connect_args = _arguments(request.param, given)
    if request.param != "asyncpg":

        def run_it(work: Work) -> Any:
            engine = create_engine(url, poolclass=NullPool, connect_args=connect_args)
            chrononaut_pg.listen(engine)
            with Session(engine, expire_on_commit=False) as session:
                return work(session)

        return run_it

    def run_asynchronously(work: Work) -> Any:
        async def main() -> Any:
            engine = create_async_engine(url, poolclass=NullPool)
            chrononaut_pg.listen(engine)
            async with engine.connect() as connection:
                return await connection.run_sync(
                    lambda sync: work(Session(sync, expire_on_commit=False))
                )

        return asyncio.run(main())

    return run_asynchronously


def created(session: Session) -> Parcel:
    """Create the tables, and return an object that is changed twice."""
    Base.metadata.create_all(session.connection())
    parcel = Parcel(id=1)
    with change_info(user_id="ann"):
        session.add(parcel)
        session.commit()
        with rationale("100 % 'it''s' \\ $1 \U0001f600"):
            parcel.weight = 1
            session.commit()
        parcel.code = "y"
        session.commit()
    return parcel


def test_everything_works_from_a_database_without_core(run: Run) -> None:
    def work(session: Session) -> Any:
        parcel = created(session)
        versions = parcel.versions()
        return (
            [(one.weight, one.change_info) for one in versions],
            parcel.diff(versions[0]),
            parcel.version_at(versions[0].changed) is versions[1],
            [one.values for one in parcel.changes()],
        )

    ann = {"user_id": "ann", "remote_addr": None}
    assert run(work) == (
        [
            (0, {**ann, "extra": {"rationale": "100 % 'it''s' \\ $1 \U0001f600"}}),
            (1, {**ann, "hidden_cols_changed": ["code"]}),
        ],
        {"weight": (0, 1)},
        True,
        [{"id": (None, 1), "weight": (None, 0)}, {"weight": (0, 1)}, {}],
    )


def test_errors_of_the_core_arrive_as_ours(run: Run) -> None:
    def work(session: Session) -> Any:
        created(session)
        with pytest.raises(AppendOnlyError) as found:
            session.execute(text("delete from parcel_history"))
        session.rollback()
        with pytest.raises(InvalidChangeInfoError):
            session.execute(
                text(
                    "update parcel set weight = 5 where"
                    " set_config('chrononaut.change_info', '[1]', true) <> ''"
                )
            )
        error = found.value
        return error.sqlstate, error.schema, error.table, bool(error.hint)

    assert run(work) == ("VH008", "public", "parcel_history", True)


def test_tables_are_dropped_with_their_history(run: Run) -> None:
    def work(session: Session) -> Any:
        created(session)
        Base.metadata.drop_all(session.connection())
        return session.scalar(text("select to_regclass('parcel_history') is null"))

    assert run(work) is True


@pytest.mark.parametrize("verb", ["rollback", "commit"])
def test_who_and_why_are_said_again_after_a_textual_end(run: Run, verb: str) -> None:
    def work(session: Session) -> Any:
        parcel = created(session)
        before = len(parcel.versions())
        with change_info(user_id="bob"):
            session.execute(text("update parcel set weight = 5"))
            session.execute(text(verb))
            session.execute(text("update parcel set weight = 6"))
            session.commit()
        found = parcel.versions()[before:]
        return {version.change_info["user_id"] for version in found}

    assert run(work) == {"bob"}
