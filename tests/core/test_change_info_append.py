"""append_change_info: extras for single objects, after their change was recorded."""

from typing import Any

from tests.core.asking import infos, refusal, rows, run, value, version_note
from tests.servers import Connect, Db, MakeRole


def append(db: Db, keys: str, extras: str) -> Any:
    """Call append_change_info on public.note."""
    return value(
        db,
        "select chrononaut.append_change_info('note', %s::jsonb, %s::jsonb)",
        [keys, extras],
    )


def extras(db: Db) -> list[Any]:
    """Return what stands under extra in each change of note."""
    return [info.get("extra") for info in infos(db)]


def test_extras_reach_the_newest_change_of_each_key(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1), (2), (3)")
    run(db, "update note set body = 'x' where id = 1")
    assert append(db, "[[1], [2]]", '[{"a": 1}, {"b": 2}]') == 2
    assert extras(db) == [None, {"b": 2}, None, {"a": 1}]


def test_keys_may_be_scalars_arrays_or_objects(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1), (2), (3)")
    assert append(db, '[1, [2], {"id": 3}]', '{"a": 1}') == 3


def test_extras_are_merged_with_what_was_said(db: Db) -> None:
    version_note(db)
    run(db, "select chrononaut.set_change_info(rationale => 'r')")
    run(db, "insert into note values (1)")
    append(db, "[1]", '{"a": 1}')
    append(db, "[1]", '{"b": 2}')
    assert extras(db) == [{"rationale": "r", "a": 1, "b": 2}]


def test_changes_of_earlier_transactions_cannot_be_amended(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    db.commit()
    run(db, "insert into note values (2)")
    assert append(db, "[1]", '{"forged": true}') == 0
    assert extras(db) == [None, None]


def test_a_role_that_may_not_write_may_not_amend(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    version_note(db)
    reader = role("reader")
    run(db, f"grant select on note to {reader}")
    run(db, f"grant usage on schema chrononaut to {reader}")
    db.commit()
    refusal(
        connect(reader),
        "VH006",
        "select chrononaut.append_change_info('note', '[1]', '{}')",
    )


def test_a_role_that_may_write_may_amend_but_not_update_history(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    version_note(db)
    writer = role("writer")
    run(db, f"grant select, insert on note to {writer}")
    db.commit()
    session = connect(writer)
    run(session, "insert into note values (1)")
    assert append(session, "[1]", '{"a": 1}') == 1
    refusal(session, "42501", "update note_history set body = 'x'")


def test_wrong_shapes_are_refused(db: Db) -> None:
    version_note(db)
    for keys, extra in [("1", "{}"), ("[1]", "5")]:
        refusal(
            db,
            "VH001",
            "select chrononaut.append_change_info('note', %s::jsonb, %s::jsonb)",
            [keys, extra],
        )


def test_nothing_stays_open_after_amending(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    append(db, "[1]", '{"a": 1}')
    refusal(db, "VH008", "update note_history set body = 'x'")
    assert rows(db, "select body from note_history") == [(None,)]


def test_a_long_history_of_a_key_is_not_read_to_find_its_newest_change(db: Db) -> None:
    version_note(db)
    run(db, "insert into note select generate_series(1, 5000)")
    for number in range(200):
        run(db, "update note set body = %s where id = 1", [str(number)])
        db.commit()
    db.autocommit = True
    run(db, "vacuum analyze note_history")
    db.autocommit = False
    run(db, "update note set body = 'x' where id = 1")
    read = (
        "select pg_stat_get_xact_tuples_fetched(oid)"
        " + pg_stat_get_xact_tuples_returned(oid)"
        " from pg_class where relname = 'note_history'"
    )
    before = value(db, read)
    append(db, "[1]", '{"a": 1}')
    assert value(db, read) - before < 10
