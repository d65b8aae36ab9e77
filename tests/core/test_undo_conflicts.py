"""What stands in the way of an undo: VH007, named; force; two sessions at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.core.asking import refusal, rows, run, value
from tests.core.undoing import ITEM, NEWEST, in_one, preview, table, undo
from tests.servers import Connect, Db


@pytest.fixture
def items(db: Db) -> Db:
    """Items 1 to 3, versioned."""
    in_one(db, ITEM)
    return db


def conflicts(db: Db, done: int) -> list[tuple[Any, Any]]:
    """Return key and conflict of the rows of a dry run that have one."""
    return [(row[0]["id"], row[4]) for row in preview(db, done) if row[4]]


def test_a_later_change_of_the_same_column(items: Db) -> None:
    done = in_one(items, "update item set a = 10, b = 'x' where id = 2")
    in_one(items, "update item set b = 'y' where id = 2")
    found = refusal(items, "VH007", f"select chrononaut.undo_transaction({done})")
    assert (
        found.message_primary,
        found.schema_name,
        found.table_name,
        found.column_name,
        found.message_detail,
        found.message_hint,
    ) == (
        f"undo of transaction {done} would overwrite later changes:"
        ' public.item {"id": 2} b changed since',
        "public",
        "item",
        "b",
        '{"id": 2}: b changed since',
        "Look at it with dry_run => true; force => true overwrites.",
    )


def test_the_number_of_conflicts_is_told(items: Db) -> None:
    done = in_one(items, "update item set a = 10")
    in_one(items, "update item set a = a + id")
    found = refusal(items, "VH007", f"select chrononaut.undo_transaction({done})")
    assert str(found.message_primary).endswith("a changed since, and 2 more")


def test_a_later_change_back_is_no_conflict(items: Db) -> None:
    done = in_one(items, "update item set a = 10, b = 'x' where id = 2")
    in_one(items, "update item set a = 2 where id = 2")
    undo(items, done)
    assert table(items)[1] == (2, 2, "b2", "new")


def test_changed_and_changed_back_to_what_the_transaction_left(items: Db) -> None:
    done = in_one(items, "update item set a = 10 where id = 2")
    in_one(items, "update item set a = 11 where id = 2")
    in_one(items, "update item set a = 10 where id = 2")
    undo(items, done)
    assert table(items)[1][1] == 2


def test_force_overwrites_only_what_the_transaction_changed(items: Db) -> None:
    done = in_one(items, "update item set a = 10 where id = 2")
    in_one(items, "update item set a = 11, b = 'later' where id = 2")
    assert undo(items, done, ", force => true") == [
        ("public.item", "update", 1, "later changes of 1 rows overwritten")
    ]
    assert table(items)[1] == (2, 2, "later", "new")


def test_a_row_deleted_since(items: Db) -> None:
    done = in_one(items, "update item set a = 10 where id = 2")
    in_one(items, "delete from item where id = 2")
    assert conflicts(items, done) == [(2, "deleted since")]
    refusal(items, "VH007", f"select chrononaut.undo_transaction({done})")
    undo(items, done, ", force => true")
    assert table(items)[1] == (2, 2, "b2", "new")


def test_a_row_created_again_since(items: Db) -> None:
    done = in_one(items, "delete from item where id = 2")
    in_one(items, "insert into item values (2, 2, 'other', 'new')")
    assert conflicts(items, done) == [(2, "b created again since")]
    refusal(items, "VH007", f"select chrononaut.undo_transaction({done})")
    undo(items, done, ", force => true")
    assert table(items)[1] == (2, 2, "b2", "new")


def test_a_row_created_again_as_it_was_is_no_conflict(items: Db) -> None:
    done = in_one(items, "delete from item where id = 2")
    in_one(items, "insert into item values (2, 2, 'b2', 'new')")
    assert undo(items, done) == []


def test_an_inserted_row_that_was_changed_since(items: Db) -> None:
    done = in_one(items, "insert into item values (4, 4, 'b4', 'c')")
    in_one(items, "update item set b = 'precious' where id = 4")
    assert conflicts(items, done) == [(4, "b changed since")]
    undo(items, done, ", force => true")
    assert len(table(items)) == 3


def test_an_inserted_row_that_was_deleted_since_is_no_conflict(items: Db) -> None:
    done = in_one(items, "insert into item values (4, 4, 'b4', 'c')")
    in_one(items, "delete from item where id = 4")
    assert undo(items, done) == []


def test_an_inserted_row_whose_hidden_column_was_changed_since(db: Db) -> None:
    run(db, "create table u (id integer primary key, name text, pw text)")
    run(db, "select chrononaut.create_versioning('u', hidden => '{pw}')")
    done = in_one(db, "insert into u values (1, 'ann', 'x')")
    in_one(db, "update u set pw = 'y'")
    in_one(db, "update u set name = 'bea'")
    in_one(db, "update u set name = 'ann'")
    assert conflicts(db, done) == [(1, "hidden columns changed since")]
    refusal(db, "VH007", f"select chrononaut.undo_transaction({done})")


def test_changes_of_hidden_columns_cannot_be_undone_and_that_is_said(db: Db) -> None:
    run(db, "create table u (id integer primary key, name text, pw text)")
    run(db, "select chrononaut.create_versioning('u', hidden => '{pw}')")
    in_one(db, "insert into u values (1, 'ann', 'old')")
    done = in_one(db, "update u set name = 'bea', pw = 'new'")
    notices: list[str] = []
    db.add_notice_handler(lambda said: notices.append(said.message_primary or ""))
    undo(db, done)
    assert table(db, "u") == [(1, "ann", "new")]
    assert notices == [
        "column pw of public.u is left alone: it is hidden: its old value is not known"
    ]


def test_hidden_values_are_shown_nowhere(db: Db) -> None:
    run(db, "create table u (id integer primary key, name text, pw text)")
    run(db, "select chrononaut.create_versioning('u', hidden => '{pw}')")
    done = in_one(db, "insert into u values (1, 'ann', 'xyzzy')")
    run(db, "update u set pw = 'plugh'")
    assert preview(db, done)[0][1:4] == ("delete", {"id": 1, "name": "ann"}, None)


def test_rows_that_would_cascade_stop_the_undo(items: Db) -> None:
    run(
        items,
        "create table part (id integer primary key,"
        " item_id integer references item on delete cascade)",
    )
    done = in_one(items, "insert into item values (4, 4, 'b4', 'c')")
    in_one(items, "insert into part values (1, 4)")
    found = refusal(items, "VH007", f"select chrononaut.undo_transaction({done})")
    assert (found.message_primary, found.column_name, found.message_detail) == (
        f"undo of transaction {done} would take rows of public.part along that refer to"
        ' row {"id": 4} of public.item',
        "id",
        '{"id": 4}: rows of public.part refer to it',
    )
    undo(items, done, ", force => true")
    assert (len(table(items)), table(items, "part")) == (3, [])


def test_a_writer_that_was_under_way_is_waited_for_and_kept(
    items: Db, connect: Connect
) -> None:
    done = in_one(items, "update item set a = 10 where id = 2")
    writer = connect()
    run(writer, "update item set a = 99 where id = 2")
    watcher = connect(autocommit=True)
    raised: list[psycopg.Error] = []

    def attempt() -> None:
        try:
            run(items, f"select chrononaut.undo_transaction({done})")
        except psycopg.Error as error:
            raised.append(error)
        items.rollback()

    thread = threading.Thread(target=attempt)
    thread.start()
    waiting = "select count(*) from pg_locks where not granted"
    while thread.is_alive() and value(watcher, waiting) == 0:
        pass
    writer.commit()
    thread.join()
    assert [error.sqlstate for error in raised] == ["40001"]
    assert rows(items, "select a from item where id = 2") == [(99,)]


@pytest.mark.parametrize(
    ("first", "meanwhile"),
    [
        ("insert into item values (4, 4, 'b4', 'c')", "delete from item where id = 4"),
        ("update item set a = 10 where id = 2", "delete from item where id = 2"),
        ("update item set a = 10 where id = 2", "update item set id = 5 where id = 2"),
        ("delete from item where id = 2", "insert into item values (2, 9, 'b', 'c')"),
    ],
)
def test_row_that_others_take_away_or_bring_meanwhile_is_to_be_tried_again(
    first: str, meanwhile: str, items: Db, connect: Connect
) -> None:
    """It is not to be taken for one that a trigger keeps, or whose key is taken."""
    done = in_one(items, first)
    writer, watcher = connect(), connect(autocommit=True)
    run(writer, meanwhile)
    undoing = f"select chrononaut.undo_transaction({done})"
    with ThreadPoolExecutor(1) as threads:
        attempt = threads.submit(refusal, items, "40001", undoing)
        waiting = "select exists (select from pg_locks where not granted)"
        while not (attempt.done() or value(watcher, waiting)):
            pass
        writer.commit()
        found = attempt.result()

    assert found.message_primary == (
        f"undo of transaction {done}: others changed rows of public.item"
        " at the same time"
    )


def test_a_newer_transaction_does_not_hide_an_older_one_that_ended_later(
    items: Db, connect: Connect
) -> None:
    older = connect()
    run(older, "select pg_current_xact_id()")
    done = in_one(items, "update item set a = 10 where id = 2")
    run(older, "update item set a = 11 where id = 2")
    older.commit()
    assert value(items, NEWEST) == done
    assert conflicts(items, done) == [(2, "a changed since")]


def test_repeatable_read_refuses_by_itself(items: Db, connect: Connect) -> None:
    done = in_one(items, "update item set a = 10 where id = 2")
    items.commit()
    run(items, "set transaction isolation level repeatable read")
    run(items, "select 1 from item")
    other = connect()
    in_one(other, "update item set a = 11 where id = 2")
    refusal(items, "40001", f"select chrononaut.undo_transaction({done})")


@pytest.mark.parametrize("option", ["dry_run", "force"])
@pytest.mark.parametrize("call", ["undo_transaction({}", "undo_change({}, 'item'"])
def test_an_option_that_is_null_neither_forces_nor_does_nothing(
    items: Db, call: str, option: str
) -> None:
    done = in_one(items, "update item set a = 10 where id = 2")
    in_one(items, "update item set a = 20 where id = 2")
    change = value(
        items, "select min(change_id) from item_history where operation = 'U'"
    )
    number = done if "transaction" in call else change
    before = table(items)
    found = refusal(
        items,
        "22004",
        f"select chrononaut.{call.format(number)}, {option} => null)",
    )
    assert (found.message_primary, table(items)) == (f"{option} is null", before)
