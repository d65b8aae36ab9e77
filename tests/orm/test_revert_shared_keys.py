"""Reverts where one key belongs to several classes, and listeners set values."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, and_, event, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    foreign,
    mapped_column,
    relationship,
    remote,
)

from chrononaut_pg import Versioned, revert_to
from tests.servers import TemplateOf


class Base(DeclarativeBase):
    pass


class Address(Versioned, Base):
    """Its owner is of the class that `kind` names, without a foreign key."""

    __tablename__ = "address"
    id: Mapped[int] = mapped_column(primary_key=True)
    street: Mapped[str]
    kind: Mapped[str | None]
    owner_id: Mapped[int | None]


class Owner(Versioned):
    id: Mapped[int] = mapped_column(primary_key=True)


class Customer(Owner, Base):
    __tablename__ = "customer"


class Supplier(Owner, Base):
    __tablename__ = "supplier"


class Slide(Versioned, Base):
    __tablename__ = "slide"
    id: Mapped[int] = mapped_column(primary_key=True)
    points: Mapped[list["Point"]] = relationship(
        primaryjoin=lambda: Slide.id == foreign(Point.slide_id),
        order_by="Point.id",
    )


class Point(Versioned, Base):
    __tablename__ = "point"
    id: Mapped[int] = mapped_column(primary_key=True)
    slide_id: Mapped[int | None]
    place: Mapped[int | None]


@event.listens_for(Slide.points, "append")
def count(slide: Slide, point: Point, initiator: Any) -> None:
    point.place = len(slide.points)


def own_addresses(model: Any, kind: str) -> None:
    """Give a class its addresses, which learn the class as they are appended."""
    condition = and_(
        model.id == foreign(remote(Address.owner_id)), Address.kind == kind
    )
    model.addresses = relationship(
        Address, primaryjoin=condition, order_by=Address.id, overlaps="addresses"
    )

    @event.listens_for(model.addresses, "append")
    def note(owner: Any, address: Address, initiator: Any) -> None:
        address.kind = kind


own_addresses(Customer, "customer")
own_addresses(Supplier, "supplier")


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as found:
        yield found


def marked(session: Session, *objects: Any) -> None:
    session.add_all(objects)
    session.commit()
    session.execute(text("select chrononaut.mark('then')"))
    session.commit()


def owners(session: Session) -> list[tuple[Any, ...]]:
    session.commit()
    found = session.execute(text("select id, kind, owner_id from address order by id"))
    return [tuple(row) for row in found]


@pytest.mark.parametrize("number", [1, 2])
def test_what_belonged_to_another_class_goes_back_to_it(
    session: Session, number: int
) -> None:
    customer: Any = Customer(id=number)
    supplier: Any = Supplier(id=1)
    customer.addresses = [Address(id=1, street="a")]
    marked(session, customer, supplier, Supplier(id=2))
    address = customer.addresses.pop()
    address.street = "b"
    session.flush()
    supplier.addresses.append(address)
    session.commit()
    assert owners(session) == [(1, "supplier", 1)]
    revert_to(supplier, mark="then", relations=["addresses"])
    session.commit()

    assert owners(session) == [(1, "customer", number)]
    assert (supplier.addresses, address.street) == ([], "b")


def test_what_left_for_another_class_comes_back(session: Session) -> None:
    customer: Any = Customer(id=1)
    supplier: Any = Supplier(id=1)
    customer.addresses = [Address(id=1, street="a"), Address(id=2, street="b")]
    marked(session, customer, supplier)
    supplier.addresses.append(customer.addresses.pop())
    session.commit()
    revert_to(customer, mark="then", relations=["addresses"])

    assert owners(session) == [(1, "customer", 1), (2, "customer", 1)]


def test_listeners_of_collections_do_not_have_the_last_word(session: Session) -> None:
    slide = Slide(id=1)
    slide.points = [Point(id=number) for number in (1, 2, 3)]
    session.add(slide)
    session.flush()
    for point in slide.points:
        point.place = 10 * point.id
    marked(session)
    session.delete(slide.points[1])
    session.commit()
    revert_to(slide, mark="then", relations=["points"])
    session.commit()

    assert [(one.id, one.place) for one in slide.points] == [
        (1, 10),
        (2, 20),
        (3, 30),
    ]
