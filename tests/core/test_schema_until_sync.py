"""What is recorded and what is refused between DDL and its sync_versioning."""

import psycopg
import pytest

from tests.core.asking import run, value, version_note
from tests.servers import Connect, Db

GOES_ON = [
    "alter table note add column extra text default 'x'",
    "alter table note alter column seen drop not null",
    "alter table note alter column seen type integer using 5",
]
REFUSED = [
    "alter table note drop column body",
    "alter table note rename body to content",
    "alter table note alter column seen type text",
]
TYPES = [
    "alter table note alter column seen type bigint",
    "alter table note alter column body type varchar(20)",
]


def outcome(db: Db, connect: Connect, granularity: str, ddl: str) -> dict[str, str]:
    """Return what becomes of a write before the sync: in a new and an old session."""
    version_note(db, f", granularity => '{granularity}'")
    old = connect(autocommit=True)
    for number in range(7):
        run(old, "insert into note (id) values (%s)", [number])
    run(db, ddl)
    db.commit()
    found: dict[str, str] = {}
    sessions = {"old": old, "new": connect(autocommit=True)}
    for name, session in sessions.items():
        try:
            run(session, "insert into note (id) values (%s)", [100 + len(found)])
            found[name] = "recorded"
        except psycopg.Error as error:
            found[name] = error.sqlstate or ""
    run(db, "select chrononaut.sync_versioning('note')")
    db.commit()
    run(old, "insert into note (id) values (200)")
    kept = "(select count(*) from note) - (select count(*) from note_history)"
    assert value(db, f"select {kept}") == 0
    return found


@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize("ddl", [*GOES_ON, *REFUSED, *TYPES])
def test_write_before_the_sync_is_recorded_or_refused_as_the_docs_say(
    db: Db, connect: Connect, granularity: str, ddl: str
) -> None:
    expected = {
        "old": "VH005"
        if ddl in REFUSED or (ddl in TYPES and granularity == "row")
        else "recorded",
        "new": "VH005" if ddl in REFUSED else "recorded",
    }
    assert outcome(db, connect, granularity, ddl) == expected
