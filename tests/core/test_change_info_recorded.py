"""Who and why: what the setting chrononaut.change_info makes of each change."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.core.asking import infos, refusal, rows, run, value, version_note
from tests.servers import Connect, Db


def test_change_info_that_was_set_is_recorded(db: Db) -> None:
    version_note(db)
    run(
        db,
        "select chrononaut.set_change_info('7', '::1', 'because', '{\"ticket\": 1}')",
    )
    run(db, "insert into note values (1)")
    assert infos(db) == [
        {
            "user_id": "7",
            "remote_addr": "::1",
            "extra": {"ticket": 1, "rationale": "because"},
        }
    ]


def test_without_change_info_the_database_user_is_recorded(db: Db) -> None:
    version_note(db)
    run(db, "set local application_name = 'night job'")
    run(db, "insert into note values (1)")
    assert infos(db) == [
        {
            "user_id": None,
            "remote_addr": None,
            "db_user": value(db, "select session_user::text"),
            "application_name": "night job",
        }
    ]


def test_user_id_and_remote_addr_always_exist(db: Db) -> None:
    version_note(db)
    run(db, 'set local chrononaut.change_info = \'{"extra": {"a": [1]}}\'')
    run(db, "insert into note values (1)")
    assert infos(db) == [{"user_id": None, "remote_addr": None, "extra": {"a": [1]}}]


def test_change_info_tells_what_a_change_would_record(db: Db) -> None:
    version_note(db)
    run(db, "select chrononaut.set_change_info('7')")
    run(db, "insert into note values (1)")
    assert infos(db) == [value(db, "select chrononaut.change_info()")]


@pytest.mark.parametrize(
    "said",
    [
        "{",
        "NaN",
        "[1]",
        '"text"',
        "null",
        "5",
        '{"a": NaN}',
        r'{"a": "\u0000"}',
        r'{"a": "\ud800"}',
    ],
)
@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_text_that_is_no_object_is_refused_and_nothing_recorded(
    db: Db, granularity: str, said: str
) -> None:
    version_note(db, f", granularity => '{granularity}'")
    run(db, "select set_config('chrononaut.change_info', %s, true)", [said])
    diag = refusal(db, "VH001", "insert into note values (1)")
    db.execute("reset chrononaut.change_info")
    left = rows(
        db,
        "select (select count(*) from note), (select count(*) from note_history),"
        " (select count(*) from chrononaut.transaction)",
    )
    assert "chrononaut.change_info" in (diag.message_primary or "")
    assert diag.message_hint is not None
    assert left == [(0, 0, 0)]


def test_invalid_text_said_later_in_a_transaction_is_refused(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    run(db, "set local chrononaut.change_info = '[]'")
    refusal(db, "VH001", "update note set body = 'x'")
    assert len(infos(db)) == 1


def test_change_info_function_refuses_invalid_text(db: Db) -> None:
    run(db, "set local chrononaut.change_info = '{'")
    refusal(db, "VH001", "select chrononaut.change_info()")


def test_extra_that_is_no_object_is_refused(db: Db) -> None:
    refusal(db, "VH001", "select chrononaut.set_change_info(extra => '[1]')")


def test_change_info_ends_with_its_transaction(db: Db) -> None:
    version_note(db)
    run(db, "select chrononaut.set_change_info('7')")
    run(db, "insert into note values (1)")
    db.commit()
    run(db, "insert into note values (2)")
    assert [info["user_id"] for info in infos(db)] == ["7", None]


def test_reset_discard_and_empty_text_count_as_unset(connect: Connect, db: Db) -> None:
    version_note(db)
    pooled = connect(autocommit=True)
    for n, end in enumerate(["discard all", "reset all", "reset role"]):
        with pooled.transaction():
            run(pooled, "select chrononaut.set_change_info('7')")
        run(pooled, end)
        run(pooled, "insert into note values (%s)", [n])
    assert [info["user_id"] for info in infos(db)] == [None, None, None]


def test_info_changed_within_a_transaction_counts_from_there(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    for user in ["a", "b", "a"]:
        run(db, "select chrononaut.set_change_info(%s)", [user])
        run(db, "update note set seen = seen + 1")
    assert [info["user_id"] for info in infos(db)] == [None, "a", "b", "a"]
    assert value(db, "select count(*) from chrononaut.transaction") == 1


def test_rollback_to_a_savepoint_restores_what_was_said(db: Db) -> None:
    version_note(db)
    run(db, "select chrononaut.set_change_info('outer')")
    run(db, "savepoint s")
    run(db, "select chrononaut.set_change_info('inner')")
    run(db, "insert into note values (1)")
    run(db, "rollback to s")
    run(db, "insert into note values (2)")
    assert [info["user_id"] for info in infos(db)] == ["outer"]


def test_release_of_a_savepoint_keeps_what_was_said(db: Db) -> None:
    version_note(db)
    run(db, "select chrononaut.set_change_info('outer')")
    run(db, "savepoint s")
    run(db, "select chrononaut.set_change_info('inner')")
    run(db, "release s")
    run(db, "insert into note values (1)")
    assert [info["user_id"] for info in infos(db)] == ["inner"]


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_tables_key_overrides_for_its_table_and_is_stripped(
    db: Db, granularity: str
) -> None:
    version_note(db, f", granularity => '{granularity}'")
    run(db, "create table other (id integer primary key)")
    run(db, "select chrononaut.create_versioning('other')")
    run(
        db,
        """set local chrononaut.change_info = '{"user_id": "7", "extra": {"a": 1},
        "tables": {"public.note": {"user_id": "robot", "extra": {"b": 2}}}}'""",
    )
    run(db, "insert into note values (1)")
    run(db, "insert into other values (1)")
    assert infos(db) + infos(db, "other_history") == [
        {"user_id": "robot", "remote_addr": None, "extra": {"a": 1, "b": 2}},
        {"user_id": "7", "remote_addr": None, "extra": {"a": 1}},
    ]


def test_what_is_said_of_one_table_only_leaves_writes_to_others_attributed(
    db: Db,
) -> None:
    run(db, "create table other (id integer primary key)")
    run(db, "select chrononaut.create_versioning('other')")
    said = '{"tables": {"public.note": {"user_id": "x"}}}'
    run(db, f"select set_config('chrononaut.change_info', '{said}', true)")
    run(db, "insert into other values (1)")
    db.commit()

    [[info]] = rows(db, "select change_info from other_history")
    assert set(info) == {"user_id", "remote_addr", "db_user", "application_name"}


def test_tables_override_of_one_table_does_not_reach_the_transaction(db: Db) -> None:
    version_note(db)
    run(
        db,
        """set local chrononaut.change_info =
        '{"user_id": "7", "tables": {"public.note": {"user_id": "robot"}}}'""",
    )
    run(db, "insert into note values (1)")
    assert value(db, "select change_info from chrononaut.transaction") == {
        "user_id": "7",
        "remote_addr": None,
    }


@pytest.mark.parametrize("tables", ["[]", "5", "null", '{"public.note": []}'])
def test_tables_key_of_another_shape_is_harmless(db: Db, tables: str) -> None:
    version_note(db)
    said = f'{{"user_id": "7", "tables": {tables}}}'
    run(db, "select set_config('chrononaut.change_info', %s, true)", [said])
    run(db, "insert into note values (1)")
    assert infos(db) == [{"user_id": "7", "remote_addr": None}]


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_required_change_info_is_required(db: Db, granularity: str) -> None:
    version_note(db, f", require_change_info => true, granularity => '{granularity}'")
    diag = refusal(db, "VH002", "insert into note values (1)")
    run(db, "select chrononaut.set_change_info('7')")
    run(db, "insert into note values (1)")
    run(db, "set local chrononaut.change_info = ''")
    refusal(db, "VH002", "update note set body = 'x'")
    refusal(db, "VH002", "delete from note")
    assert (diag.schema_name, diag.table_name) == ("public", "note")
    assert len(infos(db)) == 1


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_statement_that_changes_nothing_needs_no_change_info(
    db: Db, granularity: str
) -> None:
    version_note(db, f", require_change_info => true, granularity => '{granularity}'")
    run(db, "select chrononaut.set_change_info('7')")
    run(db, "insert into note values (1)")
    db.commit()
    run(db, "update note set body = 'x' where id = 2")
    run(db, "delete from note where id = 2")
    run(db, "insert into note select id from note where id = 2")
    run(db, "update note set body = body")
    run(db, "select chrononaut.alter_versioning('note', untracked => '{seen}')")
    run(db, "update note set seen = 1")
    db.commit()
    refusal(db, "VH002", "update note set body = 'x', seen = 2")
    assert len(infos(db)) == 1


def test_what_is_said_of_other_tables_only_is_not_enough(db: Db) -> None:
    version_note(db, ", require_change_info => true")
    for table, refused in (("public.other", True), ("public.note", False)):
        said = f'{{"tables": {{"{table}": {{"user_id": "x"}}}}}}'
        run(db, f"select set_config('chrononaut.change_info', '{said}', true)")
        if refused:
            refusal(db, "VH002", "insert into note values (1)")
        else:
            run(db, "insert into note values (1)")
    assert [info["user_id"] for info in infos(db)] == ["x"]


def test_required_change_info_is_required_from_psql_too(
    db: Db, db_url: str, clients: Path
) -> None:
    version_note(db, ", require_change_info => true")
    done = subprocess.run(
        [clients / "psql", "-X", db_url, "-v", "VERBOSITY=verbose"],
        input="insert into note values (1);",
        capture_output=True,
        text=True,
    )
    assert "VH002" in done.stderr
    assert "chrononaut.set_change_info" in done.stderr


def test_set_outside_a_transaction_block_warns(connect: Connect) -> None:
    alone = connect(autocommit=True)
    heard: list[str | None] = []
    alone.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    run(alone, "select chrononaut.set_change_info('7')")
    with alone.transaction():
        run(alone, "select chrononaut.set_change_info('7')")
    assert heard == [
        "change info was set outside a transaction block and has no effect"
    ]


@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize("begin", ["", "savepoint s; ", "discard sequences; "])
def test_change_info_of_any_shape_may_alternate_within_a_transaction(
    db: Db, granularity: str, begin: str
) -> None:
    version_note(db, f", granularity => '{granularity}'")
    said = [
        {"user_id": "1"},
        {"user_id": "2", "remote_addr": "::1"},
        {"user_id": "3", "remote_addr": "::1", "tables": {"public.note": {"x": 3}}},
        {"tables": {"public.note": {"user_id": "4"}}},
        {"user_id": "5", "remote_addr": None},
    ]
    run(db, begin or "select 1")
    for key, info in enumerate(said):
        say = "select set_config('chrononaut.change_info', %s, true)"
        run(db, say, [json.dumps(info)])
        run(db, "insert into note values (%s)", [key])
    kept = [{k: i.get(k) for k in ("user_id", "remote_addr", "x")} for i in infos(db)]
    assert kept == [
        {"user_id": "1", "remote_addr": None, "x": None},
        {"user_id": "2", "remote_addr": "::1", "x": None},
        {"user_id": "3", "remote_addr": "::1", "x": 3},
        {"user_id": "4", "remote_addr": None, "x": None},
        {"user_id": "5", "remote_addr": None, "x": None},
    ]
    one = "select count(*), count(distinct transaction_id) from note_history"
    assert rows(db, one) == [(5, 1)]
    assert value(db, "select count(*) from chrononaut.transaction") == 1
