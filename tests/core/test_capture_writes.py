"""Whoever writes and however: each change leaves the OLD row, in true order."""

import pytest

from tests.servers import Db

SETUP = """
create table item (id int primary key, v int, note text);
insert into item values (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c');
"""

CASES: dict[str, tuple[str, list[tuple[object, ...]]]] = {
    "update": (
        "update item set v = 11 where id = 1",
        [("U", 1, 10, "a")],
    ),
    "update of all": (
        "update item set v = v + 1",
        [("U", 1, 10, "a"), ("U", 2, 20, "b"), ("U", 3, 30, "c")],
    ),
    "update that changes nothing": ("update item set v = v, note = note", []),
    "delete": ("delete from item where id = 2", [("D", 2, 20, "b")]),
    "insert": ("insert into item values (4, 40, 'd')", [("I", 4, None, None)]),
    "key change": (
        "update item set id = 9 where id = 1",
        [("D", 1, 10, "a"), ("I", 9, None, None)],
    ),
    "upsert that updates": (
        "insert into item values (1, 0, 'z') on conflict (id) do update set v = 0",
        [("U", 1, 10, "a")],
    ),
    "upsert that does nothing": (
        "insert into item values (1, 0, 'z') on conflict do nothing",
        [],
    ),
    "writable CTE": (
        "with gone as (delete from item where id = 3 returning *)"
        " insert into item select 30, v, note from gone",
        [("D", 3, 30, "c"), ("I", 30, None, None)],
    ),
    "function call": (
        "do $$ begin update item set v = 0 where id = 1; delete from item where id = 2;"
        " end $$",
        [("U", 1, 10, "a"), ("D", 2, 20, "b")],
    ),
    "through a view": (
        "create view seen as select * from item; update seen set v = 1 where id = 1",
        [("U", 1, 10, "a")],
    ),
    "truncate": (
        "truncate item",
        [("T", 1, 10, "a"), ("T", 2, 20, "b"), ("T", 3, 30, "c")],
    ),
    "two updates in one transaction": (
        "update item set v = 1 where id = 1; update item set v = 2 where id = 1",
        [("U", 1, 10, "a"), ("U", 1, 1, "a")],
    ),
    "delete and insert again": (
        "delete from item where id = 1; insert into item values (1, 5, 'n')",
        [("D", 1, 10, "a"), ("I", 1, None, None)],
    ),
    "insert and delete": (
        "insert into item values (5, 50, 'e'); delete from item where id = 5",
        [("I", 5, None, None), ("D", 5, 50, "e")],
    ),
    "savepoint rolled back": (
        "savepoint s; update item set v = 99; rollback to savepoint s;"
        " update item set v = 11 where id = 1",
        [("U", 1, 10, "a")],
    ),
}


def history(db: Db) -> list[tuple[object, ...]]:
    """Return operation, key and image of every change, in order."""
    return db.execute(
        "select operation, id, v, note from item_history order by change_id"
    ).fetchall()


@pytest.fixture(params=["row", "statement"])
def versioned(request: pytest.FixtureRequest, db: Db) -> Db:
    db.execute(SETUP)
    db.execute(
        "select chrononaut.create_versioning('item', granularity => %s)",
        [request.param],
    )
    db.commit()
    return db


@pytest.mark.parametrize(("statement", "changes"), CASES.values(), ids=CASES.keys())
def test_change_is_recorded_as_it_happened(
    versioned: Db, statement: str, changes: list[tuple[object, ...]]
) -> None:
    versioned.execute(statement)
    versioned.commit()
    recorded = history(versioned)
    assert sorted(recorded, key=str) == sorted(changes, key=str)
    for key in {change[1] for change in changes}:
        assert [one for one in recorded if one[1] == key] == [
            one for one in changes if one[1] == key
        ]


def test_copy_is_recorded(versioned: Db) -> None:
    with versioned.cursor() as cursor, cursor.copy("copy item from stdin") as copy:
        copy.write_row((7, 70, "copied"))
        copy.write_row((8, 80, "copied"))
    assert history(versioned) == [("I", 7, None, None), ("I", 8, None, None)]


@pytest.mark.min_pg(15)
def test_merge_is_recorded(versioned: Db) -> None:
    versioned.execute(
        "merge into item using (values (1, 0), (2, 5), (6, 6)) s(id, v)"
        " on item.id = s.id"
        " when matched and s.v = 0 then delete"
        " when matched then update set v = s.v"
        " when not matched then insert values (s.id, s.v, 'm')"
    )
    assert sorted(history(versioned), key=str) == [
        ("D", 1, 10, "a"),
        ("I", 6, None, None),
        ("U", 2, 20, "b"),
    ]


def test_aborted_transaction_leaves_no_trace(versioned: Db) -> None:
    versioned.execute("update item set v = 0")
    versioned.rollback()
    traces = versioned.execute("select count(*) from chrononaut.transaction").fetchone()
    assert (history(versioned), traces) == ([], (0,))


def test_shifted_keys_are_paired_by_key(versioned: Db) -> None:
    versioned.execute("delete from item where id < 3")
    versioned.execute("insert into item values (2, 21, 'n')")
    versioned.execute("update item set id = id - 1 where id = 2")
    versioned.execute("update item set id = id - 1 where id = 3")
    states = versioned.execute(
        "select id, v, operation from item_versions order by id, version"
    ).fetchall()
    assert states == [
        (1, 10, "D"),
        (1, 21, None),
        (2, 20, "D"),
        (2, 21, "D"),
        (2, 30, None),
        (3, 30, "D"),
    ]


def test_inserts_are_left_out_where_they_are_not_tracked(db: Db) -> None:
    db.execute(SETUP)
    db.execute("select chrononaut.create_versioning('item', track_inserts => false)")
    db.execute("insert into item values (4, 40, 'd')")
    db.execute("update item set v = 41 where id = 4")
    assert history(db) == [("U", 4, 40, "d")]


def test_truncate_is_refused_where_it_is_forbidden(db: Db) -> None:
    db.execute(SETUP)
    db.execute("select chrononaut.create_versioning('item', on_truncate => 'forbid')")
    with pytest.raises(Exception, match="TRUNCATE of versioned table") as caught:
        db.execute("truncate item")
    assert getattr(caught.value, "sqlstate", None) == "VH006"


def test_truncate_is_refused_under_a_snapshot_that_may_miss_rows(versioned: Db) -> None:
    versioned.execute("set transaction isolation level repeatable read")
    with pytest.raises(Exception, match="repeatable read"):
        versioned.execute("truncate item")


@pytest.mark.parametrize(("always", "recorded"), [(True, 1), (False, 0)])
def test_replica_sessions_are_recorded_only_if_always(
    db: Db, always: bool, recorded: int
) -> None:
    db.execute(SETUP)
    db.execute("select chrononaut.create_versioning('item', always => %s)", [always])
    db.execute("set session_replication_role = replica")
    db.execute("update item set v = 0 where id = 1")
    assert len(history(db)) == recorded


def test_cascades_are_recorded(db: Db) -> None:
    db.execute(SETUP)
    db.execute(
        "create table part (id int primary key,"
        " item_id int references item on delete cascade on update cascade)"
    )
    db.execute("insert into part values (1, 1), (2, 2)")
    db.execute(
        "select chrononaut.create_versioning('part', granularity => 'statement')"
    )
    db.execute("delete from item where id = 1")
    db.execute("update item set id = 22 where id = 2")
    assert db.execute(
        "select operation, id, item_id from part_history order by change_id"
    ).fetchall() == [("D", 1, 1), ("U", 2, 2)]


def test_before_triggers_have_their_say_first(versioned: Db) -> None:
    versioned.execute(
        "create function meddle() returns trigger language plpgsql as"
        " $$ begin if new.v < 0 then return null; end if; new.note := 'meddled';"
        " return new; end $$"
    )
    granularity = versioned.execute(
        "select granularity from chrononaut.versioned_tables"
    ).fetchone()
    if granularity == ("statement",):
        versioned.execute(
            "select chrononaut.alter_versioning('item', granularity => 'row')"
        )
    versioned.execute(
        "create trigger meddle before update on item"
        " for each row execute function meddle()"
    )
    versioned.execute("update item set v = -1 where id = 1")
    versioned.execute("update item set v = 1 where id = 2")
    versioned.execute("update item set v = 2 where id = 2")
    assert history(versioned) == [("U", 2, 20, "b"), ("U", 2, 1, "meddled")]


def test_nested_statement_is_put_behind_the_change_that_it_followed(db: Db) -> None:
    db.execute(SETUP)
    db.execute("select chrononaut.create_versioning('item')")
    db.execute(
        "create function push() returns trigger language plpgsql as"
        " $$ begin if new.id = 1 and pg_trigger_depth() < 2 then"
        " update item set v = v + 100 where id = 2; end if; return null; end $$"
    )
    db.execute(
        "create trigger push after update on item for each row execute function push()"
    )
    db.execute("update item set v = v + 1 where id < 3")
    assert db.execute(
        "select v from item_versions where id = 2 order by version"
    ).fetchall() == [(20,), (21,), (121,)]


@pytest.mark.parametrize("unseen", ["note = 'seen'", "v = v"])
def test_change_that_follows_an_unrecorded_one_is_put_behind_as_well(
    db: Db, unseen: str
) -> None:
    db.execute(SETUP)
    db.execute("select chrononaut.create_versioning('item', untracked => '{note}')")
    db.execute(
        "create function push() returns trigger language plpgsql as"
        " $$ begin if new.id = 1 and pg_trigger_depth() < 2 then"
        f" update item set {unseen} where id = 2;"
        " update item set v = v + 100 where id = 2; end if; return null; end $$"
    )
    db.execute(
        "create trigger push after update on item for each row execute function push()"
    )
    db.commit()
    db.execute("update item set v = v + 1 where id < 3")
    assert db.execute(
        "select v from item_versions where id = 2 order by version"
    ).fetchall() == [(20,), (21,), (121,)]
