"""An undo puts back what it foretold, whatever triggers of the application write."""

import pytest

from tests.core.asking import rows
from tests.core.undoing import in_one, preview, table, undo
from tests.servers import Db

SHOP = """
create table shelf (id integer primary key, books integer not null default 0,
    touched integer not null default 0);
create table book (id integer primary key, shelf_id integer not null references shelf);
create function count_book() returns trigger language plpgsql as $$
begin
    if tg_op in ('DELETE', 'UPDATE') then
        update shelf set books = books - 1 where id = old.shelf_id;
    end if;
    if tg_op in ('INSERT', 'UPDATE') then
        update shelf set books = books + 1 where id = new.shelf_id;
    end if;
    return null;
end $$;
create trigger counted after insert or delete or update of shelf_id on book
    for each row execute function count_book();
select chrononaut.create_versioning('shelf'{0}), chrononaut.create_versioning('book');
insert into shelf values (1), (2);
insert into book select n, 1 + n % 2 from generate_series(1, 4) n;
"""


@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize(
    "statements",
    [
        ["delete from book where id < 3"],
        ["insert into book values (5, 1), (6, 1)"],
        ["update book set shelf_id = 1"],
        ["delete from book where shelf_id = 1", "delete from shelf where id = 1"],
        ["insert into shelf values (3)", "update book set shelf_id = 3 where id = 1"],
        ["delete from book", "insert into book values (1, 1), (7, 2)"],
    ],
)
def test_a_counter_is_right_after_every_undo(
    db: Db, statements: list[str], granularity: str
) -> None:
    in_one(db, SHOP.format(f", granularity => '{granularity}'"))
    before = (table(db, "shelf"), table(db, "book"))
    done = in_one(db, *statements)
    after = (table(db, "shelf"), table(db, "book"))
    for wanted in (before, after, before):
        undo(db, done)
        assert (table(db, "shelf"), table(db, "book")) == wanted
        done = in_one(db, "select 1")


def test_what_a_trigger_sets_in_the_row_itself_is_written_once(db: Db) -> None:
    in_one(
        db,
        SHOP.format(""),
        """
        create function touch() returns trigger language plpgsql as
            'begin new.touched := old.touched + 1; return new; end';
        create trigger touched before update on shelf
            for each row execute function touch();
        """,
    )
    done = in_one(db, "update shelf set books = 9 where id = 1")
    assert preview(db, done) == [
        (
            {"id": 1},
            "update",
            {"books": 9, "touched": 1},
            {"books": 2, "touched": 0},
            None,
        )
    ]
    undo(db, done)
    written = rows(
        db,
        "select count(*) from shelf_history where transaction_id ="
        " (select max(id) from chrononaut.transaction)",
    )
    assert (table(db, "shelf")[0], written) == ((1, 2, 2), [(1,)])
