"""An undo takes no square time where statistics are older than the transaction."""

import pytest

from tests.core.asking import run
from tests.core.undoing import in_one, table, undo
from tests.servers import Db

ROWS = 10_000
"""A square of them takes a minute, and one by one they take a second."""


def filled(db: Db) -> list[tuple[object, ...]]:
    """Create a table whose history was analyzed before anything else was changed."""
    in_one(
        db,
        "create table item (id integer primary key, a integer, b text)",
        "select chrononaut.create_versioning('item')",
        f"insert into item select n, n, 'b' from generate_series(1, {ROWS}) n",
        "analyze item, item_history",
    )
    return table(db)


@pytest.mark.parametrize(
    "statement",
    [
        "update item set a = a + 1",
        "update item set a = a + 1, b = null where id > 1",
        "delete from item",
        "update item set id = id + 100000",
    ],
)
def test_undo_of_many_rows_that_the_statistics_do_not_know(
    db: Db, statement: str
) -> None:
    before = filled(db)
    done = in_one(db, statement)
    run(db, "set statement_timeout = '20s'")
    undo(db, done)
    assert table(db) == before
