"""Maintenance waits for locks 5 seconds at most, or as long as lock_timeout says."""

import pytest

from chrononaut_pg import core
from tests.core.asking import infos, problems, refusal, rows, run, value, version_note
from tests.servers import Connect, Db

MAINTENANCE = {
    "create_versioning('other')": "public.other",
    "alter_versioning('note', granularity => 'statement')": "public.note",
    "sync_versioning('note')": "public.note",
    "drop_versioning('note')": "public.note",
}


@pytest.fixture
def busy(db: Db, connect: Connect) -> Db:
    """A database in which a writer is in the middle of its transaction."""
    version_note(db)
    run(db, "create table other (id int primary key)")
    run(db, 'drop trigger "00_chrononaut_update" on note')
    db.commit()
    writer = connect()
    run(writer, "insert into note values (1)")
    run(writer, "insert into other values (1)")
    return db


@pytest.mark.parametrize("call", MAINTENANCE)
def test_maintenance_gives_up_in_time_and_changes_nothing_while_a_writer_is_open(
    busy: Db, call: str
) -> None:
    listed = "select relation::text, granularity from chrononaut.versioned_tables"
    before = rows(busy, listed), problems(busy)
    run(busy, "set local lock_timeout = '100ms'")
    diag = refusal(busy, "55P03", f"select chrononaut.{call}")
    assert f"lock {MAINTENANCE[call]} within 100ms" in (diag.message_primary or "")
    assert "Nothing was changed" in (diag.message_hint or "")
    assert (rows(busy, listed), problems(busy)) == before


@pytest.mark.parametrize(
    "call", ["create_versioning('other')", "drop_versioning('note')"]
)
def test_maintenance_waits_five_seconds_where_no_lock_timeout_is_set(
    busy: Db, call: str
) -> None:
    began = value(busy, "select clock_timestamp()")
    diag = refusal(busy, "55P03", f"select chrononaut.{call}")
    waited = value(busy, "select clock_timestamp() - %s", [began])
    assert "within 5s" in (diag.message_primary or "")
    assert 5 <= waited.total_seconds() < 15


@pytest.mark.parametrize("call", MAINTENANCE)
def test_maintenance_does_not_wait_long_for_other_maintenance(
    busy: Db, connect: Connect, call: str
) -> None:
    other = connect()
    run(other, "create table third (id int primary key)")
    run(other, "select chrononaut.create_versioning('third')")
    run(busy, "set local lock_timeout = '100ms'")
    diag = refusal(busy, "55P03", f"select chrononaut.{call}")
    assert "lock chrononaut.versioning within 100ms" in (diag.message_primary or "")
    assert "Nothing was changed" in (diag.message_hint or "")


@pytest.mark.parametrize("timeout", ["0", "7s"])
def test_maintenance_leaves_lock_timeout_as_it_was(db: Db, timeout: str) -> None:
    run(db, f"set lock_timeout = '{timeout}'")
    version_note(db)
    for call in MAINTENANCE:
        if "other" not in call:
            run(db, f"select chrononaut.{call}")
    assert value(db, "select current_setting('lock_timeout')") == timeout


def test_second_install_waits_for_no_writer(db: Db, connect: Connect) -> None:
    """Deployments install each time; all writes would queue up behind a wait."""
    version_note(db)
    writer = connect()
    run(writer, "insert into note values (1)")
    run(db, "set lock_timeout = '100ms'")
    core.install(db)
    db.commit()
    run(writer, "update note set body = 'x'")
    writer.commit()

    assert (infos(db) != [], problems(db)) == (True, [])
