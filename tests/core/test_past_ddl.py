"""as_of() and the views of the past never block DDL, and follow it."""

import subprocess
from pathlib import Path

import psycopg
import pytest

from chrononaut_pg import core
from tests.core.asking import problems, refusal, rows, run, value
from tests.servers import Connect, Db, NewServer

ITEM = """
create schema app;
create schema moved;
create table app.item (id int primary key, name varchar(20), size int, gone text);
select chrononaut.create_versioning('app.item');
insert into app.item values (1, 'a', 1, 'g'), (2, 'b', 2, 'g');
select chrononaut.mark('then');
update app.item set name = 'x', size = 9 where id = 1;
"""
DDL = {
    "add": ("alter table app.item add column extra int", [(1, "a", 1, "g", None)]),
    "drop": ("alter table app.item drop column gone", [(1, "a", 1)]),
    "drop first": ("alter table app.item drop column size", [(1, "a", "g")]),
    "type": ("alter table app.item alter size type bigint", [(1, "a", 1, "g")]),
    "text": ("alter table app.item alter name type text", [(1, "a", 1, "g")]),
    "rename": ("alter table app.item rename name to title", [(1, "a", 1, "g")]),
    "key": ("alter table app.item rename id to number", [(1, "a", 1, "g")]),
    "default": ("alter table app.item alter size set default 5", [(1, "a", 1, "g")]),
}


@pytest.fixture
def item(db: Db) -> Db:
    run(db, ITEM)
    db.commit()
    return db


def past_rows(db: Db, schema: str = "app", table: str = "item") -> list[object]:
    """Return what the past view and as_of() give for the first row, which agree."""
    run(db, f"set search_path = {schema}")
    run(db, "select chrononaut.open_past(mark => 'then')")
    first = rows(db, f"select * from {table} order by 1 limit 1")
    run(db, "select chrononaut.close_past()")
    query = f"select * from chrononaut.as_of(null::{schema}.{table}, mark => 'then')"
    assert rows(db, f"{query} order by 1 limit 1") == first
    return list(first)


@pytest.mark.parametrize("auto_sync", [False, True])
@pytest.mark.parametrize(("ddl", "expected"), DDL.values(), ids=DDL.keys())
def test_columns_follow_ddl(
    item: Db, ddl: str, expected: list[object], auto_sync: bool
) -> None:
    if auto_sync:
        run(item, "select chrononaut.auto_sync()")
    run(item, ddl)
    if not auto_sync:
        run(item, "select chrononaut.sync_versioning('app.item')")
    assert past_rows(item) == expected
    assert problems(item) == []


@pytest.mark.parametrize("auto_sync", [False, True])
@pytest.mark.parametrize(
    ("ddl", "schema", "table"),
    [
        ("alter table app.item rename to thing", "app", "thing"),
        ("alter table app.item set schema moved", "moved", "item"),
        ("alter schema app rename to renamed", "renamed", "item"),
    ],
)
def test_renamed_tables_and_schemas_are_followed_without_leftovers(
    item: Db, ddl: str, schema: str, table: str, auto_sync: bool
) -> None:
    if auto_sync:
        run(item, "select chrononaut.auto_sync()")
    run(item, ddl)
    if not auto_sync:
        run(item, f"set search_path = {schema}")
        refused = "select chrononaut.open_past(mark => 'then')"
        code = "VH005" if schema == "app" else "VH006"
        refusal(item, code, refused)
        run(item, f"select chrononaut.sync_versioning('{schema}.{table}')")
    assert past_rows(item, schema, table) == [(1, "a", 1, "g")]
    views = (
        "select n.nspname, c.relname from pg_class c join pg_namespace n"
        " on n.oid = c.relnamespace where n.nspname like 'chrononaut_past%'"
    )
    assert rows(item, views) == [(f"chrononaut_past_{schema}", table)]


def test_two_versioned_tables_that_swap_names_swap_their_pasts(item: Db) -> None:
    run(item, "create table app.other (id int primary key, v text)")
    run(item, "select chrononaut.create_versioning('app.other')")
    run(item, "insert into app.other values (5, 'o')")
    run(item, "select chrononaut.drop_mark('then')")
    run(item, "select chrononaut.mark('then')")
    run(item, "alter table app.item rename to item_old")
    run(item, "alter table app.other rename to item")
    run(item, "alter table app.item_old rename to other")
    for table in ("app.item", "app.other"):
        run(item, f"select chrononaut.sync_versioning('{table}')")
    assert past_rows(item, table="item") == [(5, "o")]
    assert past_rows(item, table="other") == [(1, "x", 9, "g")]
    run(item, "select chrononaut.sync_versioning('app.item')")
    assert problems(item) == []


def test_swapped_names_are_refused_until_the_views_follow(item: Db) -> None:
    """Under the old name stands the past of the other table."""
    run(item, "create table app.other (id int primary key, name text)")
    run(item, "select chrononaut.create_versioning('app.other')")
    run(item, "alter table app.item rename to item_old")
    run(item, "alter table app.other rename to item")
    run(item, "alter table app.item_old rename to other")
    run(item, "set search_path = app")
    open_past = "select chrononaut.open_past(mark => 'then')"
    first = refusal(item, "VH005", open_past)
    run(item, "select chrononaut.sync_versioning('item')")
    run(item, "select chrononaut.sync_versioning('other')")
    run(item, open_past)

    assert "sync_versioning" in str(first.message_hint)
    assert rows(item, "select id, name from other order by id") == [(1, "a"), (2, "b")]
    assert rows(item, "select * from item") == []


@pytest.mark.parametrize("auto_sync", [False, True])
def test_view_of_the_applications_on_the_past_stops_neither_ddl_nor_recording(
    item: Db, auto_sync: bool
) -> None:
    if auto_sync:
        run(item, "select chrononaut.auto_sync()")
    run(item, "create view app.mine as select id, gone from chrononaut_past_app.item")
    run(
        item,
        "create function app.old() returns setof app.item language sql"
        " as $$ select * from chrononaut.as_of(null::app.item, mark => 'then') $$",
    )
    run(item, "alter table app.item drop column gone")
    if not auto_sync:
        run(item, "select chrononaut.sync_versioning('app.item')")
    run(item, "update app.item set size = 10")
    assert problems(item) == []
    assert past_rows(item) == [(1, "a", 1)]
    assert value(item, "select count(*) from app.old()") == 2
    # The view keeps what it stands on, under another name, until it is made anew.
    left = "select relname from pg_class where relname like 'item\\_was\\_%'"
    assert len(rows(item, left)) == 1
    run(item, "drop view app.mine")
    run(item, "alter table app.item add column extra int")
    run(item, "select chrononaut.sync_versioning('app.item')")
    assert rows(item, left) == []


def test_drop_versioning_takes_everything_that_reads_the_past(item: Db) -> None:
    run(item, "select chrononaut.drop_versioning('app.item')")
    left = (
        "select p.oid::regprocedure::text from pg_proc p"
        " where p.pronamespace = 'chrononaut'::regnamespace"
        " and p.proname ~ '^(as_of|_append_\\d|_superseded_|_later_before_|_past_\\d)'"
        " union all select relname from pg_class"
        " where relnamespace = 'chrononaut_past_app'::regnamespace"
    )
    assert rows(item, left) == []
    run(item, "select chrononaut.create_versioning('app.item')")
    assert past_rows(item) == [(1, "a", 1, "g")]
    run(item, "select chrononaut.drop_versioning('app.item', drop_history => true)")
    run(item, "drop table app.item")


def test_drop_table_says_that_as_of_depends_on_it_and_cascade_keeps_the_history(
    item: Db,
) -> None:
    diag = refusal(item, "2BP01", "drop table app.item")
    assert "chrononaut.as_of(app.item" in (diag.message_detail or "")
    run(item, "select chrononaut.auto_sync()")
    run(item, "drop table app.item cascade")
    assert value(item, "select count(*) from app.item_history") == 3
    assert problems(item) == []


def test_session_with_cached_plans_reads_the_past_in_its_new_shape(
    item: Db, connect: Connect
) -> None:
    reader = connect(autocommit=True)
    query = b"select name from chrononaut.as_of(null::app.item, mark => 'then')"
    for _ in range(7):
        reader.execute(query, prepare=True)
    run(item, "alter table app.item drop column gone")
    run(item, "select chrononaut.sync_versioning('app.item')")
    item.commit()
    assert sorted(reader.execute(query, prepare=True).fetchall()) == [("a",), ("b",)]


def test_dump_and_restore_into_a_new_cluster_keep_marks_transactions_and_views(
    new_server: NewServer, clients: Path, tmp_path: Path
) -> None:
    source, target = new_server(), new_server()
    with psycopg.connect(source.url("postgres")) as db:
        core.install(db)
        for _ in range(50):
            run(db, "select pg_current_xact_id()")
            db.commit()
        run(db, ITEM)
        number = value(db, "select max(id) from chrononaut.transaction")
        db.commit()
        run(db, "update app.item set name = 'later', id = id + 10")
    dump = tmp_path / "dump"
    subprocess.run(
        [clients / "pg_dump", "-Fc", "-f", dump, source.url("postgres")], check=True
    )
    subprocess.run(
        [clients / "pg_restore", "-d", target.url("postgres"), dump], check=False
    )
    after = (
        "select name from chrononaut.as_of(null::app.item, transaction_id => %s)"
        " order by id"
    )
    with psycopg.connect(target.url("postgres"), autocommit=True) as db:
        for _ in range(2):
            assert past_rows(db) == [(1, "a", 1, "g")]
            assert rows(db, after, [number]) == [("x",), ("b",)]
            run(db, "update app.item set name = 'in the new cluster'")
            run(db, "delete from app.item where id = 12")
        run(db, "select chrononaut.sync_versioning('app.item')")
        assert past_rows(db) == [(1, "a", 1, "g")]
        assert problems(db) == []
