"""The state before a transaction, and the one that it left behind."""

from typing import Any

import pytest

from tests.core.asking import refusal, rows, run, value, version_note
from tests.servers import Connect, Db

State = list[tuple[Any, ...]]


def current(db: Db) -> int:
    """Return the id of the transaction that is open in *db*."""
    number: int = value(
        db,
        "select id from chrononaut.transaction where xid = pg_current_xact_id()",
    )
    return number


def before(db: Db, number: int) -> State:
    return rows(
        db,
        "select id, body from chrononaut.as_of(null::note,"
        " transaction_id => %s, before => true) order by id",
        [number],
    )


def after(db: Db, number: int) -> State:
    return rows(
        db,
        "select id, body from chrononaut.as_of(null::note, transaction_id => %s)"
        " order by id",
        [number],
    )


def filled(db: Db, options: str = "") -> None:
    version_note(db, options)
    run(db, "insert into note values (1, 'a'), (2, 'b'), (3, 'c')")
    db.commit()


START = [(1, "a"), (2, "b"), (3, "c")]


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_several_changes_of_a_key_in_one_transaction_are_one_step(
    db: Db, granularity: str
) -> None:
    filled(db, f", granularity => '{granularity}'")
    run(db, "update note set body = 'x' where id = 1")
    run(db, "update note set body = 'y' where id = 1")
    run(db, "delete from note where id = 2")
    run(db, "insert into note values (2, 'again'), (4, 'd')")
    run(db, "delete from note where id = 4")
    run(db, "update note set id = 5 where id = 3")
    run(db, "update note set body = 'e' where id = 5")
    number = current(db)
    end = [(1, "y"), (2, "again"), (5, "e")]
    assert (before(db, number), after(db, number)) == (START, end)
    db.commit()
    run(db, "truncate note")
    db.commit()
    assert (before(db, number), after(db, number)) == (START, end)


def test_later_transactions_do_not_show(db: Db) -> None:
    filled(db)
    numbers = []
    for body in ("x", "y", "z"):
        run(db, "update note set body = %s where id = 1", [body])
        numbers.append(current(db))
        db.commit()
    assert [after(db, number)[0] for number in numbers] == [
        (1, "x"),
        (1, "y"),
        (1, "z"),
    ]
    assert [before(db, number)[0] for number in numbers] == [
        (1, "a"),
        (1, "x"),
        (1, "y"),
    ]


def test_read_committed_overwrites_a_change_that_its_first_snapshot_did_not_show(
    db: Db, connect: Connect
) -> None:
    filled(db)
    other = connect()
    run(db, "update note set body = 'first' where id = 3")
    run(other, "update note set body = 'theirs' where id in (1, 2)")
    other.commit()
    run(db, "update note set body = body || ' and mine' where id = 1")
    number = current(db)
    db.commit()
    assert before(db, number) == START
    # It did not change key 2, of which its first snapshot showed nothing yet.
    assert after(db, number) == [(1, "theirs and mine"), (2, "b"), (3, "first")]


def test_key_that_it_wrote_and_left_unchanged_keeps_what_others_made_of_it(
    db: Db, connect: Connect
) -> None:
    filled(db)
    other = connect()
    run(db, "update note set body = 'mine' where id = 3")
    run(other, "update note set body = 'theirs' where id = 1")
    other.commit()
    run(db, "savepoint s")
    run(db, "update note set body = 'lost' where id = 1")
    run(db, "rollback to s")
    number = current(db)
    db.commit()
    assert after(db, number) == [(1, "a"), (2, "b"), (3, "mine")]


def test_change_after_the_transaction_began_but_before_it_wrote_shows_before_it(
    db: Db, connect: Connect
) -> None:
    filled(db)
    other = connect()
    run(db, "select * from note")
    run(other, "update note set body = 'theirs' where id = 1")
    other.commit()
    run(db, "update note set body = 'mine' where id = 2")
    number = current(db)
    db.commit()
    assert before(db, number) == [(1, "theirs"), (2, "b"), (3, "c")]


def test_transaction_that_committed_in_between_is_past_to_the_later_one(
    db: Db, connect: Connect
) -> None:
    filled(db)
    other = connect()
    run(other, "update note set body = 'long' where id = 1")
    slow = current(other)
    run(db, "update note set body = 'quick' where id = 2")
    quick = current(db)
    db.commit()
    other.commit()
    assert after(db, quick) == [(1, "a"), (2, "quick"), (3, "c")]
    assert after(db, slow) == [(1, "long"), (2, "b"), (3, "c")]


def test_unknown_transaction_is_an_error_that_says_where_ids_stand(db: Db) -> None:
    filled(db)
    query = "select * from chrononaut.as_of(null::note, transaction_id => 99999999)"
    diag = refusal(db, "P0002", query)
    assert "chrononaut.transaction" in (diag.message_hint or "")


def test_transaction_of_another_table_names_a_moment_of_this_one(db: Db) -> None:
    filled(db)
    run(db, "create table other (id int primary key)")
    run(db, "select chrononaut.create_versioning('other')")
    db.commit()
    run(db, "insert into other values (1)")
    number = current(db)
    db.commit()
    run(db, "update note set body = 'later'")
    db.commit()
    assert before(db, number) == after(db, number) == START


def test_first_transaction_of_all_began_with_nothing(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    number = current(db)
    db.commit()
    assert (before(db, number), after(db, number)) == ([], [(1, "a")])


def test_rows_from_before_versioning_are_there_as_they_were(db: Db) -> None:
    run(db, "create table note (id int primary key, body text)")
    run(db, "insert into note values (1, 'old'), (2, 'older')")
    run(db, "select chrononaut.create_versioning('note')")
    run(db, "update note set body = 'new' where id = 1")
    number = current(db)
    db.commit()
    assert before(db, number) == [(1, "old"), (2, "older")]
    assert after(db, number) == [(1, "new"), (2, "older")]


def test_two_phase_transaction_is_one_like_others(db: Db, connect: Connect) -> None:
    filled(db)
    run(db, "update note set body = 'x' where id = 1")
    number = current(db)
    run(db, "prepare transaction 'later'")
    other = connect(autocommit=True)
    run(other, "update note set body = 'meanwhile' where id = 2")
    run(other, "commit prepared 'later'")
    assert before(db, number) == START
    assert after(db, number) == [(1, "x"), (2, "b"), (3, "c")]
