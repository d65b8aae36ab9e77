"""Every kind of SELECT answers in the past as it answered then.

Each query is asked at the mark with the live session, everything is changed, and asked
again with a session of the past: the answers are equal, and not those of the present.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    ColumnClause,
    Engine,
    bindparam,
    exists,
    func,
    lambda_stmt,
    lateral,
    literal_column,
    select,
    table,
    true,
    tuple_,
    union_all,
    values,
)
from sqlalchemy import column as plain_column
from sqlalchemy.orm import Bundle, Session, aliased, defer

from chrononaut_pg import time_travel
from tests.orm.library import Author, Book, Tag, book_tag, check, library, rows


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with library(engine) as opened:
        yield opened


pages: ColumnClause[int] = plain_column("pages")
authors: Any = Author.__table__
books: Any = Book.__table__
bundle: Bundle[Any] = Bundle("book", Book.id, Book.pages)
boss, pupil = aliased(Author, name="teacher"), aliased(Author)
cte = select(Book.author_id, func.sum(Book.pages).label("pages")).group_by(
    Book.author_id
)
chain = select(Author.id, Author.full_name).where(Author.id == 1).cte(recursive=True)
chain = chain.union_all(
    select(Author.id, Author.full_name).where(Author.teacher_id == chain.c.id)
)
newest = lateral(
    select(Book.title)
    .where(Book.author_id == Author.id)
    .order_by(Book.id.desc())
    .limit(1)
)
counted = select(func.count()).select_from(Book).scalar_subquery()


def test_orm_and_core_selects_answer_as_they_did(session: Session) -> None:
    check(
        session,
        {
            "columns": rows(select(Author.id, Author.full_name, Author.teacher_id)),
            "entity": lambda s: [one.full_name for one in s.scalars(select(Author))],
            "get": lambda s: s.get_one(Book, 1).pages,
            "get of what is gone": lambda s: s.get(Book, 2) is None,
            "get of what came later": lambda s: s.get(Author, 3) is None,
            "query": lambda s: [
                one.name for one in s.query(Author).order_by(Author.id)
            ],
            "query count": lambda s: s.query(Book).count(),
            "join": rows(select(Author.full_name, Book.title).join(Author.books)),
            "outer join": rows(
                select(Author.id, func.coalesce(Book.id, 0)).outerjoin(Author.books)
            ),
            "m2m join": rows(select(Book.title, Tag.name).join(Book.tags)),
            "aggregate": rows(
                select(Author.id, func.count(Book.id), func.sum(Book.pages))
                .join(Author.books)
                .group_by(Author.id)
                .having(func.count() > 0)
            ),
            "window": rows(
                select(Book.id, func.rank().over(order_by=Book.pages.desc()))
            ),
            "distinct": rows(select(Book.author_id, Book.pages > 300).distinct()),
            "limit": rows(select(Book.title).order_by(Book.id).limit(1).offset(1)),
            "core": rows(select(Book.__table__.c.id, Book.__table__.c.pages)),
            "association": rows(select(book_tag)),
            "bundle": lambda s: sorted(tuple(one) for one in s.scalars(select(bundle))),
            "light table": rows(
                select(plain_column("pages")).select_from(table("book"))
            ),
            "executed many times": lambda s: [
                s.scalar(select(Book.pages).where(Book.id == bindparam("b")), {"b": n})
                for n in (1, 2, 3)
            ],
            "lambda": rows(lambda_stmt(lambda: select(Book.id, Book.pages))),
            "enum": rows(select(Book.id).where(Book.cover == "soft")),
        },
    )


def test_nested_selects_answer_as_they_did(session: Session) -> None:
    sub = select(Book).where(Book.pages >= 300).subquery()
    entity = aliased(Book, sub)
    check(
        session,
        {
            "alias": rows(
                select(pupil.full_name, boss.full_name).join(boss, pupil.teacher)
            ),
            "cte": rows(select(cte.cte("per_author"))),
            "cte named like a table": rows(select(cte.cte("book"))),
            "recursive cte": rows(select(chain.c.full_name)),
            "subquery": rows(select(entity.title)),
            "scalar subquery": rows(select(Author.id, counted)),
            "lateral": rows(select(Author.id, newest.c.title).join(newest, true())),
            "in": rows(
                select(Author.id).where(
                    Author.id.in_(select(Book.author_id).where(Book.pages == 300))
                )
            ),
            "exists": rows(
                select(Author.id).where(exists().where(Book.author_id == Author.id))
            ),
            "any": rows(select(Author.id).where(Author.books.any(Book.title == "Sun"))),
            "has": rows(
                select(Book.id).where(Book.author.has(Author.full_name == "Ann"))
            ),
            "union": rows(
                union_all(select(Book.title, Book.id), select(Tag.name, Tag.id))
            ),
            "from a union": lambda s: sorted(
                one.title
                for one in s.scalars(
                    select(Book).from_statement(
                        union_all(
                            select(Book).where(Book.id == 1),
                            select(Book).where(Book.id > 1),
                        )
                    )
                )
            ),
            "values": rows(
                select(Book.title).join(
                    values(plain_column("n", Book.id.type), name="v").data([(2,)]),
                    literal_column("v.n") == Book.id,
                )
            ),
            "tuple in": rows(
                select(Book.id).where(tuple_(Book.id, Book.pages).in_([(1, 100)]))
            ),
        },
    )


def test_mapped_expressions_answer_as_they_did(session: Session) -> None:
    check(
        session,
        {
            "column_property": lambda s: s.get_one(Author, 2).book_count,
            "column_property filter": rows(
                select(Author.id).where(Author.book_count == 1)
            ),
            "synonym": rows(select(Author.id).where(Author.name == "Ann")),
            "hybrid": rows(select(Author.shouted)),
            "hybrid of an object": lambda s: s.get_one(Author, 1).shouted,
            "deferred": lambda s: s.get_one(Author, 1).bio,
            "deferred by an option": lambda s: (
                s.scalars(select(Book).options(defer(Book.title)).where(Book.id == 3))
                .one()
                .title
            ),
        },
    )


def test_hidden_and_untracked_columns_are_none(session: Session) -> None:
    with time_travel(session, mark="before") as past:
        author = past.get_one(Author, 1)
        found = [author.password, author.seen, *past.scalars(select(Author.seen))]

    assert found == [None] * 4


def test_grouping_by_a_key_decides_the_other_columns(session: Session) -> None:
    """As it does of a table; the past is read from views, of which none has a key."""
    writer = aliased(Author)
    pages_of = func.sum(Book.pages)
    check(
        session,
        {
            "columns": rows(
                select(Author.full_name, Author.teacher_id, func.count(Book.id))
                .outerjoin(Author.books)
                .group_by(Author.id)
            ),
            "entity": lambda s: sorted(
                (author.full_name, author.bio, number)
                for author, number in s.execute(
                    select(Author, pages_of).join(Author.books).group_by(Author.id)
                )
            ),
            "alias": lambda s: sorted(
                (author.full_name, number)
                for author, number in s.execute(
                    select(writer, pages_of).join(writer.books).group_by(writer.id)
                )
            ),
            "core": rows(
                select(func.lower(authors.c.name), func.max(books.c.pages))
                .join(books, books.c.author_id == authors.c.id)
                .group_by(authors.c.id)
                .having(authors.c.name != "Bob")
                .order_by(authors.c.bio)
            ),
            "composite key": rows(
                select(book_tag.c.book_id, book_tag.c.tag_id, func.count(Tag.id))
                .join(Tag, Tag.id == book_tag.c.tag_id)
                .group_by(book_tag.c.tag_id, book_tag.c.book_id)
            ),
            "query": lambda s: [
                (author.full_name, number)
                for author, number in s.query(Author, pages_of)
                .join(Author.books)
                .group_by(Author.id)
                .order_by(Author.full_name)
            ],
        },
    )
