"""A locked record cannot be changed by anyone, in any way, until it is unlocked."""

from typing import Any

import pytest

from tests.core.asking import problems, refusal, rows, run, value
from tests.core.locking import create_items, lock, lockable, unlock
from tests.servers import Db

ONE = {"id": 1}

ITEMS = "select id, v, n from item order by id"

TRIGGERS = (
    "select tgname from pg_trigger where tgrelid = 'item'::regclass"
    " and tgname !~ '_(insert|update|delete|truncate)$' order by tgname"
)

WRITES = [
    "update item set v = 'x' where id = 1",
    "update item set v = v where id = 1",
    "update item set n = n + 1 where id = 1",
    "update item set id = 9 where id = 1",
    "update item set v = 'x'",
    "update only item set v = 'x'",
    "delete from item where id = 1",
    "delete from item",
    "truncate item",
    "insert into item values (1, 'x') on conflict (id) do update set v = excluded.v",
    "with gone as (delete from item where id = 1 returning id) select * from gone",
    "set local chrononaut.suppressed = 'on'; update item set v = 'x' where id = 1",
    "set local chrononaut.suppressed = 'on'; truncate item",
    "select chrononaut.lock_record('item', '{\"id\": 1}')",
    "do $$ begin update item set v = 'x' where id = 1; end $$",
]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_no_write_reaches_a_locked_record(db: Db, granularity: str, write: str) -> None:
    create_items(db, f", untracked => '{{n}}', granularity => '{granularity}'")
    lock(db, ONE, "legal hold")
    before = rows(db, ITEMS)
    refusal(db, "VH010", write)

    assert rows(db, ITEMS) == before


@pytest.mark.min_pg(15)
def test_merge_does_not_reach_a_locked_record(db: Db) -> None:
    create_items(db)
    lock(db, ONE)
    for action in ("update set v = s.v", "delete"):
        refusal(
            db,
            "VH010",
            "merge into item t using (values (1, 'x')) s(id, v) on t.id = s.id"
            f" when matched then {action}",
        )


@pytest.mark.parametrize("action", ["cascade", "set null", "set default"])
def test_cascade_does_not_reach_a_locked_record(db: Db, action: str) -> None:
    run(db, "create table parent (id int primary key)")
    run(
        db,
        "create table item (id int primary key, parent_id int default null references"
        f" parent on delete {action} on update {action})",
    )
    lockable(db)
    run(db, "insert into parent values (1); insert into item values (1, 1), (2, null)")
    lock(db, ONE)
    refusal(db, "VH010", "delete from parent")
    refusal(db, "VH010", "update parent set id = 2")

    assert rows(db, "select * from item order by id") == [(1, 1), (2, None)]


def test_refusal_says_who_when_why_what_and_how_to_unlock(db: Db) -> None:
    run(db, 'create table "It""em" ("The id" text primary key)')
    name = '"It""em"'
    lockable(db, table=name)
    run(db, f"insert into {name} values ('a''b')")
    run(db, "select chrononaut.set_change_info(user_id => 'ann')")
    lock(db, {"The id": "a'b"}, "legal hold", name)
    since = value(
        db, "select date_trunc('second', locked_at)::text from chrononaut.record_locks"
    )
    diag = refusal(db, "VH010", f"delete from {name}")

    assert diag.message_primary == (
        f'this record of public."It""em" is locked by ann (role {db.info.user})'
        f" since {since}: legal hold"
    )
    assert diag.message_detail == 'Key: {"The id": "a\'b"}'
    assert (diag.schema_name, diag.table_name) == ("public", 'It"em')
    hint = str(diag.message_hint)
    run(db, hint.removeprefix("Run: ").partition(";")[0])
    run(db, f"delete from {name}")


def test_other_records_and_inserts_go_on(db: Db) -> None:
    create_items(db)
    lock(db, ONE)
    run(db, "update item set v = 'c' where id = 2")
    run(db, "insert into item values (3, 'd')")
    run(db, "insert into item values (1, 'x') on conflict do nothing")
    run(db, "delete from item where id = 3")

    assert rows(db, ITEMS) == [(1, "a", 0), (2, "c", 0)]


def test_lock_leaves_the_row_and_its_history_as_they_are(db: Db) -> None:
    run(db, "create table item (id int primary key, v text, n int default 0)")
    run(
        db,
        "create function touch() returns trigger language plpgsql as"
        " 'begin new.n := new.n + 1; return new; end'",
    )
    run(
        db,
        "create trigger touch before update on item for each row"
        " execute function touch()",
    )
    lockable(db, ", row_version => true")
    run(db, "insert into item values (1, 'a')")
    db.commit()
    whole = "select ctid::text, xmin::text, i.* from item i"
    before = rows(db, whole)
    lock(db, ONE)
    unlock(db, ONE)
    db.commit()

    assert rows(db, whole) == before
    assert rows(db, "select operation from item_history") == [("I",)]
    assert value(db, "select count(*) from chrononaut.transaction") == 1


def test_locks_are_listed_and_every_event_is_kept(db: Db) -> None:
    create_items(db)
    run(
        db,
        "select chrononaut.set_change_info(user_id => 'ann', rationale => 'audit')",
    )
    lock(db, ONE)
    db.commit()
    run(db, "select chrononaut.set_change_info(user_id => 'bob')")
    lock(db, {"id": 2}, "also")
    unlock(db, ONE, "done")
    listed = (
        "select relation::text, key, user_id, db_user, rationale, enforced,"
        " change_info ->> 'user_id' from chrononaut.record_locks"
    )

    me = db.info.user
    assert rows(db, listed) == [("item", {"id": 2}, "bob", me, "also", True, "bob")]
    assert rows(
        db,
        "select event, table_name, key, user_id, db_user, rationale"
        " from chrononaut.record_lock_event order by id",
    ) == [
        ("lock", "item", {"id": 1}, "ann", me, "audit"),
        ("lock", "item", {"id": 2}, "bob", me, "also"),
        ("unlock", "item", {"id": 1}, "bob", me, "done"),
    ]


@pytest.mark.parametrize(
    "write",
    [
        "update chrononaut.record_lock_event set rationale = 'x'",
        "delete from chrononaut.record_lock_event",
        "truncate chrononaut.record_lock_event",
    ],
)
def test_events_cannot_be_rewritten(db: Db, write: str) -> None:
    create_items(db)
    lock(db, ONE)
    found = refusal(db, "VH008", write).message_hint
    assert found == "What was locked and unlocked is kept for good."


def test_unlocked_record_can_be_written_and_locked_again(db: Db) -> None:
    create_items(db)
    lock(db, ONE)
    assert [unlock(db, ONE), unlock(db, ONE)] == [True, False]
    run(db, "update item set v = 'c' where id = 1")
    lock(db, ONE)
    refusal(db, "VH010", "delete from item where id = 1")


def test_lock_that_is_rolled_back_is_gone_with_its_event(db: Db) -> None:
    create_items(db)
    run(db, "savepoint s")
    lock(db, ONE)
    run(db, "rollback to savepoint s")
    run(db, "update item set v = 'c' where id = 1")
    db.commit()
    lock(db, ONE)
    db.rollback()

    run(db, "delete from item where id = 1")
    assert value(db, "select count(*) from chrononaut.record_lock_event") == 0


@pytest.mark.parametrize("key", [{}, {"v": 1}, {"id": "x"}, {"id": []}, 3, [1], "1"])
def test_key_that_does_not_fit_is_refused(db: Db, key: Any) -> None:
    create_items(db)
    for function in (lock, unlock):
        with pytest.raises(Exception, match="is no key of public") as caught:
            function(db, key)
        assert getattr(caught.value, "sqlstate", None) == "22023"
        db.rollback()


@pytest.mark.parametrize("key", [{"id": 7}, {"id": None}])
def test_record_that_does_not_exist_cannot_be_locked(db: Db, key: Any) -> None:
    create_items(db)
    with pytest.raises(Exception, match="has no row with the key") as caught:
        lock(db, key)
    assert getattr(caught.value, "sqlstate", None) == "P0002"


def test_table_that_is_not_lockable_says_how_to_make_it_so(db: Db) -> None:
    create_items(db, ", row_version => false")
    run(db, "select chrononaut.alter_versioning('item', lockable => false)")
    query = "select chrononaut.lock_record('item', '{\"id\": 1}')"
    diag = refusal(db, "VH003", query)
    run(db, str(diag.message_hint).removeprefix("Run: "))
    run(db, query)
    refusal(db, "VH010", "delete from item")


def test_required_change_info_is_required_of_locks(db: Db) -> None:
    create_items(db, ", require_change_info => false")
    run(db, "select chrononaut.alter_versioning('item', require_change_info => true)")
    refusal(db, "VH002", "select chrononaut.lock_record('item', '{\"id\": 1}')")
    with db.transaction():
        run(db, "select chrononaut.set_change_info(user_id => 'ann')")
        lock(db, ONE)
    db.commit()
    refusal(db, "VH002", "select chrononaut.unlock_record('item', '{\"id\": 1}')")


def test_table_that_is_not_lockable_has_no_trigger_for_it(db: Db) -> None:
    run(db, "create table item (id int primary key)")
    run(db, "select chrononaut.create_versioning('item')")
    assert rows(db, TRIGGERS) == []
    run(db, "select chrononaut.alter_versioning('item', lockable => true)")
    assert rows(db, TRIGGERS) == [("00_chrononaut_lock",)]


def test_locks_outlast_the_option_and_are_enforced_again_with_it(db: Db) -> None:
    create_items(db)
    lock(db, ONE)
    listed = "select key, enforced from chrononaut.record_locks"
    run(db, "select chrononaut.alter_versioning('item', lockable => false)")
    assert rows(db, listed) == [(ONE, False)]
    run(db, "delete from item where id = 1")
    run(db, "insert into item values (1, 'again')")
    assert problems(db) == []
    run(db, "select chrononaut.alter_versioning('item', lockable => true)")

    assert rows(db, listed) == [(ONE, True)]
    refusal(db, "VH010", "delete from item where id = 1")
    assert problems(db) == []


def test_dropped_versioning_takes_the_trigger_and_leaves_the_locks(db: Db) -> None:
    create_items(db, ", row_version => true")
    lock(db, ONE)
    run(db, "select chrononaut.drop_versioning('item')")
    assert rows(db, TRIGGERS) == []
    run(db, "update item set v = 'c'")
    assert rows(db, "select key, enforced from chrononaut.record_locks") == [
        (ONE, False)
    ]
    run(db, "select chrononaut.create_versioning('item')")
    refusal(db, "VH010", "delete from item where id = 1")
    run(db, "select chrononaut.drop_versioning('item', drop_history => true)")
    assert rows(db, "select * from chrononaut.record_locks") == []
    assert rows(
        db, "select event, rationale from chrononaut.record_lock_event order by id"
    ) == [("lock", None), ("unlock", "the history was dropped")]


def test_damaged_guard_is_reported_and_mended(db: Db) -> None:
    create_items(db)
    [[function]] = rows(
        db,
        "select tgfoid::regprocedure::text from pg_trigger"
        " where tgname = '00_chrononaut_lock'",
    )
    run(db, f"create or replace function {function} returns trigger language plpgsql"
        " as 'begin return new; end'")  # fmt: skip
    run(db, 'alter table item disable trigger "00_chrononaut_lock"')
    assert problems(db) == [
        'trigger "00_chrononaut_lock" is disabled',
        "the function behind record locks is not the generated one",
    ]
    with pytest.raises(Exception, match="has no trigger that guards") as caught:
        lock(db, ONE)
    assert getattr(caught.value, "sqlstate", None) == "VH005"
