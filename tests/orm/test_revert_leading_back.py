"""Relations that lead back to the object itself, and objects that did not exist."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, Integer, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from chrononaut_pg import Versioned, revert_to
from tests.orm.modelling import created


class Base(DeclarativeBase):
    pass


class Writer(Versioned, Base):
    __tablename__ = "writer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    pages: Mapped[list["Page"]] = relationship(
        back_populates="writer", order_by="Page.id"
    )


class Page(Versioned, Base):
    __tablename__ = "page"
    id: Mapped[int] = mapped_column(primary_key=True)
    words: Mapped[str]
    writer_id: Mapped[int] = mapped_column(ForeignKey(Writer.id))
    writer: Mapped[Writer] = relationship(back_populates="pages")
    notes: Mapped[list["Note"]] = relationship(
        back_populates="page", order_by="Note.id"
    )


class Note(Versioned, Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    stars: Mapped[int] = mapped_column(Integer)
    page_id: Mapped[int | None] = mapped_column(ForeignKey(Page.id))
    page: Mapped[Page | None] = relationship(back_populates="notes")


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with created(engine, Base.metadata) as found:
        yield found


def mark(session: Session, name: str) -> None:
    session.execute(text("select chrononaut.mark(:name)"), {"name": name})
    session.commit()


def everything(session: Session) -> dict[str, list[Any]]:
    session.expire_all()
    return {
        model.__name__: [
            tuple(row)
            for row in session.execute(
                select(*model.__table__.columns).order_by(model.id)
            )
        ]
        for model in (Writer, Page, Note)
    }


@pytest.mark.parametrize("by_version", [True, False])
def test_relations_of_the_object_itself_are_put_back_that_others_lead_to(
    session: Session, by_version: bool
) -> None:
    page = Page(id=1, words="one", writer=Writer(id=1, name="Ann"))
    session.add_all([page, Note(id=1, stars=1, page=page)])
    session.commit()
    mark(session, "then")
    before = everything(session)
    page.words, page.writer.name, page.notes[0].stars = "uno", "Anna", 2
    page.notes.append(Note(id=2, stars=5))
    page.writer.pages.append(Page(id=2, words="two"))
    session.commit()
    path = ["writer.pages.notes"]
    if by_version:
        page.versions()[0].revert(relations=path)
    else:
        revert_to(page, mark="then", relations=path)
    session.commit()
    assert everything(session) == before


def test_what_did_not_exist_goes_with_those_of_its_relations_that_did_not_either(
    session: Session,
) -> None:
    session.add(Writer(id=2, name="Bob", pages=[Page(id=9, words="nine")]))
    session.commit()
    session.add(Note(id=8, stars=3, page_id=9))
    session.commit()
    mark(session, "then")
    before = everything(session)
    writer = Writer(id=1, name="Ann", pages=[Page(id=1, words="one")])
    session.add(writer)
    writer.pages[0].notes = [Note(id=1, stars=5), session.get_one(Note, 8)]
    writer.pages.append(session.get_one(Page, 9))
    session.commit()
    gone = revert_to(writer, mark="then", relations=["pages.notes"])
    session.commit()
    assert (gone, everything(session)) == (None, before)


def test_rows_that_go_along_say_what_they_were_reverted_with(session: Session) -> None:
    mark(session, "then")
    session.add(Writer(id=1, name="Ann", pages=[Page(id=1, words="one")]))
    session.commit()
    revert_to((Writer, 1), mark="then", relations=["pages"], session=session)
    session.commit()
    told = {
        table: session.scalar(
            text(
                "select change_info #> '{extra,reverted_to}' from"
                f" {table}_history where operation = 'D'"
            )
        )
        for table in ("writer", "page")
    }
    nothing = {"version": None, "change_id": None}
    assert told == {
        "writer": nothing,
        "page": nothing | {"of": {"table": "writer", "key": [1]}},
    }


def test_without_relations_only_the_object_goes(session: Session) -> None:
    session.add(Page(id=1, words="one", writer=Writer(id=1, name="Ann")))
    session.commit()
    mark(session, "then")
    session.add(Note(id=1, stars=1, page_id=1))
    session.commit()
    revert_to((Note, 1), mark="then", session=session)
    session.commit()
    assert session.scalar(select(func.count()).select_from(Note)) == 0
