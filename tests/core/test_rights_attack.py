"""Forging history and diverting it: what an ordinary role may try."""

from collections.abc import Iterator

import pytest

from tests.core.asking import refusal, rows, run, value, version_note
from tests.core.test_conventions import CALLABLE
from tests.servers import Connect, Db, MakeRole


@pytest.fixture
def attacker(db: Db, connect: Connect, role: MakeRole) -> Iterator[Db]:
    """A session of a role that may write to note and create schemas and objects."""
    version_note(db)
    name = role("attacker")
    run(db, f"grant all on note to {name}")
    run(db, f"grant create on database {db.info.dbname} to {name}")
    db.commit()
    return iter([connect(name)])


@pytest.fixture
def session(attacker: Iterator[Db]) -> Db:
    """The attacker's session, with a schema of its own."""
    found = next(attacker)
    run(found, "create schema evil")
    found.commit()
    return found


def test_capture_function_cannot_be_attached_to_another_table(
    db: Db, session: Db
) -> None:
    run(session, "create table evil.note (like public.note)")
    functions = rows(
        db,
        "select proname from pg_proc where pronamespace = 'chrononaut'::regnamespace"
        " and prorettype = 'trigger'::regtype and prosecdef",
    )
    assert functions != []
    for [function] in functions:
        refusal(
            session,
            "42501",
            "create trigger t after insert or update on evil.note for each row"
            f" execute function chrononaut.{function}()",
        )


def test_internal_definer_functions_cannot_be_called(db: Db, session: Db) -> None:
    signatures = rows(
        db,
        """
        select format('select chrononaut.%%I(%%s)', proname, (
            select string_agg(format('null::%%s', format_type(t, null)), ', ')
            from unnest(proargtypes) t))
        from pg_proc
        where pronamespace = 'chrononaut'::regnamespace and prosecdef
            and proname like '\\_%%'
            and not proname = any (%s)
            and prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
        """,
        [sorted(CALLABLE)],
    )
    assert signatures != []
    for [call] in signatures:
        refusal(session, "42501", call)


def test_drop_helpers_check_the_caller(session: Db) -> None:
    refusal(session, "VH006", "select chrononaut._forget('public.note', true)")
    refusal(session, "VH006", "select chrononaut._check_drop('public.note', true)")


def test_search_path_with_fake_functions_and_operators_changes_nothing(
    db: Db, session: Db
) -> None:
    run(
        session,
        """
        create function evil.clock_timestamp() returns timestamptz language sql
            as 'select ''epoch''::timestamptz';
        create function evil.nextval(regclass) returns bigint language sql
            as 'select 666::bigint';
        create function evil.current_setting(text, boolean) returns text language sql
            as 'select ''{"user_id": "forged"}''';
        create function evil.no(integer, integer) returns boolean language sql
            as 'select false';
        create operator evil.= (
            leftarg = integer, rightarg = integer, function = evil.no);
        create operator evil.*<> (
            leftarg = record, rightarg = record, function = pg_catalog.record_image_eq);
        """,
    )
    run(session, "set search_path = evil, pg_catalog, public")
    run(session, "insert into public.note values (1)")
    run(session, "update public.note set body = 'x'")
    session.commit()
    assert rows(
        db,
        "select change_id < 600, changed > 'epoch', change_info ->> 'user_id',"
        " operation from note_history order by change_id",
    ) == [(True, True, None, "I"), (True, True, None, "U")]


def test_temporary_tables_do_not_divert_history(db: Db, session: Db) -> None:
    run(session, "create temp table note_history (like public.note)")
    run(session, "create temp table transaction (id bigint, xid xid8)")
    run(session, "create temp table versioning (id integer, relid oid)")
    run(session, "create temp sequence change_id")
    run(session, "insert into public.note values (1)")
    run(session, "update public.note set body = 'x'")
    session.commit()
    assert value(db, "select count(*) from public.note_history") == 2
    assert value(session, "select count(*) from pg_temp.note_history") == 0


def test_empty_search_path_records_like_any(db: Db, session: Db) -> None:
    run(session, "set search_path = ''")
    run(session, "insert into public.note values (1)")
    session.commit()
    assert value(db, "select count(*) from note_history") == 1


def test_core_schema_takes_no_objects_of_others(session: Db) -> None:
    refusal(session, "42501", "create table chrononaut.fake (id int)")
    refusal(
        session,
        "42501",
        "create function chrononaut.fake() returns int language sql as 'select 1'",
    )


def test_registry_cannot_be_read_past_its_views_or_written(session: Db) -> None:
    refusal(session, "42501", "update chrononaut.versioning set active = false")
    refusal(session, "42501", "insert into chrononaut.incarnation values (9, 9)")
    assert rows(session, "select relation::text from chrononaut.versioned_tables") == [
        ("note",)
    ]


def test_triggers_cannot_be_switched_off_by_a_writer(session: Db) -> None:
    refusal(session, "42501", "alter table public.note disable trigger all")
    refusal(session, "42501", "set session_replication_role = replica")


def test_hidden_values_appear_nowhere(db: Db, connect: Connect) -> None:
    run(db, "create table vault (id integer primary key, token text)")
    run(db, "select chrononaut.create_versioning('vault', hidden => '{token}')")
    run(db, "insert into vault values (1, 'swordfish')")
    run(db, "update vault set token = 'swordfish2'")
    run(db, "delete from vault")
    db.commit()
    found = value(
        db,
        "select string_agg(t::text, '') from (select h::text from vault_history h"
        " union all select x::text from chrononaut.transaction x"
        " union all select v::text from vault_versions v"
        " union all select c::text from chrononaut.recent_changes c) t",
    )
    assert "swordfish" not in found


def test_history_is_not_kept_where_its_table_could_be_replaced(session: Db) -> None:
    run(session, "create table evil.item (id int primary key)")
    diag = refusal(
        session,
        "VH006",
        "select chrononaut.create_versioning('evil.item', history_table => 'evil.log')",
    )
    assert "owner to" in (diag.message_hint or "")


def test_schema_of_others_that_has_the_name_for_histories_is_refused(
    session: Db,
) -> None:
    run(session, "create schema chrononaut_history")
    run(session, "create table evil.item (id int primary key)")
    refusal(session, "VH006", "select chrononaut.create_versioning('evil.item')")


def test_tables_of_the_cores_owner_in_a_schema_of_others_have_their_history_elsewhere(
    db: Db, session: Db
) -> None:
    session.commit()
    run(db, "create table evil.theirs (id int primary key)")
    assert (
        value(db, "select chrononaut.create_versioning('evil.theirs')::text")
        == "chrononaut_history.theirs_history"
    )


CASTS = {
    "to the new type": (
        "evil.own",
        "create cast (evil.own as int) with function evil.grab(evil.own) as implicit",
        "int using 5",
    ),
    "to text": (
        "evil.own",
        "create function evil.words(evil.own) returns text language sql as"
        " 'select evil.grab($1)::text';"
        " create cast (evil.own as text) with function evil.words(evil.own)",
        "text using 'x'",
    ),
}


@pytest.mark.parametrize(("kind", "cast", "change"), CASTS.values(), ids=CASTS.keys())
def test_casts_of_others_are_not_run_when_history_follows_a_type(
    session: Db, kind: str, cast: str, change: str
) -> None:
    prepare_casts(session)
    run(session, cast)
    run(session, f"create table evil.item (id int primary key, v {kind})")
    run(session, "select chrononaut.create_versioning('evil.item')")
    run(session, "insert into evil.item values (1, row(1))")
    run(session, "update evil.item set v = row(2)")
    run(session, f"alter table evil.item alter column v type {change}")
    run(session, "truncate evil.ran")
    run(session, "select chrononaut.sync_versioning('evil.item')")
    run(session, "update evil.item set id = 2")
    assert rows(session, "select * from evil.ran") == []


def test_casts_of_others_are_not_run_when_changes_are_recorded(session: Db) -> None:
    prepare_casts(session)
    run(session, "create domain evil.part as int")
    run(
        session,
        "create function evil.parts(evil.part[]) returns int[] language sql as"
        " 'select array[evil.grab(row(1)::evil.own)]'",
    )
    run(
        session,
        "create cast (evil.part[] as int[]) with function evil.parts(evil.part[])",
    )
    run(session, "create table evil.item (id int primary key, v evil.part[])")
    run(session, "select chrononaut.create_versioning('evil.item')")
    run(session, "insert into evil.item values (1, '{1}')")
    run(session, "update evil.item set v = '{2}'")
    run(session, "truncate evil.item")
    assert rows(session, "select * from evil.ran") == []


def prepare_casts(session: Db) -> None:
    """Create a type, and a function for casts from it that notes who ran it."""
    run(session, "create table evil.ran (by name)")
    run(session, "create type evil.own as (a int)")
    run(
        session,
        "create function evil.grab(evil.own) returns int language plpgsql as"
        " $$ begin insert into evil.ran values (current_user); return 1; end $$",
    )
