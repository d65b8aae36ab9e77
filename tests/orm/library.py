"""Models for travels in time: authors, books and tags, related in every way.

`before` fills them and returns a mark; `after` changes all there is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Column, Engine, ForeignKey, String, Table, func, select, text
from sqlalchemy.dialects.postgresql import ENUM
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    DynamicMapped,
    Mapped,
    Session,
    WriteOnlyMapped,
    column_property,
    mapped_column,
    relationship,
    synonym,
)

import chrononaut_pg
from chrononaut_pg import Versioned, time_travel, versioned_table

Query = Callable[[Session], Any]


class Base(DeclarativeBase):
    pass


book_tag = versioned_table(
    Table(
        "book_tag",
        Base.metadata,
        Column("book_id", ForeignKey("book.id"), primary_key=True),
        Column("tag_id", ForeignKey("tag.id"), primary_key=True),
    )
)


class Country(Base):
    """Not versioned."""

    __tablename__ = "country"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Tag(Versioned, Base):
    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Book(Versioned, Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(40))
    pages: Mapped[int]
    author_id: Mapped[int | None] = mapped_column(ForeignKey("author.id"))
    cover: Mapped[str | None] = mapped_column(ENUM("hard", "soft", name="cover_kind"))
    author: Mapped["Author | None"] = relationship(back_populates="books")
    tags: Mapped[list[Tag]] = relationship(secondary=book_tag, order_by=Tag.id)


class Author(Versioned, Base):
    __tablename__ = "author"
    __chrononaut_hidden__ = ("password",)
    __chrononaut_untracked__ = ("seen",)
    id: Mapped[int] = mapped_column(primary_key=True)
    full_name: Mapped[str] = mapped_column("name", String(20))
    bio: Mapped[str] = mapped_column(deferred=True)
    password: Mapped[str | None]
    seen: Mapped[int | None]
    country_id: Mapped[int | None] = mapped_column(ForeignKey("country.id"))
    teacher_id: Mapped[int | None] = mapped_column(ForeignKey("author.id"))
    country: Mapped[Country | None] = relationship()
    teacher: Mapped["Author | None"] = relationship(
        remote_side=[id], back_populates="pupils"
    )
    pupils: Mapped[list["Author"]] = relationship(back_populates="teacher")
    books: Mapped[list[Book]] = relationship(back_populates="author", order_by=Book.id)
    books_queried: DynamicMapped[Book] = relationship(viewonly=True, order_by=Book.id)
    books_selected: WriteOnlyMapped[Book] = relationship(
        viewonly=True, order_by=Book.id
    )
    longest: Mapped[Book | None] = relationship(
        primaryjoin="and_(Author.id == Book.author_id, Book.pages > 300)",
        viewonly=True,
        uselist=False,
    )
    book_count: Mapped[int] = column_property(
        select(func.count(Book.id))
        .where(Book.author_id == id)
        .correlate_except(Book)
        .scalar_subquery()
    )
    name = synonym("full_name")

    @hybrid_property
    def shouted(self) -> str:
        return self.full_name.upper()

    @shouted.inplace.expression
    @classmethod
    def _shouted(cls) -> Any:
        return func.upper(cls.full_name)


@contextmanager
def library(engine: Engine) -> Iterator[Session]:
    """Open a session on two authors, three books and a mark `before`; then all changes.

    Ann (1) wrote Sea and Sky and taught Bob (2), who wrote Sun. Later she is Anna, Sky
    is gone, Sun is hers, and Cid (3) is new.
    """
    Base.metadata.create_all(engine)
    chrononaut_pg.listen(engine)
    with Session(engine) as session:
        fill(session)
        session.execute(text("select chrononaut.mark('before')"))
        session.commit()
        yield session


def fill(session: Session) -> None:
    """Make what there was at the mark."""
    tags = [Tag(id=number, name=name) for number, name in enumerate("xyz", 1)]
    sea = Book(id=1, title="Sea", pages=100, tags=tags[:2], cover="hard")
    sky = Book(id=2, title="Sky", pages=400, tags=tags[1:], cover="soft")
    sun = Book(id=3, title="Sun", pages=300, tags=[])
    ann = Author(id=1, full_name="Ann", bio="wise", password="p", seen=1)
    ann.books = [sea, sky]
    ann.country = Country(id=1, name="Chad")
    bob = Author(id=2, full_name="Bob", bio="young", books=[sun], teacher=ann)
    session.add_all([ann, bob, *tags])
    session.commit()


def change(session: Session) -> None:
    """Change everything that was there at the mark."""
    ann = session.get_one(Author, 1)
    bob = session.get_one(Author, 2)
    ann.full_name, ann.bio, ann.password, ann.seen = "Anna", "old", "q", 2
    bob.teacher = None
    sky = session.get_one(Book, 2)
    sea, sun = session.get_one(Book, 1), session.get_one(Book, 3)
    sky.tags = []
    session.flush()
    session.delete(sky)
    sun.author, sun.title, sun.pages, sea.pages = ann, "Suns", 301, 101
    sun.tags = [session.get_one(Tag, 3)]
    sea.tags = [session.get_one(Tag, 1)]
    session.get_one(Tag, 1).name = "xx"
    session.get_one(Country, 1).name = "Tchad"
    session.add(Author(id=3, full_name="Cid", bio="new", teacher=ann))
    session.commit()


def check(session: Session, queries: dict[str, Query]) -> None:
    """Assert that all *queries* answer in the past as they did at the mark.

    And that they do not answer so now, neither before the travel nor during it.
    """
    then = _answers(queries, session)
    change(session)
    now = _answers(queries, session)
    with time_travel(session, mark="before") as past:
        seen = _answers(queries, past)
        now_during = _answers(queries, session)

    wrong = [(one, then[one], seen[one]) for one in queries if then[one] != seen[one]]
    assert wrong == [], wrong
    assert now_during == now
    same = [name for name in queries if now[name] == then[name]]
    assert same == [], same


def rows(statement: Any, **parameters: Any) -> Query:
    """Return a query that gives the sorted rows of a statement."""

    def ask(session: Session) -> Any:
        return sorted(map(tuple, session.execute(statement, parameters)))

    return ask


def _answers(queries: dict[str, Query], session: Session) -> dict[str, Any]:
    session.expunge_all()
    return {name: query(session) for name, query in queries.items()}
