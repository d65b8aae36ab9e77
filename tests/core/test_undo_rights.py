"""Who may undo: whoever may read the history and write to the live table himself."""

import psycopg
import pytest

from tests.core.asking import refusal, rows, run, value
from tests.core.undoing import ITEM, in_one, table, undo
from tests.servers import Connect, Db, MakeRole


@pytest.fixture
def done(db: Db) -> int:
    """A transaction that updated one item."""
    in_one(db, ITEM)
    return in_one(db, "update item set a = 10 where id = 1")


@pytest.fixture
def other(db: Db, role: MakeRole, connect: Connect) -> Db:
    """A connection of a role without rights."""
    return connect(role("other"))


def grant(db: Db, other: Db, rights: str, name: str = "item") -> None:
    """Grant *rights* on a table to the role of *other*, and on its history too."""
    in_one(
        db,
        f"grant {rights} on {name} to {other.info.user}",
        f"select chrononaut.sync_versioning('{name}')",
    )


def test_without_select_on_the_history(db: Db, other: Db, done: int) -> None:
    found = refusal(other, "VH006", f"select chrononaut.undo_transaction({done})")
    assert (found.message_primary, found.table_name) == (
        f"role {other.info.user} may not undo transaction {done}:"
        " it may not read the history of public.item",
        "item",
    )


def test_what_may_not_be_read_is_not_even_found_by_its_number(
    db: Db, other: Db, done: int
) -> None:
    change = value(db, "select max(change_id) from item_history")
    refusal(other, "P0002", f"select chrononaut.undo_change({change})")
    refusal(other, "VH006", f"select chrononaut.undo_change({change}, 'item')")
    refusal(other, "VH006", "select chrononaut.revert_row('item', '1', version => 0)")
    refusal(other, "VH006", "select chrononaut.restore_row('item', '1')")


def test_a_reader_may_look_but_not_undo(db: Db, other: Db, done: int) -> None:
    grant(db, other, "select")
    shown = rows(
        other, f"select * from chrononaut.undo_transaction({done}, dry_run => true)"
    )
    assert len(shown) == 1
    refusal(other, "42501", f"select chrononaut.undo_transaction({done})")
    refusal(other, "42501", "select chrononaut.revert_row('item', '1', version => 0)")


def test_a_dry_run_asks_no_tables_that_the_reader_may_not_read(
    db: Db, other: Db, done: int
) -> None:
    in_one(
        db,
        "create table part (id integer primary key, item_id integer references item)",
        "create schema secret",
        "create table secret.kind (id integer primary key)",
        "alter table item add foreign key (a) references secret.kind not valid",
    )
    grant(db, other, "select")
    shown = rows(
        other,
        f"select operation, conflict from chrononaut.undo_transaction({done},"
        " dry_run => true)",
    )
    assert shown == [("update", None)]


def test_a_writer_may_undo(db: Db, other: Db, done: int) -> None:
    grant(db, other, "select, update")
    undo(other, done)
    assert table(db)[0][1] == 1
    assert value(
        db, "select db_user from chrononaut.transaction order by id desc limit 1"
    ) == (other.info.user)


def test_who_may_only_delete_can_undo_an_insert(db: Db, other: Db, done: int) -> None:
    inserted = in_one(db, "insert into item values (4, 4, 'b4', 'c')")
    grant(db, other, "select, delete")
    undo(other, inserted)
    assert len(table(db)) == 3


def test_one_table_without_rights_stops_all(db: Db, other: Db, done: int) -> None:
    in_one(
        db,
        "create table secret (id integer primary key)",
        "select chrononaut.create_versioning('secret')",
    )
    both = in_one(db, "update item set a = 5", "insert into secret values (1)")
    grant(db, other, "select, update")
    refusal(other, "VH006", f"select chrononaut.undo_transaction({both})")
    assert table(db)[0][1] == 5


def test_row_level_security_holds(db: Db, other: Db, done: int) -> None:
    run(db, "alter table item enable row level security")
    run(db, "create policy mine on item using (id = 2)")
    grant(db, other, "select, update")
    refusal(other, "VH006", f"select chrononaut.undo_transaction({done})")


def test_a_role_without_temporary_tables_may_undo(db: Db, other: Db, done: int) -> None:
    name = value(db, "select current_database()")
    in_one(db, f'revoke temporary on database "{name}" from public')
    grant(db, other, "select, update")
    undo(other, done)
    assert table(db)[0][1] == 1


def test_a_definer_function_does_not_lend_the_right_to_read_history(
    db: Db, other: Db, done: int
) -> None:
    in_one(
        db,
        "create function undo_it(bigint) returns bigint language sql security definer"
        " as 'select sum(rows) from chrononaut.undo_transaction($1)'",
    )
    with pytest.raises(psycopg.Error) as caught:
        run(other, f"select undo_it({done})")
    assert caught.value.sqlstate == "VH006"
