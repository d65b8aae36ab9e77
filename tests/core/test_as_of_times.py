"""Times: exact in a quiet moment; beside running transactions, what the docs say."""

import datetime
import itertools
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from chrononaut_pg import core
from chrononaut_pg.testing import Server
from tests.core.asking import rows, run, value, version_note
from tests.servers import Db, started_server

_NUMBERS = itertools.count(1)


class Site:
    """A server with or without commit timestamps, and two sessions on it."""

    def __init__(self, one: Db, two: Db) -> None:
        self.one, self.two = one, two

    def now(self) -> datetime.datetime:
        moment: datetime.datetime = value(self.one, "select clock_timestamp()")
        self.one.commit()
        return moment

    def write(self, body: str, key: int = 1, session: Db | None = None) -> None:
        session = session or self.one
        run(session, "update note set body = %s where id = %s", [body, key])

    def at(self, moment: object) -> list[tuple[Any, ...]]:
        query = "select id, body from chrononaut.as_of(null::note, %s) order by id"
        return rows(self.one, query, [moment])


@pytest.fixture(scope="module", params=["on", "off"])
def own_server(request: pytest.FixtureRequest, pg_major: int) -> Iterator[Server]:
    """A server with or without commit timestamps; `template1` has the core."""
    with started_server(pg_major, track_commit_timestamp=request.param) as server:
        with psycopg.connect(server.url("template1")) as connection:
            core.install(connection)
        yield server


@pytest.fixture
def site(own_server: Server) -> Iterator[Site]:
    name = f"test_{next(_NUMBERS)}"
    with psycopg.connect(own_server.url(), autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    url = own_server.url(name)
    with psycopg.connect(url) as one, psycopg.connect(url) as two:
        version_note(one)
        run(one, "insert into note values (1, 'a'), (2, 'b')")
        one.commit()
        yield Site(one, two)


START = [(1, "a"), (2, "b")]


def test_quiet_moments_are_exact(site: Site) -> None:
    began = value(site.one, "select issued_at from chrononaut.transaction")
    states: dict[datetime.datetime, list[tuple[Any, ...]]] = {}
    states[began - datetime.timedelta(microseconds=1)] = []
    for body in ("x", "y", "z"):
        states[site.now()] = rows(site.one, "select id, body from note order by id")
        site.one.commit()
        site.write(body)
        site.write(body + body, 2)
        site.one.commit()
    run(site.one, "truncate note")
    site.one.commit()
    states[site.now()] = []
    run(site.one, "insert into note values (1, 'again')")
    site.one.commit()
    last = [(1, "again")]
    assert {moment: site.at(moment) for moment in states} == states
    assert (site.at("infinity"), site.at("-infinity")) == (last, [])
    assert site.at(site.now() + datetime.timedelta(days=1)) == last


def test_transaction_that_wrote_before_and_after_a_time_is_later_as_a_whole(
    site: Site,
) -> None:
    site.write("early", 1, site.two)
    moment = site.now()
    site.write("late", 2, site.two)
    site.two.commit()
    assert site.at(moment) == START


def test_snapshot_of_another_transaction_settles_which_ones_were_running(
    site: Site,
) -> None:
    site.write("running", 1, site.two)
    moment = site.now()
    site.write("quick", 2)
    site.one.commit()
    site.two.commit()
    assert site.at(moment) == START


def test_transaction_that_a_recorded_snapshot_shows_is_past(site: Site) -> None:
    site.write("done", 1, site.two)
    site.two.commit()
    site.write("next", 2)
    site.one.commit()
    moment = site.now()
    site.write("last", 2)
    site.one.commit()
    assert site.at(moment) == [(1, "done"), (2, "next")]


def test_transaction_that_only_had_to_commit_is_known_by_commit_timestamps_alone(
    site: Site,
) -> None:
    site.write("written", 1, site.two)
    moment = site.now()
    site.two.commit()
    kept = value(site.one, "show track_commit_timestamp") == "on"
    assert site.at(moment) == (START if kept else [(1, "written"), (2, "b")])


def test_transaction_that_began_before_a_time_and_wrote_after_it_is_later(
    site: Site,
) -> None:
    run(site.two, "select * from note")
    moment = site.now()
    site.write("late", 1, site.two)
    site.two.commit()
    assert site.at(moment) == START


def test_open_transaction_sees_its_own_changes_by_their_times(site: Site) -> None:
    site.write("mine")
    moment = value(site.one, "select clock_timestamp()")
    site.write("later", 2)
    found = site.at("infinity")
    assert (site.at(moment), found) == (START, [(1, "mine"), (2, "later")])


def test_rolled_back_transactions_and_savepoints_leave_no_trace(site: Site) -> None:
    site.write("lost")
    site.one.rollback()
    moment = site.now()
    run(site.one, "savepoint s")
    site.write("lost")
    run(site.one, "rollback to s")
    site.write("kept", 2)
    site.one.commit()
    assert site.at(moment) == START
    assert site.at("infinity") == [(1, "a"), (2, "kept")]


def test_rows_from_before_versioning_reach_back_to_the_beginning(site: Site) -> None:
    run(site.one, "create table old (id int primary key)")
    run(site.one, "insert into old values (1)")
    run(site.one, "select chrononaut.create_versioning('old')")
    run(site.one, "delete from old")
    site.one.commit()
    query = "select id from chrononaut.as_of(null::old, '-infinity')"
    assert rows(site.one, query) == [(1,)]


def test_time_that_is_over_shows_nothing_that_comes_after_it_was_opened(
    site: Site,
) -> None:
    """A transaction that was running then is later for good, whenever it wrote."""
    site.write("running", 2, site.two)
    moment = site.now()
    run(site.one, "select chrononaut.open_past(at => %s)", [moment])
    site.one.commit()
    before = rows(site.one, "select id, body from note order by id")
    site.one.commit()
    site.write("more", 1, site.two)
    site.two.commit()
    after = rows(site.one, "select id, body from note order by id")

    assert (before, after) == (START, START)


def test_time_that_is_over_shows_ones_own_changes_of_before_it_and_no_others(
    site: Site,
) -> None:
    site.write("mine")
    run(site.two, "select pg_current_xact_id()")  # so the own one is not the last
    moment = value(site.one, "select clock_timestamp()")
    run(site.one, "select chrononaut.open_past(at => %s)", [moment])
    run(site.one, "update public.note set body = 'later' where id = 2")
    run(site.one, "update public.note set body = 'mine again' where id = 1")
    query = "select id, body from note order by id"
    within = rows(site.one, query)
    site.one.commit()

    assert (within, rows(site.one, query)) == ([(1, "mine"), (2, "b")],) * 2


def test_time_to_come_is_the_present_as_it_goes_on(site: Site) -> None:
    run(site.one, "select chrononaut.open_past(at => now() + interval '1 day')")
    site.write("meanwhile", 1, site.two)
    site.two.commit()

    query = "select id, body from note order by id"
    assert rows(site.one, query) == [(1, "meanwhile"), (2, "b")]
