"""check_versioning() finds what is wrong; each error names its object and a way out."""

import pytest

from tests.core.asking import NOTE, problems, refusal, rows, run, version_note
from tests.servers import Db


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("alter table note disable trigger user", "is disabled"),
        ('drop trigger "00_chrononaut_update" on note', "is missing"),
        (
            'alter table note enable replica trigger "00_chrononaut_update"',
            "fires in other sessions",
        ),
        (
            'drop trigger "00_chrononaut_update" on note;'
            ' create trigger "00_chrononaut_update" after update on note for each row'
            " when (false) execute function chrononaut._capture_1()",
            "is defined differently",
        ),
        (
            "create function fake() returns trigger language plpgsql"
            " as 'begin return null; end';"
            ' create or replace trigger "00_chrononaut_update" after update on note'
            " for each row execute function fake()",
            "calls another function",
        ),
        (
            "create or replace function chrononaut._capture_1() returns trigger"
            " language plpgsql as 'begin return null; end'",
            "not the generated one",
        ),
        (
            "grant execute on function chrononaut._capture_1() to public",
            "not the generated one",
        ),
        (
            "alter table note_history drop column body cascade",
            "missing from the history",
        ),
        ("alter table note_history disable trigger all", "append-only guard"),
        ('drop trigger "00_chrononaut_guard" on note_history', "append-only guard"),
        ("drop view note_versions cascade", "versions view is missing"),
        ("drop table note_history cascade", "history table is missing"),
        ("grant select on note_history to public", "may be read by public"),
        ("alter table note set unlogged", "unlogged"),
        ("alter sequence chrononaut.change_id cache 50", "cache is 50"),
        ("alter table note drop constraint note_pkey", "no immediate unique index"),
        (
            "create function f() returns trigger language plpgsql"
            " as 'begin return null; end';"
            ' create trigger "0" after update on note for each row'
            " execute function f()",
            "fires before versioning",
        ),
        (
            "create table heir (primary key (id)) inherits (note)",
            "heir is not versioned",
        ),
    ],
)
def test_check_versioning_reports_and_its_fix_mends(
    db: Db, harm: str, said: str
) -> None:
    version_note(db)
    assert problems(db) == []
    run(db, harm)
    found = rows(db, "select problem, fix from chrononaut.check_versioning()")
    assert any(said in problem for problem, _ in found), found
    for fix in dict.fromkeys(fix for _, fix in found if fix.endswith(";")):
        run(db, fix)
    left = [problem for problem in problems(db) if said in problem]
    assert left == ([] if said != "no immediate unique index" else left)


@pytest.mark.parametrize("dropped", ["id", "part", "id, drop column part"])
@pytest.mark.parametrize("lockable", [True, False])
def test_check_versioning_reports_key_columns_that_were_dropped(
    db: Db, dropped: str, lockable: bool
) -> None:
    run(db, "create table item (id int, part int, v int, primary key (id, part))")
    run(db, "select chrononaut.create_versioning('item', lockable => %s)", [lockable])
    run(db, "insert into item values (1, 2, 3)")
    run(db, f"alter table item drop column {dropped}, add primary key (v)")
    found = rows(db, "select problem, fix from chrononaut.check_versioning()")
    assert any("was dropped" in problem for problem, _ in found), found
    assert {fix for _, fix in found} == {
        "select chrononaut.sync_versioning('public.item');"
    }
    run(db, found[0][1])
    run(db, "update item set v = 4")
    assert problems(db) == []


def test_check_versioning_reports_statement_granularity_that_no_longer_fits(
    db: Db,
) -> None:
    version_note(db, ", granularity => 'statement'")
    run(
        db,
        "create function f() returns trigger language plpgsql"
        " as 'begin return null; end';"
        " create trigger z after update on note for each row execute function f()",
    )
    [(problem, fix)] = rows(
        db, "select problem, fix from chrononaut.check_versioning()"
    )
    run(db, fix)
    assert "statement granularity no longer fits" in problem
    assert problems(db) == []


@pytest.mark.parametrize(
    ("prepare", "call", "code"),
    [
        (NOTE, "sync_versioning('note')", "VH003"),
        (NOTE, "alter_versioning('note')", "VH003"),
        ("create view v as select 1 as x", "create_versioning('v')", "VH003"),
        ("create temp table t (id int primary key)", "create_versioning('t')", "VH003"),
        (
            "create unlogged table t (id int primary key)",
            "create_versioning('t')",
            "VH003",
        ),
        ("create table t (id int)", "create_versioning('t')", "VH003"),
        ("create sequence s", "create_versioning('s')", "VH003"),
        (
            "create table t (id int primary key deferrable)",
            "create_versioning('t')",
            "VH003",
        ),
        (
            "create table t_history (); create table t (id int primary key)",
            "create_versioning('t')",
            "VH004",
        ),
    ],
)
def test_refusals_name_the_table_and_say_what_to_do(
    db: Db, prepare: str, call: str, code: str
) -> None:
    run(db, prepare)
    diag = refusal(db, code, f"select chrononaut.{call}")
    assert diag.table_name in ("note", "v", "t", "s")
    assert diag.schema_name
    assert diag.message_hint


@pytest.mark.parametrize(
    "call",
    [
        "create_versioning(null)",
        "alter_versioning(null)",
        "sync_versioning(null)",
        "drop_versioning(null)",
        "create_versioning('pg_class')",
        "create_versioning('chrononaut.transaction')",
    ],
)
def test_what_is_no_table_of_the_users_is_refused(db: Db, call: str) -> None:
    refusal(db, "VH003", f"select chrononaut.{call}")


def test_history_has_no_history(db: Db) -> None:
    version_note(db)
    refusal(db, "VH003", "select chrononaut.create_versioning('note_history')")
