"""pg_upgrade to another major: history, marks and recording outlast it."""

import subprocess
from pathlib import Path

import psycopg
import pytest

from chrononaut_pg import core
from chrononaut_pg.testing import Server, find_servers
from chrononaut_pg.testing._account import server_account
from tests.core.asking import problems, rows, run
from tests.servers import NewServer

WAS = "select id, v from chrononaut.as_of(null::item, mark => 'before') order by id"
VERSIONS = "select id, version, v, operation from item_versions order by id, version"


@pytest.fixture
def servers(pg_major: int, new_server: NewServer) -> tuple[Server, Server]:
    """An older server and one of this run's major with pg_upgrade, both stopped."""
    found = find_servers()
    older = [
        major
        for major, folder in found.items()
        if major < pg_major and (folder / "pg_dump").exists()
    ]
    if not older or not (found.get(pg_major, Path()) / "pg_upgrade").exists():
        pytest.skip("two majors with pg_upgrade are not on this machine")
    return new_server(major=max(older)), new_server()


def upgrade(old: Server, new: Server) -> None:
    """Stop both servers, and move the old one's data to the new one."""
    for server in (old, new):
        server.stop()
    if checksums(new) != checksums(old):
        execute(new, "pg_checksums", "--disable", "-D", str(new.data_directory))
    execute(
        new,
        "pg_upgrade",
        *("--username", "postgres", "--socketdir", str(new.data_directory.parent)),
        *("--old-bindir", str(old.bin_dir), "--new-bindir", str(new.bin_dir)),
        *("--old-datadir", str(old.data_directory)),
        *("--new-datadir", str(new.data_directory)),
    )
    new.start()


def checksums(server: Server) -> str:
    told = execute(server, "pg_controldata", "-D", str(server.data_directory))
    [line] = [one for one in told.splitlines() if "checksum version" in one]
    return line


def execute(server: Server, program: str, *arguments: str) -> str:
    """Run a program of a server as the user who owns the server's files."""
    done = subprocess.run(
        [str(server.bin_dir / program), *arguments],
        cwd=server.data_directory.parent,
        capture_output=True,
        text=True,
        **server_account().process_user,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_history_outlasts_an_upgrade_of_the_server(
    servers: tuple[Server, Server],
) -> None:
    old, new = servers
    with psycopg.connect(old.url("postgres"), autocommit=True) as db:
        core.install(db)
        run(db, "create table item (id int primary key, v int)")
        core.create_versioning(db, "item")
        run(db, "insert into item values (1, 10), (2, 20)")
        run(db, "select chrononaut.mark('before')")
        run(db, "update item set v = v + 1")
        was, versions = rows(db, WAS), rows(db, VERSIONS)
    upgrade(old, new)

    with psycopg.connect(new.url("postgres"), autocommit=True) as db:
        assert (rows(db, WAS), rows(db, VERSIONS)) == (was, versions)
        run(db, "update item set v = 12 where id = 1")
        run(db, "select chrononaut.sync_versioning('item')")
        run(db, "delete from item where id = 2")
        assert (rows(db, WAS), problems(db)) == (was, [])
        assert rows(db, VERSIONS) == [
            (1, 0, 10, "U"),
            (1, 1, 11, "U"),
            (1, 2, 12, None),
            (2, 0, 20, "U"),
            (2, 1, 21, "D"),
        ]
