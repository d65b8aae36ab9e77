"""sync_versioning and its siblings: relations that move, vanish and come back."""

import pytest

from tests.core.asking import problems, refusal, rows, run, value, version_note
from tests.servers import Db

SYNC = "select chrononaut.sync_versioning('note')"


def test_renamed_table_goes_on_recording_at_once(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "alter table note rename to remark")
    run(db, "update remark set body = 'b'")
    assert problems(db) != []
    run(db, "select chrononaut.sync_versioning('remark')")
    run(db, "update remark set body = 'c'")
    [[view]] = rows(db, "select versions_view::text from chrononaut.versioned_tables")
    assert rows(db, f"select body from {view} order by version") == [
        ("a",),
        ("b",),
        ("c",),
    ]
    assert problems(db) == []


def test_table_that_changed_schema_goes_on_recording(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "create schema elsewhere")
    run(db, "alter table note set schema elsewhere")
    run(db, "update elsewhere.note set body = 'b'")
    run(db, "select chrononaut.sync_versioning('elsewhere.note')")
    run(db, "update elsewhere.note set body = 'c'")
    [[view]] = rows(db, "select versions_view::text from chrononaut.versioned_tables")
    assert rows(db, f"select body from {view} order by version") == [
        ("a",),
        ("b",),
        ("c",),
    ]
    assert problems(db) == []


def test_renamed_schema_is_followed(db: Db) -> None:
    run(db, "create schema app; create table app.note (id int primary key, v int)")
    run(db, "select chrononaut.create_versioning('app.note')")
    run(db, "insert into app.note values (1, 1)")
    run(db, "alter schema app rename to app2")
    run(db, "select chrononaut.sync_versioning('app2.note')")
    run(db, "update app2.note set v = 2")
    assert rows(db, "select v from app2.note_versions order by version") == [(1,), (2,)]
    assert problems(db) == []


def test_renamed_history_table_is_followed_by_sync(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "alter table note_history rename to note_past")
    assert problems(db) == ["its history is now called public.note_past"]
    run(db, SYNC)
    run(db, "update note set body = 'b'")
    assert rows(db, "select operation from note_past order by change_id") == [
        ("I",),
        ("U",),
    ]
    assert problems(db) == []


def test_views_of_the_user_on_the_live_table_survive_sync(db: Db) -> None:
    version_note(db)
    run(db, "create view bodies as select id, body from note")
    run(db, "alter table note add column extra text")
    run(db, SYNC)
    assert rows(db, "select * from bodies") == []


def test_views_of_the_user_on_versions_survive_a_sync_that_adds_a_column(
    db: Db,
) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "create view mine as select id, version, body from note_versions")
    run(db, "alter table note add column extra text")
    run(db, SYNC)
    run(db, "update note set extra = 'x'")
    assert rows(db, "select * from mine order by 2") == [(1, 0, "a"), (1, 1, "a")]


def test_views_of_the_user_on_versions_survive_a_rename(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "create view mine as select id, version, body from note_versions")
    run(db, "alter table note rename body to content")
    run(db, SYNC)
    assert rows(db, "select id, version, body from mine") == [(1, 0, "a")]


def test_views_of_the_user_on_versions_survive_a_type_that_old_values_do_not_fit(
    db: Db,
) -> None:
    version_note(db)
    run(db, "insert into note values (1, '5')")
    run(db, "create view mine as select id, version, body from note_versions")
    run(db, "alter table note alter body type int using body::int")
    run(db, SYNC)
    run(db, "update note set body = 6")
    assert rows(db, "select version, body, body__1 from note_versions") == [
        (0, 5, None),
        (1, 6, None),
    ]
    assert problems(db) == []


def test_objects_of_the_user_in_the_way_of_a_sync_are_named(db: Db) -> None:
    version_note(db)
    run(db, "create view mine as select id, version from note_versions")
    run(db, "create view yours as select * from mine")
    run(db, "alter table note alter seen type bigint")
    diag = refusal(db, "2BP01", SYNC)
    assert "view public.mine depends on" in (diag.message_primary or "")
    assert "create them anew" in (diag.message_hint or "")
    assert (diag.schema_name, diag.table_name) == ("public", "note")
    run(db, "drop view mine cascade")
    run(db, SYNC)
    assert problems(db) == []


@pytest.mark.parametrize(
    "call",
    [
        "create_versioning('note')",
        "create_versioning('note', hidden => '{secret}', granularity => 'statement')",
        "alter_versioning('note', untracked => '{seen}')",
        "sync_versioning('note')",
        "drop_versioning('note')",
        "drop_versioning('note', drop_history => true)",
    ],
)
def test_each_call_may_come_twice_in_a_row(db: Db, call: str) -> None:
    version_note(db)
    state = (
        "select (select array_agg(t::text order by id)"
        " from chrononaut.versioned_tables t),"
        " (select array_agg(tgname order by tgname) from pg_trigger"
        " where tgrelid = 'note'::regclass),"
        " (select array_agg(relname order by relname) from pg_class"
        " where relnamespace = 'public'::regnamespace)"
    )
    run(db, f"select chrononaut.{call}")
    once = rows(db, state)
    run(db, f"select chrononaut.{call}")
    assert rows(db, state) == once
    assert problems(db) == []


def test_create_with_the_same_options_touches_nothing(db: Db) -> None:
    version_note(db, ", hidden => '{secret}'")
    state = "select oid, xmin::text from pg_trigger union all"
    state += " select oid, xmin::text from pg_proc where pronamespace ="
    state += " 'chrononaut'::regnamespace order by 1"
    before = rows(db, state)
    run(db, "select chrononaut.create_versioning('note', hidden => '{secret}')")
    assert rows(db, state) == before


def test_drop_keeps_history_and_create_goes_on_numbering(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "update note set body = 'b'")
    run(db, "select chrononaut.drop_versioning('note')")
    run(db, "update note set body = 'unseen'")
    assert value(db, "select count(*) from note_history") == 2
    assert rows(db, "select * from chrononaut.versioned_tables") == []
    run(db, "select chrononaut.create_versioning('note')")
    run(db, "update note set body = 'c'")
    assert rows(db, "select version, body from note_versions order by 1") == [
        (0, "a"),
        (1, "unseen"),
        (2, "c"),
    ]
    assert problems(db) == []


def test_history_stays_append_only_after_drop_versioning(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    run(db, "select chrononaut.drop_versioning('note')")
    refusal(db, "VH008", "delete from note_history")


def test_drop_history_removes_everything(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    run(db, "select chrononaut.drop_versioning('note', drop_history => true)")
    assert rows(db, "select * from chrononaut.versioning") == []
    assert rows(db, "select * from chrononaut.recent_changes") == []
    assert rows(
        db,
        "select relname from pg_class where relnamespace = 'public'::regnamespace"
        " and relname like 'note%%' order by 1",
    ) == [("note",), ("note_pkey",)]
    generated = r"^_(capture|live|changes)_\d"
    assert rows(db, "select from pg_proc where proname ~ %s", [generated]) == []


def test_table_dropped_and_made_again_continues_its_history(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "update note set body = 'b'")
    run(db, "drop table note cascade")
    assert len(problems(db)) == 1
    run(db, "create table note (id integer primary key, body text, rank integer)")
    run(db, "select chrononaut.create_versioning('note')")
    run(db, "insert into note values (1, 'c', 5)")
    run(db, "update note set rank = 6")
    assert rows(db, "select version, body, rank from note_versions order by 1") == [
        (0, "a", None),
        (1, "c", 5),
        (2, "c", 6),
    ]
    assert problems(db) == []


def test_the_history_that_a_dropped_table_left_can_be_dropped_by_its_successor(
    db: Db,
) -> None:
    version_note(db)
    run(db, "drop table note cascade; create table note (id integer primary key)")
    run(db, "select chrononaut.drop_versioning('note', drop_history => true)")
    run(db, "select chrononaut.create_versioning('note')")
    assert value(db, "select count(*) from chrononaut.versioning") == 1


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_trigger_that_was_renamed_records_no_change_twice(
    db: Db, granularity: str
) -> None:
    version_note(db, f", granularity => '{granularity}'")
    for verb in ("insert", "update", "delete"):
        run(db, f'alter trigger "00_chrononaut_{verb}" on note rename to z_{verb}')
    named = [problem for problem in problems(db) if " z_" in problem]
    run(db, "select chrononaut.sync_versioning('note')")
    run(db, "insert into note values (1); update note set body = 'x'")
    run(db, "delete from note")
    recorded = rows(db, "select operation from note_history order by change_id")
    assert problems(db) == []
    run(db, "select chrononaut.drop_versioning('note', drop_history => true)")
    run(db, "insert into note values (2)")

    assert len(named) == 3
    assert recorded == [("I",), ("U",), ("D",)]
