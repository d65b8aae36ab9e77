"""Marks: a named moment is exactly what its transaction saw."""

import pytest

from tests.core.asking import refusal, rows, run, value, version_note
from tests.servers import Connect, Db, MakeRole


def bodies(db: Db, mark: str) -> list[tuple[int, str]]:
    """Return the notes as they were at *mark*."""
    query = "select id, body from chrononaut.as_of(null::note, mark => %s) order by id"
    return rows(db, query, [mark])


def mark(db: Db, name: str) -> None:
    run(db, "select chrononaut.mark(%s)", [name])


def test_mark_holds_what_its_own_transaction_wrote_before_it(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a'), (2, 'b'), (3, 'c')")
    mark(db, "one")
    run(db, "update note set body = 'x' where id = 1")
    run(db, "update note set id = 4 where id = 2")
    mark(db, "two")
    run(db, "update note set body = 'y' where id = 1")
    run(db, "delete from note where id = 3")
    mark(db, "three")
    run(db, "truncate note")
    found = {name: bodies(db, name) for name in ("one", "two", "three")}
    db.commit()
    assert found == {
        "one": [(1, "a"), (2, "b"), (3, "c")],
        "two": [(1, "x"), (3, "c"), (4, "b")],
        "three": [(1, "y"), (4, "b")],
    }
    assert {name: bodies(db, name) for name in found} == found


def test_savepoint_that_is_rolled_back_after_a_mark_leaves_nothing(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "savepoint outer_one")
    run(db, "update note set body = 'lost'")
    run(db, "rollback to outer_one")
    mark(db, "kept")
    run(db, "savepoint inner_one")
    run(db, "update note set body = 'lost as well'")
    mark(db, "gone")
    run(db, "rollback to inner_one")
    run(db, "update note set body = 'b'")
    db.commit()
    assert bodies(db, "kept") == [(1, "a")]
    refusal(db, "P0002", "select * from chrononaut.as_of(null::note, mark => 'gone')")


@pytest.mark.parametrize("ended", ["", "commit", "rollback"])
def test_mark_shows_no_transaction_that_was_running(
    db: Db, connect: Connect, ended: str
) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a'), (2, 'a')")
    db.commit()
    other, later = connect(), connect()
    run(other, "update note set body = 'b' where id = 1")
    if ended:  # a younger transaction has ended: its id is not the first that is later
        run(later, "update note set body = 'c' where id = 2")
        run(later, ended)
    mark(db, "while running")
    db.commit()
    other.commit()
    mark(db, "afterwards")
    second = "c" if ended == "commit" else "a"
    assert bodies(db, "while running") == [(1, "a"), (2, second)]
    assert bodies(db, "afterwards") == [(1, "b"), (2, second)]


def test_mark_under_repeatable_read_is_the_snapshot_of_the_transaction(
    db: Db, connect: Connect
) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    db.commit()
    reader = connect()
    run(reader, "set transaction isolation level repeatable read")
    saw = rows(reader, "select id, body from note")
    run(db, "update note set body = 'b'")
    db.commit()
    mark(reader, "of the snapshot")
    reader.commit()
    assert bodies(db, "of the snapshot") == saw == [(1, "a")]


def test_name_that_is_taken_is_vh004_and_can_be_had_after_drop_mark(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    mark(db, 'it\'s "mine"')
    diag = refusal(db, "VH004", "select chrononaut.mark('it''s \"mine\"')")
    assert (diag.schema_name, diag.table_name) == ("chrononaut", "mark")
    assert "drop_mark" in (diag.message_hint or "")
    run(db, "update note set body = 'b'")
    assert value(db, "select chrononaut.drop_mark('it''s \"mine\"')") is True
    assert value(db, "select chrononaut.drop_mark('it''s \"mine\"')") is False
    mark(db, 'it\'s "mine"')
    assert bodies(db, 'it\'s "mine"') == [(1, "b")]


def test_two_sessions_that_choose_one_name_do_not_both_get_it(
    db: Db, connect: Connect
) -> None:
    version_note(db)
    other = connect()
    run(other, "set transaction isolation level repeatable read")
    run(other, "select 1")
    mark(db, "same")
    db.commit()
    refusal(other, "40001", "select chrononaut.mark('same')")
    other.rollback()
    refusal(other, "VH004", "select chrononaut.mark('same')")


@pytest.mark.parametrize("name", ["''", "null"])
def test_mark_needs_a_name(db: Db, name: str) -> None:
    refusal(db, "22023", f"select chrononaut.mark({name})")


def test_unknown_mark_is_an_error_that_says_how_to_make_one(db: Db) -> None:
    version_note(db)
    query = "select * from chrononaut.as_of(null::note, mark => 'never')"
    diag = refusal(db, "P0002", query)
    assert "chrononaut.marks" in (diag.message_hint or "")


@pytest.mark.parametrize(
    "moment",
    [
        "",
        ", at => now(), mark => 'm'",
        ", at => now(), transaction_id => 1",
        ", mark => 'm', before => true",
        ", at => now(), before => true",
        ", at => null",
    ],
)
def test_exactly_one_moment_must_be_named(db: Db, moment: str) -> None:
    version_note(db)
    mark(db, "m")
    refusal(db, "22023", f"select * from chrononaut.as_of(null::note{moment})")


def test_mark_is_dropped_only_by_its_maker_and_members_of_the_owner(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    maker, other = role("maker"), role("other")
    session = connect(maker)
    mark(session, "mine")
    mark(session, "owners")
    session.commit()
    stranger = connect(other)
    diag = refusal(stranger, "VH006", "select chrononaut.drop_mark('mine')")
    assert maker in (diag.message_hint or "")
    run(stranger, "set chrononaut.amending = on")
    refusal(stranger, "42501", "delete from chrononaut.mark")
    assert rows(stranger, "select name, made_by from chrononaut.marks order by 1") == [
        ("mine", maker),
        ("owners", maker),
    ]
    assert value(session, "select chrononaut.drop_mark('mine')") is True
    assert value(db, "select chrononaut.drop_mark('owners')") is True


def test_mark_is_made_by_the_role_that_was_set(db: Db, role: MakeRole) -> None:
    maker = role("maker")
    run(db, f"set role {maker}")
    mark(db, "mine")
    run(db, "reset role")
    assert rows(db, "select name, made_by from chrononaut.marks") == [("mine", maker)]


def test_read_only_transaction_cannot_mark_but_can_return_to_one(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    mark(db, "before")
    run(db, "update note set body = 'b'")
    db.commit()
    run(db, "set transaction read only")
    refusal(db, "25006", "select chrononaut.mark('now')")
    assert bodies(db, "before") == [(1, "a")]


def test_mark_of_a_prepared_transaction_holds_after_it_was_committed(
    db: Db, connect: Connect
) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    db.commit()
    run(db, "update note set body = 'b'")
    mark(db, "between")
    run(db, "update note set body = 'c'")
    run(db, "prepare transaction 'p'")
    other = connect(autocommit=True)
    run(other, "commit prepared 'p'")
    assert bodies(other, "between") == [(1, "b")]
