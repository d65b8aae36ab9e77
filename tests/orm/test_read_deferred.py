"""What an object has not loaded, or refuses to load, is compared with its versions."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, Text, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, defer, mapped_column

from chrononaut_pg import Versioned
from tests.orm.modelling import saved, statements
from tests.servers import TemplateOf


class Base(DeclarativeBase):
    pass


class Letter(Versioned, Base):
    __tablename__ = "letter"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    body: Mapped[str | None] = mapped_column(Text, deferred=True)
    notes: Mapped[str | None] = mapped_column(Text, deferred=True)
    scan: Mapped[str | None] = mapped_column(deferred=True, deferred_raiseload=True)


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as found:
        letter = Letter(id=1, title="t", body="a", notes="n", scan="s")
        saved(found, letter, body="b", scan="z")
        found.expunge_all()
        yield found


def test_deferred_attributes_are_compared_by_one_statement(
    engine: Engine, session: Session
) -> None:
    letter = session.get_one(Letter, 1)
    first = letter.versions()[0]
    with statements(engine) as sent:
        found = letter.diff(first)

    assert found == {"body": ("a", "b"), "scan": ("s", "z")}
    assert len(sent) == 1


def test_attributes_that_refuse_to_be_loaded_by_a_query_are_compared(
    session: Session,
) -> None:
    query = select(Letter).options(defer(Letter.title, raiseload=True))
    letter = session.scalars(query).one()
    letter.body = "changed"

    assert letter.diff(letter.versions()[0]) == {
        "body": ("a", "changed"),
        "scan": ("s", "z"),
    }
    assert letter.body == "changed"
