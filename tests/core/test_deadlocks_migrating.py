"""What goes by history and a migration that syncs its table lock in one order.

The migration holds the live table when it comes to the history: whoever reads the
history first and the live table afterwards would have one of the two end in a deadlock.
"""

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.core.asking import problems, rows, run, value, version_note
from tests.servers import Connect, Db

QUERIES = {
    "as_of": "select * from chrononaut.as_of(null::note, now())",
    "dry run": "select * from chrononaut.undo_transaction({transaction}, true)",
    "undo_transaction": "select * from chrononaut.undo_transaction({transaction})",
    "undo_change": "select * from chrononaut.undo_change({change}, 'note')",
    "undo_change, searching": "select * from chrononaut.undo_change({change})",
    "revert_row": "select chrononaut.revert_row('note', '1', version => 0)",
    "restore_row": "select chrononaut.restore_row('note', '2')",
    "lock_record": "select chrononaut.lock_record('note', '{{\"id\": 1}}')",
    "update": "update note set body = 'c' where id = 1",
}


def written(db: Db) -> dict[str, int]:
    """Return the last change of row 1 and its transaction; row 2 was deleted before."""
    version_note(db, ", lockable => true")
    run(db, "insert into note values (1, 'a'), (2, 'b')")
    run(db, "delete from note where id = 2")
    db.commit()
    run(db, "update note set body = 'b'")
    found = rows(db, "select max(change_id), max(transaction_id) from note_history")
    db.commit()
    return dict(zip(["change", "transaction"], found[0], strict=True))


def await_lock(db: Db, reader: Db) -> None:
    """Wait until *reader* waits for a lock on the live table, or for another."""
    waiting = "select exists (select from pg_locks where pid = %s and not granted)"
    while not value(db, waiting, [reader.info.backend_pid]):
        db.commit()


@pytest.mark.parametrize("name", QUERIES)
def test_query_that_meets_a_migration_waits_and_sees_the_new_table(
    name: str, db: Db, connect: Connect
) -> None:
    query = QUERIES[name].format(**written(db))
    migrating, reader = connect(), connect()
    for session in (migrating, reader):
        run(session, "set deadlock_timeout = '100ms'")
    reader.commit()
    run(migrating, "alter table note add extra int")
    with ThreadPoolExecutor(1) as threads:
        running: Future[None] = threads.submit(run, reader, query)
        await_lock(db, reader)
        run(migrating, "select chrononaut.sync_versioning('note')")
        migrating.commit()
        running.result()
        reader.commit()

    assert problems(db) == []
