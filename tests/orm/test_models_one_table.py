"""Models that share a table with their subclasses: each row has its class."""

import pickle
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, select, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    mapped_column,
)

from chrononaut_pg import Versioned, history_class
from tests.orm.modelling import created, saved, statements


class Base(DeclarativeBase):
    pass


class Animal(Versioned, Base):
    """The root of three levels of tables; one class shares the root's table."""

    __tablename__ = "animal"
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_on": "kind",
        "polymorphic_identity": "animal",
    }
    __chrononaut_untracked__ = ("seen",)
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str | None]
    version: Mapped[int | None]
    seen: Mapped[int | None]


class Dog(Animal):
    __tablename__ = "dog"
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012
    __chrononaut_hidden__ = ("chip",)
    id: Mapped[int] = mapped_column(ForeignKey("animal.id"), primary_key=True)
    breed: Mapped[str | None]
    chip: Mapped[str | None]


class Puppy(Dog):
    __tablename__ = "puppy"
    __mapper_args__ = {"polymorphic_identity": "puppy"}  # noqa: RUF012
    puppy_id: Mapped[int] = mapped_column(ForeignKey("dog.id"), primary_key=True)
    weeks: Mapped[int | None]


class Stray(Dog):
    """Shares the table of Dog."""

    __mapper_args__ = {"polymorphic_identity": "stray"}  # noqa: RUF012
    found: Mapped[str | None]


class Fish(Animal):
    """Shares the table of Animal."""

    __mapper_args__ = {"polymorphic_identity": "fish"}  # noqa: RUF012
    water: Mapped[str | None]


class Vehicle(Versioned, Base):
    __tablename__ = "vehicle"
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_on": "kind",
        "polymorphic_abstract": True,
    }
    __chrononaut_tablename__ = "vehicle_log"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    wheels: Mapped[int | None]


class Car(Vehicle):
    __mapper_args__ = {"polymorphic_identity": "car"}  # noqa: RUF012
    doors: Mapped[int | None]


class Van(Car):
    __mapper_args__ = {"polymorphic_identity": "van"}  # noqa: RUF012
    load: Mapped[int | None]


class Bike(Vehicle):
    __mapper_args__ = {"polymorphic_identity": "bike"}  # noqa: RUF012
    __chrononaut_hidden__ = ("lock",)
    gears: Mapped[int | None]
    lock: Mapped[str | None]


@pytest.fixture
def puppy() -> Puppy:
    return Puppy(name="Rex", breed="collie", weeks=1, chip="x", version=1, seen=0)


def test_rows_of_one_table_come_as_their_own_classes(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        session.add_all([Car(id=1, doors=3), Van(id=2, load=9), Bike(id=3, gears=4)])
        session.commit()
        cls = history_class(Vehicle)

        found = session.scalars(select(cls).order_by(cls.id)).all()

        assert [type(one).__name__ for one in found] == [
            *("CarHistory", "VanHistory", "BikeHistory"),
        ]
        assert issubclass(history_class(Van), history_class(Car))


def test_versions_of_subclasses_can_be_pickled(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        car = saved(session, Car(id=1, doors=3), doors=4)
        versions = car.versions()

        copies = pickle.loads(pickle.dumps(versions))

        assert [(type(one), one.doors) for one in copies] == [
            (history_class(Car), 3),
        ]


def test_rows_of_one_table_come_complete_in_one_statement(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        session.add_all([Car(id=1, doors=3), Van(id=2, load=9), Bike(id=3, gears=4)])
        session.commit()
        cls = history_class(Vehicle)
        with statements(engine) as sent:
            one, two, three = session.scalars(select(cls).order_by(cls.id)).all()
            found = (one.doors, two.load, three.gears)

        assert (found, len(sent)) == ((3, 9, 4), 1)


def test_selecting_a_subclass_gives_its_rows_only(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        session.add_all([Car(id=1), Van(id=2), Bike(id=3)])
        session.commit()
        cls = history_class(Car)

        found = session.scalars(select(cls.id).order_by(cls.id)).all()

        assert found == [1, 2]


def test_a_row_that_changed_its_class_keeps_all_its_versions(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, Car(id=1, doors=3), doors=4)
        session.execute(text("update vehicle set kind = 'bike', gears = 7"))
        session.commit()
        session.expunge_all()
        bike = session.get_one(Bike, 1)
        first, second = bike.versions()

        assert [type(v).__name__ for v in (first, second)] == ["CarHistory"] * 2
        assert (first.doors, second.doors) == (3, 4)
        assert list(bike.changes())[-1].values == {
            "kind": ("car", "bike"),
            "doors": (4, None),
            "gears": (None, 7),
        }
        assert bike.diff(first) == {"kind": ("car", "bike"), "gears": (None, 7)}
        assert bike.version_at(second.valid_from) == second
        assert bike.blame()["gears"].version == 2


@pytest.mark.parametrize(
    ("model", "name"), [(Stray, "StrayHistory"), (Fish, "FishHistory")]
)
def test_classes_of_one_table_beside_classes_of_their_own(
    engine: Engine, model: Any, name: str
) -> None:
    with created(engine, Base.metadata) as session:
        one = saved(session, model(name="a"), name="b")
        [old] = one.versions()

        assert (type(old).__name__, old.name) == (name, "a")


def test_rows_of_subclasses_with_tables_come_as_the_class_of_the_table(
    engine: Engine, puppy: Puppy
) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, puppy)
        saved(session, Fish(name="Wanda", water="salt"))
        cls = history_class(Animal)

        found = session.scalars(select(cls).order_by(cls.id)).all()

        assert [type(one).__name__ for one in found] == ["AnimalHistory", "FishHistory"]


def test_hidden_column_of_one_class_is_none_of_anothers(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        car = saved(session, Car(doors=3), doors=5)
        bike = saved(session, Bike(gears=3, lock="1234"), lock="4321")

        assert set(bike.blame()) - set(car.blame()) == {"gears", "lock"}
        assert car.diff(car.versions()[0], include_hidden=True) == {"doors": (3, 5)}
        assert bike.diff(bike.versions()[0], include_hidden=True) == {
            "lock": (None, "4321")
        }
