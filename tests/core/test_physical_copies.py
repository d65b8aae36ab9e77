"""Servers that are copies of another one: its standby, or a clone of its own."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from chrononaut_pg import core
from chrononaut_pg.testing import Server
from tests.core.asking import problems, refusal, rows, run, value
from tests.core.test_replication import until
from tests.servers import Db, NewServer

NewCopy = Callable[..., Server]
NEWEST = "select v, change_info ->> 'user_id' from item_history order by change_id desc"


class Copy(Server):
    """A server that begins with another one's files; *follows* as its standby."""

    def __init__(self, origin: Server, follows: bool) -> None:
        settings = dict(origin.settings)
        if follows:
            settings["primary_conninfo"] = origin.url("postgres")
        super().__init__(origin.bin_dir, settings=settings, parent=origin.parent)
        self.origin = origin
        self.follows = follows

    def _initialise(self) -> None:
        super()._initialise()
        self.origin.stop()
        shutil.rmtree(self.data_directory)
        subprocess.run(
            ["cp", "-a", self.origin.data_directory, self.data_directory], check=True
        )
        self.origin.start()
        if self.follows:
            (self.data_directory / "standby.signal").touch()


@pytest.fixture
def copy_of() -> Iterator[NewCopy]:
    """Starts a copy of a server."""
    with ExitStack() as opened:
        yield lambda origin, follows=False: opened.enter_context(Copy(origin, follows))


@pytest.fixture
def origin(new_server: NewServer) -> Server:
    """A server with a versioned item that ann has made."""
    server = new_server()
    with psycopg.connect(server.url("postgres")) as db:
        core.install(db)
        run(db, "create table item (id int primary key, v text)")
        core.create_versioning(db, "item")
        db.commit()
        write(db, "ann", "insert into item values (1, 'a')")
    return server


def write(db: Db, user: str, statement: str) -> None:
    """Execute a statement in a transaction of its own, as that user."""
    with db.transaction():
        run(db, "select chrononaut.set_change_info(%s)", [user])
        run(db, statement)


def test_dump_of_a_later_state_restored_into_a_clone_goes_on_with_new_ids(
    origin: Server, copy_of: NewCopy, clients: Path, tmp_path: Path
) -> None:
    """Both have one system identifier, and the clone's transaction ids lag behind."""
    clone = copy_of(origin)
    with psycopg.connect(origin.url("postgres"), autocommit=True) as db:
        run(
            db,
            "do $$ begin for n in 1..5000 loop perform pg_current_xact_id(); commit;"
            " end loop; end $$",
        )
        write(db, "bob", "update item set v = 'b'")
        run(db, "select chrononaut.mark('home')")
    with psycopg.connect(clone.url("postgres"), autocommit=True) as db:
        run(db, "create database restored")
    subprocess.run(
        [clients / "pg_dump", "-f", tmp_path / "dump", origin.url("postgres")],
        check=True,
    )
    subprocess.run(
        [clients / "psql", "-Xq", "-f", tmp_path / "dump", clone.url("restored")],
        check=True,
        stdout=subprocess.DEVNULL,
    )

    with psycopg.connect(clone.url("restored"), autocommit=True) as db:
        run(db, "select chrononaut.mark('away')")
        write(db, "carol", "update item set v = 'c'")
        write(db, "dora", "update item set v = 'd'")
        people = (
            "select h.v, t.change_info ->> 'user_id', h.transaction_id >> 40"
            " from item_history h join chrononaut.transaction t"
            " on t.id = h.transaction_id order by h.change_id"
        )
        assert rows(db, people) == [
            (None, "ann", 0),
            ("a", "bob", 0),
            ("b", "carol", 1),
            ("c", "dora", 1),
        ]
        was = "select v from chrononaut.as_of(null::item, mark => '{}')"
        assert [value(db, was.format(mark)) for mark in ("home", "away")] == ["b", "b"]


READ_ONLY = {
    "select version, v from item_versions order by version": [(0, "a"), (1, "b")],
    "select v from chrononaut.as_of(null::item, mark => 'home')": [("a",)],
    "select v from chrononaut.as_of(null::item, now())": [("b",)],
    "select v from chrononaut.as_of(null::item, transaction_id =>"
    " (select max(id) from chrononaut.transaction), before => true)": [("a",)],
    "select count(*) from chrononaut.recent_changes": [(2,)],
    "select count(*) from chrononaut.changes_of("
    "(select max(id) from chrononaut.transaction))": [(1,)],
    "select operation, key from chrononaut.undo_transaction("
    "(select max(id) from chrononaut.transaction), dry_run => true)": [
        ("update", {"id": 1})
    ],
    "select * from chrononaut.check_versioning()": [],
}


def test_standby_answers_all_readers_and_goes_on_once_it_is_promoted(
    origin: Server, copy_of: NewCopy
) -> None:
    with psycopg.connect(origin.url("postgres"), autocommit=True) as db:
        run(db, "select chrononaut.mark('home')")
    standby = copy_of(origin, follows=True)
    with (
        psycopg.connect(origin.url("postgres"), autocommit=True) as db,
        psycopg.connect(standby.url("postgres"), autocommit=True) as copy,
    ):
        write(db, "bob", "update item set v = 'b'")
        until(copy, "exists (select from item where v = 'b')")

        assert {query: rows(copy, query) for query in READ_ONLY} == READ_ONLY
        run(copy, "select chrononaut.open_past(mark => 'home')")
        assert rows(copy, "select v from item") == [("a",)]
        run(copy, "select chrononaut.close_past()")
        assert core.status(copy) == core.status(db)
        for query in ("update item set v = 'c'", "select chrononaut.mark('x')"):
            refusal(copy, "25006", query)

        last = value(db, "select max(id) from chrononaut.transaction")
        run(copy, "select pg_promote()")
        write(copy, "carol", "update item set v = 'c'")
        newest = rows(
            copy,
            "select id > %s, id >> 40 from chrononaut.transaction"
            " order by id desc limit 1",
            [last],
        )
        assert (newest, rows(copy, NEWEST)[0]) == ([(True, 0)], ("b", "carol"))
        home = "select v from chrononaut.as_of(null::item, mark => 'home')"
        assert (value(copy, home), problems(copy)) == ("a", [])


def test_time_that_is_open_on_a_standby_does_not_move_on(
    origin: Server, copy_of: NewCopy
) -> None:
    """Not even if what was running then had a smaller id than what had ended."""
    standby = copy_of(origin, follows=True)
    with (
        psycopg.connect(origin.url("postgres")) as running,
        psycopg.connect(origin.url("postgres"), autocommit=True) as db,
        psycopg.connect(standby.url("postgres"), autocommit=True) as copy,
    ):
        run(db, "insert into item values (2, 'x')")
        run(running, "update item set v = 'running' where id = 1")
        write(db, "bob", "update item set v = 'y' where id = 2")
        until(copy, "exists (select from item where v = 'y')")
        now = value(copy, "select clock_timestamp()")
        run(copy, "select chrononaut.open_past(at => %s)", [now])
        seen = rows(copy, "select v from item order by id")
        running.commit()
        write(db, "bob", "update item set v = 'z' where id = 2")
        until(copy, "exists (select from public.item where v = 'z')")

        assert (seen, rows(copy, "select v from item order by id")) == (
            [("a",), ("y",)],
            [("a",), ("y",)],
        )
        assert value(copy, "select v from public.item where id = 1") == "running"
