"""The SQL reference names everything public, and the README's links lead somewhere."""

import re
from pathlib import Path

from tests.servers import Db

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def names(db: Db, query: str) -> set[str]:
    return {row[0] for row in db.execute(query)}


def documented() -> set[str]:
    return set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", REFERENCE))))


def test_every_public_function_and_parameter_is_in_the_reference(db: Db) -> None:
    public = names(
        db,
        """
        select unnest(array_append(p.proargnames, p.proname::text))
        from pg_proc p
        where p.pronamespace = 'chrononaut'::regnamespace and p.proname not like '\\_%'
        """,
    )
    assert public - documented() - {None} == set()


def test_every_relation_and_column_is_in_the_reference(db: Db) -> None:
    columns = names(
        db,
        """
        select unnest(array[c.table_name::text, c.column_name::text])
        from information_schema.columns c
        where c.table_schema = 'chrononaut'
            and c.table_name not in ('versioning', 'versioned_column')
        """,
    )
    assert columns - documented() == set()


def test_every_column_of_a_history_table_and_view_is_in_the_reference(db: Db) -> None:
    db.execute("create table item (id int primary key)")
    db.execute("select chrononaut.create_versioning('item')")
    columns = names(
        db,
        "select column_name::text from information_schema.columns"
        " where table_name in ('item_history', 'item_versions')",
    )
    assert columns - documented() - {"id"} == set()


def test_every_error_code_and_setting_in_the_sources_is_in_the_reference() -> None:
    sources = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "sql").rglob("*.sql")
    )
    codes = set(re.findall(r"VH0\d\d", sources))
    settings = set(re.findall(r"_(?:setting|config)\('(chrononaut\.\w+)'", sources))
    assert {one for one in codes | settings if one not in REFERENCE} == set()


def test_documented_functions_exist(db: Db) -> None:
    listed = set(re.findall(r"^\| `(\w+)\(", REFERENCE, re.MULTILINE))
    existing = names(
        db,
        "select proname::text from pg_proc"
        " where pronamespace = 'chrononaut'::regnamespace",
    )
    assert listed - existing == set()


def test_links_of_readme_and_docs_lead_to_files() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    broken = [
        (page.name, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []
