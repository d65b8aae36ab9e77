"""The options of create_versioning and alter_versioning: what they take and refuse."""

from typing import Any

import pytest

from tests.core.asking import NOTE, problems, refusal, rows, run, value, version_note
from tests.servers import Db


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ("hidden => '{nonesuch}'", "VH003"),
        ("untracked => '{nonesuch}'", "VH003"),
        ("indexes => '{nonesuch}'", "VH003"),
        ("key => '{nonesuch}'", "VH003"),
        ("key => '{body}'", "VH003"),
        ("key => '{}'", "VH003"),
        ("key => '{id,id}'", "VH003"),
        ("key => '{null}'", "VH003"),
        ("hidden => '{null}'", "VH003"),
        ("untracked => '{body,null}'", "VH003"),
        ("indexes => '{null}'", "VH003"),
        ("hidden => '{id}'", "VH003"),
        ("untracked => '{id}'", "VH003"),
        ("hidden => '{body}', untracked => '{body}'", "VH003"),
        ("hidden => '{body}', indexes => '{body}'", "VH003"),
        ("granularity => 'page'", "VH003"),
        ("on_truncate => 'cry'", "VH003"),
        ("parent => 'pg_class'", "VH003"),
        ("parent => 'note'", "VH003"),
        ("history_table => 'a.b.c'", "VH004"),
        ("history_table => 'taken'", "VH004"),
        ("history_table => 'note'", "VH004"),
        ("history_table => 'nowhere.note_history'", "VH006"),
    ],
)
def test_options_that_make_no_sense_are_refused_and_leave_nothing(
    db: Db, options: str, code: str
) -> None:
    run(db, NOTE)
    run(db, "create table taken ()")
    diag = refusal(db, code, f"select chrononaut.create_versioning('note', {options})")
    assert diag.message_hint is not None
    assert rows(db, "select * from chrononaut.versioning") == []


@pytest.mark.parametrize(
    "clash",
    [
        "create table note_history ()",
        "create view note_history as select 1 as one",
        "create table note_versions ()",
        "create sequence note_versions",
    ],
)
def test_taken_names_are_refused(db: Db, clash: str) -> None:
    run(db, NOTE)
    run(db, clash)
    diag = refusal(db, "VH004", "select chrononaut.create_versioning('note')")
    assert (diag.schema_name, diag.table_name) == ("public", "note")


@pytest.mark.parametrize(
    ("first", "again", "said"),
    [
        ("", "note_past", "note_history"),
        ("", "app.note_history", "note_history"),
        (", history_table => 'note_past'", "note_history", "note_past"),
        (", history_table => '\"Note Past\"'", "note_past", '"Note Past"'),
    ],
)
def test_a_history_is_not_taken_for_one_of_another_name(
    db: Db, first: str, again: str, said: str
) -> None:
    run(db, NOTE)
    run(db, f"select chrononaut.create_versioning('note'{first})")
    diag = refusal(
        db,
        "VH004",
        f"select chrononaut.create_versioning('note', history_table => '{again}')",
    )
    assert (diag.message_primary, diag.message_hint) == (
        f"public.note is versioned already, and its history is public.{said}, "
        f"not {again}",
        f"To rename it: alter table public.{said} rename to ...; "
        "select chrononaut.sync_versioning('public.note');",
    )


@pytest.mark.parametrize(
    "name", ["Note_Past", "public.note_past", '"note_past"', ' public . "note_past" ']
)
def test_a_history_table_may_be_named_again_in_any_spelling(db: Db, name: str) -> None:
    run(db, NOTE)
    run(db, "select chrononaut.create_versioning('note', history_table => 'note_past')")
    again = f"select chrononaut.create_versioning('note', history_table => '{name}')"
    assert value(db, f"{again}::text") == "note_past"
    run(db, "select chrononaut.drop_versioning('note')")
    assert value(db, f"{again}::text") == "note_past"


def test_history_table_takes_the_name_that_is_asked_for(db: Db) -> None:
    run(db, "create schema past")
    version_note(db, """, history_table => 'past."Note log"'""")
    run(db, "insert into note values (1)")
    assert value(db, """select count(*) from past."Note log" """) == 1
    assert value(db, "select count(*) from past.note_versions") == 1


@pytest.mark.parametrize(
    "names",
    [
        ["a" * 63],
        ["b" * 62 + "c", "b" * 62 + "d"],
        ["ü" * 31],
        ["€" * 21, "€" * 20 + "xyz"],
        [
            'Ta"ble;--',
            "select",
            "a.b",
            "UPPER",
            "with space",
            "it's",
            "back\\slash",
            "%s",
        ],
    ],
)
def test_tables_of_any_name_have_a_history_of_their_own(
    db: Db, names: list[str]
) -> None:
    for name in names:
        quoted = '"' + name.replace('"', '""') + '"'
        db.execute(
            f'create table {quoted} ("select" int primary key, "a.b" text)'.encode()
        )
        run(db, "select chrononaut.create_versioning(%s::regclass)", [quoted])
        db.execute(f"insert into {quoted} values (1, 'x')".encode())
        db.execute(f"""update {quoted} set "a.b" = 'y'""".encode())
    found = rows(
        db,
        "select relation, history_table, octet_length(c.relname) <= 63"
        " from chrononaut.versioned_tables t join pg_class c on c.oid = history_table",
    )
    assert len({history for _, history, _ in found}) == len(names)
    for relation, history, fits in found:
        assert relation != history
        assert fits
        counted = f"select count(*) from {history}"
        assert db.execute(counted.encode()).fetchall() == [(2,)]
    assert problems(db) == []


def test_hidden_column_that_becomes_tracked_is_recorded_from_then_on(db: Db) -> None:
    version_note(db, ", hidden => '{secret}'")
    run(db, "insert into note values (1, 'a', 's1')")
    run(db, "update note set secret = 's2'")
    run(db, "select chrononaut.alter_versioning('note', hidden => '{}')")
    run(db, "update note set secret = 's3'")
    assert rows(
        db,
        "select secret, change_info -> 'hidden_cols_changed' from note_history"
        " where operation = 'U' order by change_id",
    ) == [(None, ["secret"]), ("s2", None)]
    assert problems(db) == []


@pytest.mark.parametrize("state", ["hidden", "untracked"])
def test_tracked_column_that_is_taken_out_is_not_recorded_any_more(
    db: Db, state: str
) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a', 's1')")
    run(db, "update note set body = 'b'")
    run(db, f"select chrononaut.alter_versioning('note', {state} => '{{secret}}')")
    run(db, "update note set body = 'c', secret = 's2'")
    assert rows(db, "select secret from note_history order by change_id") == [
        (None,),
        ("s1",),
        (None,),
    ]
    assert problems(db) == []


def test_granularity_may_be_altered_both_ways(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    for word in ["statement", "row", "statement"]:
        run(db, f"select chrononaut.alter_versioning('note', granularity => '{word}')")
        run(db, "update note set seen = seen + 1")
        assert problems(db) == []
    assert rows(db, "select version, seen from note_versions order by 1") == [
        (n, n) for n in range(4)
    ]


def test_options_that_are_not_given_stay_as_they_are(db: Db) -> None:
    version_note(db, ", hidden => '{secret}', untracked => '{seen}', always => true")
    run(db, "select chrononaut.alter_versioning('note', indexes => '{body}')")
    run(db, "select chrononaut.create_versioning('note', require_change_info => true)")
    assert rows(
        db,
        "select hidden, untracked, always, indexes, require_change_info, granularity,"
        " track_inserts, on_truncate, key from chrononaut.versioned_tables",
    ) == [(["secret"], ["seen"], True, ["body"], True, "row", True, "record", ["id"])]


LEFT = "select hidden, untracked, indexes, drifted from chrononaut.versioned_tables"
NAMED = ", hidden => '{secret}', untracked => '{seen}', indexes => '{body}'"


def test_options_forget_columns_that_are_gone_and_follow_renames(db: Db) -> None:
    version_note(db, NAMED)
    run(db, "alter table note rename secret to body2; alter table note drop seen")
    run(db, "alter table note rename body to secret; alter table note add extra int")
    run(db, "select chrononaut.alter_versioning('note', always => true)")
    run(db, "insert into note values (1, 'a', 'b', 3); update note set extra = 4")
    assert rows(db, LEFT) == [(["body2"], [], ["secret"], False)]
    assert rows(db, "select secret, extra from note_versions") == [("a", 3), ("a", 4)]
    assert problems(db) == []


def test_table_made_again_without_hidden_columns_is_versioned(db: Db) -> None:
    version_note(db, NAMED)
    run(db, "insert into note values (1, 'a', 'b')")
    run(db, "select chrononaut.drop_versioning('note'); drop table note")
    run(db, "create table note (id int primary key, title text)")
    run(db, "select chrononaut.create_versioning('note')")
    run(db, "insert into note values (1, 'c')")
    assert rows(db, LEFT) == [([], [], [], False)]
    assert value(db, "select count(*) from note_history where id = 1") == 2
    assert problems(db) == []


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_inserts_may_go_untracked(db: Db, granularity: str) -> None:
    version_note(db, f", track_inserts => false, granularity => '{granularity}'")
    run(db, "insert into note values (1, 'a')")
    run(db, "update note set body = 'b'")
    assert rows(db, "select operation from note_history") == [("U",)]
    assert rows(db, "select version, body from note_versions order by 1") == [
        (0, "a"),
        (1, "b"),
    ]


@pytest.mark.parametrize("always", [True, False])
def test_always_decides_about_replica_sessions(db: Db, always: bool) -> None:
    version_note(db, f", always => {always}")
    run(db, "set local session_replication_role = replica")
    run(db, "insert into note values (1)")
    assert value(db, "select count(*) from note_history") == int(always)


def test_truncate_may_be_forbidden(db: Db) -> None:
    version_note(db, ", on_truncate => 'forbid'")
    run(db, "insert into note values (1)")
    with pytest.raises(Exception, match=r"(?i)truncate"), db.transaction():
        run(db, "truncate note")
    run(db, "select chrononaut.alter_versioning('note', on_truncate => 'record')")
    run(db, "truncate note")
    assert value(db, "select count(*) from note_history where operation = 'T'") == 1


META = ["change_id", "changed", "operation", "transaction_id", "change_info", "version"]


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_live_columns_named_like_meta_columns_win(db: Db, granularity: str) -> None:
    columns = [*META, "tuple", "valid_from", "valid_to", "created_change_info"]
    run(
        db,
        f"create table note (id int primary key, {' text, '.join(columns)} text)",
    )
    run(
        db,
        "select chrononaut.create_versioning('note', granularity => %s)",
        [granularity],
    )
    values: list[Any] = [f"my {c}" for c in columns]
    run(db, f"insert into note values (1{', %s' * len(columns)})", values)
    run(db, "update note set version = 'new'")
    shown = f"select {', '.join(columns)}, chrononaut_version, chrononaut_operation"
    assert rows(db, f"{shown} from note_versions order by chrononaut_version") == [
        (*values, 0, "U"),
        (*[("new" if c == "version" else f"my {c}") for c in columns], 1, None),
    ]
    assert value(db, "select meta -> 'changed' from chrononaut.versioned_tables") == (
        "chrononaut_changed"
    )
    assert value(db, "select count(*) from chrononaut.recent_changes") == 2
    assert problems(db) == []


def test_meta_name_that_a_column_takes_later_gives_way(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    run(db, "alter table note add column operation text default 'mine'")
    run(db, "alter table note add column chrononaut_operation text default 'both'")
    run(db, "select chrononaut.sync_versioning('note')")
    run(db, "update note set body = 'x'")
    assert rows(
        db,
        "select operation, chrononaut_operation from note_versions order by version",
    ) == [("mine", "both"), ("mine", "both")]
    assert problems(db) == []


@pytest.mark.parametrize("option", ["hidden", "untracked"])
def test_options_change_back_and_forth_while_nothing_is_written(
    db: Db, option: str
) -> None:
    run(db, NOTE)
    run(db, "select chrononaut.create_versioning('note')")
    for columns in ("{body}", "{}", "{body}", "{}"):
        run(db, f"select chrononaut.alter_versioning('note', {option} => '{columns}')")
    assert value(db, f"select {option} from chrononaut.versioned_tables") == []
