"""What the functions that read related rows return: what as_of() has of them."""

import psycopg
import pytest

from tests.core.asking import run, value
from tests.servers import Connect, Db

AUTHORS = """
create table author (id int primary key, name text);
create table place (shelf int, row text, primary key (shelf, row));
create table book (
    id int primary key,
    title text,
    author_id int references author,
    shelf int,
    "row" text,
    foreign key (shelf, "row") references place);
create index on book (author_id);
insert into author select n, 'a' || n from generate_series(1, 9) n;
insert into place values (1, 'x'), (2, 'it''s');
select chrononaut.create_versioning('book', indexes => '{author_id}');
"""


def related(db: Db, table: str, columns: str, given: str, transaction: int) -> object:
    """Return the rows of chrononaut._related(), and as_of()'s with the same values."""
    asked = f"chrononaut._related(null::{table}, %s, %s, %s, false) p"
    found = db.execute(
        f"select p.* from {asked} order by 1".encode(), [columns, given, transaction]
    ).fetchall()
    names = value(db, "select %s::name[]", [columns])
    values = value(db, "select %s::text[]", [given])
    matches = " and ".join(
        f"p.{name}::text = '{one.replace(chr(39), chr(39) * 2)}'"
        for name, one in zip(names, values, strict=True)
    )
    whole = f"chrononaut.as_of(null::{table}, transaction_id => {transaction}) p"
    wanted = db.execute(
        f"select p.* from {whole} where {matches} order by 1".encode()
    ).fetchall()
    assert found == wanted
    return found


def commit(db: Db, sql: str) -> int:
    """Execute in a transaction of its own; return its number."""
    run(db, sql)
    number = value(db, "select max(id) from chrononaut.transaction")
    db.commit()
    assert isinstance(number, int)
    return number


def test_rows_are_those_of_as_of_whatever_columns_are_asked_for(db: Db) -> None:
    run(db, AUTHORS)
    db.commit()
    marks = [
        commit(
            db, "insert into book values (1, 'a', 1, 1, 'x'), (2, 'b', 1, null, null)"
        ),
        commit(db, "update book set author_id = 2, shelf = 2, row = 'it''s'"),
        commit(db, "delete from book where id = 1"),
        commit(
            db,
            "insert into book values (1, 'again', 1); update book set id = 7"
            " where id = 2",
        ),
    ]
    asked = [
        ("{author_id}", "{1}"),
        ("{author_id}", "{2}"),
        ("{id}", "{1}"),
        ("{row,shelf}", "{it's,2}"),
        ("{title}", "{a}"),
        ("{author_id,title}", "{1,b}"),
    ]
    found = [[len(related(db, "book", *one, mark)) for mark in marks] for one in asked]  # type: ignore[arg-type]

    assert found == [
        [2, 0, 0, 1],
        [0, 2, 1, 1],
        [1, 1, 0, 1],
        [0, 2, 1, 1],
        [1, 1, 0, 0],
        [1, 0, 0, 0],
    ]


def test_before_a_transaction_and_in_the_one_that_reads(db: Db) -> None:
    run(db, AUTHORS)
    db.commit()
    commit(db, "insert into book values (1, 'a', 1)")
    run(db, "update book set title = 'b'")
    own = value(db, "select max(id) from chrononaut.transaction")
    query = (
        "select p.title from chrononaut._related(null::book, '{author_id}', '{1}',"
        f" {own}, %s) p"
    )
    found = [value(db, query, [before]) for before in (True, False)]
    run(db, "update book set title = 'c'")

    assert [*found, value(db, query, [False])] == ["a", "b", "c"]


def test_column_that_came_later_disturbs_nobody_before_the_synchronisation(
    db: Db,
) -> None:
    run(db, AUTHORS)
    commit(db, "insert into book values (1, 'a', 1)")
    mark = commit(db, "update book set title = 'b'")
    run(db, "alter table book add column second int references author")
    assert related_titles(db, "{author_id}", "{1}", mark) == ["b"]
    run(db, "select chrononaut.sync_versioning('book')")
    later = commit(db, "update book set second = 3")

    assert related(db, "book", "{second}", "{1}", mark) == []
    assert related(db, "book", "{second}", "{3}", later) == [(1, "b", 1, None, None, 3)]


def test_rows_are_followed_through_another_key(db: Db) -> None:
    run(db, "create table part (a int primary key, b int not null, box int)")
    run(db, "select chrononaut.create_versioning('part', indexes => '{box}')")
    db.commit()
    marks = [
        commit(db, "insert into part values (1, 1, 5), (2, 1, 5)"),
        commit(db, "update part set box = 6; update part set box = 5 where a = 2"),
    ]
    run(db, "alter table part drop constraint part_pkey, add primary key (a, b)")
    run(db, "select chrononaut.sync_versioning('part')")
    marks += [
        commit(db, "insert into part values (1, 2, 5); update part set box = 5"),
        commit(db, "update part set b = b + 2 where a = 1; update part set box = 6"),
        commit(db, "delete from part"),
    ]
    asked = [("{box}", "{5}"), ("{box}", "{6}"), ("{a}", "{1}"), ("{a,b}", "{1,1}")]
    found = [[len(related(db, "part", *one, mark)) for mark in marks] for one in asked]  # type: ignore[arg-type]

    assert found == [
        [2, 1, 3, 0, 0],
        [0, 1, 0, 3, 0],
        [1, 1, 2, 2, 0],
        [1, 1, 1, 0, 0],
    ]


TYPES = {
    "text": "'it''s'",
    "varchar(9)": "'a\\b'",
    "char(5)": "'a'",
    "uuid": "'6f1c3b9e-55c5-4e0a-9a52-9ad33dbb7d0a'",
    "numeric(8,3)": "1.5",
    "timestamptz": "'2026-03-01 12:00:00.123456+02'",
    "bytea": "'\\x00ff'",
    "double precision": "0.1",
    "boolean": "true",
    "date": "'2026-03-01'",
    "mood": "'so so'",
    "short": "'s'",
    "int[]": "'{1,null}'",
}


@pytest.mark.parametrize(("kind", "one"), TYPES.items(), ids=TYPES.keys())
@pytest.mark.parametrize("references", [True, False], ids=["planned", "ad hoc"])
def test_values_of_any_type_are_found(
    db: Db, kind: str, one: str, references: bool
) -> None:
    run(db, "create type mood as enum ('so so'); create domain short as varchar(3)")
    run(db, f"create table parent (id {kind} primary key)")
    run(db, f"create table child (id int primary key, of {kind})")
    if references:
        run(db, "alter table child add foreign key (of) references parent")
    run(db, "select chrononaut.create_versioning('child')")
    run(db, f"insert into parent values ({one})")
    db.commit()
    mark = commit(db, f"insert into child values (1, {one})")
    commit(db, "update child set of = null")
    query = (
        f"select p.id from chrononaut._related(null::child, '{{of}}',"
        f" array[({one}::{kind})::text], {mark}, false) p"
    )

    assert value(db, query) == 1


NAMES = [
    "by",
    "if",
    "begin",
    "h",
    "m",
    "p",
    "moment",
    "found",
    "q",
    "a b",
    'a"b',
    "Ü",
    "_by",
]


def test_columns_may_have_any_name(db: Db) -> None:
    quoted = ['"' + name.replace('"', '""') + '"' for name in NAMES]
    columns = ", ".join(f"{name} int references parent" for name in quoted)
    run(db, "create table parent (id int primary key); insert into parent values (1)")
    run(db, f"create table child (id int primary key, {columns})")
    run(db, "select chrononaut.create_versioning('child')")
    mark = commit(db, "insert into child values (1" + ", 1" * len(NAMES) + ")")
    commit(db, "delete from child")
    query = (
        "select count(*) from chrononaut._related(null::child, array[%s]::name[],"
        f" '{{1}}', {mark}, false) p"
    )

    assert [value(db, query, [name]) for name in NAMES] == [1] * len(NAMES)


def test_rows_are_found_by_the_indexes_of_both_tables(db: Db) -> None:
    run(db, AUTHORS)
    run(db, "insert into book select n, 't', n % 9 + 1 from generate_series(1, 9000) n")
    db.commit()
    mark = commit(db, "update book set title = 'u', author_id = 1 where id % 1000 = 0")
    commit(db, "update book set title = 'v'")
    db.autocommit = True
    run(db, "vacuum analyze")
    db.autocommit = False
    scanned = (
        "select pg_stat_get_xact_tuples_returned('book'::regclass)"
        " + pg_stat_get_xact_tuples_returned('book_history'::regclass)"
    )
    before = value(db, scanned)
    query = (
        "select count(*) from chrononaut._related(null::book, '{id}', array[%s], "
        f"{mark}, false) p"
    )
    for number in range(1, 12):
        assert value(db, query, [str(number)]) == 1

    assert value(db, scanned) == before  # sequential scans count there


def test_another_shape_replaces_the_function_and_the_end_drops_it(db: Db) -> None:
    run(db, AUTHORS)
    mark = commit(db, "insert into book values (1, 'a', 1)")
    run(db, "alter table book drop column title, alter author_id type bigint")
    run(db, "select chrononaut.sync_versioning('book')")
    assert related(db, "book", "{author_id}", "{1}", mark) == [(1, 1, None, None)]
    run(db, "select chrononaut.drop_versioning('book')")
    count = "select count(*) from pg_proc where proname = '_related'"
    assert value(db, count) == 0


@pytest.mark.parametrize(
    "harm", ["drop", "m.first>m.own", "_settled or not>_settled or", "($4, $5);>($4);"]
)
def test_another_function_is_a_problem_that_the_check_names(db: Db, harm: str) -> None:
    run(db, AUTHORS)
    run(db, "alter table book add foreign key (shelf) references author")
    problems = "select array_agg(problem) from chrononaut.check_versioning()"
    untouched = value(db, problems)
    function = "chrononaut._related(book, name[], text[], bigint, boolean)"
    if harm == "drop":
        run(db, f"drop function {function}")
    else:
        old, new = harm.split(">")
        definition = value(db, f"select pg_get_functiondef('{function}'::regprocedure)")
        run(db, definition.replace(old, new))
    found = value(db, problems)
    run(db, "select chrononaut.sync_versioning('book')")

    assert untouched is None
    assert found == ["what reads its related rows is not the generated one"]
    assert value(db, problems) is None


def test_who_may_not_read_the_tables_reads_nothing(db: Db, connect: Connect) -> None:
    run(db, AUTHORS)
    mark = commit(db, "insert into book values (1, 'a', 1)")
    run(db, "create role nobody_here login")
    db.commit()
    other = connect(user="nobody_here")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        related_titles(other, "{author_id}", "{1}", mark)


def related_titles(db: Db, columns: str, given: str, mark: int) -> list[str]:
    query = "select p.title from chrononaut._related(null::book, %s, %s, %s, false) p"
    return [one for (one,) in db.execute(query, [columns, given, mark])]
