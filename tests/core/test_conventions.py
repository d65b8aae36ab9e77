"""The core keeps its own rules: comments, names, pinned paths, sizes, files."""

import re
from pathlib import Path

import pytest

from tests.core.asking import rows, run, version_note
from tests.servers import Db

SQL = Path(__file__).parents[2] / "sql"

FUNCTIONS = (
    "from pg_proc p where p.pronamespace in"
    " ('chrononaut'::regnamespace, to_regnamespace('chrononaut_history'))"
)

CALLABLE = {
    "create_versioning",
    "alter_versioning",
    "sync_versioning",
    "check_versioning",
    "append_change_info",
    "record_changes",
    "unlock_record",
    "_lock_statement",
    "_check_drop",
    "_forget",
    "_has_drifted",
    "_transaction_scopes",
    "_change_scopes",
    "_own_transaction",
    "_row_scopes",
    "_recorded_columns",
    "_moment",
    "_moment_of_transaction",
    "mark",
    "drop_mark",
}


@pytest.fixture(autouse=True)
def _versioned(db: Db) -> None:
    """One table by row, so that generated functions are held to the rules too."""
    version_note(db, ", hidden => '{secret}'")
    run(db, "create table other (id integer primary key, v text)")
    run(db, "select chrononaut.create_versioning('other', granularity => 'statement')")


def offenders(db: Db, query: str) -> list[str]:
    """Return the only column of *query*."""
    return [str(name) for [name] in rows(db, query)]


def test_every_function_has_a_comment(db: Db) -> None:
    uncommented = f"{FUNCTIONS} and obj_description(p.oid, 'pg_proc') is null"
    assert offenders(db, f"select p.oid::regprocedure {uncommented}") == []


def test_no_literal_means_something_else_to_another_session(db: Db) -> None:
    """With `standard_conforming_strings` off, a backslash outside E'' is an escape."""
    plain = re.compile(r"(?<![eE'\\])'[^'\n]*\\[^\n]*")
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted((SQL / "core").glob("*.sql"))
        for line in path.read_text().splitlines()
        if "\\" in line and "E'" not in line and plain.search(line)
    ]
    assert found == []


def test_every_parameter_of_a_function_has_a_name(db: Db) -> None:
    unnamed = f"""{FUNCTIONS} and p.pronargs > 0
        and (p.proargnames is null or '' = any (p.proargnames[1:p.pronargs]))"""
    assert offenders(db, f"select p.oid::regprocedure {unnamed}") == []


def test_every_definer_function_pins_its_path(db: Db) -> None:
    loose = f"""{FUNCTIONS} and p.prosecdef
        and array_position(p.proconfig, 'search_path=pg_catalog, pg_temp') is null"""
    assert offenders(db, f"select p.oid::regprocedure {loose}") == []


def test_definer_functions_are_public_only_where_users_must_call_them(db: Db) -> None:
    public = f"""{FUNCTIONS} and p.prosecdef
        and has_function_privilege('public', p.oid, 'execute')"""
    found = {str(name) for [name] in rows(db, f"select p.proname {public}")}
    assert found == CALLABLE


def test_no_function_body_is_longer_than_forty_lines(db: Db) -> None:
    long = rf"""{FUNCTIONS} and p.proname !~ '^_(capture|live|changes)_\d'
        and array_length(string_to_array(btrim(p.prosrc, E'\n'), E'\n'), 1) > 40"""
    assert offenders(db, f"select p.oid::regprocedure {long}") == []


def test_nothing_in_the_schema_repeats_its_name(db: Db) -> None:
    assert (
        offenders(
            db,
            "select proname from pg_proc"
            " where pronamespace = 'chrononaut'::regnamespace and proname"
            " ~ '^_?chrononaut' union all select relname from pg_class"
            " where relnamespace = 'chrononaut'::regnamespace"
            " and relname ~ '^_?chrononaut'",
        )
        == []
    )


def test_every_table_view_and_sequence_has_a_comment(db: Db) -> None:
    assert (
        offenders(
            db,
            "select c.oid::regclass from pg_class c"
            " where c.relnamespace = 'chrononaut'::regnamespace"
            " and c.relkind in ('r', 'v')"
            " and obj_description(c.oid, 'pg_class') is null",
        )
        == []
    )


def test_every_column_of_a_table_or_view_has_a_comment(db: Db) -> None:
    assert (
        offenders(
            db,
            "select c.relname || '.' || a.attname from pg_class c"
            " join pg_attribute a on a.attrelid = c.oid"
            " where c.relnamespace = 'chrononaut'::regnamespace"
            " and c.relkind in ('r', 'v') and a.attnum > 0 and not a.attisdropped"
            " and col_description(c.oid, a.attnum) is null",
        )
        == []
    )


def test_every_function_compiles_with_all_checks_on(db: Db) -> None:
    run(db, "set local plpgsql.extra_errors = 'all'")
    run(db, "set local check_function_bodies = on")
    definitions = rows(
        db,
        f"select pg_get_functiondef(p.oid) {FUNCTIONS} and p.prokind = 'f'",
    )
    for [definition] in definitions:
        db.execute(definition.encode())
    assert len(definitions) > 50


def test_no_function_catches_all_errors_but_the_one_behind_ddl(db: Db) -> None:
    catching = rf"{FUNCTIONS} and p.prosrc ~ 'exception\s+when others'"
    assert offenders(db, f"select p.proname {catching}") == ["_sync_quietly"]


def test_install_script_names_every_file_in_order() -> None:
    script = (SQL / "install.sql").read_text()
    named = re.findall(r"^\\ir (\S+)", script, flags=re.MULTILINE)
    files = [f"core/{path.name}" for path in sorted((SQL / "core").glob("*.sql"))]
    assert [name for name in named if name.startswith("core/")] == files


def test_every_core_file_opens_with_what_it_is_for() -> None:
    bare = []
    for path in sorted((SQL / "core").glob("*.sql")):
        head = path.read_text().split("\n\n", 1)[0].splitlines()
        if not (2 <= len(head) <= 8 and all(line.startswith("--") for line in head)):
            bare.append(path.name)
    assert bare == []


def test_a_function_body_stands_once_in_the_tree() -> None:
    created = [
        name
        for path in sorted(SQL.rglob("*.sql"))
        for name in re.findall(
            r"^create or replace function (\S+?)\(", path.read_text(), flags=re.M
        )
    ]
    assert sorted(created) == sorted(set(created))
