"""undo_transaction where no order of tables or rows would do: circles and exchanges."""

import pytest

from tests.core.asking import refusal, run
from tests.core.undoing import in_one, preview, table, undo
from tests.servers import Db

STAFF = """
create table dept (id integer primary key, head integer);
create table emp (id integer primary key, dept_id integer not null references dept{});
alter table dept add constraint dept_head foreign key (head) references emp{};
select chrononaut.create_versioning('dept'{}), chrononaut.create_versioning('emp'{});
insert into dept values (1, null);
insert into emp values (1, 1), (2, 1);
update dept set head = 1;
"""

PLACES = """
create table place (id integer primary key, list integer not null default 1,
    n integer not null, secret text default 'unset', word text);
select chrononaut.create_versioning('place', hidden => '{secret}');
insert into place (id, n, secret, word) select i, i, 's' || i, 'w' || i
from generate_series(1, 4) i;
"""

SWAP = (
    "update place set n = -1 where id = 1",
    "update place set n = 1 where id = 2",
    "update place set n = 2 where id = 1",
)

ROTATION = (
    "update place set n = 0 where id = 4",
    *(f"update place set n = {n + 1} where id = {n}" for n in (3, 2, 1)),
    "update place set n = 1, word = 'first' where id = 4",
)


def back_and_forth(db: Db, tables: tuple[str, ...], *statements: str) -> None:
    """Undo *statements*, redo and undo that, and expect the same rows each time."""

    def all_rows() -> list[object]:
        return [table(db, name) for name in tables]

    before = all_rows()
    done = in_one(db, *statements)
    after = all_rows()
    for wanted in (before, after, before):
        undo(db, done)
        assert all_rows() == wanted
        done = in_one(db, "select 1")


@pytest.mark.parametrize("action", ["", " on delete cascade", " on delete set null"])
@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_rows_that_refer_to_each_other(db: Db, action: str, granularity: str) -> None:
    option = f", granularity => '{granularity}'"
    child = " on delete cascade" if action else ""
    in_one(db, STAFF.format(child, action, option, option))
    tables = "dept", "emp"
    back_and_forth(
        db,
        tables,
        "insert into dept values (2, null)",
        "insert into emp values (3, 2)",
        "update dept set head = 3 where id = 2",
    )
    back_and_forth(
        db,
        tables,
        "update dept set head = null where id = 1",
        "delete from emp",
        "delete from dept",
    )


def test_rows_that_one_statement_made_for_each_other(db: Db) -> None:
    in_one(db, STAFF.format("", "", "", ""))
    back_and_forth(
        db,
        ("dept", "emp"),
        "with d as (insert into dept values (7, 7)) insert into emp values (7, 7)",
    )


def test_a_circle_to_which_others_refer_is_a_conflict(db: Db) -> None:
    in_one(db, STAFF.format(" on delete cascade", " on delete set null", "", ""))
    done = in_one(
        db,
        "insert into dept values (2, null)",
        "insert into emp values (3, 2)",
        "update dept set head = 3 where id = 2",
    )
    in_one(db, "insert into emp values (4, 2)")
    found = refusal(db, "VH007", f"select chrononaut.undo_transaction({done})")
    assert (found.table_name, found.column_name, found.message_detail) == (
        "dept",
        "id",
        '{"id": 2}: rows of public.emp refer to it',
    )


@pytest.mark.parametrize(
    "unique",
    [
        "unique (n)",
        "unique (list, n)",
        "exclude using btree (n with =)",
    ],
)
@pytest.mark.parametrize("statements", [SWAP, ROTATION])
def test_rows_exchange_unique_values(
    db: Db, unique: str, statements: tuple[str, ...]
) -> None:
    in_one(db, PLACES, f"alter table place add {unique}")
    back_and_forth(db, ("place",), *statements)


def test_rows_of_several_tables_exchange_unique_values(db: Db) -> None:
    in_one(db, PLACES, "alter table place add unique (n)")
    seat = PLACES.replace("place", "seat").replace("integer", "numeric")
    in_one(db, seat, "alter table seat add unique (n)")
    swaps = (*SWAP, *(statement.replace("place", "seat") for statement in SWAP))
    back_and_forth(db, ("place", "seat"), *swaps)


def test_rows_exchange_values_of_a_unique_expression(db: Db) -> None:
    in_one(db, PLACES, "create unique index on place (abs(n) desc) where n > 0")
    back_and_forth(db, ("place",), *SWAP)


def test_only_what_the_transaction_changed_is_exchanged(db: Db) -> None:
    in_one(db, PLACES, "alter table place add unique (list, n)")
    done = in_one(db, *SWAP)
    in_one(db, "update place set word = 'later' where id = 1")
    in_one(db, "update place set list = 2 where id in (1, 2)")
    undo(db, done)
    assert table(db, "place")[:2] == [
        (1, 2, 1, "s1", "later"),
        (2, 2, 2, "s2", "w2"),
    ]


def test_an_exchange_beside_rows_that_come_and_go(db: Db) -> None:
    in_one(db, PLACES, "alter table place add unique (n)")
    back_and_forth(
        db,
        ("(select id, list, n, word from place) p",),
        "delete from place where id = 4",
        *SWAP,
        "update place set n = 4 where id = 3",
        "insert into place (id, n) values (5, 3)",
    )


def test_a_value_that_another_row_has_now_is_named_and_nothing_is_written(
    db: Db,
) -> None:
    in_one(db, PLACES, "alter table place add constraint place_n unique (n)")
    done = in_one(db, "update place set n = 9, word = 'x' where id = 1", *SWAP[1:2])
    in_one(db, "insert into place (id, n) values (6, 2)")
    before = table(db, "place")
    found = refusal(db, "23505", f"select chrononaut.undo_transaction({done})")
    assert (
        found.constraint_name,
        found.message_detail,
        found.message_hint,
        table(db, "place"),
    ) == (
        "place_n",
        "Key (n)=(2) already exists.",
        "Nothing was written. Change the row that has the value now; where rows"
        " exchange values, the constraint has to be deferrable.",
        before,
    )


@pytest.mark.parametrize("action", ["", " on delete cascade"])
def test_a_dry_run_foresees_rows_that_refer_to_what_would_be_deleted(
    db: Db, action: str
) -> None:
    in_one(db, STAFF.format(action, "", "", ""))
    done = in_one(
        db,
        "insert into dept values (2, 1), (3, 1)",
        "insert into emp values (3, 2)",
    )
    run(db, "insert into emp values (4, 3)")
    assert [(row[0], row[1], row[4]) for row in preview(db, done)] == [
        ({"id": 2}, "delete", None),
        ({"id": 3}, "delete", "rows of public.emp refer to it"),
        ({"id": 3}, "delete", None),
    ]


def test_a_dry_run_foresees_that_what_a_row_would_refer_to_is_gone(db: Db) -> None:
    in_one(db, STAFF.format("", "", "", ""))
    in_one(
        db,
        "insert into dept values (2, 1), (3, 1), (4, 1)",
        "insert into emp values (3, 2), (4, 3), (5, 4), (6, 4)",
    )
    done = in_one(
        db,
        "delete from emp where id = 3",
        "update emp set dept_id = 1 where id = 4",
        "delete from emp where id = 5",
        "update emp set dept_id = 1 where id = 6",
        "delete from dept where id = 4",
    )
    in_one(db, "delete from dept where id in (2, 3)")
    assert [(row[0], row[1], row[4]) for row in preview(db, done)] == [
        ({"id": 4}, "insert", None),
        ({"id": 3}, "insert", "the row of public.dept that it refers to is gone"),
        ({"id": 4}, "update", "the row of public.dept that it refers to is gone"),
        ({"id": 5}, "insert", None),
        ({"id": 6}, "update", None),
    ]
    refusal(db, "23503", f"select chrononaut.undo_transaction({done})")


def test_columns_may_be_called_as_the_undo_calls_rows(db: Db) -> None:
    in_one(
        db,
        """
        create table b (b integer primary key, h integer unique, l text, p text);
        create table h (h integer primary key, b integer references b, c integer,
            r text, u text, image text, k text);
        select chrononaut.create_versioning('b'), chrononaut.create_versioning('h');
        insert into b select n, n, 'l', 'p' from generate_series(1, 3) n;
        insert into h select n, n, n, 'r', 'u', 'i', 'k' from generate_series(1, 3) n;
        """,
    )
    back_and_forth(
        db,
        ("b", "h"),
        "update b set h = -1, p = 'x' where b = 1",
        "update b set h = 1, l = 'y' where b = 2",
        "update b set h = 2 where b = 1",
        "delete from h where h = 3",
        "delete from b where b = 3",
    )
    done = in_one(db, "delete from h where h = 1")
    in_one(db, "delete from b where b = 1")
    [(*_, conflict)] = preview(db, done)
    assert conflict == "the row of public.b that it refers to is gone"


def test_a_value_that_is_taken_is_named_whatever_else_there_is_to_set(db: Db) -> None:
    in_one(db, "create table t (id int primary key, code text unique, v int)")
    in_one(db, "select chrononaut.create_versioning('t')")
    in_one(db, "insert into t values (1, 'a', 1), (2, 'b', 1)")
    done = in_one(db, "update t set v = 2 where id = 1", "delete from t where id = 2")
    in_one(db, "insert into t values (3, 'b', 1)")
    call = f"select chrononaut.undo_transaction({done})"
    diag = refusal(db, "23505", call)
    assert (diag.table_name, diag.constraint_name) == ("t", "t_code_key")
    assert "Nothing was written" in (diag.message_hint or "")


def test_a_deferrable_value_that_is_taken_is_named(db: Db) -> None:
    in_one(db, "create table t (id int primary key, n int unique deferrable)")
    in_one(db, "select chrononaut.create_versioning('t')")
    in_one(db, "insert into t values (1, 1)")
    done = in_one(db, "update t set n = 2")
    in_one(db, "insert into t values (2, 1)")
    diag = refusal(db, "23505", f"select chrononaut.undo_transaction({done})")
    assert (diag.table_name, diag.constraint_name) == ("t", "t_n_key")
