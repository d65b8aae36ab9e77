"""auto_sync: event triggers that follow DDL as it happens."""

import pytest

from tests.core.asking import problems, refusal, rows, run, value, version_note
from tests.servers import Connect, Db, MakeRole


@pytest.fixture
def synced(db: Db) -> Db:
    """A database with auto_sync on and public.note versioned."""
    version_note(db)
    run(db, "select chrononaut.auto_sync(true)")
    db.commit()
    return db


def test_a_superuser_switches_it_on_and_off_and_twice(db: Db) -> None:
    names = "select array_agg(evtname::text order by evtname) from pg_event_trigger"
    for enabled in (True, True, False, False):
        assert value(db, f"select chrononaut.auto_sync({enabled})") is enabled
        expected = ["keep", "locate", "rewrite", "sync"]
        assert value(db, names) == (
            [f"chrononaut_{name}" for name in expected] if enabled else None
        )


def test_others_are_refused_and_told_what_to_do(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    name = role("plain")
    run(db, f"grant usage on schema chrononaut to {name}")
    db.commit()
    diag = refusal(connect(name), "VH006", "select chrononaut.auto_sync(true)")
    assert "sync_versioning" in (diag.message_hint or "")


@pytest.mark.parametrize(
    "ddl",
    [
        "alter table note add column extra text",
        "alter table note drop column body",
        "alter table note rename body to content",
        "alter table note alter column seen type bigint",
        "alter table note alter column seen type text",
        "alter table note rename to remark",
        "alter table note rename constraint note_pkey to k",
        "create schema s; alter table note set schema s",
        "alter table note enable row level security",
        "grant select on note to public",
        "alter table note_history rename to past",
        "alter table note drop constraint note_pkey, add primary key (id, seen)",
    ],
)
def test_plain_ddl_needs_no_call_of_sync(synced: Db, ddl: str) -> None:
    run(synced, "insert into note values (1)")
    run(synced, ddl)
    relation = value(synced, "select relation::text from chrononaut.versioned_tables")
    run(synced, f"update {relation} set seen = '1'")
    assert problems(synced) == []
    recorded = "select count(distinct operation) > 1 from chrononaut.recent_changes"
    assert value(synced, recorded)


@pytest.mark.parametrize(
    "ddl",
    [
        "drop view note_versions; drop table note_history",
        "drop table note_history cascade",
    ],
)
def test_history_cannot_be_dropped(synced: Db, ddl: str) -> None:
    diag = refusal(synced, "VH008", ddl)
    assert "drop_history" in (diag.message_hint or "")
    assert problems(synced) == []


def test_drop_history_drops_it(synced: Db) -> None:
    run(synced, "select chrononaut.drop_versioning('note', drop_history => true)")
    assert value(synced, "select to_regclass('note_history')") is None


def test_dropping_the_live_table_keeps_its_history(synced: Db) -> None:
    run(synced, "insert into note values (1)")
    run(synced, "drop table note cascade")
    assert value(synced, "select count(*) from note_history") == 1
    assert rows(synced, "select * from chrononaut.versioned_tables") == []


def test_dropping_a_type_does_not_silently_take_history_columns(synced: Db) -> None:
    run(synced, "create type mood as enum ('ok')")
    run(synced, "alter table note add column mood mood")
    run(synced, "insert into note values (1, 'a', null, 0, 'ok')")
    run(synced, "update note set mood = null")
    refusal(synced, "VH005", "drop type mood cascade")
    assert rows(synced, "select mood from note_history where operation = 'U'") == [
        ("ok",)
    ]


def test_table_owner_cannot_disable_versioning_triggers(
    synced: Db, connect: Connect, role: MakeRole
) -> None:
    owner = role("owner")
    run(synced, f"alter table note owner to {owner}")
    synced.commit()
    session = connect(owner)
    for word in ["all", "user", '"00_chrononaut_update"']:
        refusal(session, "VH006", f"alter table note disable trigger {word}")
    refusal(
        session,
        "VH006",
        'alter table note enable always trigger "00_chrononaut_update"',
    )
    run(session, "alter table note add column extra text")
    assert problems(session) == []


def test_core_owner_may_disable_triggers_and_the_check_tells(synced: Db) -> None:
    run(synced, "alter table note disable trigger user")
    assert any("is disabled" in problem for problem in problems(synced))


def test_a_rewrite_of_values_warns(synced: Db) -> None:
    heard: list[str | None] = []
    synced.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    run(synced, "insert into note values (1)")
    run(synced, "alter table note alter column seen type bigint using seen + 1")
    assert [text for text in heard if text and "is rewritten" in text] != []


def test_ddl_on_other_tables_is_left_alone(synced: Db) -> None:
    run(synced, "create table other (id integer primary key, v text)")
    run(synced, "alter table other add column w text")
    run(synced, "drop table other cascade")
    assert problems(synced) == []


def test_grant_on_a_function_has_no_table_looked_at(synced: Db) -> None:
    run(synced, "create function mine() returns int language sql return 1")
    run(synced, "set track_functions = 'all'")
    synced.commit()
    looked = (
        "select coalesce(sum(calls), 0) > 0 from pg_stat_xact_user_functions"
        " where schemaname = 'chrononaut' and funcname = '_problems'"
    )
    run(synced, "grant execute on function mine() to public")
    run(synced, "revoke all on function mine() from public")
    before = value(synced, looked)
    run(synced, "grant select on note to public")

    assert (before, value(synced, looked)) == (False, True)


def test_create_versioning_is_silent(synced: Db) -> None:
    said: list[str | None] = []
    synced.add_notice_handler(lambda notice: said.append(notice.message_primary))
    run(synced, "create table item (id int primary key)")
    run(synced, "select chrononaut.create_versioning('item', lockable => true)")
    run(synced, "select chrononaut.alter_versioning('item', row_version => true)")
    run(synced, "select chrononaut.sync_versioning('item')")
    assert (said, problems(synced)) == ([], [])


@pytest.mark.parametrize(
    "ddl",
    [
        "alter table base add column extra text",
        "alter table base drop column size",
        "alter table base rename size to length",
        "alter table base alter column size type bigint",
    ],
)
def test_tables_that_inherit_are_followed_too(synced: Db, ddl: str) -> None:
    run(synced, "create table base (id int primary key, size int, v int)")
    run(synced, "create table middle (primary key (id)) inherits (base)")
    run(synced, "create table leaf (primary key (id)) inherits (middle)")
    for name in ("leaf", "middle", "base"):
        run(synced, f"select chrononaut.create_versioning('{name}')")
    run(synced, "insert into leaf values (1, 1, 1)")
    run(synced, ddl)
    run(synced, "update base set v = 2")
    assert problems(synced) == []
    assert value(synced, "select v from leaf_history where operation = 'U'") == 1
