"""Short ways to make transactions and to undo them, for the tests of undo."""

from typing import Any

from tests.core.asking import rows, run, value
from tests.servers import Db

ITEM = """
create table item (
    id integer primary key,
    a integer,
    b text,
    c text not null default 'new'
);
select chrononaut.create_versioning('item');
insert into item (id, a, b) select n, n, 'b' || n from generate_series(1, 3) n;
"""

NEWEST = "select max(id) from chrononaut.transaction"


def in_one(db: Db, *statements: str) -> int:
    """Commit *statements* as one transaction, and return its number."""
    for statement in statements:
        run(db, statement)
    db.commit()
    return int(value(db, NEWEST) or 0)


def undo(db: Db, transaction_id: int, options: str = "") -> list[tuple[Any, ...]]:
    """Undo a transaction and commit; return relation, operation, rows and conflict."""
    done = rows(
        db,
        "select relation, operation, rows, conflict from"
        f" chrononaut.undo_transaction({transaction_id}{options}) order by 1, 2",
    )
    db.commit()
    return done


def preview(db: Db, transaction_id: int) -> list[tuple[Any, ...]]:
    """Return key, operation, before, after and conflict of every row of a dry run."""
    return rows(
        db,
        "select key, operation, before, after, conflict from"
        f" chrononaut.undo_transaction({transaction_id}, dry_run => true)"
        " order by relation, key",
    )


def table(db: Db, name: str = "item", order: str = "1") -> list[tuple[Any, ...]]:
    """Return all rows of a table."""
    return rows(db, f"select * from {name} order by {order}")
