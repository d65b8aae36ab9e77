"""With strict=True, what has no past is refused; what is no table is let through."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, table, text
from sqlalchemy import column as plain_column
from sqlalchemy.orm import Session, joinedload

from chrononaut_pg import NotVersionedError, history_class, time_travel
from tests.orm.library import Author, Book, Country, change, library


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with library(engine) as opened:
        for one in (
            "create view long_book as select * from book where pages > 300",
            "create function ten() returns int language sql return 10",
            "create schema other",
            'create table other."Odd Table" (id int)',
            "create table shadow (id int)",
            "create type mood as enum ('glad')",
        ):
            opened.execute(text(one))
        change(opened)
        yield opened


def refused(session: Session, statements: list[Any]) -> list[Any]:
    """Return the table for which each statement is refused, None where none is."""
    found: list[Any] = []
    for one in statements:
        with time_travel(session, mark="before", strict=True) as past:
            try:
                past.execute(text(one) if isinstance(one, str) else one).close()
            except NotVersionedError as error:
                found.append(error.table)
            else:
                found.append(None)
    return found


def test_tables_without_a_past_are_refused(session: Session) -> None:
    statements = [
        select(Country),
        select(Country.id),
        select(Author).options(joinedload(Author.country)),
        select(Author.id).where(Author.country.has(Country.name == "Chad")),
        select(func.count()).select_from(table("country")),
        select(plain_column("id")).select_from(table("Odd Table", schema="other")),
        "select * from country",
        "select * from public.country",
        'select * from "country"',
        "table country",
        "select * from book b, country c",
        "select * from book b join (select 1) x on true, only country c",
        "select * from book left join lateral (select * from country) c on true",
        "select * from (book cross join country)",
        "select * from ((country))",
        "select id from book union select id from country",
        "select (select max(id) from country)",
        "select exists (table country) from book",
        "with c as (select * from country) select * from book",
        "select * from book where id in (select id from country)",
        "select extract(year from now()) from country",
        'select * from other."Odd Table"',
        "select * from long_book",
        "select * from shadow",
    ]

    expected = ["country"] * 5 + ["Odd Table"] + ["country"] * 15
    assert refused(session, statements) == [
        *expected,
        "Odd Table",
        "long_book",
        "shadow",
    ]


def test_what_is_versioned_or_no_table_is_let_through(session: Session) -> None:
    statements = [
        select(Author).options(joinedload(Author.books).joinedload(Book.tags)),
        select(history_class(Author)),
        select(func.ten()),
        "select ten(), 'glad'::mood, 'glad'::public.mood",
        "select b.id as country from book b order by country",
        "with country as (select * from book) select * from country, book",
        "with recursive a as (select 1), country (n) as (select 2) table country",
        "select * from book_history",
        "select * from public.book_versions",
        "select relname from pg_class join pg_catalog.pg_namespace on true limit 1",
        "select * from information_schema.tables limit 1",
        "select * from chrononaut.transaction limit 1",
        "select name from chrononaut.marks",
        "select 'country' from book -- country",
        "select title is distinct from 'country' from book",
        "select trim(both 'x' from title), substring(title from 2) from book",
        "select * from generate_series(1, 2) country, unnest('{1}'::int[])",
        "select 1",
    ]

    assert refused(session, statements) == [None] * len(statements)


def test_lazy_relation_to_an_unversioned_class_is_refused(session: Session) -> None:
    with time_travel(session, mark="before", strict=True) as past:
        author = past.get_one(Author, 1)
        with pytest.raises(NotVersionedError, match="table country has no past") as it:
            _ = author.country
        books = [book.title for book in author.books]

    assert (books, it.value.schema) == (["Sea", "Sky"], None)
    assert session.get_one(Country, 1).name == "Tchad"


def test_without_strict_they_are_read_as_they_are_now(session: Session) -> None:
    with time_travel(session, mark="before") as past:
        found = [past.scalar(text("select name from country"))]
        found += [past.get_one(Country, 1).name]
        found += [past.scalar(text("select id from long_book"))]

    assert found == ["Tchad", "Tchad", 3]


def test_unversioned_table_that_hides_a_versioned_one_stays_in_front(
    session: Session,
) -> None:
    """Names without a schema mean in the past what they mean in the present."""
    session.execute(text("create table other.book (id int, title text)"))
    session.execute(text("insert into other.book values (1, 'Other')"))
    session.commit()
    titles = text("select title from book order by id")
    book = table("book", plain_column("id"), plain_column("title"))
    found: list[Any] = []
    for path in ("other, public", "public, other", "nowhere, public"):
        session.execute(text(f"set local search_path = {path}"))
        with time_travel(session, mark="before") as past:
            found.append([past.scalars(titles).all(), session.scalars(titles).all()])
            by_name = select(book.c.title).order_by(book.c.id)
            found.append(past.scalars(by_name).all())
        session.rollback()

    then, now = ["Sea", "Sky", "Sun"], ["Sea", "Suns"]
    assert found == [
        [["Other"], ["Other"]],
        ["Other"],
        *[[then, now], then] * 2,
    ]
