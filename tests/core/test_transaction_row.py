"""chrononaut.transaction: one row per transaction that changed something."""

import pytest

from tests.core.asking import refusal, rows, run, value, version_note
from tests.servers import Connect, Db, MakeRole

OF_THIS_TRANSACTION = """
select h.id, t.xid = pg_current_xact_id()
from note_history h join chrononaut.transaction t on t.id = h.transaction_id
order by h.change_id
"""
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


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_row_written_in_a_released_savepoint_serves_the_rest_of_the_transaction(
    db: Db, granularity: str
) -> None:
    version_note(db, f", granularity => '{granularity}'")
    run(db, "savepoint outer_one")
    run(db, "savepoint inner_one")
    run(db, "insert into note values (1)")
    run(db, "release inner_one")
    run(db, "insert into note values (2)")
    run(db, "release outer_one")
    run(db, "insert into note values (3)")
    assert rows(
        db,
        "select t.xid = pg_current_xact_id(), count(*) from note_history h"
        " join chrononaut.transaction t on t.id = h.transaction_id group by 1",
    ) == [(True, 3)]


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_row_is_made_again_when_the_savepoint_around_a_released_one_is_rolled_back(
    db: Db, granularity: str
) -> None:
    version_note(db, f", granularity => '{granularity}'")
    run(db, "insert into note values (0)")
    db.commit()
    for key in (1, 2):
        run(db, "savepoint outer_one")
        run(db, "savepoint inner_one")
        run(db, "insert into note values (%s)", [key])
        run(db, "release inner_one")
        run(db, "rollback to outer_one")
    run(db, "insert into note values (3)")
    run(db, "insert into note values (4)")
    assert rows(db, OF_THIS_TRANSACTION) == [(0, False), (3, True), (4, True)]


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_session_that_discards_what_it_remembers_finds_its_row_again(
    db: Db, granularity: str
) -> None:
    version_note(db, f", granularity => '{granularity}'")
    run(db, "insert into note values (1)")
    db.commit()
    run(db, "discard sequences")
    run(db, "insert into note values (2)")
    run(db, "discard sequences")
    run(db, "savepoint s")
    run(db, "insert into note values (3)")
    run(db, "rollback to s")
    run(db, "insert into note values (4)")
    assert rows(db, OF_THIS_TRANSACTION) == [(1, False), (2, True), (4, True)]


def test_prepared_transaction_is_not_taken_for_the_one_that_follows(
    db: Db, connect: Connect
) -> None:
    version_note(db)
    run(db, "savepoint s")
    run(db, "insert into note values (1)")
    run(db, "release s")
    run(db, "prepare transaction 'p'")
    run(db, "insert into note values (2)")
    run(db, "commit")
    run(connect(autocommit=True), "commit prepared 'p'")
    assert rows(
        db,
        "select h.id, t.xid::text::bigint = h.transaction_id & ((1::bigint << 40) - 1)"
        " from note_history h join chrononaut.transaction t on t.id = h.transaction_id"
        " order by h.change_id",
    ) == [(1, True), (2, True)]


def test_writers_cannot_touch_what_sessions_remember(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    version_note(db)
    worker = role("worker")
    run(db, f"grant all on note to {worker}")
    db.commit()
    session = connect(worker)
    run(session, "insert into note values (1)")
    session.commit()
    for call in ("currval(%s)", "nextval(%s)", "setval(%s, 7)"):
        refusal(session, "42501", f"select {call}", ["chrononaut.remembered"])
    run(session, "insert into note values (2)")
    session.commit()
    assert value(db, COUNT) == 2


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
