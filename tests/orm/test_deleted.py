"""`deleted(Model)`: the last version of each row that is gone, ready to be restored."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chrononaut_pg import (
    NotVersionedError,
    Versioned,
    deleted,
    history_class,
    restore,
    select_deleted,
)
from tests.orm.modelling import created, statements
from tests.servers import TemplateOf


class Base(DeclarativeBase):
    pass


class Item(Versioned, Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class Pair(Versioned, Base):
    __tablename__ = "Pa ir"
    left: Mapped[str] = mapped_column("Le ft", primary_key=True)
    right: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class Quiet(Versioned, Base):
    __tablename__ = "quiet"
    __chrononaut_track_inserts__ = False
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class Pet(Versioned, Base):
    __tablename__ = "pet"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str | None]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "pet"}  # noqa: RUF012


class Cat(Pet):
    lives: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "cat"}  # noqa: RUF012


class Dog(Pet):
    __tablename__ = "dog"
    id: Mapped[int] = mapped_column(ForeignKey(Pet.id), primary_key=True)
    tricks: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012


class Poodle(Dog):
    __tablename__ = "poodle"
    id: Mapped[int] = mapped_column(ForeignKey(Dog.id), primary_key=True)
    curls: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "poodle"}  # noqa: RUF012


class Plain(Base):
    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with created(engine, Base.metadata) as found:
        yield found


def come_and_gone(session: Session, *instances: Any) -> None:
    """Commit objects, a new name of each, and then their deletion."""
    session.add_all(instances)
    session.commit()
    for one in instances:
        one.name = f"last {one.name}"
    session.commit()
    for one in instances:
        session.delete(one)
    session.commit()


def named(found: list[Any]) -> list[tuple[str, str]]:
    return [(type(one).__name__, one.name) for one in found]


def test_the_last_version_of_each_row_that_is_gone(session: Session) -> None:
    come_and_gone(session, Item(id=2, name="b"), Item(id=1, name="a"))
    session.add_all([Item(id=2, name="again"), Item(id=3, name="c")])
    session.commit()
    come_and_gone(session, Item(id=4, name="d"))
    found = deleted(Item, session)

    assert [(one.id, one.name, one.version) for one in found] == [
        *[(1, "last a", 1), (4, "last d", 1)],
    ]
    assert {one.operation for one in found} == {"D"}
    assert found[0] in Item.versions(Item(id=1), session=session)


def test_of_a_row_that_was_deleted_twice_the_last_one(session: Session) -> None:
    come_and_gone(session, Item(id=1, name="a"))
    come_and_gone(session, Item(id=1, name="b"))
    for _ in "12":
        session.execute(text("insert into item (id, name) values (1, 'c')"))
        session.execute(text("delete from item"))
    session.commit()

    assert [(one.name, one.version) for one in deleted(Item, session)] == [("c", 5)]


def test_rows_that_were_truncated(session: Session) -> None:
    session.add_all([Item(id=1, name="a"), Item(id=2, name="b")])
    session.commit()
    session.execute(text("truncate item"))
    session.commit()

    assert [(one.name, one.operation) for one in deleted(Item, session)] == [
        *[("a", "T"), ("b", "T")],
    ]


def test_the_old_key_of_a_row_is_gone(session: Session) -> None:
    session.add(Item(id=1, name="a"))
    session.commit()
    session.execute(text("update item set id = 5"))
    session.commit()

    assert [one.id for one in deleted(Item, session)] == [1]


def test_rows_that_live_are_not_shown_though_inserts_are_not_tracked(
    session: Session,
) -> None:
    come_and_gone(session, Quiet(id=1, name="a"), Quiet(id=2, name="b"))
    session.add(Quiet(id=1, name="again"))
    session.commit()

    assert [one.id for one in deleted(Quiet, session)] == [2]


def test_pages(session: Session) -> None:
    come_and_gone(session, *(Item(id=n) for n in range(1, 8)))
    pages, last = [], None
    while page := deleted(Item, session, after=last, limit=3):
        pages.append([one.id for one in page])
        last = page[-1]

    assert pages == [[1, 2, 3], [4, 5, 6], [7]]
    assert [one.id for one in deleted(Item, session, after=6)] == [7]


def test_pages_of_composite_keys_with_strange_names(session: Session) -> None:
    keys = [(a, n) for a in ("a", "b") for n in (1, 2, 3)]
    come_and_gone(session, *(Pair(left=a, right=n) for a, n in keys))
    session.add(Pair(left="a", right=2))
    session.commit()
    first = deleted(Pair, session, limit=3)
    rest = deleted(Pair, session, after=first[-1])

    assert [(one.left, one.right) for one in first] == [("a", 1), ("a", 3), ("b", 1)]
    assert [(one.left, one.right) for one in rest] == [("b", 2), ("b", 3)]
    restore(rest[0])
    session.commit()
    assert session.get_one(Pair, ("b", 2)).name == "last None"


def test_rows_of_subclasses_come_as_what_they_were(session: Session) -> None:
    come_and_gone(
        session,
        *(kind(name=kind.__name__) for kind in (Pet, Cat, Dog, Poodle)),
    )

    assert sorted(named(deleted(Pet, session))) == [
        *[("CatHistory", "last Cat"), ("DogHistory", "last Dog")],
        *[("PetHistory", "last Pet"), ("PoodleHistory", "last Poodle")],
    ]
    assert named(deleted(Cat, session)) == [("CatHistory", "last Cat")]
    assert named(deleted(Dog, session)) == [
        *[("DogHistory", "last Dog"), ("PoodleHistory", "last Poodle")],
    ]


def test_all_of_a_hierarchy_is_restored(session: Session) -> None:
    poodle = Poodle(id=4, name="p", tricks=2, curls=3)
    come_and_gone(session, Pet(id=1), Cat(id=2, lives=9), Dog(id=3, tricks=1), poodle)
    for one in deleted(Pet, session):
        restore(one)
    session.commit()
    found = session.query(Pet).order_by(Pet.id).all()

    assert [type(one) for one in found] == [Pet, Cat, Dog, Poodle]
    assert (found[3].tricks, found[3].curls) == (2, 3)  # type: ignore[attr-defined]
    assert deleted(Pet, session) == []


def test_pages_go_over_all_classes_of_a_hierarchy(session: Session) -> None:
    kinds = Poodle, Cat, Dog, Pet, Poodle, Dog
    pets = [kind(id=n, name=str(n)) for n, kind in enumerate(kinds, 1)]
    come_and_gone(session, *pets)
    pages, last = [], None
    while page := deleted(Pet, session, after=last, limit=2):
        pages.append(named(page))
        last = page[-1]
    names = [f"{kind.__name__}History" for kind in kinds]
    each = [(name, f"last {n}") for n, name in enumerate(names, 1)]

    assert pages == [each[:2], each[2:4], each[4:]]
    assert named(deleted(Pet, session)) == each
    assert named(deleted(Dog, session, after=1, limit=2)) == [each[2], each[4]]


def test_the_statement_is_of_one_class(session: Session) -> None:
    come_and_gone(session, Pet(id=1, name="a"), Cat(id=2, name="b"), Dog(id=3))
    found = session.scalars(select_deleted(Pet, after=1, limit=1)).all()

    assert named(list(found)) == [("CatHistory", "last b")]


def test_only_versioned_models(session: Session) -> None:
    with pytest.raises(NotVersionedError):
        deleted(Plain, session)


def test_it_is_one_statement(engine: Engine, session: Session) -> None:
    come_and_gone(session, Item(id=1))
    with statements(engine) as sent:
        deleted(Item, session)

    assert len(sent) == 1


def test_a_page_goes_by_the_index(session: Session) -> None:
    history_class(Item)
    session.execute(
        text("insert into item select n, 'a' from generate_series(1, 20000) n")
    )
    session.execute(text("delete from item where id % 4 = 0"))
    session.execute(text("analyze item"))
    session.execute(text("analyze item_history"))
    session.commit()
    statement = select_deleted(Item, after=10000, limit=20)
    compiled = statement.compile(
        session.get_bind(), compile_kwargs={"literal_binds": True}
    )
    plan = session.scalars(text(f"explain (analyze, buffers off) {compiled}")).all()

    assert [line for line in plan if "Seq Scan" in line] == []
    assert [one.id for one in session.scalars(statement)][:2] == [10004, 10008]
