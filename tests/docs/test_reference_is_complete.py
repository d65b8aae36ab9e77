"""The SQL reference and the core name the same things, each in its own section."""

import re
from pathlib import Path

import pytest

from tests.core.asking import rows, run, value
from tests.servers import Db

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
SOURCES = "".join(
    path.read_text(encoding="utf-8") for path in (ROOT / "sql").rglob("*.sql")
)
RELATIONS = [
    "versioned_tables", "recent_changes", "transaction", "incarnation",
    "record_locks", "record_lock", "record_lock_event", "versioning",
    "versioned_column", "column_period", "key_period", "marks", "past_tables", "mark",
]  # fmt: skip

PUBLIC = """
from pg_proc p
where p.pronamespace = 'chrononaut'::regnamespace and left(p.proname, 1) <> '_'
"""


def section(title: str) -> str:
    """Return the text from the heading *title* to the next heading of any level."""
    [found] = re.findall(
        rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", REFERENCE, re.DOTALL | re.MULTILINE
    )
    return str(found)


def listed(title: str) -> list[str]:
    """Return what the first cells of a section's table name in backticks."""
    cells = re.findall(r"^\| (`.*?`) \|", section(title), re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def columns(db: Db, relation: str) -> list[str]:
    query = (
        "select attname::text from pg_attribute where attrelid = %s::regclass"
        " and attnum > 0 and not attisdropped"
    )
    return [str(name) for [name] in rows(db, query, [relation])]


def parameters(db: Db, function: str) -> list[str]:
    query = f"select p.proargnames[:p.pronargs] {PUBLIC} and p.proname = %s"
    return value(db, query, [function]) or []


def test_functions_and_their_parameters_are_those_of_the_core(db: Db) -> None:
    signatures = [re.fullmatch(r"(\w+)\((.*)\)", name) for name in listed("Functions")]
    # One as_of() is made for each versioned table.
    run(db, "create table item (id int primary key)")
    run(db, "select chrononaut.create_versioning('item')")
    documented = {
        found[1]: re.findall(r"(\w+|\.\.\.)(?: => \w+)?", found[2])
        for found in signatures
        if found is not None
    }
    public = {
        str(name): parameters(db, str(name))
        for [name] in rows(db, f"select p.proname {PUBLIC}")
    }
    shortened = {
        name: [found[0], "..."] for name, found in public.items() if len(found) > 4
    }
    assert documented == public | shortened


def test_options_are_the_parameters_of_create_and_alter_versioning(db: Db) -> None:
    options = sorted(listed("Options"))
    assert options == sorted(parameters(db, "create_versioning"))
    options.remove("history_table")
    assert options == sorted(parameters(db, "alter_versioning"))


def test_check_versioning_returns_the_columns_that_the_reference_names(db: Db) -> None:
    [line] = re.findall(r"^\| `check_versioning\(\)` \| (.*)$", REFERENCE, re.MULTILINE)
    found = db.execute("select * from chrononaut.check_versioning()").description
    assert found is not None
    assert re.findall(r"`(\w+)`", line) == [column.name for column in found]


def test_every_relation_has_its_section_and_every_section_its_relation(db: Db) -> None:
    query = """
        select c.relname from pg_class c
        where c.relnamespace = 'chrononaut'::regnamespace and c.relkind in ('r', 'v')
            and left(c.relname, 1) <> '_'
    """
    titles = re.findall(r"^### ([a-z_]+)$", REFERENCE, re.MULTILINE)
    assert titles == RELATIONS
    assert sorted(str(name) for [name] in rows(db, query)) == sorted(RELATIONS)


@pytest.mark.parametrize("relation", RELATIONS)
def test_section_of_a_relation_lists_just_its_columns(db: Db, relation: str) -> None:
    documented = sorted(listed(relation))
    assert documented == sorted(columns(db, f"chrononaut.{relation}"))


@pytest.mark.parametrize(
    ("title", "relation"),
    [("The history table", "item_history"), ("The versions view", "item_versions")],
)
def test_meta_columns_are_those_of_the_history_and_the_versions(
    db: Db, title: str, relation: str
) -> None:
    run(db, "create table item (id int primary key)")
    run(db, "select chrononaut.create_versioning('item')")
    assert sorted([*listed(title), "id"]) == sorted(columns(db, relation))


def test_settings_are_those_of_the_sources() -> None:
    used = set(re.findall(r"_(?:setting|config)\('(chrononaut\.\w+)'", SOURCES))
    assert sorted(listed("Settings")) == sorted(used)


def test_error_codes_are_those_of_the_sources_or_reserved() -> None:
    raised = set(re.findall(r"VH0\d\d", SOURCES))
    codes = re.findall(r"^\| (VH\d+) \| (.*?) \|", section("Errors"), re.MULTILINE)
    reserved = {code for code, meaning in codes if meaning.startswith("reserved")}
    assert raised | reserved == {code for code, _ in codes}
    assert raised & reserved == set()
