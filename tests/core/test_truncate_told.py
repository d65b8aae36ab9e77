"""TRUNCATE is a write like others: it says who and why, and loses no row unseen."""

import pytest

from chrononaut_pg import core
from tests.core.asking import infos, refusal, rows, run, value, version_note
from tests.servers import Connect, Db, MakeRole

GRANULARITIES = pytest.mark.parametrize("granularity", ["row", "statement"])


@GRANULARITIES
def test_truncate_carries_who_and_why_and_what_overrides_it(
    db: Db, granularity: str
) -> None:
    version_note(db, f", granularity => '{granularity}'")
    run(db, "insert into note values (1)")
    db.commit()
    said = """{"user_id": "ann", "extra": {"why": 1},
        "tables": {"public.note": {"extra": {"which": 2}}}}"""
    run(db, "select set_config('chrononaut.change_info', %s, true)", [said])
    run(db, "truncate note")
    told = value(
        db, "select change_info from chrononaut.transaction order by id desc limit 1"
    )
    assert (infos(db)[-1], told) == (
        {"user_id": "ann", "remote_addr": None, "extra": {"why": 1, "which": 2}},
        {"user_id": "ann", "remote_addr": None, "extra": {"why": 1}},
    )


@GRANULARITIES
@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("", "VH002"),
        ('{"tables": {"public.other": {"user_id": "x"}}}', "VH002"),
        ("{", "VH001"),
        ("[]", "VH001"),
    ],
)
def test_truncate_without_the_change_info_that_is_required_is_refused(
    db: Db, granularity: str, said: str, code: str
) -> None:
    version_note(db, f", require_change_info => true, granularity => '{granularity}'")
    with db.transaction():
        run(db, "select chrononaut.set_change_info('ann')")
        run(db, "insert into note values (1)")
    run(db, "select set_config('chrononaut.change_info', %s, true)", [said])
    diag = refusal(db, code, "truncate note")
    assert diag.message_hint
    assert value(db, "select count(*) from note") == 1


def test_truncate_with_unreadable_change_info_is_refused(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    run(db, "set local chrononaut.change_info = '{'")
    refusal(db, "VH001", "truncate note")
    assert value(db, "select count(*) from note") == 1


def test_truncate_of_rows_that_policies_keep_from_the_core_is_refused(
    empty_db: Db, connect: Connect, role: MakeRole
) -> None:
    """Its owner would record the rows that it sees, and the others would be lost."""
    database = empty_db.info.dbname
    owner, tenant = role("core"), role("tenant")
    run(empty_db, f"grant create on database {database} to {owner}")
    run(empty_db, f"create schema shop authorization {tenant}")
    empty_db.commit()
    of_core = connect(owner, dbname=database)
    core.install(of_core)
    of_core.commit()
    session = connect(tenant, dbname=database)
    run(session, "create table shop.item (id integer primary key, tenant name)")
    run(session, f"grant usage on schema shop to {owner}")
    run(session, f"grant select, trigger on shop.item to {owner}")
    run(session, "select chrononaut.create_versioning('shop.item')")
    run(session, "insert into shop.item values (1, current_user), (2, 'other')")
    run(session, "alter table shop.item enable row level security")
    run(session, "create policy own on shop.item using (tenant = current_user)")
    session.commit()
    refusal(session, "42501", "truncate shop.item")
    assert value(session, "select count(*) from shop.item") == 2
    run(session, "delete from shop.item")
    recorded = "select id, operation from chrononaut_history.item_history"
    assert rows(session, f"{recorded} where operation = 'D' order by id") == [
        (1, "D"),
        (2, "D"),
    ]


def test_owner_whom_forced_policies_bind_reads_no_history(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    owner = role("owner")
    version_note(db)
    run(db, "insert into note values (1)")
    run(db, f"alter table note owner to {owner}")
    run(db, "alter table note enable row level security")
    run(db, "select chrononaut.sync_versioning('note')")
    db.commit()
    session = connect(owner)
    assert value(session, "select count(*) from note_history") == 1
    session.commit()
    run(db, "alter table note force row level security")
    run(db, "select chrononaut.sync_versioning('note')")
    db.commit()
    for relation in ("note_history", "note_versions"):
        refusal(session, "42501", f"select * from {relation}")
