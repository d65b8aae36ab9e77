"""Rows that refer to each other come again together, by relations with post_update."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, ForeignKey, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from chrononaut_pg import (
    Transaction,
    Versioned,
    deleted,
    restore,
    revert_to,
    undo_transaction,
)
from tests.orm.modelling import created


class Base(DeclarativeBase):
    pass


class Shelf(Versioned, Base):
    __tablename__ = "shelf"
    id: Mapped[int] = mapped_column(primary_key=True)
    first_id: Mapped[int | None] = mapped_column(
        ForeignKey("volume.id", use_alter=True, name="shelf_first")
    )
    volumes: Mapped[list["Volume"]] = relationship(
        foreign_keys="Volume.shelf_id",
        back_populates="shelf",
        order_by="Volume.id",
        cascade="all, delete-orphan",
    )
    first: Mapped["Volume | None"] = relationship(
        foreign_keys=[first_id], post_update=True
    )


class Volume(Versioned, Base):
    __tablename__ = "volume"
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf_id: Mapped[int] = mapped_column(ForeignKey(Shelf.id))
    twin_id: Mapped[int | None] = mapped_column(ForeignKey("volume.id"))
    shelf: Mapped[Shelf] = relationship(
        foreign_keys=[shelf_id], back_populates="volumes"
    )
    twin: Mapped["Volume | None"] = relationship(
        foreign_keys=[twin_id], remote_side=[id], post_update=True
    )


PATHS = "volumes.twin", "first"

THEN = (2, [(1, 2), (2, 1)])
"""The shelf's first volume, and its volumes with their twins."""


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with created(engine, Base.metadata) as found:
        yield found


@pytest.fixture
def shelf(session: Session) -> Shelf:
    """A shelf as in THEN, which is marked."""
    found = Shelf(id=1, volumes=[Volume(id=1), Volume(id=2)])
    one, two = found.volumes
    found.first, one.twin, two.twin = two, two, one
    session.add(found)
    session.commit()
    session.execute(text("select chrononaut.mark('then')"))
    session.commit()
    return found


def told(session: Session) -> tuple[int | None, list[tuple[int, int | None]]]:
    session.expire_all()
    found = session.get_one(Shelf, 1)
    return found.first_id, [(one.id, one.twin_id) for one in found.volumes]


def test_rows_that_refer_to_each_other_come_again(
    session: Session, shelf: Shelf
) -> None:
    session.delete(shelf)
    session.commit()
    revert_to((Shelf, 1), mark="then", relations=PATHS, session=session)
    session.commit()
    assert told(session) == THEN

    last = session.scalar(select(func.max(Transaction.id)))
    undo_transaction(session, last)
    session.commit()
    assert session.get(Shelf, 1) is None


def test_some_of_a_circle_come_again(session: Session, shelf: Shelf) -> None:
    one, two = shelf.volumes
    shelf.first = one
    one.twin = None
    session.flush()
    session.delete(two)
    session.commit()
    revert_to((Shelf, 1), mark="then", relations=PATHS, session=session)
    session.commit()
    assert told(session) == THEN


def test_what_was_changed_and_deleted_by_one_transaction_has_its_relations(
    session: Session, shelf: Shelf
) -> None:
    session.delete(shelf)  # sets first_id to null beforehand, since it is post_update
    session.commit()
    [gone] = deleted(Shelf, session)
    assert (gone.first, [(one.id, one.twin.id) for one in gone.volumes]) == (
        None,
        THEN[1],
    )

    restore(gone, relations=["volumes.twin"])
    session.commit()
    assert told(session) == (None, THEN[1])
