"""The first writes after a server start, which verify the cluster, disturb nobody."""

import threading

import psycopg
import pytest

from chrononaut_pg import core
from tests.core.asking import run, value
from tests.servers import Db, NewServer

WRITERS = 4
LEVELS = ["serializable", "repeatable read", "read committed"]
NUMBERS = "select array_agg(number order by number) from chrononaut.incarnation"
USED = """
select array_agg(distinct id >> 40) from (
    select id from chrononaut.transaction order by issued_at desc limit %s) t
"""


def failures(url: str, table: str, level: str) -> list[str]:
    """Update disjoint rows in sessions that all begin before the first one writes."""
    begun = threading.Barrier(WRITERS)
    failed: list[str] = []

    def write(session: Db, key: int) -> None:
        # The rows lie on pages of their own in table and index, and are found by key.
        run(session, "set enable_seqscan = off; set enable_bitmapscan = off")
        run(session, f"begin isolation level {level}")
        run(session, "select pg_current_snapshot()")
        begun.wait(30)
        try:
            for _ in range(2):
                run(session, f"update {table} set v = v + 1 where id = {key}")
            run(session, "commit")
        except psycopg.Error as error:
            failed.append(str(error))

    sessions = [psycopg.connect(url, autocommit=True) for _ in range(WRITERS)]
    threads = [
        threading.Thread(target=write, args=(session, (n + 1) * 1000))
        for n, session in enumerate(sessions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for session in sessions:
        session.close()
    return failed


@pytest.mark.parametrize("cluster", ["known", "new"])
@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_first_writes_since_a_server_start_never_fail(
    new_server: NewServer, granularity: str, cluster: str
) -> None:
    server = new_server()
    url = server.url("postgres")
    with psycopg.connect(url) as db:
        core.install(db)
        for table in ("item", "bare"):
            run(db, f"create table {table} (id int primary key, v int)")
            run(db, f"insert into {table} select n, 0 from generate_series(1, 5000) n")
        core.create_versioning(db, "item", granularity=granularity)
        run(db, "update item set v = 1 where id = 1")

    for turn, level in enumerate(LEVELS, start=1):
        if cluster == "new":
            with psycopg.connect(url) as db:
                run(db, "update chrononaut.incarnation set system_identifier = number")
        server.restart()
        assert failures(url, "bare", level) == []
        assert failures(url, "item", level) == []
        with psycopg.connect(url) as db:
            number = turn if cluster == "new" else 0
            assert value(db, NUMBERS) == list(range(number + 1))
            assert value(db, USED, [WRITERS]) == [number]
