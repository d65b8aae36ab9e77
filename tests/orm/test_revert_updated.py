"""Columns that every UPDATE sets are what they were in the version, too."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import DateTime, Engine, ForeignKey, func, text
from sqlalchemy.ext.declarative import ConcreteBase
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from chrononaut_pg import Versioned
from tests.orm.modelling import saved
from tests.servers import TemplateOf

THEN = datetime(2020, 1, 1, tzinfo=UTC)


class Base(DeclarativeBase):
    pass


class Stamped(Versioned):
    updated: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), default=THEN, onupdate=func.now()
    )


class Page(Stamped, Base):
    __tablename__ = "page"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    title: Mapped[str | None]
    lines: Mapped[list["Line"]] = relationship(order_by="Line.id")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "page"}  # noqa: RUF012


class Article(Page):
    __tablename__ = "article"
    id: Mapped[int] = mapped_column(ForeignKey(Page.id), primary_key=True)
    body: Mapped[str | None]
    __mapper_args__ = {"polymorphic_identity": "article"}  # noqa: RUF012


class Line(Stamped, Base):
    __tablename__ = "line"
    id: Mapped[int] = mapped_column(primary_key=True)
    page_id: Mapped[int | None] = mapped_column(ForeignKey(Page.id))
    text: Mapped[str | None]


class Vehicle(Stamped, ConcreteBase, Base):
    __tablename__ = "vehicle"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    __mapper_args__ = {"polymorphic_identity": "vehicle", "concrete": True}  # noqa: RUF012


class Boat(Vehicle):
    __tablename__ = "boat"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    updated: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), default=THEN, onupdate=func.now()
    )
    __mapper_args__ = {"polymorphic_identity": "boat", "concrete": True}  # noqa: RUF012


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as found:
        yield found


def test_a_value_that_did_not_change_is_not_set_anew(session: Session) -> None:
    page = saved(session, Page(id=1, title="a"))
    session.execute(text("update page set title = 'b'"))
    session.commit()
    page.versions()[0].revert()
    session.commit()

    assert (page.title, page.updated) == ("a", THEN)


def test_related_rows_keep_theirs(session: Session) -> None:
    page = saved(session, Page(id=1, title="a", lines=[Line(id=1), Line(id=2)]))
    session.execute(text("update page set title = 'b'"))
    session.execute(text("update line set text = 'x' where id = 1"))
    session.execute(text("update line set page_id = null where id = 2"))
    session.commit()
    page.versions()[0].revert(relations=["lines"])
    session.commit()

    assert [(one.id, one.text, one.updated) for one in page.lines] == [
        (1, None, THEN),
        (2, None, THEN),
    ]


def test_rows_that_are_not_written_stay_so(session: Session) -> None:
    article = saved(session, Article(id=1, title="a", body="x"), body="y")
    before = len(list(article.changes()))
    stamped = article.updated
    article.versions()[0].revert()
    session.commit()

    assert (article.body, article.updated, stamped) == ("x", THEN, THEN)
    assert len(list(article.changes())) == before + 1


@pytest.mark.parametrize("model", [Vehicle, Boat])
def test_concrete_classes_keep_theirs(session: Session, model: Any) -> None:
    one = saved(session, model(id=1, name="a"))
    session.execute(text(f"update {model.__tablename__} set name = 'b'"))
    session.commit()
    one.versions()[0].revert()
    session.commit()

    assert (one.name, one.updated) == ("a", THEN)
