"""What tests of record locks share: a lockable table, and ways to lock its records."""

from typing import Any

from psycopg.types.json import Jsonb

from tests.core.asking import run, value
from tests.servers import Db

ITEM = "create table item (id int primary key, v text, n int default 0)"


def lockable(db: Db, options: str = "", table: str = "item") -> None:
    """Version the existing table *table* as lockable, with further *options*."""
    run(
        db, f"select chrononaut.create_versioning('{table}', lockable => true{options})"
    )


def create_items(db: Db, options: str = "") -> None:
    """Create the lockable table `item` with two rows; commit."""
    run(db, ITEM)
    lockable(db, options)
    run(db, "insert into item values (1, 'a'), (2, 'b')")
    db.commit()


def lock(db: Db, key: Any, why: str | None = None, table: str = "item") -> Any:
    """Lock the record with the key *key*; return the key as it was understood."""
    query = "select chrononaut.lock_record(%s::regclass, %s, %s)"
    return value(db, query, [table, Jsonb(key), why])


def unlock(db: Db, key: Any, why: str | None = None, table: str = "item") -> Any:
    """Unlock a record; return whether it was locked."""
    query = "select chrononaut.unlock_record(%s::regclass, %s, %s)"
    return value(db, query, [table, Jsonb(key), why])
