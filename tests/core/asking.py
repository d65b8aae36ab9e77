"""Short ways to ask a database and to expect its refusals, for the SQL tests."""

from typing import Any

import psycopg
import pytest
from psycopg.errors import Diagnostic

from tests.servers import Db

NOTE = """
create table public.note (
    id integer primary key,
    body text,
    secret text,
    seen integer not null default 0
);
"""


def run(db: Db, query: str, parameters: Any = None) -> None:
    """Execute *query*, which may be a text put together by a test."""
    db.execute(query.encode(), parameters)


def rows(db: Db, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Return all rows of *query*."""
    return list(db.execute(query.encode(), parameters).fetchall())


def value(db: Db, query: str, parameters: Any = None) -> Any:
    """Return the first column of the only row of *query*."""
    [[found]] = rows(db, query, parameters)
    return found


def refusal(db: Db, code: str, query: str, parameters: Any = None) -> Diagnostic:
    """Expect SQLSTATE *code* from *query*; the transaction goes on as before it."""
    with pytest.raises(psycopg.Error) as caught, db.transaction():
        run(db, query, parameters)
    assert caught.value.sqlstate == code, caught.value
    return caught.value.diag


def version_note(db: Db, options: str = "") -> None:
    """Create the table public.note and version it with *options*."""
    run(db, NOTE)
    run(db, f"select chrononaut.create_versioning('public.note'{options})")
    db.commit()


def infos(db: Db, table: str = "public.note_history") -> list[Any]:
    """Return the change info of every change in *table*, in order."""
    query = f"select change_info from {table} order by change_id"
    return [info for [info] in rows(db, query)]


def problems(db: Db) -> list[str]:
    """Return what check_versioning() reports."""
    return [row[1] for row in rows(db, "select * from chrononaut.check_versioning()")]
