"""Objects of the past are of the classes that they were, however these share tables."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, select, text
from sqlalchemy.ext.declarative import ConcreteBase
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    selectin_polymorphic,
    with_polymorphic,
)

import chrononaut_pg
from chrononaut_pg import Versioned, time_travel


class Base(DeclarativeBase):
    pass


class Animal(Versioned, Base):
    __tablename__ = "animal"
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_on": "kind",
        "polymorphic_identity": "animal",
    }
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str | None]
    mother_id: Mapped[int | None] = mapped_column(ForeignKey("animal.id"))
    mother: Mapped["Animal | None"] = relationship(remote_side=[id])


class Dog(Animal):
    __tablename__ = "dog"
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(ForeignKey("animal.id"), primary_key=True)
    breed: Mapped[str | None]


class Puppy(Dog):
    __tablename__ = "puppy"
    __mapper_args__ = {"polymorphic_identity": "puppy"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(ForeignKey("dog.id"), primary_key=True)
    weeks: Mapped[int | None]


class Fish(Animal):
    """Shares the table of Animal."""

    __mapper_args__ = {"polymorphic_identity": "fish"}  # noqa: RUF012
    water: Mapped[str | None] = mapped_column(use_existing_column=True)


class Vehicle(Versioned, ConcreteBase, Base):
    __tablename__ = "vehicle"
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_identity": "vehicle",
        "concrete": True,
    }
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Car(Vehicle):
    __tablename__ = "car"
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_identity": "car",
        "concrete": True,
    }
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    doors: Mapped[int]


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A session on animals and cars that have changed since a mark."""
    Base.metadata.create_all(engine)
    chrononaut_pg.listen(engine)
    with Session(engine) as opened:
        dog = Dog(id=1, name="Lu", breed="pug")
        opened.add_all([dog, Fish(id=3, water="sea"), Vehicle(id=1, name="cart")])
        opened.add_all([Puppy(id=2, breed="pug", weeks=8, mother=dog)])
        opened.add_all([Car(id=2, name="fiat", doors=3)])
        opened.commit()
        opened.execute(text("select chrononaut.mark('before')"))
        opened.commit()
        change(opened)
        yield opened


def change(session: Session) -> None:
    """Change a parent's column, a child's, both; delete the fish and the cart."""
    puppy = session.get_one(Puppy, 2)
    session.get_one(Dog, 1).name = "Lulu"
    puppy.weeks, puppy.breed, puppy.mother = 9, "mops", None
    session.delete(session.get_one(Fish, 3))
    session.delete(session.get_one(Vehicle, 1))
    session.get_one(Car, 2).doors = 5
    session.add(Dog(id=4, name="Rex"))
    session.commit()


def told(objects: Any, *names: str) -> list[Any]:
    return [
        (type(one).__name__, *(getattr(one, name, None) for name in names))
        for one in objects
    ]


THEN = [
    ("Dog", "Lu", "pug", None, None),
    ("Puppy", None, "pug", 8, None),
    ("Fish", None, None, None, "sea"),
]

NAMES = ("name", "breed", "weeks", "water")


@pytest.mark.parametrize(
    "statement",
    [
        select(Animal).order_by(Animal.id),
        select(Animal)
        .options(selectin_polymorphic(Animal, [Dog, Puppy]))
        .order_by(Animal.id),
    ],
    ids=["lazy", "selectin"],
)
def test_joined_tables_give_each_class_with_its_own_columns(
    session: Session, statement: Any
) -> None:
    with time_travel(session, mark="before") as past:
        then = told(past.scalars(statement), *NAMES)

    assert then == THEN


def test_with_polymorphic_reads_all_tables_of_the_past(session: Session) -> None:
    everything = with_polymorphic(Animal, "*")
    with time_travel(session, mark="before") as past:
        found = past.scalars(select(everything).order_by(everything.id))
        then = told(found, *NAMES)

    assert then == THEN


def test_subclasses_filters_and_relations_read_the_past(session: Session) -> None:
    with time_travel(session, mark="before") as past:
        puppy = past.get_one(Puppy, 2)
        found = [
            told(past.scalars(select(Dog).order_by(Dog.id)), "breed"),
            told(past.scalars(select(Puppy).where(Puppy.weeks == 8)), "weeks"),
            told(past.scalars(select(Fish)), "water"),
            told([past.get(Animal, 2), past.get(Animal, 3)]),
            [past.get(Animal, 4), past.get(Fish, 1)],
            told([puppy.mother], "name", "breed"),
        ]

    assert found == [
        [("Dog", "pug"), ("Puppy", "pug")],
        [("Puppy", 8)],
        [("Fish", "sea")],
        [("Puppy",), ("Fish",)],
        [None, None],
        [("Dog", "Lu", "pug")],
    ]


def test_concrete_tables_read_the_past(session: Session) -> None:
    statement = select(Vehicle).order_by(Vehicle.id)
    with time_travel(session, mark="before") as past:
        found = [told(past.scalars(statement), "name", "doors")]
        found += [told(session.scalars(statement), "name", "doors")]

    assert found == [
        [("Vehicle", "cart", None), ("Car", "fiat", 3)],
        [("Car", "fiat", 5)],
    ]
