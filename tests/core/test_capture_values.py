"""Columns of every kind come back as they were, and every change of image counts."""

import pytest
from psycopg import errors

from tests.core.asking import rows, run
from tests.servers import Db

# type, first value, a value that only looks the same or is hard to compare
VALUES: dict[str, tuple[str, str, str]] = {
    "numeric scale": ("numeric", "1.0", "1.00"),
    "numeric NaN": ("numeric", "'NaN'", "1"),
    "json whitespace": ("json", """'{"a":1}'""", """'{"a": 1}'"""),
    "jsonb": ("jsonb", """'{"a": 1}'""", """'{"a": 1.0}'"""),
    "xml": ("xml", "'<a/>'", "'<a></a>'"),
    "point": ("point", "'(1,2)'", "'(1,3)'"),
    "array": ("text[]", "array['a', null]", "array['a']"),
    "range": ("int4range", "'[1,5)'", "'empty'"),
    "bytea": ("bytea", r"'\x00ff'", r"'\x00fe'"),
    "infinity": ("timestamptz", "'infinity'", "'-infinity'"),
    "year 10000": ("timestamptz", "'10000-01-01 00:00Z'", "'infinity'"),
    "interval": ("interval", "'1 day'", "'24:00'"),
    "negative zero": ("float8", "'-0'", "'0'"),
    "bit": ("bit(3)", "B'101'", "B'111'"),
    "char": ("char(5)", "'a'", "'b'"),
    "varchar": ("varchar(3)", "'a'", "'b'"),
    "null": ("int", "null", "0"),
    "enum": ("mood", "'sad'", "'glad'"),
    "domain": ("positive", "1", "2"),
    "array of domain": (
        "positive[]",
        "array[1, 2]::positive[]",
        "array[1]::positive[]",
    ),
    "array of domain over array": (
        "list[]",
        "array['{1,2}']::list[]",
        "array['{1,2}', '{3}']::list[]",
    ),
    "composite": ("pair", "row(1, 'a')", "row(1, 'b')"),
    "uuid": ("uuid", "gen_random_uuid()", "gen_random_uuid()"),
    "large text": ("text", "repeat(md5('a'), 3000)", "repeat(md5('a'), 3000) || 'x'"),
}

TYPES = """
create type mood as enum ('sad', 'glad');
create domain positive as int not null check (value > 0);
create domain list as int[] check (cardinality(value) < 5);
create type pair as (a int, b text);
"""


def supports_xml(db: Db) -> bool:
    """Tell whether the server can parse XML at all."""
    try:
        with db.transaction():
            db.execute("select '<a/>'::xml")
    except errors.FeatureNotSupported:
        return False
    return True


@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize(("kind", "old", "new"), VALUES.values(), ids=VALUES.keys())
def test_changed_image_is_recorded_and_an_equal_one_is_not(
    db: Db, kind: str, old: str, new: str, granularity: str
) -> None:
    if kind == "xml" and not supports_xml(db):
        pytest.skip("this server was built without libxml")
    db.execute(TYPES)
    db.execute(f"create table item (junk int, id int primary key, v {kind})")
    db.execute("alter table item drop column junk")
    db.execute(
        "select chrononaut.create_versioning('item', granularity => %s)", [granularity]
    )
    db.execute(f"insert into item values (1, {old})")
    db.execute("create table kept as select * from item")
    db.execute("update item set v = v")
    db.execute(f"update item set v = {new}")
    db.execute("delete from item")

    images = db.execute(
        "select h.operation, h.v::text, h.v::text = k.v::text or k.v is null as same"
        " from item_history h, kept k where h.operation <> 'I' order by change_id"
    ).fetchall()
    assert next((operation, same) for operation, _, same in images) == ("U", True)
    assert [operation for operation, *_ in images] == ["U", "D"]


def test_stored_generated_and_identity_columns_are_recorded(db: Db) -> None:
    db.execute(
        "create table item (id int generated always as identity primary key,"
        " v int, twice int generated always as (v * 2) stored)"
    )
    db.execute("select chrononaut.create_versioning('item')")
    db.execute("insert into item (v) values (1)")
    db.execute("update item set v = 5")
    assert db.execute(
        "select v, twice from item_versions order by version"
    ).fetchall() == [(1, 2), (5, 10)]


@pytest.mark.min_pg(18)
@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_virtual_generated_columns_are_computed_for_the_record(
    db: Db, granularity: str
) -> None:
    db.execute(
        "create table item (id int primary key, v int, twice int"
        " generated always as (v * 2) virtual)"
    )
    db.execute(
        "select chrononaut.create_versioning('item', granularity => %s)", [granularity]
    )
    db.execute("insert into item (id, v) values (1, 1)")
    db.execute("update item set v = 5")
    assert db.execute(
        "select v, twice from item_versions order by version"
    ).fetchall() == [(1, 2), (5, 10)]


@pytest.mark.min_pg(18)
@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_virtual_columns_may_tell_the_table(db: Db, granularity: str) -> None:
    db.execute(
        "create table item (id int primary key, v int, place oid"
        " generated always as (tableoid) virtual)"
    )
    db.execute(
        "select chrononaut.create_versioning('item', granularity => %s)", [granularity]
    )
    db.execute("insert into item (id, v) values (1, 1)")
    db.execute("update item set v = 5")
    assert db.execute(
        "select v, place::regclass::text from item_versions order by version"
    ).fetchall() == [(1, "item"), (5, "item")]


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_a_thousand_columns_are_recorded(db: Db, granularity: str) -> None:
    columns = ", ".join(f"c{n} text" for n in range(1000))
    db.execute(f"create table wide (id int primary key, {columns})")
    db.execute(
        "select chrononaut.create_versioning('wide', granularity => %s)", [granularity]
    )
    db.execute("insert into wide (id, c0, c999) values (1, 'a', 'z')")
    db.execute("update wide set c999 = 'y'")
    assert db.execute(
        "select version, c0, c999 from wide_versions order by version"
    ).fetchall() == [(0, "a", "z"), (1, "a", "y")]


NAMES = [
    "values", "order", "Group", "n", "o", "h", "t", "old", "new", "ts", "version",
    "changed", "change_info", "operation", "tuple", "v_row", "v_info", "tg_op", "a.b",
    "with space", "select", "%s", "$1", 'quo"te', "x" * 63, "ü" * 31, "$$", "'",
]  # fmt: skip


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_any_column_and_table_name_is_recorded(db: Db, granularity: str) -> None:
    quoted = ['"' + name.replace('"', '""') + '"' for name in NAMES]
    table = '"Ta""ble;--"'
    columns = ", ".join(f"{name} text" for name in quoted)
    db.execute(f"create table {table} (id int primary key, {columns})")
    history = db.execute(
        "select chrononaut.create_versioning(%s::regclass, granularity => %s)::text",
        [table, granularity],
    ).fetchone()
    assert history is not None
    db.execute(f"insert into {table} (id) values (1)")
    for name in quoted:
        db.execute(f"update {table} set {name.replace('%', '%%')} = 'set'", ())
    last = db.execute(
        f"select {', '.join(quoted)} from {history[0]}"
        " order by chrononaut_change_info is null, change_id desc limit 1"
    ).fetchone()
    assert last == (*["set"] * (len(NAMES) - 1), None)


PLPGSQL = [
    "begin", "by", "declare", "execute", "foreach", "if", "loop", "strict", "while",
]  # fmt: skip
"""Reserved in PL/pgSQL only, so that `%I` leaves them bare."""


@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize("hidden", [[], PLPGSQL])
def test_every_keyword_may_be_a_column(
    db: Db, granularity: str, hidden: list[str]
) -> None:
    found = db.execute("select distinct word from pg_get_keywords()").fetchall()
    words = sorted({*PLPGSQL, *(word for [word] in found)})
    columns = ", ".join(f'"{word}" int' for word in words)
    db.execute(f"create table item (id int primary key, {columns})")
    db.execute(
        "select chrononaut.create_versioning('item', granularity => %s, hidden => %s,"
        " lockable => true, row_version => true)",
        [granularity, hidden],
    )
    db.execute("insert into item (id) values (1)")
    changes = ", ".join(f'"{word}" = 1' for word in words)
    db.execute(f"update item set {changes}")
    db.execute("update item set id = 2")
    db.execute("delete from item")
    left = ", ".join(f'"{word}"' for word in words if word not in hidden)
    assert db.execute(
        f"select id, cardinality(array_remove(array[{left}], null)) from item_history"
        " where operation <> 'I' order by change_id"
    ).fetchall() == [(1, 0), *[(id, len(words) - len(hidden)) for id in (1, 2)]]


@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize("type_", ["int", "name"])
def test_every_keyword_of_plpgsql_may_be_in_a_key(
    db: Db, granularity: str, type_: str
) -> None:
    key = ", ".join(f'"{word}"' for word in PLPGSQL)
    columns = ", ".join(f'"{word}" {type_} default 1' for word in PLPGSQL)
    db.execute(f"create table item ({columns}, v int, primary key ({key}))")
    db.execute(
        "select chrononaut.create_versioning('item', granularity => %s,"
        " lockable => true)",
        [granularity],
    )
    db.execute("insert into item (v) values (1)")
    db.execute("update item set v = 2")
    db.execute("""update item set "if" = 2, "loop" = 2""")
    db.execute("delete from item")
    assert db.execute(
        """select operation, "if"::text, v from item_history order by change_id"""
    ).fetchall() == [
        ("I", "1", None),
        ("U", "1", 1),
        ("D", "1", 2),
        ("I", "2", None),
        ("D", "2", 2),
    ]


@pytest.mark.extension("citext")
def test_key_of_citext_changes_its_case_as_an_update(db: Db) -> None:
    db.execute("create extension citext")
    db.execute("create table item (name citext primary key, v int)")
    db.execute("select chrononaut.create_versioning('item')")
    db.execute("insert into item values ('a', 1)")
    db.execute("update item set name = 'A'")
    db.execute("update item set name = 'b'")
    assert db.execute(
        "select operation, name::text from item_history order by change_id"
    ).fetchall() == [("I", "a"), ("U", "a"), ("D", "A"), ("I", "b")]


KEYS = {
    "composite of nulls": ("pair", "row(null, null)", "row(1, null)"),
    "domain over array": ("list", "'{1}'", "'{2}'"),
}


@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize(("kind", "one", "other"), KEYS.values(), ids=KEYS.keys())
def test_key_of_any_type_tells_rows_apart(
    db: Db, kind: str, one: str, other: str, granularity: str
) -> None:
    db.execute(TYPES)
    db.execute(f"create table item (id {kind} primary key, v int, secret text)")
    db.execute(
        "select chrononaut.create_versioning('item', granularity => %s,"
        " hidden => '{secret}')",
        [granularity],
    )
    db.execute(f"insert into item values ({one}, 1, 'a')")
    db.execute("update item set v = 2, secret = 'b'")
    db.execute(f"update item set id = {other}")
    db.execute("update item set v = 3")
    same = f"id::text = ({one})::{kind}::text"
    recorded = db.execute(
        f"select operation, {same}, v, change_info ? 'hidden_cols_changed'"
        " from item_history order by change_id"
    ).fetchall()
    assert sorted(recorded, key=str) == [
        ("D", True, 2, False),
        ("I", False, None, False),
        ("I", True, None, False),
        ("U", False, 2, False),
        ("U", True, 1, True),
    ]


def test_secret_of_a_hidden_column_is_nowhere_in_the_database(db: Db) -> None:
    db.execute("create table item (id int primary key, v int, secret text)")
    db.execute("select chrononaut.create_versioning('item', hidden => '{secret}')")
    db.execute("insert into item values (1, 1, 'first-s3cret')")
    db.execute("update item set secret = 'second-s3cret'")
    db.execute("update item set v = 2")
    db.execute("delete from item")
    recorded = db.execute(
        "select operation, change_info -> 'hidden_cols_changed',"
        " h::text like '%s3cret%'"
        " from item_history h order by change_id"
    ).fetchall()
    assert recorded == [
        ("I", None, False),
        ("U", ["secret"], False),
        ("U", None, False),
        ("D", None, False),
    ]


@pytest.mark.min_pg(18)
@pytest.mark.parametrize("granularity", ["row", "statement"])
@pytest.mark.parametrize("name", ["old", "new", "found", "tg_op", "v_info", "s", "o"])
def test_virtual_columns_may_be_made_of_what_triggers_call_variables(
    db: Db, granularity: str, name: str
) -> None:
    run(
        db,
        f"create table item (id int primary key, {name} int, told text"
        f" generated always as ('{name} ' || ({name} + 1)::varchar(9)) virtual)",
    )
    db.execute(
        "select chrononaut.create_versioning('item', granularity => %s)", [granularity]
    )
    run(db, "insert into item (id) values (1)")
    run(db, f"update item set {name} = 5")
    run(db, f"update item set {name} = 6")
    told = rows(db, "select told from item_versions order by version")
    assert told == [(None,), (f"{name} 6",), (f"{name} 7",)]
