"""Versioning by a table's owner who is not the core's, and a core without superuser."""

from typing import NamedTuple

import pytest

from chrononaut_pg import core
from tests.core.asking import problems, refusal, rows, run, value
from tests.servers import Connect, Db, MakeRole


class Tenant(NamedTuple):
    """A role with a schema and a table of its own, and its session."""

    name: str
    session: Db


@pytest.fixture
def tenant(db: Db, connect: Connect, role: MakeRole) -> Tenant:
    """The owner of schema shop and table shop.item; not the core's owner."""
    name = role("tenant")
    run(db, f"create schema shop authorization {name}")
    run(db, "create table shop.item (id integer primary key, price integer)")
    run(db, f"alter table shop.item owner to {name}")
    db.commit()
    return Tenant(name, connect(name))


def test_owner_of_the_table_may_version_it(db: Db, tenant: Tenant) -> None:
    session = tenant.session
    run(session, "select chrononaut.create_versioning('shop.item')")
    run(session, "insert into shop.item values (1, 5)")
    run(session, "update shop.item set price = 6")
    run(session, "select chrononaut.alter_versioning('shop.item', hidden => '{price}')")
    run(session, "alter table shop.item add column name text")
    run(session, "select chrononaut.sync_versioning('shop.item')")
    assert rows(
        session, "select version, name from chrononaut_history.item_versions"
    ) == [(0, None), (1, None)]
    assert problems(session) == []
    run(session, "select chrononaut.drop_versioning('shop.item')")
    run(session, "update shop.item set name = 'x'")
    run(session, "select chrononaut.create_versioning('shop.item')")
    run(session, "select chrononaut.drop_versioning('shop.item', drop_history => true)")
    assert value(db, "select to_regclass('chrononaut_history.item_history')") is None


def test_history_lives_where_the_table_owner_cannot_drop_it(
    db: Db, tenant: Tenant
) -> None:
    session = tenant.session
    run(session, "select chrononaut.create_versioning('shop.item')")
    session.commit()
    for statement in [
        "drop table chrononaut_history.item_history",
        "alter table chrononaut_history.item_history disable trigger all",
        "drop schema chrononaut_history cascade",
        "insert into chrononaut_history.item_history (id) values (1)",
    ]:
        refusal(session, "42501", statement)
    run(session, "drop schema shop cascade")
    session.commit()
    assert value(db, "select count(*) from chrononaut_history.item_history") == 0


@pytest.mark.parametrize(
    "call",
    [
        "create_versioning('shop.item')",
        "alter_versioning('shop.item')",
        "sync_versioning('shop.item')",
        "drop_versioning('shop.item')",
        "drop_versioning('shop.item', drop_history => true)",
    ],
)
@pytest.mark.parametrize("versioned", [True, False])
def test_nobody_else_may_change_versioning(
    tenant: Tenant, connect: Connect, role: MakeRole, versioned: bool, call: str
) -> None:
    if versioned:
        run(tenant.session, "select chrononaut.create_versioning('shop.item')")
    stranger = role("stranger")
    run(tenant.session, f"grant all on shop.item to {stranger}")
    run(tenant.session, f"grant usage on schema shop to {stranger}")
    tenant.session.commit()
    diag = refusal(connect(stranger), "VH006", f"select chrononaut.{call}")
    assert tenant.name in (diag.message_hint or "")


def test_a_member_of_the_owner_counts_as_owner(
    tenant: Tenant, connect: Connect, role: MakeRole, db: Db
) -> None:
    member = role("member")
    run(db, f"grant {tenant.name} to {member}")
    db.commit()
    session = connect(member)
    run(session, "select chrononaut.create_versioning('shop.item')")
    run(session, "select chrononaut.drop_versioning('shop.item')")
    assert rows(session, "select * from chrononaut.versioned_tables") == []


@pytest.fixture
def plain_core(empty_db: Db, connect: Connect, role: MakeRole) -> Tenant:
    """A core installed by a role without any privilege but `create` on the database."""
    name = role("core")
    dbname = empty_db.info.dbname
    run(empty_db, f"grant create on database {dbname} to {name}")
    empty_db.commit()
    session = connect(name, dbname=dbname)
    core.install(session)
    session.commit()
    return Tenant(name, session)


def test_core_of_a_plain_role_works_wholly(plain_core: Tenant) -> None:
    session = plain_core.session
    run(session, "create schema app")
    run(session, "create table app.item (id integer primary key, price integer)")
    run(session, "select chrononaut.create_versioning('app.item')")
    run(session, "insert into app.item values (1, 5)")
    run(session, "update app.item set price = 6")
    run(session, "alter table app.item rename price to cost")
    run(session, "select chrononaut.sync_versioning('app.item')")
    run(session, "update app.item set cost = 7")
    run(
        session,
        "select chrononaut.alter_versioning('app.item', granularity => 'statement')",
    )
    run(session, "delete from app.item")
    run(session, "insert into app.item values (2, 5)")
    run(session, "truncate app.item")
    assert rows(
        session,
        "select id, version, cost, operation from app.item_versions order by 1, 2",
    ) == [(1, 0, 5, "U"), (1, 1, 6, "U"), (1, 2, 7, "D"), (2, 0, 5, "T")]
    assert problems(session) == []
    refusal(session, "VH008", "delete from app.item_history")
    core.install(session)
    run(session, "select chrononaut.drop_versioning('app.item', drop_history => true)")
    assert value(session, "select count(*) from chrononaut.recent_changes") == 0


def test_core_of_a_plain_role_cannot_have_auto_sync(plain_core: Tenant) -> None:
    diag = refusal(plain_core.session, "VH006", "select chrononaut.auto_sync(true)")
    assert "sync_versioning" in (diag.message_hint or "")


def test_missing_grants_are_printed_and_following_them_works(
    plain_core: Tenant, empty_db: Db, connect: Connect, role: MakeRole
) -> None:
    name = role("tenant")
    run(empty_db, f"create schema shop authorization {name}")
    empty_db.commit()
    session = connect(name, dbname=empty_db.info.dbname)
    run(session, "create table shop.item (id integer primary key, price integer)")
    session.commit()
    diag = refusal(session, "VH006", "select chrononaut.create_versioning('shop.item')")
    hint = diag.message_hint or ""
    assert hint.startswith("Run: grant ")
    run(session, hint.removeprefix("Run: "))
    run(session, "select chrononaut.create_versioning('shop.item')")
    run(session, "insert into shop.item values (1, 5)")
    run(session, "update shop.item set price = 6")
    session.commit()
    assert rows(
        session,
        "select version, price from chrononaut_history.item_versions order by 1",
    ) == [(0, 5), (1, 6)]
    run(session, "select chrononaut.drop_versioning('shop.item')")
    run(session, "update shop.item set price = 7")
    assert value(session, "select count(*) from chrononaut_history.item_history") == 2


def test_missing_grants_for_always_are_printed_too(
    plain_core: Tenant, empty_db: Db, connect: Connect, role: MakeRole
) -> None:
    name = role("tenant")
    run(empty_db, f"create schema shop authorization {name}")
    empty_db.commit()
    session = connect(name, dbname=empty_db.info.dbname)
    run(session, "create table shop.item (id integer primary key)")
    session.commit()
    diag = refusal(
        session,
        "VH006",
        "select chrononaut.create_versioning('shop.item', always => true)",
    )
    assert f"grant {name} to {plain_core.name}" in (diag.message_hint or "")


def test_owner_of_the_table_may_have_its_changes_recorded_and_end_that(
    db: Db, tenant: Tenant, connect: Connect, role: MakeRole
) -> None:
    session = tenant.session
    more = "add change_info jsonb, add changed timestamptz"
    run(session, f"alter table shop.item {more}")
    run(session, "select chrononaut.record_changes('shop.item')")
    run(session, "insert into shop.item values (1, 5)")
    run(session, "select chrononaut.drop_record_changes('shop.item')")
    run(session, "insert into shop.item values (2, 5)")
    session.commit()
    run(db, f"grant usage on schema shop to {(other := role('other'))}")
    db.commit()

    assert rows(
        session, "select id, change_info ->> 'db_user' from shop.item order by id"
    ) == [(1, tenant.name), (2, None)]
    refusal(connect(other), "VH006", "select chrononaut.record_changes('shop.item')")
