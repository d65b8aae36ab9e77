"""Who runs a test server: PostgreSQL refuses root, so root hands over to another user.

Read by `server.py` only. Where that user cannot reach the programs (a virtual
environment below a private home), they are copied to a temporary folder once.
"""

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypedDict


class ProcessUser(TypedDict, total=False):
    """The arguments of `subprocess` that choose the user; none when not root."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """The operating system's user that owns a server's files and processes."""

    uid: int
    gid: int
    switch: bool

    @property
    def process_user(self) -> ProcessUser:
        """The arguments for `subprocess` that start a program as this user."""
        if not self.switch:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def take(self, path: Path) -> None:
        """Make this user the owner of *path*."""
        if self.switch:
            os.chown(path, self.uid, self.gid)


@cache
def server_account() -> Account:
    """Return the user to run servers as: oneself, or for root another one."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switch=False)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, switch=True)
    raise RuntimeError(
        "PostgreSQL does not run as root, and there is neither a user postgres "
        "nor a user nobody; create one of them or run as another user"
    )


@cache
def runnable(bin_dir: Path, account: Account) -> Path:
    """Return *bin_dir*, or a copy of it that *account* can execute."""
    if not account.switch or _can_run(bin_dir, account):
        return bin_dir
    home = Path(tempfile.mkdtemp(prefix="chrononaut-bin-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    home.chmod(0o755)
    return _copy_installation(bin_dir, home)


def _can_run(bin_dir: Path, account: Account) -> bool:
    command = [str(bin_dir / "postgres"), "--version"]
    try:
        done = subprocess.run(
            command, cwd="/", capture_output=True, **account.process_user
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _copy_installation(bin_dir: Path, home: Path) -> Path:
    """Copy a server, with the folder of bundled libraries that a wheel puts beside."""
    root = bin_dir.parent
    copy = home / root.parent.name / root.name
    ignore = shutil.ignore_patterns("include", "*.a")
    shutil.copytree(root, copy, symlinks=True, ignore=ignore)
    libraries = root.parent.parent / f"{root.parent.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, home / libraries.name, symlinks=True)
    for path in home.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    for program in (copy / "bin").iterdir():
        program.chmod(0o755)
    return copy / "bin"
