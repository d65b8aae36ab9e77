"""Changes are ordered by their ids, whatever clocks and transactions did meanwhile."""

import pytest

from tests.core.asking import rows, run, value, version_note
from tests.servers import Connect, Db

ITEMS = "create table item (id int primary key, v int); insert into item values "


def versioned_items(db: Db, values: str, granularity: str) -> None:
    run(db, ITEMS + values)
    run(
        db,
        "select chrononaut.create_versioning('item', granularity => %s)",
        [granularity],
    )
    db.commit()


def test_transaction_that_began_first_and_wrote_last_made_the_last_version(
    db: Db, connect: Connect
) -> None:
    versioned_items(db, "(1, 0)", "row")
    slow, quick = connect(), connect()
    run(slow, "select now()")
    run(quick, "update item set v = 1 where id = 1")
    quick.commit()
    run(slow, "update item set v = 2 where id = 1")
    slow.commit()

    versions = (
        "select v, valid_from <= valid_to is not false from item_versions"
        " order by version"
    )
    assert rows(db, versions) == [(0, True), (1, True), (2, True)]


@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize(
    "write",
    [
        "insert into item values (2, 0)",
        "update item set v = 1",
        "delete from item",
        "truncate item",
    ],
)
def test_changes_are_timed_by_the_clock_and_not_by_their_transactions_begin(
    db: Db, granularity: str, write: str
) -> None:
    versioned_items(db, "(1, 0)", granularity)
    run(db, "select now(), pg_sleep(0.001)")
    before = value(db, "select clock_timestamp()")
    run(db, write)
    timed = (
        "select changed between %s and clock_timestamp(), changed > now()"
        " from item_history"
    )
    assert rows(db, timed, [before]) == [(True, True)]


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_keys_that_one_statement_shifts_are_paired_by_key(
    db: Db, granularity: str
) -> None:
    versioned_items(db, "(1, 10), (2, 20), (3, 30)", granularity)
    run(db, "update item set id = id - 1")
    versions = "select id, v, valid_to is null from item_versions order by id, version"
    assert rows(db, versions) == [
        (0, 10, True),
        (1, 10, False),
        (1, 20, True),
        (2, 20, False),
        (2, 30, True),
        (3, 30, False),
    ]


@pytest.mark.parametrize("savepoint", ["", "savepoint s; "])
def test_nested_statement_is_put_behind_also_where_a_savepoint_wrote_the_row(
    db: Db, savepoint: str
) -> None:
    versioned_items(db, "(1, 10), (2, 20)", "row")
    run(
        db,
        "create function push() returns trigger language plpgsql as"
        " $$ begin if new.id = 1 and pg_trigger_depth() < 2 then"
        " update item set v = v + 100 where id = 2; end if; return null; end $$;"
        " create trigger push after update on item for each row execute function"
        " push()",
    )
    db.commit()
    run(db, f"{savepoint}update item set v = v + 1 where id = 2")
    run(db, f"{savepoint}update item set v = v + 1")
    assert rows(db, "select v from item_versions where id = 2 order by version") == [
        (20,),
        (21,),
        (22,),
        (122,),
    ]


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_recording_uses_no_transaction_ids_of_its_own(db: Db, granularity: str) -> None:
    version_note(db, f", granularity => '{granularity}', hidden => '{{secret}}'")
    used = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
    run(db, "insert into note values (-1)")
    db.commit()
    before = value(db, used)
    for number in range(20):
        run(db, "insert into note values (%s)", [number])
    run(db, "update note set body = 'b'")
    run(db, "delete from note")
    db.commit()
    assert value(db, used) - before == 1


def test_columns_of_history_may_be_null_but_for_the_key_and_our_own(db: Db) -> None:
    version_note(db)
    types = (
        "select attname, atttypid::regtype::text, attnotnull from pg_attribute"
        " where attrelid = 'note_history'::regclass and attnum > 0 order by attname"
    )
    assert rows(db, types) == [
        ("body", "text", False),
        ("change_id", "bigint", True),
        ("change_info", "jsonb", True),
        ("changed", "timestamp with time zone", True),
        ("id", "integer", True),
        ("operation", "character", True),
        ("secret", "text", False),
        ("seen", "integer", False),
        ("transaction_id", "bigint", True),
        ("tuple", "tid", False),
    ]


def test_age_asked_for_before_the_first_write_does_not_confuse_whose_rows_are_whose(
    db: Db, connect: Connect
) -> None:
    """The server counts age() from what it was when the transaction first asked."""
    versioned_items(db, "(1, 0)", "row")
    run(db, "select age('3'::xid)")
    other = connect(autocommit=True)
    run(other, "update item set v = 1")
    for step in (2, 3):
        run(db, "savepoint s")
        run(db, "update item set v = %s", [step])
        run(db, "release s")
    kept = "select v, tuple is not null from item_history order by change_id"
    assert rows(db, kept) == [(0, False), (1, False), (2, True)]
