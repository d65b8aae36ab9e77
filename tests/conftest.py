"""Fixtures of the whole suite: one server per run, one database per test.

`template_db` holds the installed core; every test gets a copy of it as `db`. A module
whose tests share many tables overrides it with `template_of`.
"""

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, MetaData, NullPool, create_engine

from chrononaut_pg import core
from chrononaut_pg.testing import Server, find_clients
from tests.servers import (
    Cluster,
    Connect,
    Db,
    MakeRole,
    NewServer,
    RemoteCluster,
    TemplateOf,
    running_cluster,
    started_server,
)

_SERIAL = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pg",
        type=int,
        default=os.environ.get("CHRONONAUT_TEST_PG"),
        help="PostgreSQL major to run the suite on",
    )


def pytest_report_header(config: pytest.Config) -> str:
    named = "CHRONONAUT_TEST_URL" if "CHRONONAUT_TEST_URL" in os.environ else None
    return f"postgresql: {named or _chosen_major(config) or 'newest available'}"


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster of this run."""
    with running_cluster(_chosen_major(request.config)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def superuser(server: Cluster) -> str:
    """The name of the superuser that owns the test databases."""
    return server.superuser if isinstance(server, RemoteCluster) else "postgres"


@pytest.fixture(scope="session")
def admin(server: Cluster, superuser: str) -> Iterator[Db]:
    """An autocommit connection to the maintenance database."""
    url = server.url("postgres", user=superuser)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def pg_major(admin: Db) -> int:
    """The server's major version, such as 18."""
    return admin.info.server_version // 10000


@pytest.fixture(scope="session")
def core_db(server: Cluster, admin: Db, superuser: str) -> Iterator[str]:
    """A database with the core installed, to be copied."""
    name = _unique("core")
    _create_database(admin, name)
    with psycopg.connect(server.url(name, user=superuser)) as connection:
        core.install(connection)
    yield name
    _drop_database(admin, name)


@pytest.fixture(scope="session")
def template_db(core_db: str) -> str:
    """The database that the tests copy; a module may have one of its own."""
    return core_db


@pytest.fixture(scope="module")
def template_of(
    server: Cluster, admin: Db, superuser: str, core_db: str
) -> Iterator[TemplateOf]:
    """Creates tables once for a whole module, whose tests start from copies of them."""
    with ExitStack() as opened:

        def create(*steps: MetaData | str) -> str:
            name = _unique("template")
            _create_database(admin, name, core_db)
            opened.callback(_drop_database, admin, name)
            url = server.url(name, user=superuser, driver="psycopg")
            with create_engine(url, poolclass=NullPool).begin() as connection:
                for step in steps:
                    if isinstance(step, MetaData):
                        step.create_all(connection)
                    else:
                        options = {"no_parameters": True}
                        connection.exec_driver_sql(step, execution_options=options)
            return name

        yield create


@pytest.fixture
def dbname(admin: Db, template_db: str, role: MakeRole) -> Iterator[str]:
    """The name of this test's own database, a copy of `template_db`."""
    name = _unique("test")
    _create_database(admin, name, template_db)
    yield name
    _drop_database(admin, name)


@pytest.fixture
def connect(
    server: Cluster, superuser: str, request: pytest.FixtureRequest
) -> Iterator[Connect]:
    """Opens more connections to the test's database, as any role."""
    with ExitStack() as opened:

        def open_connection(
            user: str | None = None,
            *,
            dbname: str | None = None,
            autocommit: bool = False,
            **parameters: Any,
        ) -> Db:
            name = dbname or request.getfixturevalue("dbname")
            connection = psycopg.connect(
                server.url(name, user=user or superuser),
                autocommit=autocommit,
                **parameters,
            )
            opened.callback(connection.close)
            return connection

        yield open_connection


@pytest.fixture
def db(dbname: str, connect: Connect) -> Db:
    """The superuser's connection to the test's database, not in autocommit mode."""
    return connect()


@pytest.fixture
def empty_db(admin: Db, connect: Connect, role: MakeRole) -> Iterator[Db]:
    """Like `db`, but in a database in which the core was never installed."""
    name = _unique("bare")
    _create_database(admin, name)
    connection = connect(dbname=name)
    yield connection
    connection.close()
    _drop_database(admin, name)


@pytest.fixture
def db_url(server: Cluster, superuser: str, dbname: str) -> str:
    """The URL of the test's database for psql, pg_dump and psycopg."""
    return server.url(dbname, user=superuser)


@pytest.fixture
def engine(server: Cluster, superuser: str, dbname: str) -> Iterator[Engine]:
    """An SQLAlchemy engine on the test's database that keeps no connection open."""
    url = server.url(dbname, user=superuser, driver="psycopg")
    engine = create_engine(url, poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def role(admin: Db) -> Iterator[MakeRole]:
    """Creates roles for one test; connect as one with `connect(name)`."""
    created: list[str] = []

    def make_role(hint: str = "role", options: str = "login") -> str:
        name = _unique(hint)
        command = sql.SQL("create role {} password {} " + options)
        admin.execute(command.format(sql.Identifier(name), sql.Literal(name)))
        created.append(name)
        return name

    yield make_role
    for name in reversed(created):
        admin.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def clients(pg_major: int) -> Path:
    """The folder with psql, pg_dump, pg_restore and pgbench for this server."""
    found = find_clients(pg_major)
    if found is None:
        pytest.skip("psql, pg_dump, pg_restore and pgbench are not on this machine")
    return found


@pytest.fixture
def new_server(pg_major: int) -> Iterator[NewServer]:
    """Starts servers of one's own, empty but for `postgres`, closed after the test."""
    with ExitStack() as opened:

        def start(
            *, major: int | None = None, tcp: bool = False, **settings: str
        ) -> Server:
            fresh = started_server(major or pg_major, tcp=tcp, **settings)
            return opened.enter_context(fresh)

        yield start


@pytest.fixture(autouse=True)
def _skip_what_the_server_lacks(request: pytest.FixtureRequest) -> None:
    """Honour the markers `min_pg` and `extension`."""
    for mark in request.node.iter_markers("min_pg"):
        if request.getfixturevalue("pg_major") < mark.args[0]:
            pytest.skip(f"needs PostgreSQL {mark.args[0]}")
    for mark in request.node.iter_markers("extension"):
        admin: Db = request.getfixturevalue("admin")
        query = "select 1 from pg_available_extensions where name = %s"
        if admin.execute(query, [mark.args[0]]).fetchone() is None:
            pytest.skip(f"this server has no extension {mark.args[0]}")


def _chosen_major(config: pytest.Config) -> int | None:
    chosen: int | None = config.getoption("--pg")
    return int(chosen) if chosen else None


def _unique(hint: str) -> str:
    """Return a name that no other test, run or worker uses."""
    return f"chrononaut_{hint}_{os.getpid()}_{next(_SERIAL)}"


def _create_database(admin: Db, name: str, template: str = "template0") -> None:
    command = "create database {} template {}"
    if admin.info.server_version >= 150000:
        command += " strategy file_copy"
    admin.execute(
        sql.SQL(command).format(sql.Identifier(name), sql.Identifier(template))
    )
    admin.execute(
        sql.SQL("alter database {} set plpgsql.extra_errors = 'all'").format(
            sql.Identifier(name)
        )
    )


def _drop_database(admin: Db, name: str) -> None:
    """Drop a database whose connections were closed just now, or never will be.

    The process of a closed connection ends a moment later. DROP DATABASE looks for such
    only every 100 ms, so it is not called before they are gone.
    """
    left = "select exists (select from pg_stat_activity where datname = %s)"
    patience = time.monotonic() + 0.1
    while admin.execute(left, [name]).fetchone() == (True,):
        if time.monotonic() > patience:
            break
    command = sql.SQL("drop database if exists {} with (force)")
    admin.execute(command.format(sql.Identifier(name)))
