"""kill -9 of the postmaster under load: live rows and history agree afterwards."""

import contextlib
import threading

import psycopg

from chrononaut_pg import core
from tests.servers import NewServer

CHECK = """
select a.id, a.v
from account a
where a.v <> (
    select count(*) from account_history h where h.id = a.id and h.operation = 'U')
"""


def add_until_the_end(url: str, started: threading.Event, id: int) -> None:
    """Raise one account by one per transaction, until the server is gone."""
    with contextlib.suppress(psycopg.Error), psycopg.connect(url) as session:
        for n in range(100_000):
            session.execute("update account set v = v + 1 where id = %s", [id])
            session.execute("update account set v = v + 1 where id = %s", [id + 4])
            session.commit()
            if n == 50:
                started.set()


def test_history_agrees_with_live_rows_after_a_crash_and_goes_on(
    new_server: NewServer,
) -> None:
    server = new_server()
    url = server.url("postgres")
    with psycopg.connect(url) as db:
        core.install(db)
        db.execute("create table account (id int primary key, v int)")
        core.create_versioning(db, "account")
        db.execute("insert into account select n, 0 from generate_series(1, 8) n")
    events = [threading.Event() for _ in range(4)]
    writers = [
        threading.Thread(target=add_until_the_end, args=(url, event, n + 1))
        for n, event in enumerate(events)
    ]
    for writer in writers:
        writer.start()
    for event in events:
        assert event.wait(60)
    server.kill9()
    for writer in writers:
        writer.join(60)
    server.start()

    with psycopg.connect(url, autocommit=True) as db:
        assert db.execute(CHECK).fetchall() == []
        orphans = "select transaction_id from account_history except select id from "
        assert db.execute(orphans + "chrononaut.transaction").fetchall() == []
        last = db.execute("select max(change_id) from account_history").fetchone()
        db.execute("update account set v = v + 1")
        new = "select count(*) from account_history where change_id > %s"
        assert last is not None
        assert db.execute(new, last).fetchone() == (8,)
        assert db.execute(CHECK).fetchall() == []
        assert core.check_versioning(db) == ()
