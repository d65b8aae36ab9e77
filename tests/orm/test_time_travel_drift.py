"""A past that lacks columns of the model says so, and what to do about it."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import chrononaut_pg
from chrononaut_pg import (
    DriftError,
    Versioned,
    VersioningMissingError,
    time_travel,
    versioned_table,
)


class Base(DeclarativeBase):
    pass


class Item(Versioned, Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    pages: Mapped[int | None]


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A row that was changed, in a table that is not in step with its model."""
    chrononaut_pg.listen(engine)
    with Session(engine) as found:
        for statement in (
            "create table item (id int primary key, name text)",
            "select chrononaut.create_versioning('item')",
            "insert into item values (1, 'a')",
            "select chrononaut.mark('then')",
            "update item set name = 'b'",
            "alter table item rename name to title",
            "alter table item add pages int default 7",
        ):
            found.execute(text(statement))
            found.commit()
        yield found


def test_a_past_that_is_out_of_step_with_the_model_says_so(session: Session) -> None:
    with time_travel(session, mark="then") as past:
        for read in (
            lambda: past.get(Item, 1),
            lambda: past.scalars(select(Item.title)).all(),
            lambda: past.scalars(select(Item.id).union(select(Item.pages))).all(),
        ):
            with pytest.raises(DriftError, match="does not exist") as caught:
                read()
            assert "sync_versioning()" in str(caught.value)
            session.rollback()

    session.execute(text("select chrononaut.sync_versioning('item')"))
    with time_travel(session, mark="then") as past:
        found = past.get_one(Item, 1)
        assert (found.title, found.pages) == ("a", None)


def test_a_column_that_only_a_text_names_is_its_own_mistake(session: Session) -> None:
    with (
        time_travel(session, mark="then") as past,
        pytest.raises(ProgrammingError, match="does not exist"),
    ):
        past.execute(text("select titel from item"))


def test_table_declared_after_a_first_look_at_the_past_counts(session: Session) -> None:
    session.execute(text("create table shelf (id int)"))
    session.commit()
    shelf = Table("shelf", MetaData(), Column("id", Integer))
    with time_travel(session, mark="then") as past:
        assert past.execute(select(shelf)).all() == []

    versioned_table(shelf)
    with (
        time_travel(session, mark="then") as past,
        pytest.raises(VersioningMissingError, match="table shelf has no past"),
    ):
        past.execute(select(shelf))
