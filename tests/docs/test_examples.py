"""The examples of README and docs run as they stand, page by page."""

import re
from pathlib import Path

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
            db.execute(statement)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_run(db: Db, db_url: str, page: Path) -> None:
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), {"url": db_url})
