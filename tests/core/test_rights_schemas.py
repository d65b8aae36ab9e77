"""Roles that may not look into every schema read what is theirs, and the past of it."""

import pytest

from tests.core.asking import rows, run, value
from tests.servers import Connect, Db, MakeRole

SCHEMAS = """
create schema hr;
create table hr.pay (id int primary key);
create table note (id int primary key, body text);
select chrononaut.create_versioning('hr.pay');
select chrononaut.create_versioning('note');
insert into note values (1, 'then');
select chrononaut.mark('then');
update note set body = 'now';
"""


@pytest.fixture
def reader(db: Db, connect: Connect, role: MakeRole) -> Db:
    """A connection of one who may read `note` and has no right on schema `hr`."""
    name = role("reader")
    run(db, SCHEMAS)
    run(db, f"grant select on note to {name}")
    run(db, "select chrononaut.sync_versioning('note')")
    db.commit()
    return connect(name)


def test_past_opens_for_who_may_not_look_into_a_schema(reader: Db) -> None:
    run(reader, "select chrononaut.open_past(mark => 'then')")
    assert rows(reader, "select body from note") == [("then",)]


def test_strict_past_opens_for_who_may_not_look_into_a_schema(reader: Db) -> None:
    run(reader, "select chrononaut.open_past(mark => 'then', strict => true)")
    assert rows(reader, "select body from note") == [("then",)]


def test_path_with_a_schema_that_one_may_not_look_into_opens(reader: Db) -> None:
    run(reader, "set search_path = hr, public")
    run(reader, "select chrononaut.open_past(mark => 'then')")
    assert rows(reader, "select body from note") == [("then",)]


def test_client_enters_the_past_who_may_not_look_into_a_schema(reader: Db) -> None:
    strict = "select chrononaut._enter_past(null, null, 'then', false, true, false)"
    tables = value(reader, strict)["tables"]
    assert {(schema, table): seen for schema, table, _, seen in tables} == {
        ("hr", "pay"): False,
        ("public", "note"): True,
    }


def test_everybody_reads_what_is_versioned(db: Db, reader: Db) -> None:
    run(db, "alter table hr.pay add amount numeric")
    db.commit()
    query = "select * from chrononaut.versioned_tables order by id"
    assert rows(reader, query) == rows(db, query)
    drifted = "select drifted from chrononaut.versioned_tables order by id"
    assert rows(reader, drifted) == [(True,), (False,)]
