"""open_past(): an unmodified SELECT reads the past, until close_past()."""

import subprocess
from pathlib import Path

import pytest

from chrononaut_pg import core
from tests.core.asking import problems, refusal, rows, run, value, version_note
from tests.servers import Connect, Db, MakeRole

SHOP = """
create schema app;
create schema "Other App";
create table app.item (id int primary key, name text);
create table "Other App".price (item_id int primary key, cents int);
create table app.plain (id int primary key);
select chrononaut.create_versioning('app.item');
select chrononaut.create_versioning('"Other App".price');
insert into app.item values (1, 'a'), (2, 'b');
insert into "Other App".price values (1, 10), (2, 20);
insert into app.plain values (7);
select chrononaut.mark('then');
update app.item set name = 'x' where id = 1;
delete from app.item where id = 2;
update "Other App".price set cents = 99;
"""
PATH = 'set search_path = app, "Other App"'
QUERY = "select name, cents from item join price on item_id = id order by id"
THEN = [("a", 10), ("b", 20)]
NOW = [("x", 99)]


@pytest.fixture
def shop(db: Db) -> Db:
    run(db, SHOP)
    run(db, PATH)
    db.commit()
    return db


def open_past(db: Db, arguments: str = "mark => 'then'") -> str:
    path: str = value(db, f"select chrononaut.open_past({arguments})")
    return path


def close_past(db: Db) -> None:
    run(db, "select chrononaut.close_past()")


def test_unmodified_select_reads_several_schemas_as_they_were(shop: Db) -> None:
    path = open_past(shop)
    found = rows(shop, QUERY)
    shop.commit()
    assert (found, rows(shop, QUERY)) == (THEN, THEN)
    assert path == value(shop, "show search_path")
    assert path.endswith('app, "Other App"')
    close_past(shop)
    assert rows(shop, QUERY) == NOW
    assert value(shop, "show search_path") == 'app, "Other App"'


def test_psql_script_runs_against_the_past(
    shop: Db, clients: Path, db_url: str
) -> None:
    script = f"""
        {PATH};
        select chrononaut.open_past(mark => 'then') \\g /dev/null
        {QUERY};
        \\d item
        select chrononaut.close_past() \\g /dev/null
        {QUERY};
    """
    output = subprocess.run(
        [clients / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", db_url],
        input=script,
        capture_output=True,
        text=True,
        check=True,
    )
    assert output.stdout.splitlines() == [
        "a|10",
        "b|20",
        "id|integer|||",
        "name|text|||",
        "x|99",
    ]


def test_tables_without_history_are_read_live_unless_strict(shop: Db) -> None:
    open_past(shop)
    assert rows(shop, "select id from plain") == [(7,)]
    open_past(shop, "mark => 'then', strict => true")
    assert rows(shop, QUERY) == THEN
    refusal(shop, "42P01", "select id from plain")
    close_past(shop)
    assert rows(shop, "select id from plain") == [(7,)]


def test_second_open_past_replaces_the_first_and_close_past_ends_both(
    shop: Db,
) -> None:
    run(shop, "select chrononaut.mark('now')")
    run(shop, "update item set name = 'later'")
    open_past(shop)
    open_past(shop, "mark => 'now'")
    assert rows(shop, QUERY) == NOW
    close_past(shop)
    assert rows(shop, "select name from item") == [("later",)]
    close_past(shop)
    assert value(shop, "show search_path") == 'app, "Other App"'


def test_rollback_restores_what_was_open_before(shop: Db) -> None:
    open_past(shop)
    shop.rollback()
    assert rows(shop, QUERY) == NOW
    open_past(shop)
    shop.commit()
    run(shop, "savepoint s")
    close_past(shop)
    assert rows(shop, QUERY) == NOW
    run(shop, "rollback to s")
    assert rows(shop, QUERY) == THEN


def test_moment_that_does_not_exist_opens_nothing(shop: Db) -> None:
    refusal(shop, "P0002", "select chrononaut.open_past(mark => 'never')")
    refusal(shop, "22023", "select chrononaut.open_past()")
    assert rows(shop, QUERY) == NOW


def test_view_of_the_past_without_an_open_moment_says_how_to_open_one(
    shop: Db,
) -> None:
    diag = refusal(shop, "55000", "select * from chrononaut_past_app.item")
    assert "open_past" in (diag.message_hint or "")


@pytest.mark.parametrize(
    "write",
    [
        "update item set name = 'no'",
        "delete from item",
        "insert into item values (9, 'no')",
    ],
)
def test_past_cannot_be_written(shop: Db, write: str) -> None:
    open_past(shop)
    refusal(shop, "55000", write)


def test_path_without_versioned_tables_is_refused(shop: Db) -> None:
    run(shop, "set search_path = pg_catalog")
    diag = refusal(shop, "VH003", "select chrononaut.open_past(mark => 'then')")
    assert "past_tables" in (diag.message_hint or "")


def test_path_whose_tables_are_no_longer_versioned_is_refused(shop: Db) -> None:
    run(shop, "select chrononaut.drop_versioning('app.item')")
    run(shop, "set search_path = app")
    refusal(shop, "VH003", "select chrononaut.open_past(mark => 'then')")


def test_functions_of_the_application_read_the_past_too(shop: Db) -> None:
    run(
        shop,
        "create function app.names() returns text language sql"
        " as 'select string_agg(name, '','' order by id) from item'",
    )
    assert value(shop, "select names()") == "x"
    open_past(shop)
    assert value(shop, "select names()") == "a,b"


def test_reader_needs_the_rights_that_he_needs_for_history(
    shop: Db, connect: Connect, role: MakeRole
) -> None:
    reader = role("reader")
    run(shop, f'grant usage on schema app, "Other App" to {reader}')
    run(shop, f"grant select on app.item to {reader}")
    run(shop, "select chrononaut.sync_versioning('app.item')")
    shop.commit()
    session = connect(reader)
    run(session, PATH)
    open_past(session)
    assert rows(session, "select name from item order by id") == [("a",), ("b",)]
    refusal(session, "42501", "select * from price")


def test_owner_without_create_on_the_database_versions_tables_all_the_same(
    empty_db: Db, role: MakeRole, connect: Connect
) -> None:
    owner = role("owner")
    name = empty_db.info.dbname
    run(empty_db, f"grant create on database {name} to {owner}")
    run(empty_db, f"create schema app authorization {owner}")
    empty_db.commit()
    session = connect(owner, dbname=name)
    core.install(session)
    run(empty_db, f"revoke create on database {name} from {owner}")
    empty_db.commit()
    run(session, "create table app.t (id int primary key, v int)")
    run(session, "select chrononaut.create_versioning('app.t')")
    run(session, "insert into app.t values (1, 1); select chrononaut.mark('then')")
    run(session, "update app.t set v = 2; set search_path = app")
    assert problems(session) == []
    diag = refusal(session, "VH006", "select chrononaut.open_past(mark => 'then')")
    hint = diag.message_hint or ""
    assert f"grant create on database {name} to {owner}" in hint
    assert "sync_versioning" in hint
    session.commit()
    run(empty_db, f"grant create on database {name} to {owner}")
    empty_db.commit()
    assert problems(session) == ["the view of its past is not the generated one"]
    run(session, "select chrononaut.sync_versioning('app.t')")
    open_past(session)
    assert rows(session, "select v from t") == [(1,)]
    session.rollback()
    session.close()
    run(empty_db, f"drop owned by {owner} cascade")
    empty_db.commit()


def test_schema_that_somebody_else_made_in_time_is_never_read(
    db: Db, role: MakeRole, connect: Connect
) -> None:
    attacker = role("attacker")
    run(db, f"create schema chrononaut_past_public authorization {attacker}")
    db.commit()
    session = connect(attacker)
    run(session, "create view chrononaut_past_public.note as select 666 as id")
    session.commit()
    version_note(db)
    run(db, "select chrononaut.mark('then')")
    diag = refusal(db, "VH006", "select chrononaut.open_past(mark => 'then')")
    assert "alter schema chrononaut_past_public owner" in (diag.message_hint or "")
    assert problems(db) == []
    run(db, "drop schema chrononaut_past_public cascade")
    run(db, "select chrononaut.sync_versioning('note')")
    open_past(db)
    assert rows(db, "select * from note") == []


def test_view_that_was_dropped_by_hand_is_named_and_mended(shop: Db) -> None:
    run(shop, "drop view chrononaut_past_app.item")
    assert problems(shop) == ["the view of its past is not the generated one"]
    # Else the live table would be read as if it were the past.
    refusal(shop, "VH005", "select chrononaut.open_past(mark => 'then')")
    run(shop, "select chrononaut.sync_versioning('app.item')")
    open_past(shop)
    assert (problems(shop), rows(shop, QUERY)) == ([], THEN)


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (
            "drop function chrononaut.as_of(app.item, timestamptz, bigint, text, bool)",
            "as_of() is not the generated one",
        ),
        (
            "create or replace function chrononaut.as_of(relation app.item,"
            " at timestamptz default null, transaction_id bigint default null,"
            " mark text default null, before boolean default false) returns setof"
            " app.item language sql stable as 'select * from app.item'",
            "as_of() is not the generated one",
        ),
        (
            "comment on view chrononaut_past_app.item is 'mine'",
            "the view of its past is not the generated one",
        ),
        (
            "alter view chrononaut_past_app.item rename to elsewhere",
            "the view of its past is not the generated one",
        ),
    ],
)
def test_reader_that_was_changed_by_hand_is_named_and_mended(
    shop: Db, harm: str, problem: str
) -> None:
    run(shop, harm)
    assert problems(shop) == [problem]
    run(shop, "select chrononaut.sync_versioning('app.item')")
    open_past(shop)
    assert (problems(shop), rows(shop, QUERY)) == ([], THEN)


def test_past_tables_lists_what_can_be_read(shop: Db) -> None:
    assert rows(shop, "select * from chrononaut.past_tables order by 1") == [
        ("Other App", "price", "chrononaut_past_Other App"),
        ("app", "item", "chrononaut_past_app"),
    ]


TWINS = """
create schema live_one;
create schema live_two;
create table live_one.x (id int primary key, v text);
create table live_two.x (id int primary key, v text);
create table live_one.y (id int primary key, v text);
create table live_two.y (id int primary key, v text);
insert into live_one.x values (1, 'one'); insert into live_one.y values (1, 'one');
insert into live_two.x values (1, 'two'); insert into live_two.y values (1, 'two');
select chrononaut.create_versioning('live_two.x');
select chrononaut.create_versioning('live_one.y');
select chrononaut.mark('twins');
update live_one.x set v = 'one, now'; update live_one.y set v = 'one, now';
update live_two.x set v = 'two, now'; update live_two.y set v = 'two, now';
"""


def test_names_mean_in_the_past_what_they_mean_in_the_present(db: Db) -> None:
    """An unversioned table that hides a versioned one hides its past, too."""
    run(db, TWINS)
    found = []
    for path in ("live_one, live_two", "live_two, live_one"):
        run(db, f"set search_path = {path}")
        open_past(db, "mark => 'twins'")
        found += rows(db, "select x.v, y.v from x join y using (id)")
        close_past(db)

    assert found == [("one, now", "one"), ("two", "two, now")]


def test_strict_refuses_a_path_on_which_a_live_table_hides_a_past(db: Db) -> None:
    run(db, TWINS)
    run(db, "set search_path = live_one, live_two")
    diag = refusal(
        db, "VH003", "select chrononaut.open_past(mark => 'twins', strict => true)"
    )
    assert (diag.schema_name, diag.table_name) == ("live_one", "x")
    assert value(db, "show search_path") == "live_one, live_two"
    run(db, "drop table live_one.x")
    open_past(db, "mark => 'twins', strict => true")
    assert rows(db, "select x.v, y.v from x join y using (id)") == [("two", "one")]


def test_table_that_took_the_name_of_a_versioned_one_is_not_read_as_its_past(
    shop: Db,
) -> None:
    run(shop, "alter table app.item rename to old_item")
    run(shop, "create table app.item (id int primary key, name text)")
    diag = refusal(shop, "VH005", "select chrononaut.open_past(mark => 'then')")
    assert "sync_versioning('app.old_item')" in (diag.message_hint or "")
    run(shop, "select chrononaut.sync_versioning('app.old_item')")
    open_past(shop)
    assert rows(shop, "select name from old_item order by id") == [("a",), ("b",)]
    assert rows(shop, "select name from item") == []
