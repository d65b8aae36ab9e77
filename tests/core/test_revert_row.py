"""revert_row and restore_row: one row put back to one of its versions."""

from typing import Any

import pytest

from tests.core.asking import infos, refusal, rows, run, value
from tests.core.undoing import in_one, table
from tests.servers import Db


@pytest.fixture
def user(db: Db) -> Db:
    """User 1 with the versions ann/1, bea/1 and bea/2 (live)."""
    in_one(
        db,
        """
        create table "user" (
            id integer primary key,
            name text,
            age integer,
            password text,
            seen integer default 7
        );
        select chrononaut.create_versioning('"user"', hidden => '{password}',
            untracked => '{seen}');
        insert into "user" values (1, 'ann', 1, 'secret', 0);
        """,
    )
    in_one(db, "update \"user\" set name = 'bea', seen = 1")
    in_one(db, 'update "user" set age = 2, seen = 2')
    return db


def revert(db: Db, options: str, key: str = "1") -> Any:
    """Revert a row of the table user and commit; return what the function returns."""
    done = value(db, f"select chrononaut.revert_row('\"user\"', '{key}', {options})")
    db.commit()
    return done


def restore(db: Db, key: str = "1") -> Any:
    """Restore a row of the table user and commit; return what the function returns."""
    done = value(db, f"select chrononaut.restore_row('\"user\"', '{key}')")
    db.commit()
    return done


def changes(db: Db) -> list[int]:
    """Return the numbers of all changes."""
    return [row[0] for row in rows(db, "select change_id from user_history order by 1")]


def test_by_version_the_columns_that_differ_are_set(user: Db) -> None:
    ended_by = changes(user)[1]
    assert revert(user, "version => 0") == {
        "relation": 'public."user"',
        "operation": "update",
        "version": 0,
        "change_id": ended_by,
        "columns": ["name", "age"],
        "skipped": {},
    }
    assert table(user, '"user"') == [(1, "ann", 1, "secret", 2)]


def test_the_change_says_what_it_reverted_to(user: Db) -> None:
    ended_by = changes(user)[1]
    run(user, "select chrononaut.set_change_info('ann', rationale => 'a mistake')")
    revert(user, "version => 0")
    assert infos(user, "user_history")[-1] == {
        "user_id": "ann",
        "remote_addr": None,
        "extra": {
            "rationale": "a mistake",
            "reverted_to": {"version": 0, "change_id": ended_by},
        },
    }


def test_by_change_the_row_is_as_before_it(user: Db) -> None:
    [inserted, _, aged] = changes(user)
    assert revert(user, f"change_id => {aged}")["columns"] == ["age"]
    assert table(user, '"user"')[0][:3] == (1, "bea", 1)
    assert revert(user, f"change_id => {inserted}")["operation"] == "delete"
    assert table(user, '"user"') == []


def test_by_time(user: Db) -> None:
    moments = [
        str(row[0])
        for row in rows(user, "select changed from user_history order by change_id")
    ]
    assert revert(user, f"at => '{moments[1]}'")["version"] == 1
    assert revert(user, f"at => '{moments[0]}'")["version"] == 0
    before = revert(user, f"at => timestamptz '{moments[0]}' - interval '1 us'")
    assert (before["operation"], before["version"]) == ("delete", None)
    assert revert(user, f"at => timestamptz '{moments[0]}' - interval '1 us'") == {
        "relation": 'public."user"',
        "operation": "none",
        "version": None,
        "change_id": None,
        "columns": [],
        "skipped": {},
    }


def test_to_the_version_that_it_has_nothing_is_written(user: Db) -> None:
    before = changes(user)
    assert revert(user, "version => 2")["operation"] == "none"
    assert changes(user) == before


def test_a_deleted_row_comes_back_with_its_key(user: Db) -> None:
    in_one(user, 'delete from "user"')
    assert revert(user, "version => 1") == {
        "relation": 'public."user"',
        "operation": "insert",
        "version": 1,
        "change_id": changes(user)[2],
        "columns": ["id", "name", "age"],
        "skipped": {
            "password": "is hidden: a new row takes its default",
            "seen": "is untracked: a new row takes its default",
        },
    }
    assert table(user, '"user"') == [(1, "bea", 1, None, 7)]


def test_restore_brings_a_row_back_as_it_last_was(user: Db) -> None:
    in_one(user, 'delete from "user"')
    restored = restore(user)
    assert (restored["operation"], restored["version"]) == ("insert", 2)
    assert table(user, '"user"') == [(1, "bea", 2, None, 7)]


def test_restore_after_a_truncate(user: Db) -> None:
    in_one(user, 'truncate "user"')
    restore(user)
    assert table(user, '"user"')[0][:3] == (1, "bea", 2)


def test_restore_refuses_live_and_unknown_rows(user: Db) -> None:
    live = refusal(user, "55000", "select chrononaut.restore_row('\"user\"', '1')")
    assert live.message_primary == 'row 1 of public."user" is not deleted'
    unknown = refusal(user, "P0002", "select chrononaut.restore_row('\"user\"', '5')")
    assert unknown.message_primary == 'row 5 of public."user" was never known'


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("P0002", "version => 9"),
        ("P0002", "change_id => 999"),
        ("22023", "version => null"),
        ("22023", "version => 1, change_id => 2"),
    ],
)
def test_what_is_no_version_of_the_row(user: Db, code: str, options: str) -> None:
    refusal(user, code, f"select chrononaut.revert_row('\"user\"', '1', {options})")


@pytest.mark.parametrize(
    "key",
    [
        "null",
        "[]",
        '{"name": 1}',
        "[null]",
        "[1, 2]",
        '"x"',
        "1.5",
        "true",
        "99999999999",
    ],
)
def test_what_is_no_key(user: Db, key: str) -> None:
    call = f"select chrononaut.revert_row('\"user\"', '{key}', version => 0)"
    found = refusal(user, "22023", call)
    assert found.message_hint == "Pass a value for each of its columns: id."


def test_columns_that_came_or_went_are_told(user: Db) -> None:
    run(user, "alter table \"user\" drop age, add city text not null default 'Oslo'")
    run(user, "select chrononaut.sync_versioning('\"user\"')")
    assert revert(user, "version => 0")["skipped"] == {
        "age": "no longer exists",
        "city": "was not recorded at the time",
    }
    assert table(user, '"user"') == [(1, "ann", "secret", 2, "Oslo")]


def test_a_hidden_column_that_needs_a_value_is_named(user: Db) -> None:
    in_one(user, 'delete from "user"')
    run(user, 'alter table "user" alter password set not null')
    found = refusal(user, "23502", "select chrononaut.restore_row('\"user\"', '1')")
    assert (found.table_name, found.column_name) == ("user", "password")


def test_rows_that_were_there_before_versioning(db: Db) -> None:
    in_one(
        db,
        "create table t (id int primary key, v int)",
        "insert into t values (1, 1)",
        "select chrononaut.create_versioning('t')",
    )
    in_one(db, "update t set v = 2")
    run(db, "select chrononaut.revert_row('t', '1', at => '2000-01-01')")
    assert table(db, "t") == [(1, 1)]


def test_composite_keys_and_strange_names(db: Db) -> None:
    name = '"Ta""ble %s"'
    in_one(
        db,
        f'create table {name} ("a%s" text, b date, version int, changed text,'
        ' primary key ("a%s", b))',
        f"select chrononaut.create_versioning('{name}')",
        f"insert into {name} values ('x''', '2024-01-01', 1, 'c'), ('y', now(), 1, '')",
    )
    in_one(db, f"update {name} set version = 2, changed = null")
    for key in ('["x\'\'", "2024-01-01"]', '{"b": "2024-01-01", "a%s": "x\'\'"}'):
        run(db, f"update {name} set version = 3 where b = '2024-01-01'")
        run(db, f"select chrononaut.revert_row('{name}', '{key}', version => 0)")
        found = rows(db, f"select version, changed from {name} order by 1")
        assert found == [(1, "c"), (2, None)]


@pytest.fixture
def chain(db: Db) -> Db:
    """Worker 1, of the tables person and worker, with a version before the live one."""
    in_one(
        db,
        """
        create table person (id int primary key, name text, note text);
        create table worker (id int primary key references person on delete cascade,
            wage int, note text);
        select chrononaut.create_versioning('person');
        select chrononaut.create_versioning('worker', parent => 'person');
        insert into person values (1, 'Ann', 'p');
        insert into worker values (1, 10, 'w');
        """,
    )
    in_one(
        db,
        "update person set name = 'Bea', note = 'P'",
        "update worker set wage = 20, note = 'W'",
    )
    return db


def test_joined_inheritance_reverts_all_tables(chain: Db) -> None:
    done = value(chain, "select chrononaut.revert_row('worker', '1', version => 0)")
    assert (done["operation"], done["columns"]) == ("update", ["name", "wage", "note"])
    assert table(chain, "person") == [(1, "Ann", "P")]
    assert table(chain, "worker") == [(1, 10, "w")]


def test_joined_inheritance_restores_all_tables(chain: Db) -> None:
    in_one(chain, "delete from person")
    run(chain, "select chrononaut.restore_row('worker', '1')")
    assert rows(chain, "select name, wage from person join worker using (id)") == [
        ("Bea", 20)
    ]


def test_a_restored_child_leaves_its_parent_as_it_is(chain: Db) -> None:
    in_one(chain, "delete from worker")
    in_one(chain, "update person set name = 'Cleo'")
    run(chain, "select chrononaut.restore_row('worker', '1')")
    assert rows(chain, "select name, wage from person join worker using (id)") == [
        ("Cleo", 20)
    ]


def test_a_parent_that_was_there_before_its_child_stays(chain: Db) -> None:
    in_one(chain, "insert into person values (2, 'Dan')")
    in_one(chain, "insert into worker values (2, 30)")
    for key in (1, 2):
        run(
            chain,
            f"select chrononaut.revert_row('worker', '{key}', at => '2000-01-01')",
        )
    assert rows(chain, "select name from person") == [("Dan",)]
    assert table(chain, "worker") == []


def test_partitioned_tables(db: Db) -> None:
    in_one(
        db,
        """
        create table t (id int, p int, v int, primary key (id, p))
            partition by list (p);
        create table t1 partition of t for values in (1);
        create table t2 partition of t for values in (2);
        select chrononaut.create_versioning('t', key => '{id}');
        insert into t values (1, 1, 1);
        """,
    )
    in_one(db, "update t set p = 2, v = 2")
    run(db, "select chrononaut.revert_row('t', '1', version => 0)")
    assert table(db, "t1") == [(1, 1, 1)]
