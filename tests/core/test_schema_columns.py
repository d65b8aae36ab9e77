"""sync_versioning: history follows the live table's columns, and loses nothing."""

from typing import Any

import pytest

from tests.core.asking import problems, refusal, rows, run, value, version_note
from tests.servers import Connect, Db

SYNC = "select chrononaut.sync_versioning('note')"


def history_columns(db: Db, table: str = "note_history") -> dict[str, str]:
    """Return the data columns of *table* with their types."""
    found = rows(
        db,
        "select attname, format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped"
        " and attname not in ('change_id', 'changed', 'operation', 'transaction_id',"
        " 'change_info', 'tuple') order by attnum",
        [table],
    )
    return dict(found)


def images(db: Db, columns: str) -> list[tuple[Any, ...]]:
    """Return *columns* of all versions of note, oldest first."""
    return rows(db, f"select {columns} from note_versions order by id, version")


def test_added_column_is_recorded_after_sync(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "alter table note add column size integer default 3")
    run(db, "update note set body = 'b'")
    run(db, SYNC)
    run(db, "update note set size = 4")
    assert images(db, "body, size") == [("a", None), ("b", 3), ("b", 4)]
    assert problems(db) == []


def test_dropped_column_stays_in_history(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "update note set body = 'b'")
    run(db, "alter table note drop column body")
    run(db, SYNC)
    run(db, "update note set seen = 1")
    assert images(db, "body, seen") == [("a", 0), (None, 0), (None, 1)]
    assert problems(db) == []


def test_column_added_again_under_its_old_name_gets_a_column_of_its_own(
    db: Db,
) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "update note set body = 'b'")
    run(db, "alter table note drop column body")
    run(db, "alter table note add column body integer default 5")
    run(db, SYNC)
    run(db, "update note set body = 6")
    old = [c for c in history_columns(db) if c.startswith("body") and c != "body"]
    assert len(old) == 1
    assert images(db, f"body, {old[0]}") == [(None, "a"), (5, None), (6, None)]


def test_renamed_column_takes_its_history_along(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "update note set body = 'b'")
    run(db, "alter table note rename body to content")
    run(db, SYNC)
    run(db, "update note set content = 'c'")
    assert images(db, "content") == [("a",), ("b",), ("c",)]
    assert "body" not in history_columns(db)


def test_columns_that_swap_names_keep_their_values(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'body', 'secret')")
    run(db, "update note set seen = 1")
    run(db, "alter table note rename body to x")
    run(db, "alter table note rename secret to body")
    run(db, "alter table note rename x to secret")
    run(db, SYNC)
    assert images(db, "body, secret") == [("secret", "body"), ("secret", "body")]


def test_renamed_key_column_is_followed(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "alter table note rename id to note_id")
    run(db, SYNC)
    run(db, "update note set body = 'b'")
    assert rows(db, "select note_id, version, body from note_versions order by 2") == [
        (1, 0, "a"),
        (1, 1, "b"),
    ]
    assert value(db, "select key from chrononaut.versioned_tables") == ["note_id"]


@pytest.mark.parametrize(
    ("old", "new", "written", "kept"),
    [
        ("integer", "bigint", "7", 7),
        ("integer", "text", "7", "7"),
        ("integer", "numeric(12,2)", "7", 7),
        ("varchar(3)", "varchar(10)", "'abc'", "abc"),
        ("varchar(3)", "text", "'abc'", "abc"),
        ("bigint", "integer", "7", 7),
    ],
)
def test_changed_type_is_followed_without_losing_a_value(
    db: Db, old: str, new: str, written: str, kept: Any
) -> None:
    run(db, f"create table note (id integer primary key, v {old})")
    run(db, "select chrononaut.create_versioning('note')")
    run(db, f"insert into note values (1, {written})")
    run(db, "update note set v = null")
    run(db, f"alter table note alter column v type {new}")
    run(db, SYNC)
    run(db, f"update note set v = {written}")
    columns = [c for c in history_columns(db) if c != "id"]
    first = rows(db, f"select {', '.join(columns)} from note_versions where version=0")
    assert [v for v in first[0] if v is not None] == [kept]
    assert value(db, "select v from note_versions where version = 2") == kept
    assert problems(db) == []


def test_type_that_cannot_hold_old_values_sets_them_aside(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'not a number')")
    run(db, "update note set body = '7'")
    run(db, "alter table note alter column body type integer using body::integer")
    run(db, SYNC)
    run(db, "update note set body = 8")
    [old] = [c for c in history_columns(db) if c.startswith("body") and c != "body"]
    assert images(db, f"body, {old}") == [
        (None, "not a number"),
        (7, None),
        (8, None),
    ]


def test_key_column_of_another_type_is_followed(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "alter table note alter column id type bigint")
    run(db, SYNC)
    run(db, "update note set body = 'b'")
    assert images(db, "id, version, body") == [(1, 0, "a"), (1, 1, "b")]
    assert history_columns(db)["id"] == "bigint"


def test_column_that_joins_the_primary_key_joins_the_key(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "alter table note drop constraint note_pkey, add primary key (id, seen)")
    assert problems(db) != []
    run(db, SYNC)
    run(db, "insert into note values (1, 'b', null, 1)")
    run(db, "update note set body = 'c' where seen = 1")
    assert rows(db, "select seen, version, body from note_versions order by 1, 2") == [
        (0, 0, "a"),
        (1, 0, "b"),
        (1, 1, "c"),
    ]
    assert value(db, "select key from chrononaut.versioned_tables") == ["id", "seen"]


def test_column_that_leaves_the_primary_key_leaves_the_key(db: Db) -> None:
    run(db, "create table note (id int, part int, body text, primary key (id, part))")
    run(db, "select chrononaut.create_versioning('note')")
    run(db, "insert into note values (1, 1, 'a')")
    run(db, "alter table note drop column part, add primary key (id)")
    run(db, SYNC)
    run(db, "update note set body = 'b'")
    assert images(db, "version, body") == [(0, "a"), (1, "b")]
    assert value(db, "select key from chrononaut.versioned_tables") == ["id"]


def test_constraints_of_the_live_table_do_not_bind_history(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    run(db, "update note set body = 'x'")
    run(db, "alter table note alter body set not null, add unique (body)")
    run(db, SYNC)
    run(db, "update note set body = 'y'")
    assert images(db, "body") == [(None,), ("x",), ("y",)]


def test_enum_value_added_later_is_recorded(db: Db) -> None:
    run(db, "create type mood as enum ('ok')")
    run(db, "create table note (id integer primary key, mood mood)")
    run(db, "select chrononaut.create_versioning('note')")
    run(db, "insert into note values (1, 'ok')")
    db.commit()
    run(db, "alter type mood add value 'sad'")
    db.commit()
    run(db, "update note set mood = 'sad'")
    run(db, "update note set mood = 'ok'")
    assert images(db, "mood") == [("ok",), ("sad",), ("ok",)]


@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize(
    "statement", ["insert into note values (2)", "delete from note"]
)
def test_write_after_a_drop_without_sync_is_refused(
    db: Db, granularity: str, statement: str
) -> None:
    version_note(db, f", granularity => '{granularity}'")
    run(db, "insert into note values (1)")
    run(db, "alter table note drop column body")
    diag = refusal(db, "VH005", statement)
    assert "sync_versioning" in (diag.message_primary or "")
    assert (diag.schema_name, diag.table_name, diag.column_name) == (
        "public",
        "note",
        "body",
    )
    run(db, SYNC)
    run(db, statement)


@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize(
    ("old_type", "new_type", "refused"),
    [
        ("integer", "numeric", True),
        ("integer", "double precision", True),
        ("numeric", "double precision", True),
        ("timestamptz", "timestamp", True),
        ("timestamp", "date", True),
        ("integer[]", "numeric[]", True),
        ("integer", "bigint", False),
        ("bigint", "integer", False),
        ("text", "varchar(9)", False),
    ],
)
def test_new_session_records_no_rounded_values_of_a_type_that_awaits_sync(
    db: Db,
    connect: Connect,
    granularity: str,
    old_type: str,
    new_type: str,
    refused: bool,
) -> None:
    run(db, f"create table thing (id integer primary key, a {old_type})")
    run(
        db,
        "select chrononaut.create_versioning('thing', granularity => %s)",
        [granularity],
    )
    run(db, "insert into thing values (1)")
    run(db, f"alter table thing alter a type {new_type}")
    db.commit()
    session = connect()
    if refused:
        diag = refusal(session, "VH005", "update thing set id = 2")
        assert diag.column_name == "a"
        run(session, "select chrononaut.sync_versioning('thing')")
    run(session, "update thing set id = 2")
    assert rows(session, "select id, operation from thing_history where id = 2") == [
        (2, "I")
    ]


@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize(
    "ddl",
    [
        "alter table note drop column body",
        "alter table note rename body to content",
        "alter table note alter column seen type bigint",
        "alter table note add column extra text",
        "alter table note drop column body, add column body integer",
    ],
)
def test_pooled_sessions_are_refused_until_sync_or_go_on_and_go_on_after_it(
    db: Db, connect: Connect, granularity: str, ddl: str
) -> None:
    version_note(db, f", granularity => '{granularity}'")
    pooled = connect(autocommit=True, prepare_threshold=0)
    for n in range(7):
        run(pooled, "insert into note (id) values (%s)", [n])
        run(pooled, "update note set seen = seen + 1 where id = %s", [n])
    run(db, ddl)
    db.commit()
    if "drop column" in ddl:
        refusal(pooled, "VH005", "update note set seen = seen + 1 where id = 1")
    run(db, SYNC)
    db.commit()
    run(pooled, "update note set seen = seen + 1 where id = 1")
    run(pooled, "insert into note (id) values (99)")
    run(pooled, "delete from note where id = 99")
    assert rows(
        db,
        "select id, operation from note_history where id in (1, 99) order by change_id",
    )[-3:] == [(1, "U"), (99, "I"), (99, "D")]
    assert problems(db) == []


@pytest.mark.parametrize(
    "ddl",
    [
        "alter table note alter column body type varchar(100)",
        "alter table note alter column seen type bigint",
        "alter table note drop column body",
        "alter table note drop column seen cascade",
        "alter table note rename body to content",
        "alter table note alter column id type bigint",
        "alter table note drop constraint note_pkey",
        "alter table note add column version integer",
        "alter table note rename to remark",
        "create index on note (body)",
        "cluster note using note_pkey",
    ],
)
@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_versioning_never_blocks_ddl_on_the_live_table(
    db: Db, granularity: str, ddl: str
) -> None:
    version_note(db, f", granularity => '{granularity}', indexes => '{{body}}'")
    run(db, "insert into note values (1)")
    db.commit()
    run(db, ddl)
    db.commit()
    assert value(db, "select count(*) from note_history") == 1


def test_key_column_that_old_changes_lack_leaves_one_index_however_often_synced(
    db: Db,
) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "alter table note add column part integer not null default 1")
    run(db, "alter table note drop constraint note_pkey, add primary key (id, part)")
    run(db, SYNC)
    count = "select count(*) from pg_index where indrelid = 'note_history'::regclass"
    once = value(db, count)
    run(db, SYNC)
    assert value(db, count) == once
