"""The examples of README and docs run as they stand, page by page.

A line `-- error: VH003` says that the statement after it is refused with that code.
"""

import json
import os
import re
import subprocess
import sys
from contextvars import copy_context
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine

from tests.docs.pages import PAGES, ROOT, blocks, examples, pages_with
from tests.servers import Cluster, Db

TESTING = ROOT / "docs" / "testing.md"
"""The page whose examples are files of an application, and its tests."""

APP = """
from flask import Flask
from flask_migrate import Migrate
from chrononaut_pg import VersionedSQLAlchemy

app = Flask("app")
app.config["SQLALCHEMY_DATABASE_URI"] = "postgresql+psycopg://"
Migrate(app, VersionedSQLAlchemy(app))
"""


def name_of(page: Path) -> str:
    return page.name


def test_every_example_is_in_a_language_that_is_run() -> None:
    """JSON is compared with what the SQL above it returns, or is read at least."""
    languages = {block.language for page in PAGES for block in examples(page)}

    assert languages == {"sql", "json", "python", "diff", "sh"}


@pytest.mark.parametrize("page", pages_with("sql", "json"), ids=name_of)
def test_sql_examples_run(db: Db, page: Path) -> None:
    db.commit()
    db.autocommit = True
    answer: list[list[Any]] = []
    for language, block, shown in blocks(page, "sql", "json"):
        if language == "json":
            assert answer in ([], [[json.loads(block)]])
            continue
        names: list[str] = []
        for statement in filter(str.strip, re.split(r";\n", block)):
            names, answer = execute(db, statement)
        if [names] == shown[:1]:
            assert [[as_shown(one) for one in row] for row in answer] == shown[1:]


def execute(db: Db, statement: str) -> tuple[list[str], list[list[Any]]]:
    """Run a statement that must succeed, or fail as its line `-- error:` says.

    Returns the names of its columns and its rows, if it has any.
    """
    if expected := re.search(r"^-- error: (\w{5})$", statement, re.MULTILINE):
        with pytest.raises(psycopg.Error) as caught:
            db.execute(statement.encode())
        assert caught.value.sqlstate == expected[1], caught.value
        return [], []
    found = db.execute(statement.encode())
    if not found.description:
        return [], []
    return [one.name for one in found.description], [list(row) for row in found]


def as_shown(value: Any) -> str:
    """Return a value as the tables of the pages show it."""
    if isinstance(value, dict | list):
        return json.dumps(value)
    return "" if value is None else str(value)


@pytest.mark.parametrize(
    "page", [page for page in pages_with("python") if page != TESTING], ids=name_of
)
def test_python_examples_run(db: Db, db_url: str, page: Path) -> None:
    """The examples of a page share their names, like cells of a notebook.

    `url` is the database's for psycopg, `sqlalchemy_url` for SQLAlchemy.
    """
    names: dict[str, Any] = {
        "__name__": f"docs_{page.stem}",
        "url": db_url,
        "sqlalchemy_url": db_url.replace("postgresql:", "postgresql+psycopg:"),
    }
    # What a page pushes, such as the context of an application, stays with it.
    copy_context().run(run_page, page, names)


def run_page(page: Path, names: dict[str, Any]) -> None:
    """Run the examples of a page, and close what they have opened."""
    try:
        for _, block, _ in blocks(page, "python"):
            exec(compile(block, page.name, "exec"), names)
    finally:
        close(names)


def close(names: dict[str, Any]) -> None:
    """Close the engines that a page has opened."""
    engines = [value for value in names.values() if isinstance(value, Engine)]
    if isinstance(names.get("db"), SQLAlchemy):
        with names["app"].app_context():
            names["db"].session.remove()
            engines += names["db"].engines.values()
    for engine in engines:
        engine.dispose()


@pytest.mark.parametrize("page", pages_with("diff"), ids=name_of)
def test_lines_that_a_change_adds_run(page: Path) -> None:
    for _, block, _ in blocks(page, "diff"):
        added = re.findall(r"^\+(.*)$", block, re.MULTILINE)
        assert added
        exec(compile("\n".join(added), page.name, "exec"), {})


def test_example_of_a_tested_application_passes(tmp_path: Path) -> None:
    for _, block, _ in blocks(TESTING, "python"):
        [name] = re.findall(r"\A# (\w+\.py)\n", block)
        (tmp_path / name).write_text(block)
    done = run(["-m", "pytest", "-q", "-W", "error"], tmp_path)

    assert "1 passed" in done, done


def run(arguments: list[str], folder: Path) -> str:
    """Run Python in a folder; return what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


SHELL = [
    (page, line)
    for page in pages_with("sh")
    for _, block, _ in blocks(page, "sh")
    for line in block.splitlines()
]


@pytest.mark.parametrize(
    ("page", "line"), SHELL, ids=[f"{page.name} {line[:9]}" for page, line in SHELL]
)
def test_shell_examples_run(
    page: Path,
    line: str,
    tmp_path: Path,
    clients: Path,
    server: Cluster,
    superuser: str,
    empty_db: Db,
) -> None:
    """Those of the README in a checkout, the others in an application's folder."""
    (tmp_path / "app.py").write_text(APP)
    tools = f"{clients}:{Path(sys.executable).parent}"
    done = subprocess.run(
        ["bash", "-euc", line],
        cwd=ROOT if page.name == "README.md" else tmp_path,
        env={
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "FLASK_APP": "app",
            "DATABASE_URL": server.url(empty_db.info.dbname, user=superuser),
            "PIP_TARGET": str(tmp_path / "installed"),
            "PIP_NO_DEPS": "1",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
        },
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
