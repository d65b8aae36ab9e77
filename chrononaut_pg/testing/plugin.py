"""A pytest plugin: a rolled-back transaction per test, with history only if asked for.

In conftest.py::

    pytest_plugins = ["chrononaut_pg.testing.plugin"]

    @pytest.fixture(scope="session")
    def chrononaut_metadata():
        return Base.metadata

Tests then take `chrononaut_session`. With the marker `versioned`, history is recorded;
without it recording is suppressed, which is faster. Override `chrononaut_engine` to use
a server of your own; by default one is started, as `chrononaut_pg.testing.Server` does.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, MetaData, create_engine
from sqlalchemy.orm import Session

from chrononaut_pg import core
from chrononaut_pg.session import listen
from chrononaut_pg.testing.binaries import find_servers
from chrononaut_pg.testing.server import Server


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", "versioned: record history during this test (chrononaut_pg)"
    )


@pytest.fixture(scope="session")
def chrononaut_url() -> Iterator[str]:
    """The SQLAlchemy URL of the database to test in; by default on a private server."""
    servers = find_servers()
    if not servers:
        pytest.fail(
            "no PostgreSQL server to start: pip install 'chrononaut-pg[embedded]', "
            "or override the fixture chrononaut_url"
        )
    with Server(servers[max(servers)]) as server:
        yield server.url("postgres", driver="psycopg")


@pytest.fixture(scope="session")
def chrononaut_metadata() -> MetaData:
    """The metadata whose tables are created once per run; override it."""
    return MetaData()


@pytest.fixture(scope="session")
def chrononaut_engine(
    chrononaut_url: str, chrononaut_metadata: MetaData
) -> Iterator[Engine]:
    """An engine on that database, with the core, all tables and their versioning."""
    engine = create_engine(chrononaut_url)
    listen(engine)
    with engine.begin() as connection:
        core.install(connection)
    chrononaut_metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def chrononaut_connection(
    chrononaut_engine: Engine, request: pytest.FixtureRequest
) -> Iterator[Connection]:
    """A connection in a transaction that is rolled back after the test."""
    with chrononaut_engine.connect() as connection:
        transaction = connection.begin()
        if request.node.get_closest_marker("versioned") is None:
            connection.exec_driver_sql("set local chrononaut.suppressed = on")
        yield connection
        transaction.rollback()


@pytest.fixture
def chrononaut_session(chrononaut_connection: Connection) -> Iterator[Any]:
    """A Session in that transaction; its commits and rollbacks are savepoints."""
    with Session(
        chrononaut_connection, join_transaction_mode="create_savepoint"
    ) as session:
        yield session
