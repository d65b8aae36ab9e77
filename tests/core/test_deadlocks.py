"""Versioning adds no wait to the application's: deadlocks are the bare table's."""

import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import psycopg
import pytest

from tests.core.asking import rows, run, value
from tests.servers import Connect, Db

Place = tuple[str, int]

PLACES: list[Place] = list(itertools.product(["item", "other"], [1, 2]))
# Tables and rows may swap names: two orders of the first session stand for all.
FIRST = [(PLACES[0], PLACES[1]), (PLACES[0], PLACES[3])]
SCHEDULES = list(itertools.product(FIRST, itertools.permutations(PLACES, 2)))

DISAGREEING = """
select t.id from {table} t
where t.v <> (
    select count(*) from {table}_history h where h.id = t.id and h.operation = 'U')
"""


class Session:
    """A connection that runs its statements in a thread, until a deadlock ends it."""

    def __init__(self, db: Db, deadlock_timeout: str) -> None:
        self.db = db
        self.victim = False
        self._thread = ThreadPoolExecutor(1)
        run(db, f"set deadlock_timeout = '{deadlock_timeout}'")
        db.commit()

    def start(self, statement: str) -> Future[None]:
        return self._thread.submit(self._run, statement)

    def _run(self, statement: str) -> None:
        if self.victim and statement != "commit":
            return
        try:
            run(self.db, statement)
        except psycopg.errors.DeadlockDetected:
            self.db.rollback()
            self.victim = True

    def close(self) -> None:
        self._thread.shutdown()


@pytest.fixture
def pair(connect: Connect) -> Iterator[tuple[Session, Session]]:
    """Two sessions of which the second one finds deadlocks, and is their victim."""
    sessions = (Session(connect(), "60s"), Session(connect(), "10ms"))
    yield sessions
    for session in sessions:
        session.close()


def deadlocks(
    watcher: Db, pair: tuple[Session, Session], suffix: str, before_each: str
) -> list[str]:
    """Run every schedule, turn by turn, and return those that end in a deadlock."""
    found = []
    for orders in SCHEDULES:
        run(watcher, before_each)
        for session in pair:
            session.victim = False
        begun: list[Future[None]] = []
        for turn, (number, session) in itertools.product(range(2), enumerate(pair)):
            table, key = orders[number][turn]
            update = f"update {table}{suffix} set v = v + 1 where id = {key}"
            begun.append(session.start(update))
            until_done_or_waiting(watcher, session, begun[-1])
        begun += [session.start("commit") for session in pair]
        assert wait(begun, 60).not_done == set()
        for future in begun:
            future.result()
        if any(session.victim for session in pair):
            found.append(f"{orders[0]} against {orders[1]}")
    return found


def until_done_or_waiting(watcher: Db, session: Session, step: Future[None]) -> None:
    waits = "select cardinality(pg_blocking_pids(%s)) > 0"
    while not step.done() and not value(watcher, waits, [session.db.info.backend_pid]):
        pass


@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize(
    "before_each",
    [
        pytest.param("insert into item values (3, 0) on conflict do nothing", id="any"),
        pytest.param("delete from chrononaut.incarnation", id="first in a new cluster"),
        pytest.param(
            "update chrononaut.incarnation set verified_start = null",
            id="first since a server start",
        ),
    ],
)
def test_versioned_tables_deadlock_exactly_where_bare_ones_do(
    db: Db,
    connect: Connect,
    pair: tuple[Session, Session],
    before_each: str,
    granularity: str,
) -> None:
    for table in ("item", "other", "item_bare", "other_bare"):
        run(db, f"create table {table} (id int primary key, v int not null)")
        run(db, f"insert into {table} values (1, 0), (2, 0)")
    for table in ("item", "other"):
        run(
            db,
            "select chrononaut.create_versioning(%s::regclass, granularity => %s)",
            [table, granularity],
        )
    db.commit()
    watcher = connect(autocommit=True)

    bare = deadlocks(watcher, pair, "_bare", before_each)
    versioned = deadlocks(watcher, pair, "", before_each)

    assert len(bare) == len([1 for first, second in SCHEDULES if first == second[::-1]])
    assert versioned == bare
    for table in ("item", "other"):
        assert rows(db, DISAGREEING.format(table=table)) == []
