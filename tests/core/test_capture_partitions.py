"""Partitioned tables: every way in is recorded, and a moved row keeps its identity."""

import pytest

from tests.servers import Db

SETUP = """
create table item (id int, part int, v text, primary key (id, part))
    partition by range (part);
create table item_1 partition of item for values from (0) to (10);
create table item_2 (v text, part int not null, id int not null);
alter table item attach partition item_2 for values from (10) to (20);
"""

VERSIONS = "select id, part, v, operation from item_versions order by id, version"


@pytest.fixture
def parted(db: Db) -> Db:
    db.execute(SETUP)
    db.execute("select chrononaut.create_versioning('item', key => '{id}')")
    db.execute("insert into item values (1, 1, 'a'), (2, 2, 'b')")
    return db


def test_row_that_moves_is_one_version_after_another(parted: Db) -> None:
    parted.execute("update item set part = 15, v = 'moved' where id = 1")
    parted.execute("update item_2 set v = 'direct' where id = 1")
    parted.execute("delete from item where id = 1")
    assert parted.execute(VERSIONS).fetchall() == [
        (1, 1, "a", "U"),
        (1, 15, "moved", "U"),
        (1, 15, "direct", "D"),
        (2, 2, "b", None),
    ]


@pytest.mark.min_pg(15)
def test_row_that_merge_moves_is_recorded(parted: Db) -> None:
    parted.execute(
        "merge into item using (values (2)) s(id) on item.id = s.id"
        " when matched then update set part = 12"
    )
    assert parted.execute(VERSIONS).fetchall() == [
        (1, 1, "a", None),
        (2, 2, "b", "U"),
        (2, 12, "b", None),
    ]


@pytest.mark.parametrize("older", [True, False])
@pytest.mark.parametrize("nested", ["update item set v = v || '!'", "delete from item"])
def test_change_of_a_row_that_is_being_moved_is_put_behind_its_move(
    parted: Db, nested: str, older: bool
) -> None:
    if older:
        parted.commit()
    parted.execute(
        "create function push() returns trigger language plpgsql as"
        f" $$ begin if old.id = 1 then {nested} where id = 2; end if;"
        " return null; end $$;"
        " create trigger push after delete on item for each row execute function push()"
    )
    parted.execute("update item set part = part + 10")
    kept = [(2, 12, "b", "U"), (2, 12, "b!", None)]
    assert parted.execute(VERSIONS).fetchall() == [
        (1, 1, "a", "U"),
        (1, 11, "a", None),
        (2, 2, "b", "U"),
        *(kept if "update" in nested else [(2, 12, "b", "D")]),
    ]


def test_full_key_makes_a_move_an_end_and_a_beginning(db: Db) -> None:
    db.execute(SETUP)
    db.execute("select chrononaut.create_versioning('item')")
    db.execute("insert into item values (1, 1, 'a')")
    db.execute("update item set part = 15")
    assert db.execute(VERSIONS).fetchall() == [(1, 1, "a", "D"), (1, 15, "a", None)]


@pytest.mark.parametrize("truncated", ["item", "item_1, item_2"])
def test_truncate_of_root_or_partitions_is_recorded_once(
    parted: Db, truncated: str
) -> None:
    parted.execute("update item set part = 15 where id = 1")
    parted.execute(f"truncate {truncated}")
    assert parted.execute(
        "select id, operation from item_history where operation = 'T' order by id"
    ).fetchall() == [(1, "T"), (2, "T")]


def test_partition_made_later_is_recorded_and_named_until_it_is_synced(
    parted: Db,
) -> None:
    parted.execute("create table item_3 partition of item for values from (20) to (30)")
    parted.execute("insert into item values (3, 25, 'c')")
    parted.execute("truncate item")
    problems = "select problem from chrononaut.check_versioning()"
    before = parted.execute(problems).fetchall()
    parted.execute("select chrononaut.sync_versioning('item')")
    assert (
        [row for row in parted.execute(VERSIONS) if row[0] == 3],
        len(before),
        parted.execute(problems).fetchall(),
    ) == ([(3, 25, "c", "T")], 1, [])


def test_partition_of_a_versioned_table_is_covered_already(parted: Db) -> None:
    covered = "select chrononaut.create_versioning('item_1')::text"
    assert parted.execute(covered).fetchone() == ("item_history",)


def test_detached_partition_is_no_longer_recorded_nor_kept_from_truncate(
    parted: Db,
) -> None:
    parted.execute(
        "select chrononaut.alter_versioning('item', on_truncate => 'forbid')"
    )
    parted.execute("alter table item detach partition item_1")
    parted.execute("truncate item_1")
    parted.execute("select chrononaut.drop_versioning('item', true)")
    parted.execute("insert into item_1 values (1, 1, 'a')")
    parted.execute("truncate item_1")
    assert parted.execute("select count(*) from item_1").fetchone() == (0,)


def test_truncate_of_a_detached_partition_leaves_history_as_it_is(parted: Db) -> None:
    history = "select operation, id, part from item_history order by change_id"
    parted.execute("alter table item detach partition item_1")
    before = parted.execute(history).fetchall()
    parted.execute("insert into item_1 values (9, 9, 'other')")
    parted.execute("truncate item_1")
    assert parted.execute(history).fetchall() == before


@pytest.mark.parametrize("versioned", ["item_1", "item_2"])
def test_root_of_a_partition_that_is_versioned_by_itself_is_refused(
    db: Db, versioned: str
) -> None:
    db.execute(SETUP)
    db.execute("select chrononaut.create_versioning(%s)", [versioned])
    with pytest.raises(Exception, match="versioned by itself") as caught:
        db.execute("select chrononaut.create_versioning('item')")
    assert getattr(caught.value, "sqlstate", None) == "VH003"


REFUSED = {
    "view": "create view x as select 1 as id",
    "materialized view": "create materialized view x as select 1 as id",
    "temporary": "create temporary table x (id int primary key)",
    "unlogged": "create unlogged table x (id int primary key)",
    "no key": "create table x (id int)",
    "deferrable key": "create table x (id int primary key deferrable)",
    "inherited": "create table x (id int primary key); create table y () inherits (x)",
    "sequence": "create sequence x",
    "unlogged partition": "create table x (id int primary key) partition by range (id);"
    " create table a partition of x default partition by range (id);"
    " create unlogged table b partition of a default",
}


@pytest.mark.parametrize("ddl", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_versioned_is_refused(db: Db, ddl: str) -> None:
    db.execute(ddl)
    with pytest.raises(Exception, match="cannot version") as caught:
        db.execute("select chrononaut.create_versioning('x')")
    assert getattr(caught.value, "sqlstate", None) == "VH003"


def test_an_unlogged_partition_is_reported(db: Db) -> None:
    db.execute("create table x (id int primary key) partition by range (id)")
    db.execute("select chrononaut.create_versioning('x')")
    db.execute("create unlogged table y partition of x default")
    db.execute("select chrononaut.sync_versioning('x')")
    assert db.execute(
        "select problem, fix from chrononaut.check_versioning()"
    ).fetchall() == [
        (
            "its partition public.y is unlogged: a crash empties it without a change",
            "alter table public.y set logged;",
        )
    ]


@pytest.mark.min_pg(18)
def test_a_key_that_old_rows_need_not_have_is_refused(db: Db) -> None:
    db.execute("create table x (id int unique)")
    db.execute("alter table x add constraint c not null id not valid")
    call = "select chrononaut.create_versioning('x', key => '{id}')"
    with pytest.raises(Exception, match="may be null"), db.transaction():
        db.execute(call)
    db.execute("alter table x validate constraint c")
    db.execute(call)


UNFIT = {
    "partitioned": "create table x (id int primary key) partition by range (id)",
    "row trigger": "create table x (id int primary key); create function f() returns"
    " trigger language plpgsql as 'begin return null; end'; create trigger f after"
    " update on x for each row execute function f()",
    "self reference": "create table x (id int primary key,"
    " up int references x on delete cascade)",
    "two cascades": "create table y (id int primary key); create table x"
    " (id int primary key, a int references y on delete cascade,"
    " b int references y on delete set null)",
}


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_rows_that_lose_both_of_their_parents_are_recorded_once(
    db: Db, granularity: str
) -> None:
    db.execute(
        "create table up (id int primary key); insert into up values (1), (2);"
        " create table item (id int primary key, a int references up on delete cascade,"
        " b int references up on delete cascade); insert into item values (7, 1, 2)"
    )
    db.execute(
        "select chrononaut.create_versioning('item', granularity => %s)", [granularity]
    )
    db.execute("delete from up")
    assert db.execute("select operation, id, a, b from item_history").fetchall() == [
        ("D", 7, 1, 2)
    ]


@pytest.mark.parametrize("ddl", UNFIT.values(), ids=UNFIT.keys())
def test_statement_granularity_is_refused_where_it_would_be_wrong(
    db: Db, ddl: str
) -> None:
    db.execute(ddl)
    with pytest.raises(Exception, match="by statement") as caught:
        db.execute(
            "select chrononaut.create_versioning('x', granularity => 'statement')"
        )
    assert getattr(caught.value, "sqlstate", None) == "VH003"
