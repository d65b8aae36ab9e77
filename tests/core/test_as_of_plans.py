"""Plans of as_of(): filters on the key reach the indexes of both tables."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.core.asking import run, value
from tests.servers import Cluster, Db, TemplateOf

PEOPLE = """
create table team (id int primary key, name varchar(40) not null);
create table person (id int primary key, team_id int references team, name text);
create index on person (team_id);
select chrononaut.create_versioning('team');
select chrononaut.create_versioning('person');
insert into team select n, 't' || n from generate_series(1, 1000) n;
insert into person select n, n % 1000 + 1, 'p' || n from generate_series(1, 5000) n;
select chrononaut.mark('then');
"""
CHANGES = "update person set name = 'x' || id; update team set name = 'x' || id"


def settle(db: Db) -> None:
    """Commit and collect statistics, as autovacuum would."""
    db.commit()
    db.autocommit = True
    run(db, "vacuum analyze")
    db.autocommit = False


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def scans(db: Db, query: str) -> dict[str, set[str]]:
    """Return how each table is scanned."""
    plan = value(db, f"explain (format json) {query}")[0]["Plan"]
    found: dict[str, set[str]] = {}
    for node in nodes(plan):
        if "Relation Name" in node:
            found.setdefault(node["Relation Name"], set()).add(node["Node Type"])
    return found


@pytest.fixture(scope="module")
def crowd(server: Cluster, superuser: str, template_of: TemplateOf) -> Iterator[Db]:
    """A connection to a database that the tests of this module only read."""
    url = server.url(template_of(PEOPLE), user=superuser)
    with psycopg.connect(url) as db:
        for _ in range(2):
            run(db, CHANGES)
            db.commit()
        settle(db)
        yield db


@pytest.fixture
def people(crowd: Db) -> Iterator[Db]:
    yield crowd
    crowd.rollback()


PERSON = "chrononaut.as_of(null::person, mark => 'then')"
TEAM = "chrononaut.as_of(null::team, mark => 'then')"
BY_KEY = {
    "one key": f"select * from {PERSON} where id = 5",
    "whole row": f"select p from {PERSON} p where id = 5",
    "list": f"select * from {PERSON} where id in (5, 6, 7)",
    "array": f"select * from {PERSON} where id = any ('{{5,6,7}}')",
    "constant join": f"select * from {PERSON} p join person l on l.id = p.id"
    " where l.id = 5",
    "two tables": f"select * from {PERSON} p join {TEAM} t on t.id = p.id"
    " where t.id = 5",
    "left join": f"select * from {PERSON} p left join {TEAM} t on t.id = 7"
    " where p.id = 5",
    "range": f"select * from {PERSON} where id between 5 and 7",
    "subquery": f"select * from (select id, name from {PERSON}) s where id = 5",
}


@pytest.mark.parametrize("query", BY_KEY.values(), ids=BY_KEY.keys())
def test_filter_on_the_key_is_an_index_scan_of_both_tables(
    people: Db, query: str
) -> None:
    found = scans(people, query)
    assert [name for name in found if "Seq Scan" in found[name]] == []
    assert {"person", "person_history"} <= set(found)


def test_filter_on_another_column_uses_the_live_tables_index(people: Db) -> None:
    found = scans(people, f"select * from {PERSON} where team_id = 5")
    assert "Seq Scan" not in found["person"]


def test_filter_through_the_past_view_is_an_index_scan_of_both_tables(
    people: Db,
) -> None:
    run(people, "select chrononaut.open_past(mark => 'then')")
    found = scans(people, "select * from person where id = 5")
    assert [name for name in found if "Seq Scan" in found[name]] == []
    assert {"person", "person_history"} <= set(found)


KEYS = {
    "varchar": ("varchar(20)", "'k' || n"),
    "char": ("char(12)", "'k' || n"),
    "numeric": ("numeric(10,2)", "n"),
    "timestamp": ("timestamptz(3)", "'2000-01-01'::timestamptz + n * interval '1 h'"),
    "uuid": ("uuid", "md5(n::text)::uuid"),
    "collated": ('varchar(20) collate "C"', "'k' || n"),
    "domain": ("short", "'k' || n"),
    "number domain": ("number", "n"),
}


@pytest.mark.parametrize(("kind", "key"), KEYS.values(), ids=KEYS.keys())
def test_key_of_any_type_is_looked_up_by_the_indexes_and_comes_back_as_it_was(
    db: Db, kind: str, key: str
) -> None:
    run(db, "create domain short as varchar(20); create domain number as int")
    run(db, f"create table t (key {kind} primary key, v int)")
    run(db, "select chrononaut.create_versioning('t')")
    run(db, f"insert into t select {key}, n from generate_series(1, 5000) n")
    run(db, "select chrononaut.mark('then')")
    run(db, "update t set v = 0")
    settle(db)
    wanted = value(db, f"select quote_literal({key}) from (values (77)) x(n)")
    query = "select v from chrononaut.as_of(null::t, mark => 'then') where key = "
    found = scans(db, query + wanted)
    assert [name for name in found if "Seq Scan" in found[name]] == []
    assert {"t", "t_history"} <= set(found)
    assert value(db, query + wanted) == 77
    past = "select count(*), sum(v) from chrononaut.as_of(null::t, mark => 'then')"
    assert db.execute(past.encode()).fetchone() == (5000, 12502500)


def test_prepared_statement_with_the_moment_as_a_parameter_keeps_its_index_scans(
    people: Db,
) -> None:
    run(people, "set plan_cache_mode = force_generic_plan")
    run(
        people,
        "prepare past(text, int) as select * from"
        " chrononaut.as_of(null::person, mark => $1) where id = $2",
    )
    found = scans(people, "execute past('then', 5)")
    assert [name for name in found if "Seq Scan" in found[name]] == []
    assert people.execute("execute past('then', 5)").fetchall() == [(5, 6, "p5")]


def test_whole_table_is_read_without_the_history_that_is_older_than_the_moment(
    db: Db,
) -> None:
    run(db, "create table t (id int primary key, v int)")
    run(db, "insert into t select n, 0 from generate_series(1, 10000) n")
    run(db, "select chrononaut.create_versioning('t', granularity => 'statement')")
    for number in range(10):
        run(db, "update t set v = %s", [number])
        db.commit()
    run(db, "select chrononaut.mark('then')")
    db.commit()
    run(db, "update t set v = -1 where id <= 100")
    settle(db)
    query = "select count(*) from chrononaut.as_of(null::t, mark => 'then')"
    plan = value(db, f"explain (analyze, format json) {query}")[0]["Plan"]
    read = [
        node["Actual Rows"]
        + node.get("Rows Removed by Index Recheck", 0)
        + node.get("Rows Removed by Filter", 0)
        for node in nodes(plan)
        if node.get("Relation Name") == "t_history" and node["Actual Loops"] == 1
    ]
    assert len(read) == 2
    assert max(read) < 25_000  # of 100,100: a range of BRIN is all or nothing
    entries = [
        node["Actual Rows"] * node["Actual Loops"]
        for node in nodes(plan)
        if node.get("Index Name") == "t_history_pkey"
    ]
    assert sum(entries) <= 100  # one before each later change
