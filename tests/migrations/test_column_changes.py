"""The table of docs/migrations.md: what history shows once columns have changed."""

import json
import re
from pathlib import Path

import pytest

from tests.servers import Connect, Db

PAGE = Path(__file__).parents[2] / "docs" / "migrations.md"

ROW = re.compile(
    r"^\| (?P<change>[^|]+) \| `(?P<ddl>(?:alter|create)[^`]+)` \| `(?P<column>\w+)` "
    r"\| `(?P<shows>[^`]+)` \| (?P<sync>yes|no) \|$",
    re.MULTILINE,
)

ROWS = [found.groupdict() for found in ROW.finditer(PAGE.read_text(encoding="utf-8"))]


def test_table_is_read() -> None:
    assert len(ROWS) == 18


@pytest.fixture
def item(db: Db) -> None:
    """The table of the page, with one old version."""
    db.execute("create type mood as enum ('sad', 'ok')")
    db.execute("create domain posint as int check (value > 0)")
    db.execute(
        "create table item (id int primary key, part int, name varchar(20), price int,"
        " mood mood, size posint)"
    )
    db.execute("select chrononaut.create_versioning('item')")
    db.execute("insert into item values (1, 1, 'lamp', 20, 'ok', 5)")
    db.execute("update item set price = 25")
    db.commit()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["change"]))
@pytest.mark.usefixtures("item")
def test_history_shows_what_the_page_says(
    db: Db, connect: Connect, row: dict[str, str]
) -> None:
    pooled = connect(autocommit=True)
    pooled.execute("update item set part = part")
    for statement in row["ddl"].replace("\\|", "|").split(";"):
        db.execute(statement.encode())
    db.commit()
    problems = db.execute("select count(*) > 0 from chrononaut.check_versioning()")
    assert problems.fetchone() == (row["sync"] == "yes",)

    db.execute("select chrononaut.sync_versioning(%s::regclass)", [names(db)[0]])
    live, view = names(db)
    query = f"select to_jsonb(v) -> %s from {view} v where version = 0"
    shown = db.execute(query.encode(), [row["column"]]).fetchone()
    assert shown == (json.loads(row["shows"]),)

    db.commit()
    pooled.execute(f"update {live} set part = part + 1".encode())
    assert db.execute("select * from chrononaut.check_versioning()").fetchall() == []


def names(db: Db) -> tuple[str, str]:
    """Return the live table and its versions view, wherever they are now."""
    row = db.execute(
        "select relation::text, versions_view::text from chrononaut.versioned_tables"
    ).fetchone()
    assert row is not None
    return row[0], row[1]
