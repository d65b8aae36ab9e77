"""References that restrict, circles beside exchanges, and values that checks refuse."""

import pytest

from tests.core.asking import refusal
from tests.core.undoing import ITEM, in_one, table, undo
from tests.servers import Db

STAFF = """
create table dept (id integer primary key, name text unique, head integer);
create table emp (id integer primary key,
    dept_id integer not null references dept on delete restrict);
alter table dept add foreign key (head) references emp on delete restrict;
select chrononaut.create_versioning('dept'), chrononaut.create_versioning('emp');
insert into dept values (1, 'one'), (2, 'two'), (3, 'three');
insert into emp select n, n from generate_series(1, 3) n;
update dept set head = id;
"""

CIRCLE = (
    "insert into dept values (4, 'four')",
    "insert into emp values (4, 4), (5, 4)",
    "update dept set head = 5 where id = 4",
)

EXCHANGE = (
    "update dept set name = '' where id = 1",
    "update dept set name = 'one' where id = 2",
    "update dept set name = 'two' where id = 1",
)


def back_and_forth(db: Db, *statements: str) -> None:
    """Undo *statements*, redo and undo that, and expect the same rows each time."""
    before = (table(db, "dept"), table(db, "emp"))
    done = in_one(db, *statements)
    after = (table(db, "dept"), table(db, "emp"))
    for wanted in (before, after, before):
        undo(db, done)
        assert (table(db, "dept"), table(db, "emp")) == wanted
        done = in_one(db, "select 1")


def test_rows_that_restrict_each_other(db: Db) -> None:
    in_one(db, STAFF)
    back_and_forth(db, *CIRCLE)


def test_a_circle_and_an_exchange_of_unique_values_in_one_transaction(db: Db) -> None:
    in_one(db, STAFF)
    back_and_forth(db, *CIRCLE, *EXCHANGE)


def test_a_value_that_a_row_took_over_which_refers_to_others_of_its_table(
    db: Db,
) -> None:
    in_one(
        db,
        "create table node (id integer primary key, n integer unique, up integer"
        " references node on delete set default)",
        "select chrononaut.create_versioning('node')",
        "insert into node values (1, 1, null), (2, 2, 1)",
    )
    before = table(db, "node")
    done = in_one(
        db,
        "update node set n = null where id = 1",
        "insert into node values (3, 1, 2)",
    )
    undo(db, done)
    assert table(db, "node") == before


def test_a_row_that_is_referred_to_is_explained_where_the_reference_restricts(
    db: Db,
) -> None:
    in_one(db, STAFF)
    done = in_one(db, "insert into emp values (4, 1)")
    in_one(db, "update dept set head = 4 where id = 1")
    state = "23001" if db.info.server_version >= 180000 else "23503"
    found = refusal(db, state, f"select chrononaut.undo_transaction({done})")
    assert found.message_hint == (
        "Nothing was written. Restore what is referred to first, or change what refers"
        " to it."
    )


@pytest.mark.parametrize("force", ["", ", force => true"])
def test_a_row_that_a_check_refuses_is_explained(db: Db, force: str) -> None:
    in_one(db, ITEM, "alter table item add constraint known check (a < 9 or b = 'x')")
    done = in_one(db, "update item set b = 'x' where id = 1")
    in_one(db, "update item set a = 10 where id = 1")
    found = refusal(db, "23514", f"select chrononaut.undo_transaction({done}{force})")
    assert (found.table_name, found.constraint_name, found.message_hint) == (
        "item",
        "known",
        "Nothing was written. The old values fail the check as it is now, or beside"
        " later changes of other columns, which stay.",
    )


def test_an_old_value_that_does_not_fit_any_more_is_explained(db: Db) -> None:
    in_one(db, ITEM)
    done = in_one(db, "update item set b = 'x' where id = 1")
    in_one(
        db,
        "alter table item alter b type varchar(1) using 'y'",
        "select chrononaut.sync_versioning('item')",
    )
    found = refusal(db, "22001", f"select chrononaut.undo_transaction({done})")
    assert found.message_hint == (
        "Nothing was written. An old value does not fit into the type that its column"
        " has now."
    )
