"""The examples of README and docs run as they stand, page by page.

A line `-- error: VH003` says that the statement after it is refused with that code.
"""

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine

from tests.servers import Db

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sql_examples_run(db: Db, page: Path) -> None:
    db.commit()
    db.autocommit = True
    for block in blocks(page, "sql"):
        for statement in filter(str.strip, block.split(";\n")):
            execute(db, statement)


def execute(db: Db, statement: str) -> None:
    """Run a statement that must succeed, or fail as its line `-- error:` says."""
    if expected := re.search(r"^-- error: (\w{5})$", statement, re.MULTILINE):
        with pytest.raises(psycopg.Error) as caught:
            db.execute(statement.encode())
        assert caught.value.sqlstate == expected[1], caught.value
    else:
        db.execute(statement.encode())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_run(db: Db, db_url: str, page: Path) -> None:
    """The examples of a page share their names, like cells of a notebook.

    `url` is the database's for psycopg, `sqlalchemy_url` for SQLAlchemy.
    """
    names: dict[str, Any] = {
        "__name__": f"docs_{page.stem}",
        "url": db_url,
        "sqlalchemy_url": db_url.replace("postgresql:", "postgresql+psycopg:"),
    }
    try:
        for block in blocks(page, "python"):
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
