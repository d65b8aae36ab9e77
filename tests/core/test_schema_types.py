"""Types of the application's own come and go; history follows and holds none up."""

import pytest

from tests.core.asking import problems, rows, run, value
from tests.servers import Db

SYNC = "select chrononaut.sync_versioning('item')"
REPLACE = (
    "alter type mood rename to mood_old",
    "create type mood as enum ('ok', 'glad')",
    "alter table item alter mood drop default,"
    " alter mood type mood using (case mood::text when 'sad' then 'ok' else mood::text"
    " end)::mood, alter mood set default 'ok'",
)
"""How an enum loses a value: the way that PostgreSQL leaves."""

TYPES = {
    "enum": ("mood", "'sad'", "sad"),
    "enums": ("mood[]", "'{sad,glad}'", "{sad,glad}"),
    "row": ("size", "row(1, 'a,b')", '(1,"a,b")'),
    "row of nulls": ("size", "row(null, null)", "(,)"),
    "rows": ("size[]", "array[row(1, 'a')::size]", '{"(1,a)"}'),
    "domains": ("positive[]", "'{1,2}'", "{1,2}"),
    "range": ("span", "'[1,2]'", "[1,2]"),
}


@pytest.fixture
def own(db: Db) -> Db:
    """Types of several kinds."""
    run(db, "create type mood as enum ('ok', 'sad', 'glad')")
    run(db, "create type size as (w int, unit text)")
    run(db, "create domain positive as int check (value > 0)")
    run(db, "create type span as range (subtype = float8)")
    db.commit()
    return db


def make(db: Db, columns: str, options: str = "") -> None:
    """Create the table item and version it."""
    run(db, f"create table item ({columns})")
    run(db, f"select chrononaut.create_versioning('item'{options})")
    db.commit()


def with_moods(db: Db, *moods: str) -> None:
    """Let one item go through *moods*, with the mark `before` at the first one."""
    make(db, "id int primary key, mood mood default 'ok'", ", indexes => '{mood}'")
    run(db, "insert into item values (1, %s)", [moods[0]])
    db.commit()
    run(db, "select chrononaut.mark('before')")
    for mood in moods[1:]:
        run(db, "update item set mood = %s", [mood])
    db.commit()


def moods(db: Db, columns: str = "mood") -> list[tuple[str, ...]]:
    """Return the moods of all versions, oldest first."""
    return rows(db, f"select {columns} from item_versions order by version")


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_an_enum_that_was_replaced_goes_on_with_its_old_values(
    own: Db, granularity: str
) -> None:
    with_moods(own, "glad", "ok")
    call = "select chrononaut.alter_versioning('item', granularity => %s)"
    run(own, call, [granularity])
    for statement in REPLACE:
        run(own, statement)
    run(own, SYNC)
    run(own, "drop type mood_old")
    run(own, "update item set mood = 'glad'")
    assert moods(own) == [("glad",), ("ok",), ("glad",)]
    past = "select mood from chrononaut.as_of(null::item, mark => 'before')"
    assert rows(own, past) == [("glad",)]
    run(own, "select chrononaut.open_past(mark => 'before')")
    assert rows(own, "select mood from item") == [("glad",)]
    assert problems(own) == []


def test_values_that_a_replaced_enum_lost_are_kept_as_text(own: Db) -> None:
    with_moods(own, "sad", "glad")
    for statement in REPLACE:
        run(own, statement)
    run(own, SYNC)
    run(own, "drop type mood_old")
    run(own, "update item set mood = 'ok'")
    assert moods(own, "mood, mood__1") == [
        (None, "sad"),
        ("glad", None),
        ("ok", None),
    ]
    assert problems(own) == []


def test_auto_sync_follows_a_replaced_enum(own: Db) -> None:
    with_moods(own, "glad", "ok")
    run(own, "select chrononaut.auto_sync()")
    for statement in REPLACE:
        run(own, statement)
    run(own, "drop type mood_old")
    run(own, "update item set mood = 'glad'")
    assert moods(own) == [("glad",), ("ok",), ("glad",)]
    assert problems(own) == []


@pytest.mark.parametrize("kind", TYPES)
def test_the_type_of_a_dropped_column_can_be_dropped(own: Db, kind: str) -> None:
    type_, literal, text = TYPES[kind]
    make(own, f"id int primary key, v {type_}, n int")
    run(own, f"insert into item values (1, {literal}, 1), (2, null, 1)")
    run(own, "update item set n = 2")
    own.commit()
    run(own, "alter table item drop column v")
    run(own, SYNC)
    run(own, f"drop type {type_.removesuffix('[]')}")
    run(own, "update item set n = 3")
    kept = "select v from item_history where operation = 'U' order by change_id"
    assert rows(own, kept) == [(text,), (None,), (None,), (None,)]
    assert problems(own) == []


@pytest.mark.parametrize("kind", ["enum", "range", "row", "enums"])
def test_a_key_of_another_type_leaves_nothing_of_the_old_one(
    own: Db, kind: str
) -> None:
    type_, literal, text = TYPES[kind]
    make(own, f"id {type_} primary key, n int")
    run(own, f"insert into item values ({literal}, 1)")
    run(own, "update item set n = 2")
    own.commit()
    run(own, "alter table item alter id type text using id::text")
    run(own, SYNC)
    run(own, f"drop type {type_.removesuffix('[]')}")
    run(own, "update item set n = 3")
    now = "select * from chrononaut.as_of(null::item, at => clock_timestamp())"
    assert rows(own, now) == [(text, 3)]
    assert problems(own) == []


@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize(
    ("old", "new", "using"),
    [
        ("int", "bigint", "id"),
        ("int", "text", "id::text"),
        ("int", "uuid", "lpad(id::text, 32, '0')::uuid"),
        ("text", "int", "id::int"),
        ("text", "uuid", "lpad(id, 32, '0')::uuid"),
        ("bigint", "int", "id"),
    ],
)
def test_the_key_may_get_any_type(
    db: Db, granularity: str, old: str, new: str, using: str
) -> None:
    make(
        db,
        f"id {old}, part int, v int, primary key (part, id)",
        f", granularity => '{granularity}'",
    )
    run(db, "insert into item values ('1', 1, 1)")
    run(db, "update item set v = 2")
    db.commit()
    run(db, f"alter table item alter id type {new} using {using}")
    run(db, SYNC)
    run(db, "update item set v = 3")
    [(id_, _, _)] = rows(db, "select * from item")
    now = "select * from chrononaut.as_of(null::item, at => clock_timestamp())"
    assert rows(db, now) == [(id_, 1, 3)]
    run(db, f"select chrononaut.revert_row('item', '[1, \"{id_}\"]', version => 0)")
    run(db, "delete from item")
    count = "select count(*) from item_history where id is not null"
    assert (value(db, count) >= 3, problems(db)) == (True, [])


def test_no_cast_of_the_type_s_owner_is_called(own: Db) -> None:
    with_moods(own, "glad", "ok")
    for name, type_ in ("evil_old", "mood"), ("evil_text", "text"):
        to = "text" if type_ == "mood" else "mood"
        run(
            own,
            f"create function {name}({type_}) returns {to} language plpgsql as"
            f" $$ begin raise 'called'; end $$",
        )
    run(own, "create cast (mood as text) with function evil_old(mood) as implicit")
    run(own, "alter type mood rename to mood_old")
    run(own, "create type mood as enum ('ok', 'glad')")
    run(own, "alter table item alter mood drop default")
    run(own, "alter table item alter mood type mood using 'ok'")
    run(own, "drop function evil_text(text)")
    run(
        own,
        "create function evil_text(text) returns mood language plpgsql as"
        " $$ begin raise 'called'; end $$",
    )
    run(own, "create cast (text as mood) with function evil_text(text) as implicit")
    run(own, SYNC)
    assert moods(own) == [("glad",), ("ok",)]


@pytest.mark.parametrize("kind", ["enum", "enums", "row", "range"])
@pytest.mark.parametrize("ddl", ["rename to other", "set schema chrononaut_elsewhere"])
def test_versions_and_past_are_read_while_a_renamed_type_awaits_its_sync(
    own: Db, kind: str, ddl: str
) -> None:
    type_, literal, _ = TYPES[kind]
    make(own, f"id int primary key, v {type_}, n int")
    run(own, f"insert into item values (1, {literal}, 1)")
    run(own, "update item set n = 2")
    own.commit()
    run(own, "create schema chrononaut_elsewhere")
    run(own, f"alter type {type_.removesuffix('[]')} {ddl}")
    run(own, "update item set n = 3")
    assert rows(own, "select n from item_versions order by 1") == [(1,), (2,), (3,)]
    past = "select n from chrononaut.as_of(null::item, at => clock_timestamp())"
    assert rows(own, past) == [(3,)]
    run(own, "select chrononaut.revert_row('item', '1', version => 0)")
    assert rows(own, "select n from item") == [(1,)]
    run(own, SYNC)
    assert problems(own) == []


def test_what_stays_is_not_rewritten(own: Db) -> None:
    make(own, "id int primary key, mood mood, size size, n int")
    run(own, "insert into item values (1, 'ok', row(1, 'm'), 1)")
    own.commit()
    place = "select pg_relation_filenode('item_history')"
    before = value(own, place)
    run(own, "alter table item drop column n")
    run(own, SYNC)
    assert value(own, place) == before
