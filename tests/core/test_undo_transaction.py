"""undo_transaction: the net effect of a transaction reversed, and nothing else."""

import pytest

from tests.core.asking import infos, refusal, rows, run, value
from tests.core.undoing import ITEM, NEWEST, in_one, preview, table, undo
from tests.servers import Connect, Db

GRANULARITIES = pytest.mark.parametrize("granularity", ["row", "statement"])


@pytest.fixture
def items(db: Db) -> Db:
    """Items 1 to 3, versioned."""
    in_one(db, ITEM)
    return db


def alter(db: Db, option: str) -> None:
    """Change an option of the table."""
    run(db, f"select chrononaut.alter_versioning('item', {option})")


@GRANULARITIES
def test_updates_deletes_and_inserts_are_all_reversed(
    items: Db, granularity: str
) -> None:
    run(
        items,
        f"select chrononaut.alter_versioning('item', granularity => '{granularity}')",
    )
    before = table(items)
    done = in_one(
        items,
        "update item set a = a + 10 where id < 3",
        "delete from item where id = 3",
        "insert into item values (4, 4, 'b4', 'c')",
    )
    assert undo(items, done) == [
        ("public.item", "delete", 1, None),
        ("public.item", "insert", 1, None),
        ("public.item", "update", 2, None),
    ]
    assert table(items) == before


def test_a_dry_run_shows_each_row_and_writes_nothing(items: Db) -> None:
    done = in_one(
        items,
        "update item set a = 10 where id = 1",
        "delete from item where id = 3",
        "insert into item values (4, 4, null, 'c')",
    )
    after = table(items)
    assert preview(items, done) == [
        ({"id": 1}, "update", {"a": 10}, {"a": 1}, None),
        ({"id": 3}, "insert", None, {"id": 3, "a": 3, "b": "b3", "c": "new"}, None),
        ({"id": 4}, "delete", {"id": 4, "a": 4, "b": None, "c": "c"}, None, None),
    ]
    items.commit()
    assert (table(items), value(items, NEWEST)) == (after, done)


def test_later_changes_of_other_columns_are_kept(items: Db) -> None:
    done = in_one(items, "update item set a = 10 where id = 1")
    in_one(items, "update item set b = 'later'")
    undo(items, done)
    assert table(items)[0] == (1, 1, "later", "new")


def test_several_changes_of_a_row_are_undone_as_one(items: Db) -> None:
    done = in_one(
        items,
        "update item set a = 10 where id = 1",
        "update item set a = 20, b = 'x' where id = 1",
        "delete from item where id = 2",
        "insert into item values (2, 200, 'again', 'c')",
        "insert into item values (9, 9, 'gone', 'c')",
        "delete from item where id = 9",
    )
    assert preview(items, done) == [
        ({"id": 1}, "update", {"a": 20, "b": "x"}, {"a": 1, "b": "b1"}, None),
        (
            {"id": 2},
            "update",
            {"a": 200, "b": "again", "c": "c"},
            {"a": 2, "b": "b2", "c": "new"},
            None,
        ),
    ]


def test_the_undo_is_recorded_and_says_what_it_undid(items: Db) -> None:
    done = in_one(items, "update item set a = 10 where id = 1")
    run(items, "select chrononaut.set_change_info('ann', extra => '{\"ticket\": 7}')")
    undo(items, done)
    assert infos(items, "item_history")[-1] == {
        "user_id": "ann",
        "remote_addr": None,
        "extra": {"ticket": 7, "undone_transaction": done},
    }


def test_what_is_said_about_changes_after_the_undo_is_as_before_it(items: Db) -> None:
    done = in_one(items, "update item set a = 10 where id = 1")
    run(items, "select chrononaut.set_change_info('ann')")
    run(items, f"select chrononaut.undo_transaction({done})")
    run(items, "update item set a = 30 where id = 2")
    assert "extra" not in infos(items, "item_history")[-1]


def test_with_nothing_said_the_undo_is_still_attributed(items: Db) -> None:
    done = in_one(items, "update item set a = 10 where id = 1")
    undo(items, done)
    assert infos(items, "item_history")[-1] == {
        "user_id": None,
        "remote_addr": None,
        "db_user": value(items, "select session_user"),
        "application_name": "",
        "extra": {"undone_transaction": done},
    }


@GRANULARITIES
def test_the_undo_of_an_undo_is_a_redo(items: Db, granularity: str) -> None:
    run(
        items,
        f"select chrononaut.alter_versioning('item', granularity => '{granularity}')",
    )
    before = table(items)
    done = in_one(
        items,
        "update item set a = a + 10 where id < 3",
        "delete from item where id = 3",
        "insert into item values (4, 4, 'b4', 'c')",
    )
    after = table(items)
    undo(items, done)
    undone = value(items, NEWEST)
    assert table(items) == before
    undo(items, undone)
    assert table(items) == after
    undo(items, value(items, NEWEST))
    assert table(items) == before


def test_to_undo_twice_does_nothing_more(items: Db) -> None:
    done = in_one(
        items, "update item set a = 10", "insert into item values (4, 4, 'b4', 'c')"
    )
    undo(items, done)
    newest = value(items, NEWEST)
    assert (undo(items, done), value(items, NEWEST)) == ([], newest)


def test_a_truncate_is_undone(items: Db) -> None:
    before = table(items)
    done = in_one(items, "truncate item")
    assert undo(items, done) == [("public.item", "insert", 3, None)]
    assert table(items) == before


def test_values_that_are_equal_but_not_the_same_are_put_back(db: Db) -> None:
    run(db, "create table n (id integer primary key, v numeric, j json)")
    run(db, "select chrononaut.create_versioning('n')")
    in_one(db, "insert into n values (1, 1.0, '{\"a\":  1}')")
    done = in_one(db, "update n set v = 1.00, j = '{\"a\": 1}'")
    undo(db, done)
    assert rows(db, "select v::text, j::text from n") == [("1.0", '{"a":  1}')]


def test_names_that_need_quotes_and_meta_names(db: Db) -> None:
    name = '"My ""App"."Or%der"'
    run(db, 'create schema "My ""App"')
    run(
        db,
        f"""
        create table {name} (
            "a%Key""s" text, "change_id" integer, "operation" text,
            "transaction_id" text, "h" text, "l" text, "b" text, "n" text, "s" text,
            "x'y" text, primary key ("a%Key""s", "change_id"));
        select chrononaut.create_versioning('{name}');
        insert into {name}
        values ('k''1%s', 1, 'o', 't', 'h', 'l', 'b', 'n', 's', 'x');
        """,
    )
    in_one(db, f"insert into {name} values ('k2', 2)")
    before = table(db, name)
    done = in_one(
        db,
        f"""update {name} set "operation" = 'p', "x'y" = null, "l" = '%s'""",
        f"insert into {name} values ('k3', 3)",
        f"delete from {name} where change_id = 2",
    )
    undo(db, done)
    assert table(db, name) == before


def test_null_is_a_value_like_any(items: Db) -> None:
    done = in_one(items, "update item set a = null, b = null")
    undo(items, done)
    undo(items, value(items, NEWEST))
    assert {row[1:3] for row in table(items)} == {(None, None)}


def test_only_the_columns_that_changed_are_set_in_each_row(items: Db) -> None:
    done = in_one(
        items,
        "update item set a = 10 where id = 1",
        "update item set b = 'x' where id = 2",
        "update item set a = 30, b = 'y' where id = 3",
    )
    in_one(items, "update item set b = 'kept' where id = 1")
    in_one(items, "update item set a = 77 where id = 2")
    undo(items, done)
    assert table(items) == [
        (1, 1, "kept", "new"),
        (2, 77, "b2", "new"),
        (3, 3, "b3", "new"),
    ]


def test_a_column_that_was_added_later_is_left_alone(items: Db) -> None:
    done = in_one(
        items, "update item set a = 10 where id = 1", "delete from item where id = 2"
    )
    run(items, "alter table item add d integer not null default 5")
    run(items, "select chrononaut.sync_versioning('item')")
    undo(items, done)
    assert table(items)[:2] == [(1, 1, "b1", "new", 5), (2, 2, "b2", "new", 5)]


def test_a_column_that_was_untracked_for_a_time_is_left_alone(items: Db) -> None:
    alter(items, "untracked => '{b}'")
    done = in_one(items, "update item set a = 10 where id = 1")
    alter(items, "untracked => '{}'")
    undo(items, done)
    assert table(items)[0] == (1, 1, "b1", "new")


def test_dropped_and_renamed_columns(items: Db) -> None:
    done = in_one(
        items,
        "update item set a = 10, b = 'x' where id = 1",
        "delete from item where id = 2",
    )
    run(items, "alter table item rename a to z")
    run(items, "alter table item drop b")
    run(items, "select chrononaut.sync_versioning('item')")
    notices: list[str] = []
    items.add_notice_handler(lambda said: notices.append(said.message_primary or ""))
    undo(items, done)
    assert table(items) == [(1, 1, "new"), (2, 2, "new"), (3, 3, "new")]
    assert notices == ["column b of public.item is left alone: it no longer exists"]


def test_a_column_of_another_type_since(items: Db) -> None:
    done = in_one(items, "update item set a = 10, b = 'x' where id = 1")
    run(items, "alter table item alter a type bigint")
    run(items, "alter table item alter b type date using date '2024-01-01'")
    run(items, "select chrononaut.sync_versioning('item')")
    undo(items, done)
    assert rows(items, "select a, b::text from item where id = 1") == [
        (1, "2024-01-01")
    ]


def test_drift_is_named_before_anything_is_done(items: Db) -> None:
    done = in_one(items, "update item set a = 10 where id = 1")
    run(items, "alter table item rename a to z")
    refusal(items, "VH005", f"select chrononaut.undo_transaction({done})")


def test_several_tables_or_none(items: Db) -> None:
    run(items, "create table other (id integer primary key, v integer)")
    run(items, "select chrononaut.create_versioning('other')")
    in_one(items, "insert into other values (1, 1)")
    done = in_one(items, "update item set a = 0", "update other set v = 0")
    in_one(items, "update other set v = 5")
    refusal(items, "VH007", f"select chrononaut.undo_transaction({done})")
    assert [row[1] for row in table(items)] == [0, 0, 0]
    in_one(items, "update other set v = 0")
    undo(items, done)
    assert (table(items)[0][1], table(items, "other")) == (1, [(1, 1)])


def test_an_unknown_transaction(items: Db) -> None:
    found = refusal(items, "P0002", "select chrononaut.undo_transaction(-1)")
    assert found.message_primary == "there is no transaction -1"


def test_a_transaction_of_others_that_runs_or_was_rolled_back(
    items: Db, connect: Connect
) -> None:
    other = connect()
    other.execute("update item set a = 10")
    made = value(other, NEWEST)
    found = [refusal(items, "P0002", f"select chrononaut.undo_transaction({made})")]
    items.commit()
    other.rollback()
    found.append(refusal(items, "P0002", f"select chrononaut.undo_transaction({made})"))
    assert [one.message_primary for one in found] == [
        f"transaction {made} is still running",
        f"transaction {made} was rolled back",
    ]


def test_the_running_transaction_cannot_undo_itself(items: Db) -> None:
    run(items, "update item set a = 10 where id = 1")
    refusal(items, "55000", f"select chrononaut.undo_transaction(({NEWEST}))")


def test_a_transaction_that_was_suppressed_in_part(items: Db) -> None:
    done = in_one(
        items,
        "update item set a = 10 where id = 1",
        "set local chrononaut.suppressed = on",
        "update item set a = 20 where id = 2",
    )
    found = refusal(items, "VH007", f"select chrononaut.undo_transaction({done})")
    assert "recording of public.item was suppressed" in str(found.message_primary)
    undo(items, done, ", force => true")
    assert [row[1] for row in table(items)] == [1, 20, 3]


def test_undo_respects_required_change_info(items: Db) -> None:
    done = in_one(items, "update item set a = 10 where id = 1")
    alter(items, "require_change_info => true")
    refusal(items, "VH002", f"select chrononaut.undo_transaction({done})")
    run(items, "select chrononaut.set_change_info('ann')")
    undo(items, done)
    assert table(items)[0][1] == 1


def test_an_undo_rolled_back_to_a_savepoint_leaves_nothing(items: Db) -> None:
    done = in_one(items, "update item set a = 10 where id = 1")
    run(items, "savepoint here")
    run(items, f"select chrononaut.undo_transaction({done})")
    run(items, "rollback to savepoint here")
    assert in_one(items, "select 1") == done
    assert table(items)[0][1] == 10


def test_the_applications_triggers_keep_their_search_path(items: Db) -> None:
    run(
        items,
        """
        create table log (what text);
        create function note() returns trigger language plpgsql as
            $$ begin insert into log values (tg_op); return new; end $$;
        create trigger note after insert or update on item
            for each row execute function note();
        """,
    )
    done = in_one(items, "update item set a = 10 where id = 1")
    undo(items, done)
    assert table(items, "log") == [("UPDATE",), ("UPDATE",)]


def test_a_trigger_that_keeps_rows_from_being_written_stops_the_undo(items: Db) -> None:
    done = in_one(items, "update item set a = a + 10")
    run(
        items,
        """
        create function keep() returns trigger language plpgsql as
            $$ begin return case when new.id = 2 then null else new end; end $$;
        create trigger keep before update on item for each row execute function keep();
        """,
    )
    items.commit()
    found = refusal(items, "55000", f"select chrononaut.undo_transaction({done})")
    assert "2 of 3 rows of public.item took the update" in str(found.message_primary)
