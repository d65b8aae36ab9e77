"""chrononaut.suppressed: for members of the core's owner, and never without trace."""

import pytest

from tests.core.asking import rows, run, value, version_note
from tests.servers import Connect, Db, MakeRole

SUPPRESSED = "select suppressed from chrononaut.transaction order by id"


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_owner_may_suppress_and_leaves_a_trace(db: Db, granularity: str) -> None:
    version_note(db, f", granularity => '{granularity}'")
    run(db, "set local chrononaut.suppressed = on")
    run(db, "select chrononaut.set_change_info(rationale => 'backfill')")
    run(db, "insert into note values (1), (2)")
    run(db, "update note set body = 'x'")
    assert value(db, "select count(*) from note_history") == 0
    assert rows(
        db, "select suppressed, change_info -> 'extra' from chrononaut.transaction"
    ) == [(["public.note"], {"rationale": "backfill"})]


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_nobody_else_can_suppress(
    db: Db, connect: Connect, role: MakeRole, granularity: str
) -> None:
    version_note(db, f", granularity => '{granularity}'")
    worker = role("worker")
    run(db, f"grant all on note to {worker}")
    db.commit()
    session = connect(worker)
    run(session, "set chrononaut.suppressed = on")
    run(session, "insert into note values (1)")
    run(session, "update note set body = 'x'")
    session.commit()
    assert rows(db, "select operation from note_history order by change_id") == [
        ("I",),
        ("U",),
    ]
    assert rows(db, SUPPRESSED) == [(None,)]


def test_owner_who_took_another_role_cannot_suppress(db: Db, role: MakeRole) -> None:
    version_note(db)
    worker = role("worker")
    run(db, f"grant all on note to {worker}")
    run(db, f"set role {worker}")
    run(db, "set local chrononaut.suppressed = on")
    run(db, "insert into note values (1)")
    run(db, "reset role")
    assert value(db, "select count(*) from note_history") == 1


def test_suppression_within_a_recorded_transaction_keeps_one_row(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    run(db, "set local chrononaut.suppressed = on")
    run(db, "insert into note values (2)")
    run(db, "set local chrononaut.suppressed = off")
    run(db, "insert into note values (3)")
    assert rows(db, "select id from note_history order by id") == [(1,), (3,)]
    assert rows(db, SUPPRESSED) == [(["public.note"],)]
    assert value(db, "select count(distinct transaction_id) from note_history") == 1


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_each_suppressed_table_is_named(db: Db, granularity: str) -> None:
    version_note(db, f", granularity => '{granularity}'")
    run(db, "create table other (id integer primary key)")
    run(db, "select chrononaut.create_versioning('other')")
    run(db, "set local chrononaut.suppressed = on")
    run(db, "insert into note values (1)")
    run(db, "insert into other values (1)")
    assert rows(db, SUPPRESSED) == [(["public.note", "public.other"],)]


def test_suppressed_truncate_leaves_a_trace_too(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    db.commit()
    run(db, "set local chrononaut.suppressed = on")
    run(db, "truncate note")
    assert value(db, "select count(*) from note_history where operation = 'T'") == 0
    assert rows(db, SUPPRESSED) == [(None,), (["public.note"],)]
