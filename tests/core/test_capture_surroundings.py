"""What surrounds a table: cascades, rules, schemas, procedures, partitions, servers."""

import pytest

from tests.core.asking import problems, refusal, rows, run, value, version_note
from tests.servers import Db

GRANULARITIES = pytest.mark.parametrize("granularity", ["row", "statement"])


def changes(db: Db, table: str, columns: str = "operation, id") -> list[object]:
    return list(rows(db, f"select {columns} from {table}_history order by change_id"))


def families(db: Db, granularity: str = "row") -> None:
    """Create `parent` and `child`, both versioned, with one row that refers."""
    run(db, "create table parent (id int primary key)")
    run(
        db,
        "create table child (id int primary key, parent_id int references parent"
        " on delete cascade on update cascade deferrable initially deferred)",
    )
    run(db, "insert into parent values (1), (2); insert into child values (7, 1)")
    for table in ("parent", "child"):
        run(
            db,
            "select chrononaut.create_versioning(%s::regclass, granularity => %s)",
            [table, granularity],
        )
    db.commit()


@GRANULARITIES
def test_truncate_cascade_and_of_several_tables_records_all_rows(
    db: Db, granularity: str
) -> None:
    families(db, granularity)
    run(db, "truncate parent cascade")
    db.commit()
    run(db, "insert into parent values (3); insert into child values (8, 3)")
    db.commit()
    run(db, "truncate child, parent")
    emptied = "where operation = 'T' order by change_id"
    assert (
        rows(db, f"select id from parent_history {emptied}"),
        rows(db, f"select id, parent_id from child_history {emptied}"),
    ) == ([(1,), (2,), (3,)], [(7, 1), (8, 3)])


def test_truncate_of_an_inheritance_parent_records_each_row_once(db: Db) -> None:
    run(db, "create table parent (id int primary key)")
    run(db, "create table child (primary key (id)) inherits (parent)")
    run(db, "select chrononaut.create_versioning('child')")
    run(db, "select chrononaut.create_versioning('parent')")
    run(db, "insert into parent values (1); insert into child values (2)")
    run(db, "truncate only parent")
    assert changes(db, "child") == [("I", 2)]
    run(db, "insert into parent values (3); truncate parent")
    assert (changes(db, "parent"), changes(db, "child")) == (
        [("I", 1), ("T", 1), ("I", 3), ("T", 3)],
        [("I", 2), ("T", 2)],
    )


@GRANULARITIES
def test_cascades_and_deferred_constraints_leave_who_and_why_of_their_cause(
    db: Db, granularity: str
) -> None:
    families(db, granularity)
    run(db, "select chrononaut.set_change_info('ann')")
    run(db, "update parent set id = 5 where id = 1")
    run(db, "insert into child values (9, 6)")  # its parent comes later
    run(db, "select chrononaut.set_change_info('bob')")
    run(db, "insert into parent values (6)")
    run(db, "delete from parent where id = 5")
    db.commit()
    told = "operation, id, parent_id, change_info ->> 'user_id'"
    assert changes(db, "child", told) == [
        ("U", 7, 1, "ann"),
        ("I", 9, None, "ann"),
        ("D", 7, 5, "bob"),
    ]


def test_changes_by_a_deferred_trigger_are_recorded_with_their_transaction(
    db: Db,
) -> None:
    version_note(db)
    run(
        db,
        "create function follow() returns trigger language plpgsql as"
        " $$ begin update note set seen = 7 where id = new.id; return null; end $$;"
        " create constraint trigger follow after insert on note deferrable"
        " initially deferred for each row execute function follow()",
    )
    db.commit()
    run(db, "insert into note values (1)")
    db.commit()
    assert changes(db, "note", "operation, seen") == [("I", None), ("U", 0)]
    assert value(db, "select count(*) from chrononaut.transaction") == 1


def test_our_triggers_are_never_deferred(db: Db) -> None:
    version_note(db)
    deferrable = "select count(*) from pg_trigger where tgdeferrable"
    assert value(db, deferrable) == 0


@pytest.mark.min_pg(17)
@GRANULARITIES
def test_merge_of_what_the_source_lacks_is_recorded(db: Db, granularity: str) -> None:
    version_note(db, f", granularity => '{granularity}'")
    run(db, "insert into note values (1, 'a'), (2, 'b'), (3, 'c')")
    db.commit()
    run(
        db,
        "merge into note using (values (1), (4)) s(id) on note.id = s.id"
        " when matched then do nothing"
        " when not matched by source and note.id = 2 then update set body = 'x'"
        " when not matched by source then delete"
        " when not matched then insert (id) values (s.id)",
    )
    told = sorted(map(str, changes(db, "note", "operation, id, body")[3:]))
    assert told == ["('D', 3, 'c')", "('I', 4, None)", "('U', 2, 'b')"]


@GRANULARITIES
def test_what_a_rule_makes_of_a_statement_is_recorded(db: Db, granularity: str) -> None:
    version_note(db, f", granularity => '{granularity}'")
    run(db, "insert into note values (1, 'a')")
    run(
        db,
        "create rule keep as on delete to note do instead"
        " update note set body = 'gone' where id = old.id",
    )
    run(db, "delete from note")
    assert changes(db, "note", "operation, body") == [("I", None), ("U", "a")]


def test_tables_of_one_name_in_two_schemas_have_histories_of_their_own(db: Db) -> None:
    for schema in ("one", "two"):
        run(db, f"create schema {schema}")
        run(db, f"create table {schema}.item (id int primary key, v text)")
        run(db, f"select chrononaut.create_versioning('{schema}.item')")
    run(db, "set search_path = pg_catalog")
    for schema in ("one", "two"):
        run(db, f"insert into {schema}.item values (1, '{schema}')")
        run(db, f"update {schema}.item set v = 'new'")
    assert {
        schema: changes(db, f"{schema}.item", "operation, v")
        for schema in ("one", "two")
    } == {
        "one": [("I", None), ("U", "one")],
        "two": [("I", None), ("U", "two")],
    }


def test_each_transaction_of_a_procedure_has_a_row_and_words_of_its_own(
    db: Db,
) -> None:
    version_note(db)
    run(
        db,
        "create procedure twice() language plpgsql as $$ begin"
        " perform chrononaut.set_change_info('ann');"
        " insert into note values (1); commit;"
        " insert into note values (2); commit; end $$",
    )
    db.commit()
    db.autocommit = True
    run(db, "call twice()")
    told = "select h.id, h.change_info ->> 'user_id', t.change_info ->> 'user_id'"
    assert rows(
        db,
        f"{told} from note_history h join chrononaut.transaction t"
        " on t.id = h.transaction_id order by change_id",
    ) == [(1, "ann", "ann"), (2, None, None)]


@pytest.mark.parametrize(
    ("event", "body", "write"),
    [
        ("insert", "return null", "insert into note values (2, 'x')"),
        ("delete", "return null", "delete from note"),
        ("update", "return old", "update note set body = 'x'"),
    ],
)
def test_what_a_before_trigger_prevents_leaves_nothing(
    db: Db, event: str, body: str, write: str
) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(
        db,
        f"create function prevent() returns trigger language plpgsql as"
        f" 'begin {body}; end';"
        f" create trigger prevent before {event} on note for each row"
        " execute function prevent()",
    )
    run(db, write)
    assert changes(db, "note") == [("I", 1)]


@pytest.mark.parametrize("always", [True, False])
def test_attached_partition_is_recorded_at_once(db: Db, always: bool) -> None:
    run(db, "create table item (id int primary key, v text) partition by range (id)")
    run(db, "select chrononaut.create_versioning('item', always => %s)", [always])
    run(db, "create table late (id int primary key, v text)")
    run(db, "insert into late values (1, 'before')")
    run(db, "alter table item attach partition late for values from (0) to (9)")
    run(db, f"set session_replication_role = {'replica' if always else 'origin'}")
    run(db, "update item set v = 'root'; update late set v = 'leaf'")
    run(db, "set session_replication_role = origin")
    run(db, "select chrononaut.sync_versioning('item')")
    assert (changes(db, "item", "operation, v"), problems(db)) == (
        [("U", "before"), ("U", "root")],
        [],
    )


def test_partition_with_a_versioning_of_its_own_is_attached_after_that_has_ended(
    db: Db,
) -> None:
    run(db, "create table item (id int primary key, v text) partition by range (id)")
    run(db, "create table late (id int primary key, v text)")
    for table in ("item", "late"):
        run(db, "select chrononaut.create_versioning(%s::regclass)", [table])
    run(db, "insert into late values (1, 'a')")
    attach = "alter table item attach partition late for values from (0) to (9)"
    refusal(db, "42710", attach)
    run(db, "select chrononaut.drop_versioning('late')")
    run(db, attach)
    run(db, "update item set v = 'b'")
    run(db, "select chrononaut.sync_versioning('item')")
    assert (changes(db, "late"), changes(db, "item"), problems(db)) == (
        [("I", 1)],
        [("U", 1)],
        [],
    )


@GRANULARITIES
def test_generated_and_identity_columns_are_recorded_as_stored(
    db: Db, granularity: str
) -> None:
    run(
        db,
        "create table item (id int generated always as identity primary key,"
        " v int, twice int generated always as (v * 2) stored)",
    )
    run(
        db,
        "select chrononaut.create_versioning('item', granularity => %s)",
        [granularity],
    )
    run(db, "insert into item (v) values (1), (2)")
    run(db, "update item set v = v + 10")
    run(db, "delete from item")
    recorded = "select id, v, twice from item_versions order by id, version"
    assert rows(db, recorded) == [(1, 1, 2), (1, 11, 22), (2, 2, 4), (2, 12, 24)]


def test_foreign_tables_are_refused_with_the_reason(db: Db) -> None:
    run(
        db,
        "create foreign data wrapper far; create server away foreign data wrapper far;"
        " create foreign table distant (id int) server away",
    )
    diag = refusal(db, "VH003", "select chrononaut.create_versioning('distant')")
    assert "foreign table" in (diag.message_primary or "")
    assert "remote server" in (diag.message_hint or "")


@pytest.mark.parametrize("kind", ["view", "materialized view"])
def test_refused_views_name_the_tables_behind_them(db: Db, kind: str) -> None:
    run(db, "create table a (id int primary key); create table b (id int primary key)")
    run(db, f"create {kind} seen as select a.id from a join b using (id)")
    diag = refusal(db, "VH003", "select chrononaut.create_versioning('seen')")
    assert "it is a view" in (diag.message_primary or "")
    assert (diag.message_hint or "").endswith(": public.a, public.b.")


def test_column_that_may_be_null_from_now_on_stays_writable(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    run(db, "alter table note alter column seen drop not null")
    run(db, "update note set seen = null")
    run(db, "update note set seen = 1")
    assert changes(db, "note", "operation, seen") == [
        ("I", None),
        ("U", 0),
        ("U", None),
    ]


def test_check_added_to_a_domain_does_not_judge_the_past(db: Db) -> None:
    run(db, "create domain size as int")
    run(db, "create table item (id int primary key, v size)")
    run(db, "select chrononaut.create_versioning('item')")
    run(db, "insert into item values (1, -5)")
    run(db, "update item set v = 5")
    run(db, "alter domain size add constraint positive check (value > 0)")
    run(db, "update item set v = 6")
    assert changes(db, "item", "operation, v") == [("I", None), ("U", -5), ("U", 5)]


@GRANULARITIES
@pytest.mark.parametrize("state", ["untracked", "hidden"])
def test_image_of_tracked_columns_counts_beside_columns_left_out(
    db: Db, granularity: str, state: str
) -> None:
    run(db, "create table item (id int primary key, v numeric, j json, s text)")
    run(
        db,
        f"select chrononaut.create_versioning('item', {state} => '{{s}}',"
        " granularity => %s)",
        [granularity],
    )
    run(db, """insert into item values (1, 1.0, '{"a":1}', 'x')""")
    run(db, "update item set v = 1.00")
    run(db, """update item set j = '{"a": 1}'""")
    run(db, "update item set v = v, j = j, s = s")
    assert changes(db, "item", "operation, v::text, j::text") == [
        ("I", None, None),
        ("U", "1.0", '{"a":1}'),
        ("U", "1.00", '{"a":1}'),
    ]


@GRANULARITIES
def test_hidden_columns_are_compared_as_images(db: Db, granularity: str) -> None:
    run(db, "create table item (id int primary key, n numeric, j json, p point)")
    run(
        db,
        "select chrononaut.create_versioning('item', hidden => '{n,j,p}',"
        " granularity => %s)",
        [granularity],
    )
    run(db, """insert into item values (1, 1.0, '{"a":1}', '(1,2)')""")
    run(db, "update item set n = 1.00")
    run(db, """update item set j = '{"a": 1}', p = '(1,3)'""")
    run(db, "update item set n = n, j = j, p = p")
    assert changes(db, "item", "operation, change_info -> 'hidden_cols_changed'") == [
        ("I", None),
        ("U", ["n"]),
        ("U", ["j", "p"]),
    ]
