"""From PostgreSQL-Audit: `activity` and `transaction`, written by its triggers."""

import decimal
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import DateTime, Engine, Numeric, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chrononaut_pg import Versioned
from chrononaut_pg.converters import HistoryModelDataConverter
from tests.converters.conftest import Source, Written


class Base(DeclarativeBase):
    """Base of the model, as the application has it after moving."""


class Article(Versioned, Base):
    __tablename__ = "article"
    __chrononaut_untracked__ = ["views"]  # noqa: RUF012

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    price: Mapped[decimal.Decimal | None] = mapped_column(Numeric(10, 2))
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    seen: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    views: Mapped[int | None]


@pytest.fixture(scope="module", params=["statement", "row"])
def source(written: Written, request: pytest.FixtureRequest) -> Source:
    return written("audit", request.param, driver="psycopg")


@pytest.fixture(scope="module")
def template_db(source: Source) -> str:
    return source.dbname


@pytest.fixture
def told(engine: Engine, source: Source) -> Any:
    """What PostgreSQL-Audit has recorded with each kind of trigger."""
    with engine.begin() as connection:
        for name in ("row", "insert", "update", "delete"):
            connection.execute(
                text(f"drop trigger if exists audit_trigger_{name} on article")
            )
    Base.metadata.create_all(engine)
    return source.answers


@pytest.fixture
def session(engine: Engine, told: Any) -> Any:
    """A session, after the conversion of everything."""
    with Session(engine) as session:
        HistoryModelDataConverter(Article).convert_all(session)
        yield session


HISTORY = text(
    "select operation, id, title, price, tags, seen, changed,"
    " change_info ->> 'user_id' as actor from article_history order by change_id"
)


def test_history_has_every_activity_with_its_old_image(
    session: Session, told: Any
) -> None:
    found = session.execute(HISTORY).all()

    assert [row.title for row in found if row.operation != "I"] == [
        row["old"]["title"] for row in told if row["verb"] != "insert"
    ]
    assert [(row.operation, row.id) for row in found] == [
        ("I", 1),
        ("I", 2),
        ("U", 1),
        ("D", 2),
        ("U", 1),
        ("D", 1),
        ("I", 7),
    ]


def test_values_have_their_types(session: Session, told: Any) -> None:
    last = session.execute(HISTORY).all()[-2]

    assert (last.price, last.tags) == (decimal.Decimal("2.50"), ["c"])
    assert last.seen == datetime.fromisoformat(told[0]["new"]["seen"])


def test_who_and_when_are_kept(session: Session, told: Any) -> None:
    rows = [*told, told[-1]]  # the change of a key is two changes

    assert [(r.changed, r.actor) for r in session.execute(HISTORY)] == [
        (datetime.fromisoformat(row["issued_at"]), row["actor"]) for row in rows
    ]


def test_versions_and_version_at_follow_the_activities(
    session: Session, told: Any
) -> None:
    one = session.get_one(Article, 7)
    moved = datetime.fromisoformat(told[-1]["issued_at"])

    assert (one.versions(), one.version_at(moved)) == ([], one)


def test_changes_of_one_transaction_stay_together(session: Session) -> None:
    query = (
        "select array_agg(operation order by change_id) from article_history"
        " group by transaction_id order by min(change_id)"
    )

    assert session.scalars(text(query)).all() == [
        ["I", "I"],
        ["U"],
        ["D"],
        ["U", "D", "I"],
    ]


def test_second_run_converts_nothing_and_nothing_was_lost(session: Session) -> None:
    converter = HistoryModelDataConverter(Article)

    assert (converter.convert_all(session), converter.problems(session)) == (0, [])
