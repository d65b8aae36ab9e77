"""Who may read history, and who may write it: nobody."""

import pytest

from tests.core.asking import (
    NOTE,
    problems,
    refusal,
    rows,
    run,
    value,
    version_note,
)
from tests.servers import Connect, Db, MakeRole

TENANTS = """
create table tenant_note (id integer primary key, tenant name, body text);
alter table tenant_note enable row level security;
create policy own on tenant_note using (tenant = current_user);
"""


@pytest.mark.parametrize(
    "statement",
    [
        "update note_history set body = 'forged'",
        "delete from note_history",
        "truncate note_history",
        "update note_history set body = 'forged' where false",
    ],
)
def test_history_is_append_only_even_for_a_superuser(db: Db, statement: str) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    diag = refusal(db, "VH008", statement)
    assert (diag.schema_name, diag.table_name) == ("public", "note_history")
    assert diag.message_hint is not None


def test_guard_holds_under_replica_role_and_for_forged_settings(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    run(db, "set local session_replication_role = replica")
    refusal(db, "VH008", "delete from note_history")


def test_a_role_with_granted_update_on_history_cannot_forge_the_setting(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    forger = role("forger")
    run(db, f"grant all on note_history to {forger}")
    db.commit()
    session = connect(forger)
    run(session, "set chrononaut.amending = on")
    refusal(session, "VH008", "update note_history set body = 'forged'")


@pytest.mark.parametrize("verb", ["delete from", "truncate"])
def test_setting_of_the_core_never_lets_history_rows_go(db: Db, verb: str) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    run(db, "set local chrononaut.amending = on")
    refusal(db, "VH008", f"{verb} note_history")


def test_writer_needs_no_right_beyond_the_live_table(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    version_note(db)
    writer = role("writer")
    run(db, f"grant insert on note to {writer}")
    db.commit()
    session = connect(writer)
    run(session, "insert into note values (1)")
    session.commit()
    refusal(session, "42501", "select * from note_history")
    refusal(
        session,
        "42501",
        "insert into note_history select * from note_history",
    )
    assert value(db, "select count(*) from note_history") == 1


def test_select_on_the_live_table_is_copied_to_history_and_versions(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    reader = role("reader")
    run(db, f"alter default privileges grant select on tables to {reader}")
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "update note set body = 'b'")
    db.commit()
    session = connect(reader)
    assert rows(session, "select version, body from note_versions order by 1") == [
        (0, "a"),
        (1, "b"),
    ]
    assert value(session, "select count(*) from note_history") == 2
    run(db, f"alter default privileges revoke select on tables from {reader}")
    db.commit()


def test_column_grants_are_copied_column_by_column(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    reader = role("reader")
    version_note(db)
    run(db, f"grant select (id, body) on note to {reader}")
    run(db, "select chrononaut.sync_versioning('note')")
    run(db, "insert into note values (1, 'a', 's')")
    run(db, "update note set body = 'b'")
    db.commit()
    session = connect(reader)
    seen = rows(session, "select id, body, operation from note_history order by body")
    assert seen == [(1, "a", "U"), (1, None, "I")]
    refusal(session, "42501", "select secret from note_history")
    refusal(session, "42501", "select id from note_versions")
    assert problems(db) == []


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("grant select (body) on note to {}", "column body may not be read by"),
        ("revoke select (seen) on note from {}", "history column seen may be read by"),
        ("revoke select (id, seen) on note from {}", "column change_id may be read by"),
        ("grant select (secret) on note_history to {}", "column secret may be read by"),
        ("grant select on note_history to {}", "history may be read by"),
        ("grant select (id) on note_versions to {}", "view column id may be read by"),
        ("grant select on note_versions to {}", "the versions view may be read by"),
        ("grant select on note to {}", "the versions view may not be read by"),
        ("grant insert on note_history to {}", "history may be written (insert) by"),
        ("grant update (id) on note_history to {}", "id may be written (update) by"),
    ],
)
def test_check_compares_rights_column_by_column_and_sync_settles_them(
    db: Db, role: MakeRole, harm: str, said: str
) -> None:
    reader = role("reader")
    run(db, NOTE)
    run(db, f"grant select (id, seen) on note to {reader}")
    run(db, "select chrononaut.create_versioning('note')")
    assert problems(db) == []
    run(db, harm.format(reader))
    assert any(said in problem for problem in problems(db)), problems(db)
    run(db, "select chrononaut.sync_versioning('note')")
    assert problems(db) == []


def test_grant_on_a_column_that_became_hidden_opens_nothing(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    reader = role("reader")
    version_note(db)
    run(db, "insert into note values (1, 'a', 's')")
    run(db, "update note set secret = 't'")
    run(db, "select chrononaut.alter_versioning('note', hidden => '{secret}')")
    run(db, f"grant select (secret) on note to {reader}")
    run(db, "select chrononaut.sync_versioning('note')")
    db.commit()
    refusal(connect(reader), "42501", "select secret from note_history")
    refusal(connect(reader), "42501", "select change_info from note_history")
    assert problems(db) == []


def test_revoked_select_is_followed_by_sync(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    reader = role("reader")
    version_note(db)
    run(db, f"grant select on note to {reader}")
    run(db, "select chrononaut.sync_versioning('note')")
    run(db, f"revoke select on note from {reader}")
    assert problems(db) != []
    run(db, "select chrononaut.sync_versioning('note')")
    db.commit()
    refusal(connect(reader), "42501", "select * from note_history")
    refusal(connect(reader), "42501", "select * from note_versions")
    assert problems(db) == []


def test_roles_that_policies_bind_cannot_read_history(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    bound, free = role("bound"), role("free", "login bypassrls")
    run(db, TENANTS)
    run(db, f"grant select, insert, update on tenant_note to {bound}, {free}")
    run(db, "select chrononaut.create_versioning('tenant_note')")
    run(db, "insert into tenant_note values (1, 'other', 'a')")
    run(db, "update tenant_note set body = 'b'")
    db.commit()
    session = connect(bound)
    for relation in ["tenant_note_history", "tenant_note_versions"]:
        refusal(session, "42501", f"select * from {relation}")
    refusal(session, "42501", "select * from chrononaut.recent_changes")
    assert value(connect(free), "select count(*) from tenant_note_versions") == 2


def test_policies_do_not_keep_bound_writers_from_being_recorded(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    bound = role("bound")
    run(db, TENANTS)
    run(db, f"grant select, insert, update on tenant_note to {bound}")
    run(db, "select chrononaut.create_versioning('tenant_note')")
    run(db, "insert into tenant_note values (1, 'other', 'a')")
    db.commit()
    session = connect(bound)
    run(session, "insert into tenant_note values (2, current_user, 'a')")
    run(session, "update tenant_note set body = 'b'")
    session.commit()
    assert rows(
        db, "select id, operation from tenant_note_history order by change_id"
    ) == [(1, "I"), (2, "I"), (2, "U")]


def test_policies_switched_on_later_are_followed_by_sync(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    reader = role("reader")
    version_note(db)
    run(db, f"grant select on note to {reader}")
    run(db, "select chrononaut.sync_versioning('note')")
    run(db, "alter table note enable row level security")
    assert problems(db) != []
    run(db, "select chrononaut.sync_versioning('note')")
    db.commit()
    refusal(connect(reader), "42501", "select * from note_history")
    refusal(connect(reader), "42501", "select * from note_versions")


def test_versions_view_never_shows_live_rows_past_the_readers_rights(
    db: Db, connect: Connect, role: MakeRole
) -> None:
    bound = role("bound")
    run(db, TENANTS)
    run(db, "insert into tenant_note values (1, 'other', 'a')")
    run(db, f"grant select on tenant_note to {bound}")
    run(db, "select chrononaut.create_versioning('tenant_note')")
    run(db, f"grant select on tenant_note_versions, tenant_note_history to {bound}")
    db.commit()
    assert rows(connect(bound), "select * from tenant_note_versions") == []
