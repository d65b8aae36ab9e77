"""Environments of the tools that history is converted from.

Each has a virtual environment of its own beside the project's, made on first use: their
dependencies are not ours. Their programs in `writers` write the source data, and print
what the tool itself answers about it.
"""

import fcntl
import json
import shutil
import subprocess
import sys
import venv
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WRITERS = Path(__file__).parent / "writers"

REQUIREMENTS = {
    "chrononaut": (
        "chrononaut==0.4.1",
        "Flask-SQLAlchemy==2.5.1",
        "SQLAlchemy==1.4.54",
        "Flask==2.2.5",
        "Werkzeug==2.2.3",
        "click",
        "itsdangerous",
        "Jinja2",
        "python-dateutil",
        "six",
        "greenlet",
        "psycopg2-binary",
    ),
    "continuum": (
        "SQLAlchemy-Continuum==1.9.0",
        "SQLAlchemy>=2,<2.1",
        "SQLAlchemy-Utils",
        "psycopg[binary]",
    ),
    "audit": (
        "PostgreSQL-Audit==0.18.0",
        "SQLAlchemy>=2,<2.1",
        "SQLAlchemy-Utils",
        "psycopg[binary]",
    ),
}


def run_writer(name: str, url: str, *arguments: str) -> Any:
    """Run a program on a database; return the JSON that it prints.

    It is called as the tool, and after that perhaps what is special about it.
    """
    python = _python(name.partition("_")[0])
    script = WRITERS / f"write_{name}.py"
    done = subprocess.run(
        [python, "-W", "ignore", script, url, *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@cache
def _python(tool: str) -> Path:
    """Return the tool's interpreter; skip the test where it cannot be had."""
    folder = ROOT / f".venv-converters-{tool}"
    with (ROOT / f".venv-converters-{tool}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = folder / "ready"
        wanted = "\n".join(REQUIREMENTS[tool])
        if not ready.is_file() or ready.read_text() != wanted:
            _make(tool, folder)
            ready.write_text(wanted)
    return folder / "bin" / "python"


def _make(tool: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    done = subprocess.run(
        [
            *(folder / "bin" / "python", "-m", "pip", "install", "--quiet"),
            *("--disable-pip-version-check", "--no-deps", "MarkupSafe"),
            *("typing_extensions", *REQUIREMENTS[tool]),
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        pytest.skip(f"no environment for {tool} on {sys.version_info}: {last}")
