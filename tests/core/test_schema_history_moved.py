"""No write lands in another table's history, wherever names lead until the sync."""

import pytest

from tests.core.asking import problems, refusal, rows, run, value
from tests.servers import Connect, Db

BOTH = pytest.mark.parametrize("granularity", ["row", "statement"])
MOVED = {
    "alter schema app rename to moved": "moved.note_history",
    "alter table app.note_history rename to elsewhere": "app.elsewhere",
    "alter table app.note_history set schema public": "note_history",
    "drop table app.note_history cascade": "app.note_history",
}
WRITES = ["update {} set body = 'b'", "insert into {} values (2, 'c')", "truncate {}"]


def make(db: Db, schema: str, granularity: str) -> None:
    run(db, f"create schema {schema}")
    run(db, f"create table {schema}.note (id int primary key, body text)")
    options = f"granularity => '{granularity}'"
    run(db, f"select chrononaut.create_versioning('{schema}.note', {options})")
    run(db, f"insert into {schema}.note values (1, '{schema}')")
    db.commit()


@BOTH
@pytest.mark.parametrize("ddl", MOVED)
def test_history_that_was_moved_or_dropped_asks_for_a_sync(
    db: Db, connect: Connect, ddl: str, granularity: str
) -> None:
    make(db, "app", granularity)
    run(db, ddl)
    db.commit()
    table = "moved.note" if "schema app" in ddl else "app.note"
    sessions = [db, connect()]
    found = [refusal(s, "VH005", sql.format(table)) for s in sessions for sql in WRITES]
    hints = {(diag.table_name, diag.message_hint) for diag in found}
    run(db, f"select chrononaut.sync_versioning('{table}')")
    db.commit()
    for session in sessions:
        run(session, f"update {table} set body = body || 'x'")
        session.commit()

    assert hints == {("note", f"Run: select chrononaut.sync_versioning('{table}');")}
    updates = f"select count(*) from {MOVED[ddl]} where operation = 'U'"
    assert value(db, updates) == 2
    assert problems(db) == []


@BOTH
def test_schemas_that_swap_names_do_not_swap_histories(
    db: Db, connect: Connect, granularity: str
) -> None:
    make(db, "blue", granularity)
    make(db, "green", granularity)
    sessions = [db, connect()]
    for session in sessions:
        run(session, "update blue.note set body = body || '1'")
        run(session, "update green.note set body = body || '1'")
        session.commit()
    run(db, "alter schema blue rename to swap")
    run(db, "alter schema green rename to blue")
    run(db, "alter schema swap rename to green")
    db.commit()
    refused = [
        refusal(session, "VH005", sql.format(table)).table_name
        for session in sessions
        for table in ("blue.note", "green.note")
        for sql in WRITES
    ]
    run(db, "select chrononaut.sync_versioning('blue.note')")
    run(db, "select chrononaut.sync_versioning('green.note')")
    run(db, "update blue.note set body = 'last'")

    assert refused == ["note"] * 12
    seen = rows(db, "select body from blue.note_history order by change_id")
    assert seen == [(None,), ("green",), ("green1",), ("green11",)]
    seen = rows(db, "select body from green.note_history order by change_id")
    assert seen == [(None,), ("blue",), ("blue1",)]
    assert problems(db) == []


def test_partition_writes_to_its_own_history_only(db: Db) -> None:
    for schema in ("blue", "green"):
        run(db, f"create schema {schema}")
        run(
            db,
            f"create table {schema}.note (id int primary key, body text)"
            f" partition by range (id); create table {schema}.part"
            f" partition of {schema}.note default",
        )
        run(db, f"select chrononaut.create_versioning('{schema}.note')")
    db.commit()
    run(db, "alter schema blue rename to swap; alter schema green rename to blue")
    run(db, "alter schema swap rename to green")
    db.commit()

    assert refusal(db, "VH005", "insert into blue.part values (1, 'a')").message_hint
    assert value(db, "select count(*) from green.note_history") == 0
