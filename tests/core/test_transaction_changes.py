"""What a transaction or a user changed, with the rows before and after, in SQL."""

from typing import Any

import pytest

from tests.core.asking import problems, rows, run, value, version_note
from tests.servers import Connect, Db, MakeRole

COLUMNS = "relation, operation, key, before, after, fields"


def newest(db: Db) -> int:
    """Return the id of the newest transaction."""
    return int(value(db, "select max(id) from chrononaut.transaction"))


def changes(db: Db, columns: str = COLUMNS, which: int | None = None) -> list[Any]:
    """Return what a transaction changed, the newest by default, as committed."""
    db.commit()
    query = f"select {columns} from chrononaut.changes_of(%s)"
    return rows(db, query, [newest(db) if which is None else which])


def test_every_change_has_the_row_before_and_after_it(db: Db) -> None:
    version_note(db, ", hidden => '{secret}', untracked => '{seen}'")
    run(db, "insert into note values (1, 'a', 's', 1), (2, null, null, 1)")
    db.commit()
    run(db, "update note set body = 'b', secret = 't' where id = 1")
    run(db, "update note set body = '' where id = 1")
    run(db, "update note set id = 3 where id = 2")
    run(db, "delete from note where id = 1")
    name = "public.note"

    assert changes(db) == [
        (
            *(name, "U", {"id": 1}, {"id": 1, "body": "a"}),
            *({"id": 1, "body": "b"}, ["body", "secret"]),
        ),
        (
            *(name, "U", {"id": 1}, {"id": 1, "body": "b"}),
            *({"id": 1, "body": ""}, ["body"]),
        ),
        (name, "D", {"id": 2}, {"id": 2, "body": None}, None, ["id"]),
        (name, "I", {"id": 3}, None, {"id": 3, "body": None}, ["id"]),
        (name, "D", {"id": 1}, {"id": 1, "body": ""}, None, ["id", "body"]),
    ]


def test_secrets_are_in_no_image(db: Db) -> None:
    version_note(db, ", hidden => '{secret}'")
    run(db, "insert into note values (1, 'a', 'hush')")
    run(db, "update note set secret = 'hush hush'")

    [(told,)] = changes(db, "changes_of::text")[1:]

    assert ("secret" in told, "hush" in told) == (True, False)


def test_what_a_change_left_stays_as_it_was(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    first = newest(db)
    was = changes(db, "after")
    run(db, "update note set body = 'b'")
    db.commit()
    run(db, "delete from note")
    db.commit()
    run(db, "insert into note values (1, 'c')")

    assert changes(db, "after", which=first) == was
    assert was[0][0]["body"] == "a"


def test_truncate_is_a_change_of_every_row(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1), (2)")
    db.commit()
    run(db, "truncate note")
    found = changes(db, "operation, key, before ->> 'id', after")

    assert found == [("T", {"id": 1}, "1", None), ("T", {"id": 2}, "2", None)]


def test_fields_compare_images_not_values(db: Db) -> None:
    run(
        db, "create table odd (id int primary key, n numeric, j json, p point, f float)"
    )
    run(db, "select chrononaut.create_versioning('odd')")
    run(db, "insert into odd values (1, 1.0, '{}', '(1,1)', 0)")
    db.commit()
    run(db, "update odd set n = 1.00, j = '{ }', f = '-0'")

    assert changes(db, "fields") == [(["n", "j", "f"],)]


def test_changes_of_all_tables_come_in_their_order(db: Db) -> None:
    for name in ("one", '"Two  tables"', "three"):
        run(db, f"create table {name} (id int primary key)")
        run(db, f"select chrononaut.create_versioning('{name}')")
    run(db, "insert into three values (1)")
    run(db, 'insert into "Two  tables" values (1)')
    run(db, "insert into one values (1)")
    run(db, "insert into three values (2)")

    assert changes(db, "relation, key ->> 'id'") == [
        ("public.three", "1"),
        ('public."Two  tables"', "1"),
        ("public.one", "1"),
        ("public.three", "2"),
    ]


def test_names_that_need_quotes_or_are_ours_come_through(db: Db) -> None:
    run(
        db,
        'create table "Bo""x %s" ("k 1" int, "select" text, r int, b int, n int, h int,'
        ' l int, i int, "%1$s" text, change_id text, changed text, transaction_id int,'
        ' primary key ("k 1", "select"))',
    )
    run(db, """select chrononaut.create_versioning('"Bo""x %s"')""")
    run(
        db,
        """insert into "Bo""x %s" values (1,'a',2,3,4,5,6,7,'%','x','y',8)""",
    )
    db.commit()
    run(db, """update "Bo""x %s" set change_id = 'z', n = 0, r = null, "%1$s" = '%%'""")
    [(relation, key, fields, after)] = changes(db, "relation, key, fields, after")

    assert (relation, key) == ('public."Bo""x %s"', {"k 1": 1, "select": "a"})
    assert fields == ["r", "n", "%1$s", "change_id"]
    assert after == {
        **{"k 1": 1, "select": "a", "r": None, "b": 3, "n": 0, "h": 5, "l": 6, "i": 7},
        **{"%1$s": "%%", "change_id": "z", "changed": "y", "transaction_id": 8},
    }


def test_values_do_not_depend_on_the_session(db: Db) -> None:
    run(db, "create table kind (id int primary key, i interval, b bytea, r tsrange)")
    run(db, "select chrononaut.create_versioning('kind')")
    run(db, "insert into kind values (1, '1 day', '\\x00', '[2020-02-01,2020-03-01)')")
    run(db, "set intervalstyle = 'iso_8601'")
    run(db, "set datestyle = 'German'")
    run(db, "set bytea_output = 'escape'")
    [(after,)] = changes(db, "after")

    assert after == {
        **{"id": 1, "i": "1 day", "b": "\\x00"},
        "r": '["2020-02-01 00:00:00","2020-03-01 00:00:00")',
    }


def test_pages_follow_one_another(db: Db) -> None:
    version_note(db)
    run(db, "create table other (id int primary key)")
    run(db, "select chrononaut.create_versioning('other')")
    for number in range(4):
        run(
            db,
            f"insert into note values ({number}); insert into other values ({number})",
        )
    db.commit()
    pages: list[list[Any]] = []
    last = None
    while page := rows(
        db,
        "select relation, key, change_id from chrononaut.changes_of(%s, %s, 3)",
        [newest(db), last],
    ):
        pages.append([row[:2] for row in page])
        last = page[-1][2]

    assert [len(page) for page in pages] == [3, 3, 2]
    assert pages[1] == [
        ("public.other", {"id": 1}),
        ("public.note", {"id": 2}),
        ("public.other", {"id": 2}),
    ]


def test_partitions_show_changes_of_the_whole(db: Db) -> None:
    run(db, "create table part (id int, half int, v int) partition by list (half)")
    run(db, "alter table part add primary key (id, half)")
    run(db, "create table part_1 partition of part for values in (1)")
    run(db, "create table part_2 partition of part for values in (2)")
    run(db, "select chrononaut.create_versioning('part', key => '{id}')")
    run(db, "insert into part values (1, 1, 1), (2, 1, 1)")
    db.commit()
    run(db, "update part set half = 2, v = 2 where id = 1")
    run(db, "update part set v = 3 where id = 1")
    run(db, "delete from part where id = 2")

    assert changes(db, "operation, key, before ->> 'v', after ->> 'v', fields") == [
        ("U", {"id": 1}, "1", "2", ["half", "v"]),
        ("U", {"id": 1}, "2", "3", ["v"]),
        ("D", {"id": 2}, "1", None, ["id", "half", "v"]),
    ]


def test_columns_follow_ddl(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a', 's')")
    db.commit()
    run(db, "update note set body = 'b', secret = 't'")
    changed = newest(db)
    db.commit()
    run(db, "alter table note rename body to words")
    run(db, "alter table note drop column secret, add column more text default 'm'")
    run(db, "select chrononaut.sync_versioning('note')")
    [(before, after, fields)] = changes(db, "before, after, fields", which=changed)

    assert (before["words"], after["words"]) == ("a", "b")
    assert (before["secret"], after["secret"]) == ("s", None)
    assert (before["more"], after["more"]) == (None, "m")
    assert "words" in fields
    assert problems(db) == []


def test_columns_that_were_not_recorded_yet_are_no_fields(db: Db) -> None:
    """The last change before a column came, or was tracked, did not set it."""
    version_note(db, ", hidden => '{secret}', untracked => '{seen}'")
    run(db, "insert into note values (1, 'a', 's', 1), (2, 'a', 's', 1)")
    older = [newest(db)]
    db.commit()
    run(db, "update note set body = 'b' where id = 1")
    older.append(newest(db))
    db.commit()
    run(db, "alter table note add column more text default 'm'")
    for options in ("hidden => '{}', untracked => '{}'", "untracked => '{more}'"):
        run(db, "select chrononaut.sync_versioning('note')")
        run(db, f"select chrononaut.alter_versioning('note', {options})")
    run(db, "select chrononaut.alter_versioning('note', untracked => '{}')")
    run(db, "update note set more = 'n', seen = 2 where id = 1")

    assert [changes(db, "key ->> 'id', fields", one) for one in older] == [
        [("1", ["id", "body"]), ("2", ["id", "body"])],
        [("1", ["body"])],
    ]
    assert changes(db, "fields") == [(["more", "seen"],)]


def test_what_was_not_tracked_for_a_while_is_no_field(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a', 's')")
    run(db, "update note set secret = 't'")
    made = newest(db)
    db.commit()
    run(db, "select chrononaut.alter_versioning('note', untracked => '{secret}')")
    run(db, "update note set body = 'b'")
    run(db, "select chrononaut.alter_versioning('note', untracked => '{}')")
    run(db, "update note set body = 'c'")

    assert changes(db, "fields", made) == [
        (["id", "body", "secret", "seen"],),
        ([],),
    ]


@pytest.mark.parametrize("gone", ["drop_versioning('note')", "drop table note"])
def test_changes_outlive_versioning_and_the_table(db: Db, gone: str) -> None:
    version_note(db)
    run(db, "insert into note values (1, 'a')")
    run(db, "update note set body = 'b'")
    made = newest(db)
    db.commit()
    run(db, "select chrononaut.drop_versioning('note')")
    if gone.startswith("drop table"):
        run(db, gone)

    assert changes(
        db, "operation, before ->> 'body', after ->> 'body', fields", made
    ) == [
        ("I", None, "a", ["id", "body", "seen"]),
        ("U", "a", None, None),
    ]


def test_history_that_is_dropped_is_gone_from_the_answer(db: Db) -> None:
    version_note(db)
    run(db, "insert into note values (1)")
    run(db, "select chrononaut.drop_versioning('note', drop_history => true)")
    left = "select proname from pg_proc where proname ~ '^_images_[0-9]+$'"

    assert changes(db) == []
    assert rows(db, left) == []


def test_readers_see_the_tables_that_they_may_read(
    db: Db, role: MakeRole, connect: Connect
) -> None:
    all_of_it, columns_only, nobody = role("all"), role("columns"), role("nobody")
    version_note(db)
    run(db, "create schema closed")
    run(db, "create table closed.other (id int primary key)")
    run(db, "select chrononaut.create_versioning('closed.other')")
    run(db, f"grant select on note, closed.other to {all_of_it}")
    run(db, f"grant select (id) on note to {columns_only}")
    for table in ("note", "closed.other"):
        run(db, f"select chrononaut.sync_versioning('{table}')")
    run(db, "insert into note values (1)")
    run(db, "insert into closed.other values (1)")
    db.commit()
    made = newest(db)

    def seen(user: str) -> list[Any]:
        query = "select relation from chrononaut.changes_of(%s)"
        return [name for [name] in rows(connect(user), query, [made])]

    assert seen(all_of_it) == ["public.note"]
    assert (seen(columns_only), seen(nobody)) == ([], [])


def test_row_level_security_keeps_changes_from_those_it_binds(
    db: Db, role: MakeRole, connect: Connect
) -> None:
    bound = role("bound")
    version_note(db)
    run(db, "alter table note enable row level security")
    run(db, f"create policy mine on note to {bound} using (id = 1)")
    run(db, f"grant select on note to {bound}")
    run(db, "select chrononaut.sync_versioning('note')")
    run(db, "insert into note values (1), (2)")
    db.commit()
    query = "select * from chrononaut.changes_of(%s)"

    assert rows(connect(bound), query, [newest(db)]) == []


def test_what_a_user_changed_lies_between_two_times(db: Db) -> None:
    version_note(db)
    for number, user in enumerate(("ann", "bob", "ann", "ann")):
        run(db, f"select chrononaut.set_change_info('{user}')")
        run(db, f"insert into note values ({number})")
        db.commit()
    run(db, "insert into note values (9)")
    db.commit()
    times = [
        t for [t] in rows(db, "select changed from note_history order by change_id")
    ]

    def keys(*arguments: Any) -> list[int]:
        marks = ", ".join(["%s"] * len(arguments))
        query = f"select (key ->> 'id')::int from chrononaut.changes_by({marks})"
        return [key for [key] in rows(db, query, arguments)]

    assert keys("ann", times[0]) == [0, 2, 3]
    assert keys("ann", times[1], times[3]) == [2]
    assert keys("ann", times[0], None, None, 2) == [0, 2]
    assert keys(None, times[0]) == [9]
    assert keys("ann", None, times[2]) == [0]


def test_no_transaction_changed_nothing(db: Db) -> None:
    assert rows(db, "select * from chrononaut.changes_of(null)") == []
    assert rows(db, "select * from chrononaut.changes_of(7)") == []
    assert rows(db, "select * from chrononaut.changes_by('a', now())") == []


def test_a_function_that_is_not_the_generated_one_is_reported_and_mended(
    db: Db,
) -> None:
    version_note(db)
    [[name]] = rows(
        db, "select oid::regprocedure from pg_proc where proname ~ '^_images_\\d+$'"
    )
    run(db, f"drop function {name}")
    found = problems(db)
    run(db, "select chrononaut.sync_versioning('note')")

    assert found == ["the function behind changes_of is not the generated one"]
    assert problems(db) == []
