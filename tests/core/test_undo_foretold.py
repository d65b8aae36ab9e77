"""A dry run tells what the undo would really meet, and nothing else."""

import pytest

from tests.core.asking import refusal, run
from tests.core.undoing import in_one, preview, table, undo
from tests.servers import Db

PARENTS = """
create table parent (id int primary key, code text not null unique, v int);
create table child (id int primary key, code text references parent (code){action});
"""


def conflicts(db: Db, transaction_id: int) -> list[str]:
    """Return the conflicts that a dry run tells."""
    return [row[4] for row in preview(db, transaction_id) if row[4]]


def versioned(db: Db, *tables: str) -> None:
    """Version *tables*."""
    for name in tables:
        run(db, f"select chrononaut.create_versioning('{name}')")
    db.commit()


def test_values_that_another_row_has_afterwards_are_not_missed(db: Db) -> None:
    run(db, PARENTS.format(action=""))
    versioned(db, "parent", "child")
    in_one(
        db, "insert into parent values (1, 'a', 1)", "insert into child values (1, 'a')"
    )
    before = table(db, "parent")
    done = in_one(db, "update parent set id = 2, v = 2")
    assert conflicts(db, done) == []
    undo(db, done)
    assert table(db, "parent") == before


@pytest.mark.parametrize("action", [" on delete cascade", " on delete restrict", ""])
def test_rows_that_refer_to_what_goes_are_told(db: Db, action: str) -> None:
    run(db, PARENTS.format(action=action))
    versioned(db, "parent", "child")
    done = in_one(db, "insert into parent values (1, 'a', 1), (2, 'b', 1)")
    in_one(db, "insert into child values (1, 'a')")
    assert conflicts(db, done) == ["rows of public.child refer to it"]


@pytest.mark.min_pg(18)
def test_a_foreign_key_that_is_not_enforced_is_none(db: Db) -> None:
    run(db, "create table parent (id int primary key)")
    run(
        db,
        "create table child (id int primary key, p int references parent not enforced)",
    )
    versioned(db, "parent", "child")
    in_one(db, "insert into parent values (1)")
    done = [
        in_one(db, "insert into child values (1, 7), (2, 1)"),
        in_one(db, "delete from child where id = 1", "delete from parent"),
        in_one(db, "insert into parent values (1)"),
        in_one(db, "update child set p = 9"),
    ]
    for transaction_id in reversed(done):
        assert conflicts(db, transaction_id) == []
        undo(db, transaction_id)
    assert (table(db, "parent"), table(db, "child")) == ([(1,)], [])


@pytest.mark.min_pg(18)
@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_temporal_keys_go_back_and_forth(db: Db, granularity: str) -> None:
    run(
        db,
        "create table rate (id int4range, during daterange, price int,"
        " primary key (id, during without overlaps));"
        "create table booking (id int primary key, rate int4range, during daterange,"
        " foreign key (rate, period during) references rate (id, period during))",
    )
    versioned(db, "rate", "booking")
    call = "select chrononaut.alter_versioning('rate', granularity => %s)"
    run(db, call, [granularity])
    db.commit()
    in_one(
        db,
        "insert into rate values ('[1,2)', '[2020-01-01,2021-01-01)', 1),"
        " ('[1,2)', '[2021-01-01,2022-01-01)', 2)",
        "insert into booking values (1, '[1,2)', '[2020-06-01,2021-06-01)')",
    )
    before = table(db, "rate", "1, 2")
    done = [
        in_one(db, "update rate set price = price + 1"),
        in_one(
            db, "update rate set during = '[2021-01-01,2023-01-01)' where price = 3"
        ),
    ]
    for transaction_id in reversed(done):
        assert conflicts(db, transaction_id) == []
        undo(db, transaction_id)
    assert table(db, "rate", "1, 2") == before
    made = in_one(db, "insert into rate values ('[5,6)', '[2020-01-01,2021-01-01)', 5)")
    in_one(db, "insert into booking values (2, '[5,6)', '[2020-02-01,2020-03-01)')")
    assert conflicts(db, made) == ["rows of public.booking refer to it"]


FILL = """
create function fill() returns trigger language plpgsql as
    $$ begin new.secret := 'filled'; return new; end $$;
create trigger fill before insert on item for each row execute function fill();
"""


@pytest.mark.parametrize(
    "help_", ["alter table item alter secret set default 'filled'", FILL]
)
def test_value_that_nobody_knows_is_told(db: Db, help_: str) -> None:
    run(db, "create table item (id int primary key, secret text not null, seen int)")
    options = ", hidden => '{secret}', untracked => '{seen}'"
    run(db, f"select chrononaut.create_versioning('item'{options})")
    in_one(db, "insert into item values (1, 's', 1), (2, 's', 1)")
    done = in_one(db, "delete from item where id = 1")
    unknown = "the old value of column secret is not known, and it may not be null"
    assert conflicts(db, done) == [unknown]
    refusal(db, "23502", f"select chrononaut.undo_transaction({done})")

    run(db, help_)
    assert conflicts(db, done) == []
    undo(db, done)
    assert table(db, "item") == [(1, "filled", None), (2, "s", 1)]


@pytest.mark.parametrize("key", ["integer", "uuid", "numeric", "date"])
def test_a_dry_run_names_records_that_are_locked(db: Db, key: str) -> None:
    values = {
        "integer": ("1", "2", "3"),
        "uuid": tuple(f"{n}0000000-0000-0000-0000-000000000000" for n in (1, 2, 3)),
        "numeric": ("1.50", "2.5", "3"),
        "date": ("2026-01-01", "2026-01-02", "2026-01-03"),
    }[key]
    in_one(
        db,
        f"create table bill (id {key} primary key, total integer)",
        "select chrononaut.create_versioning('bill', lockable => true)",
        *(f"insert into bill values ('{one}', 1)" for one in values[:2]),
    )
    done = in_one(
        db, "update bill set total = 2", f"insert into bill values ('{values[2]}', 3)"
    )
    for one in (values[0], values[2]):
        in_one(
            db,
            "select chrononaut.lock_record('bill',"
            f" jsonb_build_object('id', '{one}'::{key}), 'booked')",
        )
    assert [(row[1], row[4]) for row in preview(db, done)] == [
        ("update", "the record is locked"),
        ("update", None),
        ("delete", "the record is locked"),
    ]
    refusal(db, "VH010", f"select chrononaut.undo_transaction({done}, force => true)")
