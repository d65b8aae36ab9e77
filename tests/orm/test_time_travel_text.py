"""Textual SQL reads the past as well, by whatever name it calls a table."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, Table, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import chrononaut_pg
from chrononaut_pg import Versioned, time_travel
from tests.orm.library import Book, check, library, rows
from tests.orm.modelling import saved
from tests.servers import Db


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with library(engine) as opened:
        yield opened


def test_names_are_found_however_they_are_written(session: Session, db: Db) -> None:
    name = db.info.dbname
    statements = [
        "select pages from book order by 1",
        "select pages from public.book order by 1",
        'select pages from "public"."book" order by 1',
        "SELECT pages FROM Public . BOOK ORDER BY 1",
        "select book.pages from book order by 1",
        "select public.book.pages from public.book order by 1",
        f"select pages from {name}.public.book order by 1",
        f"select {name}.public.book.pages from {name}.public.book order by 1",
        "table public.book order by 1",
        "with book as (select * from public.book) select pages from book order by 1",
        "select pages from only public.book order by 1",
        "select b.pages from public.book as b join public.author a"
        " on a.id = b.author_id and a.name = 'Ann' order by 1;",
        "select (select max(pages) from book), max(pages) from public.book",
        """select pages as "it's", 'it''s' from public.book order by 1""",
        r"select pages, e'\'' from public.book order by 1",
        "select pages, $$ it's $$, $x$ $$ ' $x$ from public.book order by 1",
        "select pages /* it's /* -- */ */ -- it's\n from public.book order by 1",
        "select pages % 7 as \"a%b\", '%' from public.book order by 1",
        "select * from (values (1)) v(n) join public.book on id = n",
        "select exists (select from public.book where title = 'Sky')",
    ]
    check(session, {one: rows(text(one)) for one in statements})


def test_what_only_looks_like_a_name_stays_as_it_is(session: Session) -> None:
    statement = text(
        "select 'public.book', $$public.book$$, e'\\'public.book', public.twice(2),"
        " book.author from (select 1 as author) as book -- public.book\n"
        "where /* public.book */ 'author' <> :name and 'public.book'::regclass ="
        " 'public.book'::regclass"
    )
    session.execute(
        text(
            "create function public.twice(n int) returns int language sql"
            " as 'select 2 * n'"
        )
    )
    with time_travel(session, mark="before") as past:
        found = past.execute(statement, {"name": "x"}).one()

    assert tuple(found) == ("public.book", "public.book", "'public.book", 4, 1)


def test_functions_read_the_past_unless_their_path_is_pinned(session: Session) -> None:
    total = "select sum(pages) from book"
    for name, language, body, settings in (
        ("in_sql", "sql", total, ""),
        (
            "in_plpgsql",
            "plpgsql",
            "begin return (select sum(pages) from book); end",
            "",
        ),
        ("pinned", "sql", total, "set search_path = public"),
    ):
        session.execute(
            text(
                f"create function {name}() returns bigint language {language}"
                f" stable {settings} as $${body}$$"
            )
        )
    session.commit()
    functions = [func.in_sql(), func.in_plpgsql(), func.pinned()]
    session.execute(select(*functions))
    session.get_one(Book, 1).pages = 1000
    session.commit()
    with time_travel(session, mark="before") as past:
        then = past.execute(select(*functions)).one()
        now = session.execute(select(*functions)).one()

    assert [tuple(then), tuple(now)] == [(800, 800, 1700), (1700, 1700, 1700)]


@pytest.mark.parametrize("threshold", [0, None])
def test_same_text_by_turns_is_never_taken_for_the_other(
    session: Session, engine: Engine, threshold: int | None
) -> None:
    """Prepared by the driver, a statement is planned anew: of other types at that."""
    with engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        driver.prepare_threshold = threshold
        found = []
        with Session(connection) as live:
            live.get_one(Book, 1).title = "Lake"
            live.flush()
            titles = text("select title from book where id = 1")
            entity = select(Book).where(Book.id == 1)
            for _ in range(3):
                with time_travel(live, mark="before") as past:
                    found += [past.scalar(titles), live.scalar(titles)]
                    found += [past.scalars(entity).one().title]
                    found += [live.scalars(entity).one().title]

    assert found == ["Sea", "Lake"] * 6


class Strange(DeclarativeBase):
    pass


class Thing(Versioned, Strange):
    __tablename__ = 'Per "cent" %s of its'
    __table_args__ = {"schema": 'Sche.ma "%" x'}  # noqa: RUF012
    id: Mapped[int] = mapped_column('The "id" %', primary_key=True)
    value: Mapped[int] = mapped_column("select")


class Plain(Versioned, Strange):
    __tablename__ = "Thing 100%"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


@pytest.fixture
def strange(engine: Engine) -> Iterator[Session]:
    """A session on a database with strange names, of which a mark sees the value 1."""
    with engine.begin() as connection:
        connection.execute(text('create schema "Sche.ma ""%"" x"'))
    Strange.metadata.create_all(engine)
    chrononaut_pg.listen(engine)
    with Session(engine) as opened:
        saved(opened, Thing(id=1, value=1))
        saved(opened, Plain(id=1, value=1))
        opened.execute(text("select chrononaut.mark('before')"))
        opened.commit()
        opened.get_one(Thing, 1).value = opened.get_one(Plain, 1).value = 2
        opened.commit()
        yield opened


def test_strange_names_are_found(strange: Session) -> None:
    names = [
        'select "select" from "Sche.ma ""%"" x"."Per ""cent"" %s of its"',
        'select value from "Thing 100%"',
        'select value from public."Thing 100%"',
    ]
    reflected = Table("Thing 100%", MetaData(), autoload_with=strange.get_bind())
    queries: list[Any] = [
        *(select(one) for one in (Thing.value, Plain.value, reflected.c.value)),
        *map(text, names),
    ]
    with time_travel(strange, mark="before") as past:
        then = [past.scalar(one) for one in queries]
        now = [strange.scalar(one) for one in queries]
        by_key = [past.get_one(Thing, 1).value, past.get_one(Plain, 1).value]

    assert (then, now, by_key) == ([1] * 6, [2] * 6, [1, 1])


def test_sequences_and_types_are_those_of_the_present(session: Session) -> None:
    statement = select(func.array_agg(Book.cover)).where(
        Book.cover.in_(["hard", "soft"])
    )
    with time_travel(session, mark="before") as past:
        covers = past.execute(statement).one()[0]
        kind = past.scalar(text("select 'soft'::cover_kind"))

    assert (sorted(map(str, covers)), kind) == (["hard", "soft"], "soft")
