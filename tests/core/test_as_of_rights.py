"""Who may read the past: whoever may read the history, and nobody through as_of()."""

from tests.core.asking import refusal, rows, run, value, version_note
from tests.servers import Connect, Db, MakeRole

THEN = "select id, body from chrononaut.as_of(null::note, mark => 'then')"


def filled(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a'), (2, 'b')")
    run(db, "select chrononaut.mark('then')")
    run(db, "update note set body = 'x'")


def sync(db: Db) -> None:
    run(db, "select chrononaut.sync_versioning('note')")
    db.commit()


def test_role_that_may_read_the_table_reads_its_past_and_no_other_tables(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    filled(db)
    run(db, "create table other (id int primary key)")
    run(db, "select chrononaut.create_versioning('other')")
    reader = role("reader")
    run(db, f"grant select on note to {reader}")
    sync(db)
    number = value(db, "select max(id) from chrononaut.transaction")
    session = connect(reader)
    assert sorted(rows(session, THEN)) == [(1, "a"), (2, "b")]
    for moment in ("clock_timestamp()", f"transaction_id => {number}"):
        query = f"select id, body from chrononaut.as_of(null::note, {moment})"
        assert sorted(rows(session, query)) == [(1, "x"), (2, "x")]
    refusal(session, "42501", "select * from chrononaut.as_of(null::other, now())")
    refusal(session, "42501", "select * from chrononaut.transaction")
    refusal(session, "42501", "select * from chrononaut.mark")


def test_role_without_rights_on_the_table_reads_no_past(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    filled(db)
    db.commit()
    session = connect(role("stranger"))
    refusal(session, "42501", THEN)
    run(session, "select chrononaut.open_past(mark => 'then')")
    refusal(session, "42501", "select * from note")


def test_revoked_right_ends_reading_the_past(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    filled(db)
    reader = role("reader")
    run(db, f"grant select on note to {reader}")
    sync(db)
    run(db, f"revoke select on note from {reader}")
    db.commit()
    refusal(connect(reader), "42501", THEN)


def test_role_bound_by_policies_reads_no_past_at_all(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    filled(db)
    tenant, auditor = role("tenant"), role("auditor", "login bypassrls")
    run(db, "alter table note enable row level security")
    run(db, "create policy own on note using (id = 1)")
    run(db, f"grant select on note to {tenant}, {auditor}")
    sync(db)
    session = connect(tenant)
    assert rows(session, "select id from note") == [(1,)]
    refusal(session, "42501", THEN)
    refusal(session, "42501", f"{THEN} where id = 1")
    run(session, "select chrononaut.open_past(mark => 'then')")
    refusal(session, "42501", "select count(*) from note")
    assert sorted(rows(connect(auditor), THEN)) == [(1, "a"), (2, "b")]


def test_right_on_columns_is_a_right_on_their_past_in_the_history_only(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    filled(db)
    reader = role("reader")
    run(db, f"grant select (id, body) on note to {reader}")
    sync(db)
    session = connect(reader)
    refusal(session, "42501", f"select secret from ({THEN.replace('body', '*')}) s")
    assert value(session, "select count(*) from note_history where id > 0") == 4


def test_as_of_works_in_views_functions_and_read_only_transactions(db: Db) -> None:
    filled(db)
    run(db, f"create view past_notes as {THEN}")
    run(
        db,
        "create function past_note(n int, at_mark text) returns text language sql as"
        " 'select body from chrononaut.as_of(null::note, mark => at_mark)"
        " where id = n'",
    )
    run(
        db,
        "create function counted(at_mark text) returns bigint language plpgsql as"
        " 'begin return (select count(*) from"
        " chrononaut.as_of(null::note, mark => at_mark)); end'",
    )
    db.commit()
    run(db, "set transaction read only")
    assert sorted(rows(db, "select * from past_notes")) == [(1, "a"), (2, "b")]
    assert value(db, "select past_note(2, 'then')") == "b"
    assert value(db, "select counted('then')") == 2


def test_moment_may_come_from_a_subquery_or_another_row(db: Db) -> None:
    filled(db)
    run(db, "select chrononaut.mark('now')")
    by_subquery = (
        "select body from chrononaut.as_of(null::note, mark =>"
        " (select min(name) from chrononaut.marks where name like 't%')) where id = 1"
    )
    assert rows(db, by_subquery) == [("a",)]
    lateral = (
        "select m.name, p.body from chrononaut.marks m"
        " cross join lateral chrononaut.as_of(null::note, mark => m.name) p"
        " where p.id = 1 order by 1"
    )
    assert rows(db, lateral) == [("now", "x"), ("then", "a")]


def test_two_moments_can_be_compared_in_one_query(db: Db) -> None:
    filled(db)
    run(db, "select chrononaut.mark('now')")
    run(db, "delete from note where id = 2")
    compared = (
        "select id, a.body, b.body, c.body"
        " from chrononaut.as_of(null::note, mark => 'then') a"
        " full join chrononaut.as_of(null::note, mark => 'now') b using (id)"
        " full join chrononaut.as_of(null::note, 'infinity') c using (id) order by id"
    )
    assert rows(db, compared) == [(1, "a", "x", "x"), (2, "b", "x", None)]
