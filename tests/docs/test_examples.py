"""The examples of README and docs run as they stand, page by page.

A line `-- error: VH003` says that the statement after it is refused with that code.
"""

import re
from pathlib import Path

import psycopg
import pytest

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
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), {"url": db_url})
