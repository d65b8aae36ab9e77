"""Undo and revert in a transaction whose snapshot is older than a migration.

Such a transaction reads the registry and the catalogs as they were, and meets tables as
they are now. It cannot go on, so it is told to begin anew.
"""

import pytest

from tests.core.asking import refusal, rows, run, value
from tests.core.undoing import in_one
from tests.servers import Connect, Db

SETUP = """
create schema app;
create table app.note (id integer primary key, body text, n integer, extra text);
select chrononaut.create_versioning('app.note');
insert into app.note values (1, 'a', 1), (2, 'b', 2);
delete from app.note where id = 2;
"""

QUERIES = {
    "dry run": "select * from chrononaut.undo_transaction({done}, dry_run => true)",
    "undo_transaction": "select * from chrononaut.undo_transaction({done})",
    "undo_change": "select * from chrononaut.undo_change({change})",
    "revert_row": "select chrononaut.revert_row(reader.note(), '1', version => 0)",
    "restore_row": "select chrononaut.restore_row(reader.note(), '2')",
}

MIGRATIONS = {
    "a column dropped": "alter table app.note drop extra",
    "a column renamed": "alter table app.note rename body to words",
    "the key renamed": "alter table app.note rename id to number",
    "another type": "alter table app.note alter n type text",
    "the table renamed": "alter table app.note rename to memo",
    "the schema renamed": "alter schema app rename to old",
    "a column hidden": "select chrononaut.alter_versioning('app.note',"
    " hidden => '{{body}}')",
    "dropped": "drop table app.note cascade",
    "not versioned": "select chrononaut.drop_versioning('app.note')",
}

# Finds the table under any name, as somebody does who got its number before.
READER = """
create schema reader;
create function reader.note() returns regclass language sql as 'select {}::regclass';
"""


def prepared(db: Db, reader: Db, level: str) -> dict[str, int]:
    """Write, and let *reader* take its snapshot afterwards."""
    in_one(db, SETUP)
    [[number]] = rows(db, "select 'app.note'::regclass::oid::bigint")
    run(db, READER.format(number))
    run(db, "select chrononaut.auto_sync()")
    in_one(db, "update app.note set body = 'c', n = 3, extra = 'x'")
    query = "select max(transaction_id), max(change_id) from app.note_history"
    [[done, change]] = rows(db, query)
    db.commit()
    run(reader, f"begin isolation level {level}")
    run(reader, "select count(*) from chrononaut.transaction")
    return {"done": done, "change": change}


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("migration", MIGRATIONS)
def test_snapshot_older_than_a_migration_asks_for_a_new_transaction(
    db: Db, connect: Connect, migration: str, query: str
) -> None:
    reader = connect(autocommit=True)
    names = prepared(db, reader, "repeatable read")
    run(db, MIGRATIONS[migration].format())
    db.commit()
    found = refusal(reader, "40001", QUERIES[query].format(**names))
    assert (found.schema_name, found.table_name, found.message_hint) == (
        "app",
        "note",
        "Nothing was done. Begin a new transaction and run it again.",
    )


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_snapshot_that_shows_the_last_migration_is_as_good_as_any(
    db: Db, connect: Connect, level: str, query: str
) -> None:
    reader = connect(autocommit=True)
    names = prepared(db, reader, level)
    run(db, "create table app.other (id integer primary key)")
    run(db, "select chrononaut.create_versioning('app.other')")
    db.commit()
    assert len(rows(reader, QUERIES[query].format(**names))) == 1


@pytest.mark.parametrize("query", ["undo_transaction({done})", "undo_change({change})"])
def test_renamed_schema_that_was_not_synced_stops_no_undo_of_other_tables(
    db: Db, query: str
) -> None:
    in_one(db, SETUP)
    run(db, "create schema next; create table next.item (id int primary key, v int)")
    run(db, "select chrononaut.create_versioning('next.item')")
    in_one(db, "insert into next.item values (1, 1)")
    done = in_one(db, "update next.item set v = 2")
    change = value(db, "select max(change_id) from next.item_history")
    run(db, "alter schema app rename to old")
    moved = rows(db, "select transaction_id, change_id from old.note_history")[-1]
    found = query.format(done=moved[0], change=moved[1])
    refusal(db, "VH005", "select * from chrononaut." + found)
    run(db, "select * from chrononaut." + query.format(done=done, change=change))
    assert rows(db, "select * from next.item") == [(1, 1)]
