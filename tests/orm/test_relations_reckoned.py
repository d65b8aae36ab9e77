"""What a model reckons from other tables is, on a version, of the version's time."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, ForeignKey, exists, func, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    column_property,
    mapped_column,
    relationship,
    synonym,
)

from chrononaut_pg import NoSessionError, Versioned, history_class


class Base(DeclarativeBase):
    pass


class Book(Versioned, Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))


class Author(Versioned, Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column()
    teacher_id: Mapped[int | None] = mapped_column(ForeignKey("author.id"))
    books: Mapped[list[Book]] = relationship(
        cascade="all, delete-orphan", backref="author"
    )
    book_count: Mapped[int] = column_property(
        select(func.count(Book.id))
        .where(Book.author_id == id)
        .correlate_except(Book)
        .scalar_subquery()
    )
    works: Mapped[int] = synonym("book_count")
    loud: Mapped[str] = column_property(func.upper(name))

    @property
    def sentence(self) -> str:
        return f"{self.name}: {self.book_count}"


_pupil = aliased(Author)
Author.teaches = column_property(
    exists().where(_pupil.teacher_id == Author.id), deferred=True
)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """Ann wrote two books and taught Bob; as Anna one, and nobody; she is gone."""
    Base.metadata.create_all(engine)
    with Session(engine) as opened:
        ann = Author(id=1, name="Ann", books=[Book(id=1), Book(id=2)])
        bob = Author(id=2, name="Bob", teacher_id=1)
        opened.add_all([ann, bob])
        opened.commit()
        ann.name, ann.books, bob.teacher_id = "Anna", ann.books[1:], None
        opened.commit()
        opened.delete(ann)
        opened.commit()
        yield opened


def versions(session: Session) -> list[Author]:
    """Return the versions of Ann, also after she was deleted."""
    cls = history_class(Author)
    found = select(cls).where(cls.id == 1).order_by(cls.version)
    return list(session.scalars(found))


def test_columns_that_read_other_tables_are_as_they_were(session: Session) -> None:
    assert [
        (v.book_count, v.works, v.teaches, v.loud, v.sentence)  # type: ignore[attr-defined]
        for v in versions(session)
    ] == [(2, 2, True, "ANN", "Ann: 2"), (1, 1, False, "ANNA", "Anna: 1")]


def test_who_is_reached_from_a_version_reckons_at_its_time(session: Session) -> None:
    assert [
        [(book.author.book_count, book.author.loud) for book in v.books]  # type: ignore[attr-defined]
        for v in versions(session)
    ] == [[(2, "ANN"), (2, "ANN")], [(1, "ANNA")]]


def test_a_version_without_session_does_not_read_the_present(session: Session) -> None:
    first, _ = versions(session)
    session.expunge_all()

    with pytest.raises(NoSessionError, match="belongs to no session"):
        _ = first.book_count
