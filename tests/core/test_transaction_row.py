"""chrononaut.transaction: one row per transaction that changed something."""

import pytest

from tests.core.asking import refusal, rows, run, value, version_note
from tests.servers import Connect, Db, MakeRole

COUNT = "select count(*) from chrononaut.transaction"


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_all_changes_of_a_transaction_share_its_one_row(
    db: Db, granularity: str
) -> None:
    version_note(db, f", granularity => '{granularity}'")
    run(db, "insert into note values (1), (2)")
    run(db, "savepoint s")
    run(db, "update note set body = 'x'")
    run(db, "release s")
    run(db, "delete from note where id = 1")
    ids = rows(db, "select distinct transaction_id from note_history")
    assert ids == rows(db, "select id from chrononaut.transaction")


def test_transaction_row_says_who_when_and_from_what_snapshot(db: Db) -> None:
    version_note(db)
    run(db, "set local application_name = 'job'")
    run(db, "select chrononaut.set_change_info('7')")
    run(db, "insert into note values (1)")
    assert rows(
        db,
        """
        select xid = pg_current_xact_id(),
            id & ((1::bigint << 40) - 1) = xid::text::bigint,
            pg_snapshot_xmax(snapshot) >= xid, began_at = now(),
            issued_at between now() and clock_timestamp(),
            change_info, db_user = session_user, application_name,
            client_addr is not distinct from inet_client_addr(), suppressed
        from chrononaut.transaction
        """,
    ) == [
        (
            True,
            True,
            True,
            True,
            True,
            {"user_id": "7", "remote_addr": None},
            True,
            "job",
            True,
            None,
        )
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "select * from note",
        "update note set body = body",
        "update note set body = 'x' where false",
        "delete from note where id = 99",
        "insert into note values (1) on conflict do nothing",
        "update note set seen = seen + 1",
        "create table plain (id int); insert into plain values (1)",
    ],
)
@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_what_changes_nothing_versioned_leaves_no_row(
    db: Db, granularity: str, statement: str
) -> None:
    version_note(db, f", untracked => '{{seen}}', granularity => '{granularity}'")
    run(db, "insert into note values (1)")
    db.commit()
    run(db, statement)
    db.commit()
    assert value(db, COUNT) == 1


def test_rolled_back_transaction_leaves_no_row(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    db.rollback()
    assert value(db, COUNT) == 0


def test_rolled_back_savepoint_takes_the_row_along_and_a_later_change_makes_it(
    db: Db,
) -> None:
    version_note(db)
    run(db, "savepoint s")
    run(db, "insert into note values (1)")
    run(db, "rollback to s")
    assert value(db, COUNT) == 0
    run(db, "insert into note values (2)")
    assert rows(
        db,
        "select h.id, t.xid = pg_current_xact_id() from note_history h"
        " join chrononaut.transaction t on t.id = h.transaction_id",
    ) == [(2, True)]


def test_other_tables_and_granularities_share_the_row(db: Db) -> None:
    version_note(db)
    run(db, "create table other (id integer primary key)")
    run(db, "select chrononaut.create_versioning('other', granularity => 'statement')")
    run(db, "insert into note values (1)")
    run(db, "insert into other values (1)")
    assert value(db, COUNT) == 1


@pytest.mark.parametrize("text", ["(0,1)", "(99999,7)", "garbage", "(", "", "(0,0)"])
@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_forged_place_of_the_transaction_row_is_harmless(
    db: Db, granularity: str, text: str
) -> None:
    version_note(db, f", granularity => '{granularity}'")
    run(db, "insert into note values (1)")
    db.commit()
    for setting in ["chrononaut.transaction_row", "chrononaut.transaction_said"]:
        run(db, "select set_config(%s, %s, false)", [setting, text])
    run(db, "insert into note values (2)")
    for setting in ["chrononaut.transaction_row", "chrononaut.transaction_said"]:
        run(db, "select set_config(%s, %s, true)", [setting, text])
    run(db, "insert into note values (3)")
    assert rows(
        db,
        "select h.id, t.xid = pg_current_xact_id() from note_history h"
        " join chrononaut.transaction t on t.id = h.transaction_id"
        " order by h.change_id",
    ) == [(1, False), (2, True), (3, True)]


def test_forged_memory_cannot_borrow_another_transactions_words(
    db: Db, connect: Connect
) -> None:
    version_note(db)
    run(db, "select chrononaut.set_change_info('boss')")
    run(db, "insert into note values (1)")
    place = value(db, "select ctid::text from chrononaut.transaction")
    db.commit()
    forger = connect()
    said = value(
        forger,
        "select current_setting('role') || ' ' || session_user || ' '"
        " || current_setting('application_name')",
    )
    run(forger, "select set_config('chrononaut.transaction_row', %s, true)", [place])
    run(forger, "select set_config('chrononaut.transaction_said', %s, true)", [said])
    run(forger, "insert into note values (2)")
    assert value(
        forger,
        "select change_info -> 'user_id' is distinct from '\"boss\"'"
        " from note_history where id = 2",
    )


def test_db_user_follows_set_role(db: Db, connect: Connect, role: MakeRole) -> None:
    version_note(db)
    worker, other = role("worker"), role("other", "nologin")
    run(db, f"grant {other} to {worker}")
    run(db, f"grant all on note to {worker}, {other}")
    db.commit()
    session = connect(worker)
    run(session, "insert into note values (1)")
    session.commit()
    run(session, f"set role {other}")
    run(session, "insert into note values (2)")
    session.commit()
    users = "select db_user from chrononaut.transaction order by id"
    assert rows(db, users) == [(worker,), (other,)]


def test_db_user_is_the_caller_inside_definer_functions_and_cascades(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    version_note(db)
    worker = role("worker")
    run(
        db,
        """
        create table line (
            id integer primary key,
            note_id integer references note on delete cascade on update cascade
        );
        select chrononaut.create_versioning('line');
        insert into note values (1);
        insert into line values (1, 1);
        create function touch() returns void language sql security definer
            as 'update public.note set seen = seen + 1';
        create function remove() returns void language sql security definer
            as 'delete from public.note';
        """,
    )
    run(db, "delete from chrononaut.transaction")
    run(db, f"grant execute on function touch(), remove() to {worker}")
    run(db, f"grant delete, select on note to {worker}")
    db.commit()
    session = connect(worker)
    run(session, "select touch()")
    session.commit()
    run(session, "delete from note")
    session.commit()
    assert rows(
        db,
        "select t.db_user, h.change_info ->> 'db_user' from line_history h"
        " join chrononaut.transaction t on t.id = h.transaction_id"
        " where operation = 'D' union all"
        " select t.db_user, h.change_info ->> 'db_user' from note_history h"
        " join chrononaut.transaction t on t.id = h.transaction_id"
        " where operation = 'U'",
    ) == [(worker, worker), (worker, worker)]


def test_writers_cannot_read_or_write_the_transaction_table(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    version_note(db)
    worker = role("worker")
    run(db, f"grant all on note to {worker}")
    db.commit()
    session = connect(worker)
    refusal(session, "42501", "update chrononaut.transaction set db_user = 'x'")
    refusal(session, "42501", "delete from chrononaut.transaction")
    refusal(session, "42501", "select nextval('chrononaut.change_id')")
