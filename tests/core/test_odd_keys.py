"""Keys of types that are seldom keys: arrays, rows, documents, ranges."""

import pytest

from tests.core.asking import refusal, rows, run, value
from tests.core.undoing import NEWEST, in_one, table, undo
from tests.servers import Db

KEYS = {
    "array": ("text[]", "array['a\"b', '\\x', null, '', E'n\\nl', '{,}']"),
    "matrix": ("int[]", "'{{1,2},{3,4}}'"),
    "empty array": ("text[]", "'{}'"),
    "row": ("address", "row(1, 'q\"\\, x', array['z', 'y \"'])"),
    "row with a null": ("address", "row(null, '', null)"),
    "row of nulls": ("address", "row(null, null, null)"),
    "rows": ("address[]", "array[row(1, 'x', '{\"a,\"}')::address, null]"),
    "document": ("jsonb", """'{"a": [1, null, "x"]}'"""),
    "text in a document": ("jsonb", "'\"str\"'"),
    "null in a document": ("jsonb", "'null'"),
    "range": ("int4range", "'[1,5)'"),
    "multirange": ("int4multirange", "'{[1,3),[5,7)}'"),
}


@pytest.fixture(params=KEYS)
def item(request: pytest.FixtureRequest, db: Db) -> Db:
    """The table item with one row: its key of an odd type, and v = 1."""
    type_, literal = KEYS[request.param]
    in_one(db, "create type address as (no int, street text, tags text[])")
    in_one(db, f"create table item (id {type_} primary key, v int)")
    in_one(db, "select chrononaut.create_versioning('item')")
    in_one(db, f"insert into item values ({literal}, 1)")
    return db


def the_key(db: Db) -> str:
    """Return the key of the only row that ever was, as changes_of() tells it."""
    query = f"select distinct key::text from chrononaut.changes_of(({NEWEST}))"
    return str(value(db, query))


def test_a_row_is_found_by_the_key_that_changes_of_tells(item: Db) -> None:
    before = table(item)
    in_one(item, "update item set v = 2")
    run(item, "select chrononaut.revert_row('item', %s, version => 0)", [the_key(item)])
    assert table(item) == before
    in_one(item, "delete from item")
    run(item, "select chrononaut.restore_row('item', %s)", [the_key(item)])
    assert table(item) == before


def test_an_undo_knows_that_a_row_with_nulls_in_its_key_is_there(item: Db) -> None:
    states = [table(item)]
    done = [
        in_one(item, "update item set v = v + 1"),
        in_one(item, "delete from item"),
    ]
    for transaction_id in reversed(done):
        undo(item, transaction_id)
        states.append(table(item))
    made = value(item, "select min(transaction_id) from item_history")
    item.commit()
    undo(item, made)
    states.append(table(item))
    [(key, _)] = states[0]
    assert states == [[(key, 1)], [(key, 2)], [(key, 1)], []]


def test_a_mark_finds_the_row(item: Db) -> None:
    before = table(item)
    run(item, "select chrononaut.mark('before')")
    in_one(item, "update item set v = 2", "delete from item")
    past = "select * from chrononaut.as_of(null::item, mark => 'before')"
    assert rows(item, past) == before


def _comparison(name: str, sign: str) -> str:
    return (
        f"create function plain_{name}(a plain, b plain) returns bool language plpgsql "
        f"immutable as 'begin return (a).n {sign} (b).n; end'; create operator {sign} "
        f"(leftarg = plain, rightarg = plain, function = plain_{name});"
    )


PLAIN_TYPE = (
    "create type plain as (n int);"
    "create function plain_cmp(a plain, b plain) returns int language sql immutable "
    "as 'select btint4cmp((a).n, (b).n)';"
    + _comparison("eq", "=")
    + _comparison("lt", "<")
    + _comparison("le", "<=")
    + _comparison("gt", ">")
    + _comparison("ge", ">=")
    + "create operator class plain_ops default for type plain using btree as "
    "operator 1 <, operator 2 <=, operator 3 =, operator 4 >=, operator 5 >, "
    "function 1 plain_cmp(plain, plain);"
    "create table thing (k plain primary key, v text)"
)


def test_a_key_whose_rows_cannot_be_joined_is_recorded_row_by_row(db: Db) -> None:
    run(db, PLAIN_TYPE)
    make = "select chrononaut.create_versioning('thing', granularity => '%s')"
    diag = refusal(db, "VH003", make % "statement")
    assert diag.message_primary == (
        "cannot version public.thing by statement: "
        "the equality of its key can neither be hashed nor merged"
    )
    run(db, make % "row")
    run(db, "insert into thing values (row(1), 'a'), (row(2), 'b')")
    run(db, "update thing set v = v || v")
    found = "select (k).n, v from thing_history where operation = 'U' order by 1"
    assert rows(db, found) == [(1, "a"), (2, "b")]
