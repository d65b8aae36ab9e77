"""Logical replication: what a subscriber records, and what it does not."""

import psycopg
import pytest

from chrononaut_pg import core
from tests.core.asking import problems, rows, run, value
from tests.servers import Db, NewServer


def until(db: Db, query: str) -> None:
    """Ask until the answer is true; a statement timeout ends what never comes."""
    run(db, "set statement_timeout = '120s'")
    run(
        db,
        f"do $$ begin while not ({query}) loop perform pg_sleep(0.05);"
        " end loop; end $$",
    )


@pytest.mark.parametrize(
    ("always", "expected"),
    [(False, []), (True, [("I", "postgres"), ("U", "postgres")])],
)
def test_subscriber_records_applied_rows_only_with_always(
    new_server: NewServer, always: bool, expected: list[tuple[str, str]]
) -> None:
    publisher, subscriber = new_server(), new_server()
    with (
        psycopg.connect(publisher.url("postgres"), autocommit=True) as source,
        psycopg.connect(subscriber.url("postgres"), autocommit=True) as target,
    ):
        for db in (source, target):
            core.install(db)
            run(db, "create table item (id int primary key, v text)")
            core.create_versioning(db, "item", always=always)
        run(source, "create publication everything for table item")
        run(
            target,
            f"create subscription everything connection '{publisher.url('postgres')}'"
            " publication everything",
        )
        until(target, "select bool_and(srsubstate = 'r') from pg_subscription_rel")
        with source.transaction():
            run(source, "select chrononaut.set_change_info('ann')")
            run(source, "insert into item values (1, 'a')")
            run(source, "update item set v = 'b'")
        until(target, "exists (select from item where v = 'b')")

        assert value(source, "select count(*) from item_history") == 2
        recorded = (
            "select h.operation, t.db_user from item_history h"
            " join chrononaut.transaction t on t.id = h.transaction_id"
            " where h.change_info ->> 'user_id' is null order by change_id"
        )
        assert rows(target, recorded) == expected
        assert problems(target) == []
        run(target, "drop subscription everything")


def test_subscriber_of_history_has_it_and_goes_on_after_a_switchover(
    new_server: NewServer,
) -> None:
    publisher, subscriber = new_server(), new_server()
    with (
        psycopg.connect(publisher.url("postgres"), autocommit=True) as source,
        psycopg.connect(subscriber.url("postgres"), autocommit=True) as target,
    ):
        for db in (source, target):
            core.install(db)
            run(db, "create table item (id int primary key, v text)")
            core.create_versioning(db, "item")
        run(
            source,
            "create publication everything"
            " for table item, item_history, chrononaut.transaction,"
            " chrononaut.incarnation",
        )
        run(
            target,
            f"create subscription everything connection '{publisher.url('postgres')}'"
            " publication everything",
        )
        until(target, "select bool_and(srsubstate = 'r') from pg_subscription_rel")
        with source.transaction():
            run(source, "select chrononaut.set_change_info('ann')")
            run(source, "insert into item values (1, 'a')")
            run(source, "update item set v = 'b'")
            run(
                source,
                "select chrononaut.append_change_info('item', '[[1]]', '[{\"a\": 1}]')",
            )
        until(target, "exists (select from item where v = 'b')")

        for query in (
            "select version, v, change_info, valid_from, created_change_info"
            " from item_versions order by version",
            "select * from chrononaut.transaction",
        ):
            assert rows(target, query) == rows(source, query) != []
        last = value(source, "select last_value from chrononaut.change_id")
        run(target, "drop subscription everything")
        run(target, "select setval('chrononaut.change_id', %s)", [last])
        run(target, "update item set v = 'c'")
        newest = (
            "select change_id > %s, transaction_id >> 40 from item_history"
            " order by change_id desc limit 1"
        )
        assert rows(target, newest, [last]) == [(True, 1)]


def test_subscriber_that_records_by_statement_is_told_that_it_records_nothing(
    db: Db,
) -> None:
    run(db, "create table item (id int primary key, v text)")
    run(
        db,
        "select chrononaut.create_versioning('item', granularity => 'statement',"
        " always => true)",
    )
    assert problems(db) == []
    db.commit()
    db.autocommit = True
    run(
        db,
        "create subscription nothing connection 'dbname=nowhere' publication none"
        " with (connect = false)",
    )
    run(
        db,
        "insert into pg_subscription_rel (srsubid, srrelid, srsubstate)"
        " select oid, 'item'::regclass, 'r' from pg_subscription"
        " where subname = 'nothing'",
    )
    found = rows(db, "select problem, fix from chrononaut.check_versioning()")
    run(db, "alter subscription nothing set (slot_name = none)")
    run(db, "drop subscription nothing")

    assert found == [
        (
            "a subscription applies its rows, which reaches no statement triggers:"
            " they are not recorded",
            "select chrononaut.alter_versioning('public.item', granularity => 'row');",
        )
    ]
