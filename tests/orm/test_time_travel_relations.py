"""Relations of objects of the past lead to objects of the past, however they load."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import (
    Session,
    contains_eager,
    immediateload,
    joinedload,
    raiseload,
    selectinload,
    subqueryload,
)

from chrononaut_pg import time_travel
from tests.orm.library import Author, Book, Query, change, check, library


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with library(engine) as opened:
        yield opened


def titles(load: Any) -> Query:
    """Return a query for what everybody wrote, loaded in one way."""

    def ask(session: Session) -> Any:
        found = session.scalars(select(Author).options(load).order_by(Author.id))
        return [[book.title for book in one.books] for one in found.unique()]

    return ask


def test_lazy_relations_are_as_they_were(session: Session) -> None:
    check(
        session,
        {
            "one to many": lambda s: [b.title for b in s.get_one(Author, 1).books],
            "many to one": lambda s: s.get_one(Book, 3).author.full_name,  # type: ignore[union-attr]
            "many to many": lambda s: [t.name for t in s.get_one(Book, 1).tags],
            "to itself": lambda s: [p.full_name for p in s.get_one(Author, 1).pupils],
            "and back": lambda s: s.get_one(Author, 2).teacher is None,
            "one to one": lambda s: s.get_one(Author, 1).longest.title,  # type: ignore[union-attr]
            "dynamic": lambda s: [
                b.pages for b in s.get_one(Author, 1).books_queried.filter(Book.id < 9)
            ],
            "write-only": lambda s: [
                b.pages for b in s.scalars(s.get_one(Author, 1).books_selected.select())
            ],
            "far away": lambda s: [
                tag.name
                for pupil in s.get_one(Book, 1).author.pupils  # type: ignore[union-attr]
                for book in (pupil.teacher or pupil).books
                for tag in book.tags
            ],
        },
    )


def test_eager_relations_are_as_they_were(session: Session) -> None:
    chain = selectinload(Author.books).joinedload(Book.tags)
    check(
        session,
        {
            "joined": titles(joinedload(Author.books)),
            "inner joined": titles(joinedload(Author.books, innerjoin=True)),
            "subquery": titles(subqueryload(Author.books)),
            "selectin": titles(selectinload(Author.books)),
            "immediate": titles(immediateload(Author.books)),
            "deep": lambda s: [
                [[tag.name for tag in book.tags] for book in one.books]
                for one in s.scalars(select(Author).options(chain).order_by(Author.id))
            ],
            "contains_eager": lambda s: [
                [book.title for book in one.books]
                for one in s.scalars(
                    select(Author)
                    .join(Author.books)
                    .order_by(Author.id, Book.id)
                    .options(contains_eager(Author.books))
                ).unique()
            ],
            "joined and limited": lambda s: [
                book.title
                for book in s.scalars(
                    select(Author).options(joinedload(Author.books)).limit(1)
                )
                .unique()
                .one()
                .books
            ],
        },
    )


def test_raiseload_raises_in_the_past_too(session: Session) -> None:
    with time_travel(session, mark="before") as past:
        book = past.scalars(select(Book).options(raiseload("*")).limit(1)).one()

        with pytest.raises(InvalidRequestError, match="lazy='raise'"):
            _ = book.tags


def test_unversioned_relation_leads_to_what_is_there_now(session: Session) -> None:
    change(session)
    with time_travel(session, mark="before") as past:
        author = past.get_one(Author, 1)
        assert author.country is not None
        found = [author.country.name, author.country in past, author.country in session]

    assert found == ["Tchad", True, False]


def test_relations_of_the_past_share_one_identity_map(session: Session) -> None:
    change(session)
    live = session.get_one(Author, 1)
    with time_travel(session, mark="before") as past:
        ann = past.get_one(Author, 1)
        same = [ann.books[0].author is ann, ann.pupils[0].teacher is ann, ann is live]
        names = [ann.full_name, live.full_name]

    assert (same, names) == ([True, True, False], ["Ann", "Anna"])


def test_history_of_an_object_of_the_past_is_its_whole_history(
    session: Session,
) -> None:
    change(session)
    live = session.get_one(Author, 1)
    with time_travel(session, mark="before") as past:
        author = past.get_one(Author, 1)
        found = [
            [one.full_name for one in author.versions()],
            [one.operation for one in author.changes()],
            author.previous_version().full_name,
            author.versions()[0].books[1].title,
        ]

    assert found == [["Ann"], ["I", "U"], "Ann", "Sky"]
    assert [one.full_name for one in live.versions()] == ["Ann"]
