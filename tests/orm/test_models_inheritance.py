"""Inheritance: each row comes back as what it was, its tables as they were together."""

from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, ForeignKeyConstraint, select, text
from sqlalchemy.ext.declarative import AbstractConcreteBase, ConcreteBase
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
)

from chrononaut_pg import (
    UntrackedAttributeError,
    Versioned,
    deleted,
    history_class,
    restore,
)
from tests.orm.modelling import created, saved


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


class Bird(Animal):
    """Has a column of the same name as its parent, and a key of its own besides."""

    __tablename__ = "bird"
    __mapper_args__ = {"polymorphic_identity": "bird"}  # noqa: RUF012
    bird_id: Mapped[int] = mapped_column(ForeignKey("animal.id"), primary_key=True)
    called: Mapped[str | None] = mapped_column("name")


class Puppy(Dog):
    __tablename__ = "puppy"
    __mapper_args__ = {"polymorphic_identity": "puppy"}  # noqa: RUF012
    puppy_id: Mapped[int] = mapped_column(ForeignKey("dog.id"), primary_key=True)
    weeks: Mapped[int | None]


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


class Document(Base):
    """Not versioned, but its child is."""

    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]


class Letter(Versioned, Document):
    __tablename__ = "letter"
    id: Mapped[int] = mapped_column(ForeignKey("document.id"), primary_key=True)
    to: Mapped[str | None]


class Part(Versioned, Base):
    """A composite key, which its child declares in another order."""

    __tablename__ = "part"
    factory: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str | None]


class Engine_(Part):
    __tablename__ = "engine"
    __table_args__ = (
        ForeignKeyConstraint(
            ["e_factory", "e_number"], ["part.factory", "part.number"]
        ),
    )
    number: Mapped[int] = mapped_column(
        "e_number", primary_key=True, autoincrement=False
    )
    factory: Mapped[str] = mapped_column("e_factory", primary_key=True)
    power: Mapped[int | None]


class Shape(Versioned, Base):
    __tablename__ = "shape"
    __mapper_args__ = {"polymorphic_identity": "shape"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class Circle(Shape):
    __tablename__ = "circle"
    __mapper_args__ = {"concrete": True, "polymorphic_identity": "c"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    radius: Mapped[int | None]


class Plant(Versioned, AbstractConcreteBase, Base):
    """Unites the tables of its children, and has none itself."""


class Tree(Plant):
    __tablename__ = "tree"
    __mapper_args__ = {"concrete": True, "polymorphic_identity": "tree"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    height: Mapped[int | None]


class Paper(ConcreteBase, Versioned, Base):
    __tablename__ = "paper"
    __mapper_args__ = {"concrete": True, "polymorphic_identity": "paper"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]


class Bill(Paper):
    __tablename__ = "bill"
    __mapper_args__ = {"concrete": True, "polymorphic_identity": "bill"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]


@pytest.fixture
def puppy() -> Puppy:
    return Puppy(name="Rex", breed="collie", weeks=1, chip="x", version=1, seen=0)


def values(versions: Any, *names: str) -> list[Any]:
    return [tuple(getattr(one, name) for name in names) for one in versions]


def test_a_change_in_any_of_three_tables_is_a_version_of_the_whole(
    engine: Engine, puppy: Puppy
) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, puppy, name="Max", breed="pug", weeks=2)

        found = values(puppy.versions(), "name", "breed", "weeks")

        assert found == [
            ("Rex", "collie", 1),
            ("Max", "collie", 1),
            ("Max", "pug", 1),
        ]


def test_changes_of_several_tables_in_one_transaction_are_one_version(
    engine: Engine, puppy: Puppy
) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, puppy)
        puppy.name, puppy.breed, puppy.weeks = "Max", "pug", 2
        session.commit()

        changes = [(c.operation, sorted(c.fields)) for c in puppy.changes()]

        assert changes[1:] == [("U", ["breed", "name", "weeks"])]


def test_readers_see_changes_of_the_parents_table_only(
    engine: Engine, puppy: Puppy
) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, puppy, weeks=2)
        session.execute(text("update animal set name = 'Max', version = 7"))
        session.commit()
        first, second = puppy.versions()

        assert puppy.has_changed_since(first.changed)
        assert not puppy.has_changed_since(second.changed)
        assert puppy.diff(first) == {
            "name": ("Rex", "Max"),
            "version": (1, 7),
            "weeks": (1, 2),
        }
        assert puppy.version_at(second.valid_from) == second
        assert puppy.previous_version() == second
        blame = {n: b.version for n, b in puppy.blame().items()}
        assert (blame["name"], blame["weeks"], blame["breed"]) == (2, 1, 0)


def test_deleting_a_child_ends_its_history_in_one_change(
    engine: Engine, puppy: Puppy
) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, puppy)
        session.delete(puppy)
        session.commit()

        changes = [c.operation for c in puppy.changes(session=session)]

        assert changes == ["I", "D"]


def test_options_of_parents_hold_for_their_own_columns(
    engine: Engine, puppy: Puppy
) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, puppy, chip="y", seen=1)
        [old] = puppy.versions()

        assert old.change_info["hidden_cols_changed"] == ["chip"]
        assert puppy.diff(old, include_hidden=True) == {"chip": (None, "y")}
        with pytest.raises(UntrackedAttributeError):
            _ = old.seen


def test_history_name_of_a_parent_is_not_its_childrens(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, Car(id=1, doors=3), doors=4)
        names = session.scalars(
            text("select history_table::text from chrononaut.versioned_tables")
        ).all()

        assert "vehicle_log" in names
        assert "engine_history" in names


def test_only_the_child_may_be_versioned(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        letter = saved(session, Letter(title="t", to="Ann"), title="u", to="Bob")
        [old] = letter.versions()

        assert old.to == "Ann"
        with pytest.raises(UntrackedAttributeError):
            _ = old.title
        assert not hasattr(Document, "versions")


def test_composite_keys_may_be_declared_in_another_order(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        one = saved(session, Engine_(factory="a", number=1, name="x", power=2), power=3)
        session.add(Engine_(factory="a", number=2, name="y", power=9))
        session.execute(text("update part set name = 'z' where number = 1"))
        session.commit()
        first, second = one.versions()

        assert values([first, second], "factory", "number", "name", "power") == [
            ("a", 1, "x", 2),
            ("a", 1, "x", 3),
        ]
        assert one.has_changed_since(first.changed)
        assert not one.has_changed_since(second.changed)
        assert one.diff(first) == {"name": ("x", "z"), "power": (2, 3)}


def test_concrete_classes_have_histories_of_their_own(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        circle = saved(session, Circle(name="a", radius=1), radius=2)
        shape = saved(session, Shape(name="s"), name="t")
        tree = saved(session, Tree(height=1), height=2)

        assert values(circle.versions(), "name", "radius") == [("a", 1)]
        assert values(shape.versions(), "name") == [("s",)]
        assert values(tree.versions(), "height") == [(1,)]


def test_a_subclass_defined_later_joins_its_parents_history(engine: Engine) -> None:
    class Late(DeclarativeBase):
        pass

    class Person(Versioned, Late):
        __tablename__ = "person"
        __mapper_args__ = {  # noqa: RUF012
            "polymorphic_on": "kind",
            "polymorphic_identity": "person",
        }
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]

    history_class(Person)

    class Worker(Person):
        __mapper_args__ = {"polymorphic_identity": "worker"}  # noqa: RUF012
        wage: Mapped[int | None]

    with created(engine, Late.metadata) as session:
        one = saved(session, Worker(wage=1), wage=2)

        assert values(one.versions(), "kind", "wage") == [("worker", 1)]


def test_children_are_versioned_whichever_table_was_there_first(engine: Engine) -> None:
    for table in (Animal.__table__, Dog.__table__, Puppy.__table__):
        Base.metadata.create_all(engine, tables=[table])  # type: ignore[list-item]
    with Session(engine) as session:
        one = saved(session, Puppy(name="a", weeks=1), name="b", weeks=2)

        assert values(one.versions(), "name", "weeks") == [("a", 1), ("b", 1)]


def test_concrete_classes_that_are_read_together_have_histories_of_their_own(
    engine: Engine,
) -> None:
    with created(engine, Base.metadata) as session:
        session.add_all([Bill(id=2, title="other"), Bill(id=3), Paper(id=1)])
        bill: Any = saved(session, Bill(id=1, title="a"), title="b")
        cls: Any = history_class(Bill)
        found = session.scalars(select(cls).where(cls.id == 1).order_by(cls.version))

        assert values(found, "title", "type") == [("a", "bill"), ("b", "bill")]
        assert values(bill.versions(), "title", "type") == [("a", "bill")]
        session.delete(bill)
        session.commit()
        gone: Any = deleted(Bill, session)
        restore(gone[0])
        session.commit()

        assert values(gone, "id", "title") == [(1, "b")]
        assert session.get_one(Bill, 1).title == "b"
        assert deleted(Paper, session) == []


def test_columns_of_one_name_are_those_of_their_attributes(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        bird = saved(session, Bird(id=1, name="Tit", called="Tito"), name="Tut")
        [first] = bird.versions()
        told = (first.name, first.called, bird.diff(first))
        session.delete(bird)
        session.commit()
        restore(deleted(Bird, session)[0])
        session.commit()
        found = session.get_one(Bird, 1)
        then = session.scalars(
            select(history_class(Bird).name).order_by(history_class(Bird).change_id)
        ).all()

    assert told == ("Tit", "Tito", {"name": ("Tit", "Tut")})
    assert (found.name, found.called, then) == ("Tut", "Tito", ["Tit", "Tut", "Tut"])
