"""Real PostgreSQL servers for test suites, demos and benchmarks.

Works with any test runner, or with none::

    from chrononaut_pg.testing import Server, find_servers

    with Server(find_servers()[18]) as server:
        connection = psycopg.connect(server.url("postgres"))

`python -m chrononaut_pg.testing` lists the servers of this machine and fetches more.
"""

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
    "fetch",
    "find_clients",
    "find_servers",
    "server_cache",
]
