"""Who may lock, unlock and see: the privileges and policies of the table decide."""

import pytest

from tests.core.asking import refusal, rows, run, value
from tests.core.locking import create_items, lock, lockable, unlock
from tests.servers import Connect, Db, MakeRole

LOCK = "select chrononaut.lock_record('item', '{\"id\": 1}')"
UNLOCK = "select chrononaut.unlock_record('item', '{\"id\": 1}')"
LISTED = "select key, db_user from chrononaut.record_locks"


@pytest.mark.parametrize(
    ("grant", "code"),
    [
        ("select", "42501"),
        ("select, update (v), delete", "VH006"),
        ("update", "42501"),
        ("select, update", None),
    ],
)
def test_who_may_update_the_table_may_lock(
    db: Db, connect: Connect, role: MakeRole, grant: str, code: str | None
) -> None:
    create_items(db)
    app = role("app")
    run(db, f"grant {grant} on item to {app}")
    db.commit()
    session = connect(app)
    if code is None:
        run(session, LOCK)
        assert rows(session, LISTED) == [({"id": 1}, app)]
    else:
        refusal(session, code, LOCK)
    session.rollback()


def test_locker_and_owner_may_unlock_and_nobody_else(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    create_items(db)
    owner, app, other = role("owner"), role("app"), role("other")
    run(db, f"alter table item owner to {owner}")
    run(db, f"grant select, update on item to {app}, {other}")
    db.commit()
    ann = "select chrononaut.set_change_info(user_id => 'ann')"
    bob = "select chrononaut.set_change_info(user_id => 'bob')"
    session = connect(app)
    run(session, ann)
    run(session, LOCK)
    session.commit()

    for user, said in ((app, bob), (app, "select 1"), (other, ann)):
        session = connect(user)
        run(session, said)
        diag = refusal(session, "VH006", UNLOCK)
        assert "locked by ann" in str(diag.message_primary)
        session.rollback()
    for user, said in ((app, ann), (owner, bob)):
        session = connect(user)
        run(session, said)
        assert value(session, UNLOCK) is True
        session.rollback()


def test_set_role_counts_as_the_locker(db: Db, role: MakeRole) -> None:
    create_items(db)
    app = role("app")
    run(db, f"grant select, update on item to {app}")
    run(db, f"set role {app}")
    lock(db, {"id": 1})
    assert rows(db, LISTED) == [({"id": 1}, app)]
    assert unlock(db, {"id": 1}) is True


def test_policies_keep_a_role_from_locking_rows_that_it_does_not_see(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    create_items(db)
    app = role("app")
    run(db, f"grant select, update on item to {app}")
    run(db, "alter table item enable row level security")
    run(db, f"create policy own on item to {app} using (id = 2)")
    db.commit()
    session = connect(app)
    refusal(session, "P0002", LOCK)
    lock(session, {"id": 2})
    assert rows(session, LISTED) == [({"id": 2}, app)]
    session.commit()
    lock(db, {"id": 1})
    db.commit()

    assert rows(session, LISTED) == [({"id": 2}, app)]
    session.rollback()


def test_superuser_meets_the_lock_too(db: Db, connect: Connect, role: MakeRole) -> None:
    create_items(db)
    app = role("app")
    run(db, f"grant select, update on item to {app}")
    db.commit()
    session = connect(app)
    run(session, LOCK)
    session.commit()

    refusal(db, "VH010", "update item set v = 'x'")


def test_core_without_superuser_locks_tables_of_others(
    empty_db: Db, connect: Connect, role: MakeRole
) -> None:
    from chrononaut_pg import core

    keeper, owner = role("keeper"), role("owner")
    name = empty_db.info.dbname
    run(empty_db, f"grant create on database {name} to {keeper}, {owner}")
    empty_db.commit()
    with connect(keeper, dbname=name) as installing:
        core.install(installing)
    mine = connect(owner, dbname=name)
    run(mine, "create schema app")
    run(mine, "create table app.item (id int primary key, v text)")
    run(mine, f"grant usage on schema app to {keeper}")
    run(mine, f"grant select, trigger on app.item to {keeper}")
    lockable(mine, table="app.item")
    run(mine, "insert into app.item values (1, 'a')")
    lock(mine, {"id": 1}, table="app.item")
    refusal(mine, "VH010", "delete from app.item")
    run(mine, "select chrononaut.alter_versioning('app.item', lockable => false)")
    run(mine, "update app.item set v = 'b'")
    diag = refusal(
        mine,
        "VH006",
        "select chrononaut.alter_versioning('app.item', row_version => true)",
    )
    run(mine, str(diag.message_hint).removeprefix("Run first: "))
    run(mine, "select chrononaut.alter_versioning('app.item', row_version => true)")
    run(mine, "update app.item set v = 'c'")
    assert rows(mine, "select v, row_version from app.item") == [("c", 2)]
    run(mine, "select chrononaut.drop_versioning('app.item')")
    mine.commit()


def test_reader_sees_the_locks_of_tables_that_he_may_read(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    create_items(db)
    run(db, "create table other (id int primary key)")
    lockable(db, table="other")
    run(db, "insert into other values (1)")
    lock(db, {"id": 1})
    lock(db, {"id": 1}, table="other")
    reader, stranger = role("reader"), role("stranger")
    run(db, f"grant select on item to {reader}")
    db.commit()

    seen = "select table_name from chrononaut.record_locks order by 1"
    assert rows(connect(reader), seen) == [("item",)]
    assert rows(connect(stranger), seen) == []
    for table in ("record_lock", "record_lock_event"):
        refusal(connect(reader), "42501", f"select * from chrononaut.{table}")


def test_forged_setting_locks_nothing_that_the_role_may_not_lock(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    create_items(db)
    app = role("app")
    run(db, f"grant select, update (v) on item to {app}")
    db.commit()
    session = connect(app)
    run(
        session,
        "select set_config('chrononaut.locking', jsonb_build_object('relid',"
        " 'item'::regclass::oid::text)::text, true)",
    )
    refusal(session, "VH006", "update item set v = 'x' where id = 1")
    session.rollback()


def test_replicated_writes_pass_unless_versioning_is_always(db: Db) -> None:
    create_items(db)
    lock(db, {"id": 1})
    run(db, "set session_replication_role = replica")
    run(db, "update item set v = 'x' where id = 1")
    refusal(db, "VH005", "select chrononaut.lock_record('item', '{\"id\": 2}')")
    run(db, "set session_replication_role = origin")
    run(db, "select chrononaut.alter_versioning('item', always => true)")
    run(db, "set session_replication_role = replica")
    refusal(db, "VH010", "update item set v = 'y' where id = 1")
