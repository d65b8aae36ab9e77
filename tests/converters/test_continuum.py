"""From SQLAlchemy-Continuum: `<table>_version` and `transaction`, written by itself."""

import decimal
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, Numeric, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chrononaut_pg import Versioned
from chrononaut_pg.converters import HistoryModelDataConverter
from tests.converters.conftest import Source, Written


class Base(DeclarativeBase):
    """Base of the models, as the application has them after moving."""


class Article(Versioned, Base):
    __tablename__ = "article"
    __chrononaut_untracked__ = ["views"]  # noqa: RUF012

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    price: Mapped[decimal.Decimal | None] = mapped_column(Numeric(10, 2))
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    views: Mapped[int | None]


class Tag(Versioned, Base):
    __tablename__ = "tag"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


@pytest.fixture(scope="module")
def source(written: Written) -> Source:
    return written("continuum", driver="psycopg")


@pytest.fixture(scope="module")
def template_db(source: Source) -> str:
    return source.dbname


@pytest.fixture
def told(engine: Engine, source: Source) -> Any:
    """What Continuum answers about the history that it wrote into the database."""
    Base.metadata.create_all(engine)
    return source.answers


@pytest.fixture
def session(engine: Engine, told: Any) -> Any:
    """A session, after the conversion of everything."""
    with Session(engine) as session:
        HistoryModelDataConverter(Article).convert_all(session)
        HistoryModelDataConverter(Tag).convert_all(session)
        yield session


def image(version: Any) -> dict[str, Any]:
    price = None if version.price is None else str(version.price)
    return {"title": version.title, "price": price, "tags": version.tags}


def told_image(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in ("title", "price", "tags")}


def test_versions_and_the_live_row_are_what_continuum_told(
    session: Session, told: Any
) -> None:
    first = session.get_one(Article, 1)

    assert [image(v) for v in (*first.versions(), first)] == [
        told_image(row) for row in told["first"]
    ]


def test_who_and_when_began_each_version_as_continuum_told(
    session: Session, told: Any
) -> None:
    first = session.get_one(Article, 1)

    assert [
        (c.operation, c.change_info["remote_addr"], c.changed) for c in first.changes()
    ] == [
        (r["operation"], r["remote_addr"], datetime.fromisoformat(r["issued_at"]))
        for r in told["first"]
    ]


def test_version_at_is_what_was_in_force(session: Session, told: Any) -> None:
    first = session.get_one(Article, 1)
    found = [
        first.version_at(datetime.fromisoformat(row["issued_at"]))
        for row in told["first"]
    ]

    assert [image(v) for v in found] == [told_image(row) for row in told["first"]]


def test_deletion_and_return_of_a_key_are_kept(session: Session, told: Any) -> None:
    second = session.get_one(Article, 2)

    assert [c.operation for c in second.changes()] == ["I", "D", "I"]
    assert [row["operation"] for row in told["second"]] == ["I", "D", "I"]
    assert [v.title for v in second.versions()] == ["Gone"]


def test_tables_changed_by_one_transaction_share_its_row(session: Session) -> None:
    found = session.scalars(
        text(
            "select count(distinct transaction_id) from (select transaction_id, 1 as n"
            " from article_history union all select transaction_id, 2 from tag_history)"
            " h group by transaction_id having count(distinct n) > 1"
        )
    ).all()

    assert found == [1, 1]


def test_second_run_converts_nothing_and_nothing_was_lost(session: Session) -> None:
    converter = HistoryModelDataConverter(Article)

    assert (converter.convert_all(session), converter.problems(session)) == (0, [])
