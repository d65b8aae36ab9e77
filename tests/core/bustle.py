"""Writers in sessions and threads of their own, for tests of what was visible when.

Each writer tells what its transactions saw: a REPEATABLE READ one at its beginning and
its end, a READ COMMITTED one at its end. They lock both tables before their snapshot is
taken: TRUNCATE is not transactional for whoever took it earlier.
"""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.core.asking import run, value
from tests.servers import Db

# What concurrency itself brings about; anything else is a failure.
EXPECTED = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.UniqueViolation,
)

LOCK = "lock table item, pair in access share mode"
BOTH = (
    "select 'item', id::text, v::text, j::text from {item}"
    " union all select 'pair', a || b, v::text, null from {pair}"
)
SEEN = BOTH.format(item="item", pair="pair")

State = frozenset[tuple[Any, ...]]

ITEM = [
    "update item set v = {v} where id = {k}",
    "update item set v = v + 1 where id > {k}",
    "update item set v = v",
    "update item set secret = secret || 'x', counter = counter + 1 where id = {k}",
    "update item set j = '{{\"a\": {v}}}' where id = {k}",
    "update item set id = id + 100 where id = {k}",
    "update item set id = id - 100 where id = {k} + 100",
    "delete from item where id = {k}",
    "insert into item values ({k}, {v}, 'null', null, 1) on conflict do nothing",
    "insert into item values ({k}, {v}, '{{}}', 's', 0)"
    " on conflict (id) do update set v = excluded.v, secret = 't'",
    "with gone as (delete from item where id = {k} returning *)"
    " insert into item select id + 50, v, j from gone on conflict do nothing",
]
PAIR = [
    "update pair set v = v + {v} where b = {k}",
    "update pair set v = {v} where (a, b) = ('x', {k})",
    "update pair set a = 'y' where (a, b) = ('x', {k})",
    "update pair set a = 'x' where (a, b) = ('y', {k})",
    "delete from pair where b = {k} and v % 2 = 0",
    "insert into pair values ('x', {k}, {v}), ('y', {k}, {v})"
    " on conflict (a, b) do update set v = excluded.v",
]
MERGE = [
    "merge into item using (values ({k}, {v}), ({k} + 20, {v})) s(id, v)"
    " on item.id = s.id"
    " when matched and s.v % 3 = 0 then delete"
    " when matched then update set v = s.v"
    " when not matched then insert (id, v) values (s.id, s.v)",
    "merge into pair using (values ('x', {k}, {v})) s(a, b, v)"
    " on pair.a = s.a and pair.b = s.b"
    " when matched and s.v < 30 then delete"
    " when matched then update set v = s.v"
    " when not matched then insert values (s.a, s.b, s.v)",
]


@dataclass(frozen=True)
class Told:
    """What a transaction saw; *began* is None under READ COMMITTED."""

    transaction_id: int
    began: State | None
    ended: State


@dataclass
class Writer:
    """Writes at random in its own session, until told to stop."""

    session: Db
    dice: random.Random
    kinds: list[str]
    commits: threading.Semaphore
    told: list[Told] = field(default_factory=list)
    committed: int = 0

    def work(self, stop: threading.Event) -> None:
        """Run transactions until *stop*."""
        run(self.session, "set lock_timeout = '20ms'")
        run(self.session, "set deadlock_timeout = '10ms'")
        self.session.commit()
        while not stop.is_set():
            try:
                self._transaction()
            except EXPECTED:
                self.session.rollback()

    def _transaction(self) -> None:
        repeatable = self.dice.random() < 0.4
        if repeatable:
            run(self.session, "set transaction isolation level repeatable read")
        run(self.session, LOCK)
        began = seen(self.session) if repeatable else None
        for _ in range(self.dice.randint(1, 4)):
            self._write(repeatable)
        if self.dice.random() < 0.1:
            self.session.rollback()
            return
        ended = seen(self.session)
        number = value(
            self.session,
            "select max(t.id) from chrononaut.transaction t"
            " where t.xid = pg_current_xact_id_if_assigned()",
        )
        self.session.commit()
        self.committed += 1
        self.commits.release()
        if number is not None:
            self.told.append(Told(number, began, ended))

    def _write(self, repeatable: bool) -> None:
        """Write once, perhaps in a savepoint, which perhaps is rolled back."""
        saved = self.dice.random() < 0.4
        if saved:
            run(self.session, "savepoint s")
        for _ in range(self.dice.randint(1, 2)):
            run(self.session, self._statement(repeatable))
        if saved:
            undone = self.dice.random() < 0.5
            run(self.session, f"{'rollback to' if undone else 'release'} savepoint s")

    def _statement(self, repeatable: bool) -> str:
        if not repeatable and self.dice.random() < 0.01:
            return self.dice.choice(["truncate item", "truncate item, pair"])
        return self.dice.choice(self.kinds).format(
            k=self.dice.randint(1, 9), v=self.dice.randint(0, 99)
        )


def create_tables(db: Db, granularity: str) -> None:
    """Create the tables that the writers work on, and version them."""
    run(
        db,
        "create table item (id int primary key, v int, j json, secret text,"
        " counter int); create table pair (a text, b int, v int, primary key (b, a))",
    )
    run(
        db,
        "select chrononaut.create_versioning('item', granularity => %s,"
        " hidden => '{secret}', untracked => '{counter}')",
        [granularity],
    )
    run(
        db,
        "select chrononaut.create_versioning('pair', granularity => %s)",
        [granularity],
    )
    run(db, "insert into item select n, n, '{}', 'x', 0 from generate_series(1, 6) n")
    run(db, "insert into pair select 'x', n, n from generate_series(1, 6) n")
    db.commit()


def seen(session: Db) -> State:
    """Return all rows of both tables."""
    return frozenset(session.execute(SEEN.encode()).fetchall())


def past(db: Db, moment: str, parameters: list[Any]) -> State:
    """Return both tables as as_of() gives them at *moment*, in the order item, pair."""
    query = BOTH.format(
        item=f"chrononaut.as_of(null::item, {moment})",
        pair=f"chrononaut.as_of(null::pair, {moment})",
    )
    return frozenset(db.execute(query.encode(), parameters * 2).fetchall())


def past_by_key(db: Db, transaction_id: int, before: bool) -> State:
    """Return both tables as what reads related rows gives them, key by key."""
    related = (
        "(select p.* from (select {0} from {1}_history union select {0} from {1}) k"
        " cross join lateral chrononaut._related(null::{1}, '{{{0}}}',"
        " array[{2}], %s, %s) p) {1}"
    )
    query = BOTH.format(
        item=related.format("id", "item", "k.id::text"),
        pair=related.format("a,b", "pair", "k.a, k.b::text"),
    )
    asked = [transaction_id, before] * 2
    return frozenset(db.execute(query.encode(), asked).fetchall())


def await_commit(writers: list[Writer]) -> None:
    """Wait until one of the *writers* has committed once more."""
    assert writers[0].commits.acquire(timeout=60), "nobody commits"


@contextmanager
def busy(
    open_session: Callable[[], Db], count: int, seed: int
) -> Iterator[list[Writer]]:
    """Let *count* writers work during the block; their failures are raised after it."""
    sessions = [open_session() for _ in range(count)]
    merging = sessions[0].info.server_version >= 150000
    kinds = [*ITEM, *PAIR, *(MERGE if merging else [])]
    commits = threading.Semaphore(0)
    writers = [
        Writer(session, random.Random(seed * 100 + number), kinds, commits)
        for number, session in enumerate(sessions)
    ]
    stop = threading.Event()
    try:
        with ThreadPoolExecutor(count) as threads:
            running = [threads.submit(writer.work, stop) for writer in writers]
            try:
                yield writers
            finally:
                stop.set()
        for done in running:
            done.result()
    finally:
        for session in sessions:
            session.close()
