"""Changes that another tool recorded: clocks are all there is, and clocks step back."""

from typing import Any

import pytest

from tests.core.asking import rows, run
from tests.servers import Db

CHANGES = [
    (-104, "10:00", "U", 10),
    (-103, "10:05", "U", 20),
    (-102, "10:02", "U", 30),
    (-101, "10:07", "U", 40),
]


@pytest.fixture
def item(db: Db) -> Db:
    """A row with a history of which the third change has a clock that went back."""
    run(db, "create table item (id int primary key, v int)")
    run(db, "insert into item values (1, 50)")
    run(db, "select chrononaut.create_versioning('item')")
    run(db, "set local session_replication_role = replica")
    for number, clock, operation, v in CHANGES:
        run(
            db,
            "insert into item_history (id, v, change_id, changed, operation,"
            " transaction_id, change_info) values (1, %s, %s, %s, %s, %s, '{}')",
            [v, number, f"2020-01-01 {clock}+00", operation, number],
        )
        run(
            db,
            "insert into chrononaut.transaction (id, xid, snapshot, began_at,"
            " issued_at, change_info, db_user)"
            " values (%s, '0', '1:1:', %s, %s, '{}', current_user)",
            [number, *[f"2020-01-01 {clock}+00"] * 2],
        )
    run(db, "set local session_replication_role = origin")
    run(db, "update item set v = 60")
    db.commit()
    return db


def past(db: Db, moment: str) -> list[Any]:
    return [
        v for (v,) in rows(db, f"select v from chrononaut.as_of(null::item, {moment})")
    ]


def test_clock_that_goes_back_never_gives_a_row_twice(item: Db) -> None:
    times = ["09:59", "10:00", "10:01", "10:02", "10:04", "10:05", "10:06", "10:07"]
    found = {at: past(item, f"'2020-01-01 {at}+00'") for at in times}
    assert found == {
        "09:59": [10],
        "10:00": [20],
        "10:01": [20],
        "10:02": [20],
        "10:04": [20],
        "10:05": [40],
        "10:06": [40],
        "10:07": [50],
    }


def test_transaction_of_another_tool_is_a_moment_of_the_clock(item: Db) -> None:
    found = {
        number: [
            past(item, f"transaction_id => {number}, before => true"),
            past(item, f"transaction_id => {number}"),
        ]
        for number, *_ in CHANGES
    }
    assert found == {
        -104: [[10], [20]],
        -103: [[20], [40]],
        -102: [[20], [40]],
        -101: [[40], [50]],
    }


def test_related_rows_are_those_of_as_of(item: Db) -> None:
    run(item, "update item set v = 70")
    numbers = "select array_agg(id order by id) from chrononaut.transaction"
    [(known,)] = rows(item, f"{numbers} where id < 0 or xid <> '0'")
    asked = [(one, before) for one in known for before in (True, False)]
    related = "select v from chrononaut._related(null::item, '{id}', '{1}', %s, %s)"
    found = [[v for (v,) in rows(item, related, [*one])] for one in asked]

    assert len(found) > 2 * len(CHANGES) + 2
    assert found == [
        past(item, f"transaction_id => {one}, before => {before}")
        for one, before in asked
    ]


def test_open_past_sees_what_as_of_sees(item: Db) -> None:
    run(item, "select chrononaut.open_past('2020-01-01 10:03+00')")
    assert rows(item, "select v from item") == [(20,)]


def test_functions_of_the_search_path_place_no_change(item: Db) -> None:
    run(item, "create schema evil")
    run(
        item,
        "create function evil.jsonb_to_record(jsonb) returns record language sql"
        " as $$ select 0::bigint, 0::bigint, now(), 0::bigint $$",
    )
    run(item, "set search_path = evil, pg_catalog, public")
    assert past(item, "'2020-01-01 10:02+00'") == [20]
