"""A session in which literals mean something else is recorded like any."""

import json

import pytest

from tests.core.asking import problems, rows, run, value, version_note
from tests.servers import Connect, Db


def test_session_without_conforming_strings_versions_reads_and_undoes(
    connect: Connect, db: Db
) -> None:
    version_note(db, ", hidden => '{secret}', lockable => true")
    run(db, "insert into note values (1, 'a')")
    db.commit()
    found: list[str] = []
    old = connect()
    old.add_notice_handler(lambda notice: found.append(str(notice.message_primary)))
    run(old, "set standard_conforming_strings = off")
    run(old, "set escape_string_warning = on")
    run(old, r"update note set body = E'b\\'")
    run(old, "alter table note add extra text; alter table note rename body to words")
    run(old, "select chrononaut.sync_versioning('note')")
    run(old, "select chrononaut.alter_versioning('note', granularity => 'statement')")
    run(old, "update note set words = 'c', secret = 'd'")
    old.commit()
    undo = "select chrononaut.undo_transaction(max(id)) from chrononaut.transaction"
    run(old, undo)
    run(old, "select chrononaut.revert_row('note', '{\"id\": 1}', version => 0)")
    run(old, "truncate note")

    versions = rows(old, "select words from note_versions order by version")
    assert versions == [("a",), ("b\\",), ("c",), ("a",)]
    assert value(old, "select count(*) from chrononaut.recent_changes") == 5
    assert problems(old) == []
    assert [notice for notice in found if "nonstandard" in notice] == []


@pytest.mark.parametrize("made_so", [True, False])
def test_session_that_quotes_all_identifiers_makes_and_checks_what_others_do(
    made_so: bool, connect: Connect, db: Db
) -> None:
    """Names that it writes down are compared with those of other sessions."""
    quoting = connect()
    run(quoting, "set quote_all_identifiers = on")
    quoting.commit()
    version_note(quoting if made_so else db, ", lockable => true, hidden => '{secret}'")
    said = {"tables": {"public.note": {"extra": {"told": 1}}}}
    setting = "select set_config('chrononaut.change_info', %s, true)"
    run(db, setting, [json.dumps(said)])
    run(db, "insert into note values (1, 'a')")
    db.commit()
    run(quoting, "alter table note add extra text")
    run(quoting, "select chrononaut.sync_versioning('note')")
    quoting.commit()

    assert problems(db) == problems(quoting) == []
    told = "select relation, change_info -> 'extra' from chrononaut.recent_changes"
    assert rows(quoting, told) == [("public.note", {"told": 1})]
