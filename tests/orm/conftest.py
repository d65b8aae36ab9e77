"""Fixtures for tests of the Python layer: models in the test's database, a session."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import chrononaut_pg
from chrononaut_pg import Versioned
from tests.servers import Db

Told = Callable[..., list[Any]]
"""Returns user, reason and value or key of changes; see the fixture `told`."""


class Base(DeclarativeBase):
    pass


class Item(Versioned, Base):
    __tablename__ = "item"

    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(default=0)


class Note(Versioned, Base):
    __tablename__ = "note"
    __chrononaut_untracked__ = ("draft",)

    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str] = mapped_column(default="")
    draft: Mapped[str | None]


class Plain(Base):
    __tablename__ = "plain"

    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
def models(engine: Engine) -> SimpleNamespace:
    """The models, created and listened to: `Item`, `Note`, the unversioned `Plain`."""
    Base.metadata.create_all(engine)
    chrononaut_pg.listen(engine)
    return SimpleNamespace(Base=Base, Item=Item, Note=Note, Plain=Plain)


@pytest.fixture
def listening(engine: Engine, models: SimpleNamespace) -> Engine:
    """The test's engine, listened to, with the tables created."""
    return engine


@pytest.fixture
def session(engine: Engine, models: SimpleNamespace) -> Iterator[Session]:
    """A session on a database with one item and one note that nobody has made."""
    with Session(engine) as opened:
        opened.add_all([Item(id=1), Note(id=1)])
        opened.commit()
        yield opened


@pytest.fixture
def told(db: Db) -> Told:
    """Returns who and why of all changes of a table, in order."""

    def read(operation: str = "U", table: str = "item") -> list[Any]:
        rows = db.execute(
            "select change_info ->> 'user_id', change_info #>> '{extra,rationale}'"
            f" from {table}_history where operation = %s order by change_id",
            [operation],
        ).fetchall()
        db.commit()
        return rows

    return read
