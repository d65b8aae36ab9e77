"""undo_transaction across tables: foreign keys in every direction, unique values."""

import pytest

from tests.core.asking import refusal, rows, run, value
from tests.core.undoing import NEWEST, in_one, preview, table, undo
from tests.servers import Db


@pytest.fixture
def shop(db: Db) -> Db:
    """Parents 1 and 2 with children 1 to 3, of parents 1, 1 and 2."""
    in_one(
        db,
        """
        create table child (id integer primary key, parent_id integer not null);
        create table parent (id integer primary key, name text unique);
        alter table child add foreign key (parent_id) references parent;
        select chrononaut.create_versioning('child');
        select chrononaut.create_versioning('parent');
        insert into parent values (1, 'a'), (2, 'b');
        insert into child values (1, 1), (2, 1), (3, 2);
        """,
    )
    return db


def unchanged_by_undo(db: Db, *statements: str) -> None:
    """Undo *statements*, then redo them, and expect the same rows each time."""
    before = table(db, "parent"), table(db, "child")
    done = in_one(db, *statements)
    after = table(db, "parent"), table(db, "child")
    undo(db, done)
    assert (table(db, "parent"), table(db, "child")) == before
    undo(db, in_one(db, "select 1"))
    assert (table(db, "parent"), table(db, "child")) == after


def test_deleted_parents_come_back_before_their_children(shop: Db) -> None:
    unchanged_by_undo(
        shop, "delete from child where parent_id = 1", "delete from parent where id = 1"
    )


def test_inserted_children_go_before_their_parents(shop: Db) -> None:
    unchanged_by_undo(
        shop, "insert into parent values (3, 'c')", "insert into child values (4, 3)"
    )


def test_children_that_moved_move_back_before_the_new_parent_goes(shop: Db) -> None:
    unchanged_by_undo(
        shop,
        "insert into parent values (3, 'c')",
        "update child set parent_id = 3 where parent_id = 1",
        "delete from parent where id = 1",
    )


def test_a_unique_value_that_changed_hands(shop: Db) -> None:
    unchanged_by_undo(
        shop,
        "delete from child where parent_id = 2",
        "delete from parent where id = 2",
        "insert into parent values (3, 'b')",
    )


def test_a_cascade_is_undone_with_what_caused_it(shop: Db) -> None:
    run(
        shop,
        "alter table child drop constraint child_parent_id_fkey,"
        " add foreign key (parent_id) references parent"
        " on delete cascade on update cascade",
    )
    unchanged_by_undo(shop, "delete from parent")
    unchanged_by_undo(
        shop, "insert into parent values (3, 'c')", "insert into child values (4, 3)"
    )


def test_a_changed_key_that_cascaded(shop: Db) -> None:
    run(
        shop,
        "alter table child drop constraint child_parent_id_fkey,"
        " add foreign key (parent_id) references parent on update cascade",
    )
    unchanged_by_undo(shop, "update parent set id = 10 where id = 1")


def test_tables_that_refer_to_each_other_with_deferrable_keys(db: Db) -> None:
    in_one(
        db,
        """
        create table parent (id integer primary key, favourite integer not null);
        create table child (id integer primary key,
            parent_id integer not null references parent deferrable);
        alter table parent add foreign key (favourite) references child deferrable
            initially deferred;
        select chrononaut.create_versioning('child');
        select chrononaut.create_versioning('parent');
        insert into parent values (1, 1);
        insert into child values (1, 1);
        """,
    )
    unchanged_by_undo(
        db,
        "insert into parent values (2, 2)",
        "insert into child values (2, 2)",
    )
    unchanged_by_undo(
        db,
        "set constraints all deferred",
        "delete from parent",
        "delete from child",
    )


def test_a_violation_of_a_deferred_key_is_raised_by_the_undo_itself(shop: Db) -> None:
    run(
        shop,
        "alter table child alter constraint child_parent_id_fkey deferrable",
    )
    done = in_one(shop, "insert into parent values (3, 'c')")
    in_one(shop, "insert into child values (9, 3)")
    found = refusal(shop, "23503", f"select chrononaut.undo_transaction({done})")
    assert (found.table_name, found.constraint_name) == (
        "child",
        "child_parent_id_fkey",
    )


def test_a_table_that_refers_to_itself(db: Db) -> None:
    in_one(
        db,
        """
        create table parent (id integer primary key,
            parent_id integer references parent on delete cascade);
        create table child (id integer);
        select chrononaut.create_versioning('parent');
        insert into parent values (1, null), (2, 1), (3, 2);
        """,
    )
    unchanged_by_undo(db, "delete from parent where id = 2")
    unchanged_by_undo(
        db,
        "insert into parent values (3, 1)",
        "insert into parent values (4, 3)",
        "insert into parent values (5, 4)",
        "update parent set parent_id = 4 where id = 3",
        "update parent set parent_id = 1 where id = 4",
    )


def test_joined_inheritance(db: Db) -> None:
    in_one(
        db,
        """
        create table parent (id integer primary key, name text);
        create table child (id integer primary key references parent on delete cascade,
            wage integer);
        select chrononaut.create_versioning('parent');
        select chrononaut.create_versioning('child', parent => 'parent');
        insert into parent values (1, 'Ann'), (2, 'Bea');
        insert into child values (1, 10);
        """,
    )
    unchanged_by_undo(db, "update parent set name = 'x'", "update child set wage = 1")
    unchanged_by_undo(db, "delete from parent where id = 1")
    unchanged_by_undo(
        db, "insert into parent values (3, 'c')", "insert into child values (3, 1)"
    )


def test_the_dry_run_names_every_table(shop: Db) -> None:
    done = in_one(
        shop,
        "delete from child where parent_id = 2",
        "delete from parent where id = 2",
    )
    assert preview(shop, done) == [
        ({"id": 3}, "insert", None, {"id": 3, "parent_id": 2}, None),
        ({"id": 2}, "insert", None, {"id": 2, "name": "b"}, None),
    ]


def test_a_transaction_over_many_tables_that_refer_to_each_other_is_undone(
    db: Db,
) -> None:
    count = 50
    for n in range(count):
        other = f"references t{n - 1}" if n else ""
        run(db, f"create table t{n} (id int primary key, other int {other})")
        run(db, f"select chrononaut.create_versioning('t{n}')")
    names = [f"public.t{n}" for n in range(count)]
    in_one(db, *(f"insert into {name} values (1, 1)" for name in names))
    gone = in_one(db, *(f"delete from {name}" for name in reversed(names)))
    assert undo(db, gone) == [(name, "insert", 1, None) for name in sorted(names)]
    assert in_order(db) == names
    assert undo(db, newest(db)) == [(name, "delete", 1, None) for name in sorted(names)]
    assert in_order(db) == names[::-1]


def newest(db: Db) -> int:
    return int(value(db, NEWEST) or 0)


def in_order(db: Db) -> list[str]:
    """Return the tables that the newest transaction changed, in that order."""
    changes = f"select relation::text from chrononaut.changes_of({newest(db)})"
    return [name for (name,) in rows(db, changes)]
