"""`version.relation` gives what was related when a version began, for every kind."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    ForeignKeyConstraint,
    Table,
    and_,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    DynamicMapped,
    Mapped,
    Session,
    WriteOnlyMapped,
    attribute_keyed_dict,
    foreign,
    mapped_column,
    relationship,
)

from chrononaut_pg import Versioned, versioned_table
from tests.orm.modelling import created
from tests.servers import TemplateOf


class Base(DeclarativeBase):
    pass


class Owner(Versioned, Base):
    __tablename__ = "owner"
    id: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(default=0)
    things: Mapped[list["Thing"]] = relationship(
        back_populates="owner", order_by="Thing.name.desc()"
    )
    single: Mapped["Single | None"] = relationship(back_populates="owner")
    small: Mapped[list["Thing"]] = relationship(
        viewonly=True,
        primaryjoin=lambda: and_(
            Owner.id == foreign(Thing.owner_id), Thing.name.like("s%")
        ),
    )
    raising: Mapped[list["Thing"]] = relationship(
        viewonly=True, lazy="raise", order_by="Thing.id"
    )
    sql_raising: Mapped[list["Thing"]] = relationship(
        viewonly=True, lazy="raise_on_sql", order_by="Thing.id"
    )
    noload: Mapped[list["Thing"]] = relationship(
        viewonly=True, lazy="raise", order_by="Thing.id"
    )
    joined: Mapped[list["Thing"]] = relationship(
        viewonly=True, lazy="joined", order_by="Thing.id"
    )
    selectin: Mapped[list["Thing"]] = relationship(
        viewonly=True, lazy="selectin", order_by="Thing.id"
    )
    subquery: Mapped[list["Thing"]] = relationship(
        viewonly=True, lazy="subquery", order_by="Thing.id"
    )
    immediate: Mapped[list["Thing"]] = relationship(
        viewonly=True, lazy="immediate", order_by="Thing.id"
    )
    dynamic: DynamicMapped["Thing"] = relationship(viewonly=True, order_by="Thing.id")
    write_only: WriteOnlyMapped["Thing"] = relationship(
        viewonly=True, order_by="Thing.id"
    )
    keyed: Mapped[dict[str, "Thing"]] = relationship(
        viewonly=True, collection_class=attribute_keyed_dict("name")
    )
    as_set: Mapped[set["Thing"]] = relationship(viewonly=True)
    live: Mapped[list["Live"]] = relationship(back_populates="owner")
    tags: Mapped[list["Tag"]] = relationship(secondary="owner_tag", order_by="Tag.id")
    links: Mapped[list["Link"]] = relationship(order_by="Link.tag_id")


class Thing(Versioned, Base):
    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey(Owner.id))
    owner: Mapped[Owner | None] = relationship(back_populates="things")


class Single(Versioned, Base):
    __tablename__ = "single"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey(Owner.id))
    owner: Mapped[Owner | None] = relationship(back_populates="single")


class Live(Base):
    __tablename__ = "live"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey(Owner.id))
    owner: Mapped[Owner | None] = relationship(back_populates="live")


versioned_table(
    Table(
        "owner_tag",
        Base.metadata,
        Column("owner_id", ForeignKey("owner.id"), primary_key=True),
        Column("tag_id", ForeignKey("tag.id"), primary_key=True),
    )
)


class Tag(Versioned, Base):
    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class Link(Versioned, Base):
    __tablename__ = "link"
    owner_id: Mapped[int] = mapped_column(ForeignKey(Owner.id), primary_key=True)
    tag_id: Mapped[int] = mapped_column(ForeignKey(Tag.id), primary_key=True)
    note: Mapped[str | None]
    tag: Mapped[Tag] = relationship()


class Node(Versioned, Base):
    __tablename__ = "node"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("node.id"))
    children: Mapped[list["Node"]] = relationship(
        back_populates="parent", order_by="Node.id"
    )
    parent: Mapped["Node | None"] = relationship(
        back_populates="children", remote_side=[id]
    )


class Hall(Versioned, Base):
    __tablename__ = "Ha ll"
    __table_args__ = {"schema": "Th eatre"}  # noqa: RUF012
    city: Mapped[str] = mapped_column("ci ty", primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    seats: Mapped[list["Seat"]] = relationship(
        back_populates="hall", order_by="Seat.id"
    )


class Seat(Versioned, Base):
    __tablename__ = "seat"
    id: Mapped[int] = mapped_column(primary_key=True)
    hall_city: Mapped[str | None]
    hall_number: Mapped[int | None]
    label: Mapped[str | None]
    hall: Mapped[Hall | None] = relationship(back_populates="seats")
    __table_args__ = (
        ForeignKeyConstraint(
            ["hall_city", "hall_number"],
            ["Th eatre.Ha ll.ci ty", "Th eatre.Ha ll.number"],
        ),
    )


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of('create schema "Th eatre"', Base.metadata)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with created(engine, Base.metadata) as found:
        yield found


def step(session: Session, owner: Owner, *others: Any) -> None:
    """Commit what is pending, as the beginning of a new version of *owner*."""
    session.add_all(others)
    owner.step += 1
    session.commit()


@pytest.fixture
def owner(session: Session) -> Owner:
    """An owner with four versions.

    It had none, a small thing, two renamed ones, and one that went to another.
    """
    one, other = Owner(id=1), Owner(id=2)
    session.add_all([one, other])
    session.commit()
    one.things = [Thing(id=1, name="s1")]
    step(session, one)
    one.things[0].name = "renamed"
    step(session, one, Thing(id=2, name="s2", owner_id=1))
    session.delete(session.get_one(Thing, 1))
    session.get_one(Thing, 2).owner = other
    step(session, one)
    session.expire_all()
    step(session, one)
    return one


HAD: list[list[tuple[int, str]]] = [
    [],
    [(1, "s1")],
    [(1, "renamed"), (2, "s2")],
    [],
]


def named(found: Any) -> list[tuple[int, str]]:
    values = found.values() if isinstance(found, dict) else found
    return sorted((one.id, one.name) for one in values)


LISTS = (
    *("raising", "sql_raising", "noload", "joined", "selectin", "subquery"),
    *("immediate", "dynamic", "write_only", "keyed", "as_set", "things"),
)


def test_one_to_many_however_it_is_loaded(owner: Owner) -> None:
    versions = owner.versions()
    found = {
        name: [named(getattr(version, name)) for version in versions] for name in LISTS
    }

    assert found == dict.fromkeys(LISTS, HAD)


def test_collections_are_of_their_class(owner: Owner) -> None:
    version = owner.versions()[2]

    assert [one.name for one in version.things] == ["s2", "renamed"]
    assert {name: one.id for name, one in version.keyed.items()} == {
        "s2": 2,
        "renamed": 1,
    }
    assert type(version.as_set).__name__ == "InstrumentedSet"


def test_a_condition_of_its_own(owner: Owner) -> None:
    found = [named(version.small) for version in owner.versions()]

    assert found == [[], [(1, "s1")], [(2, "s2")], []]


def test_one_to_one(session: Session) -> None:
    owner = Owner(id=1, single=Single(id=1, name="a"))
    session.add(owner)
    session.commit()
    assert owner.single is not None
    owner.single.name = "b"
    step(session, owner)
    owner.single = None
    step(session, owner)
    owner.single = Single(id=2, name="c")
    step(session, owner)
    step(session, owner)
    found = [one.single and one.single.name for one in owner.versions()]

    assert found == ["a", "b", None, "c"]


def test_many_to_one_is_the_row_as_it_was(session: Session) -> None:
    owner = Owner(id=1, step=10)
    thing = Thing(id=1, name="a", owner=owner)
    session.add(thing)
    session.commit()
    owner.step = 11
    session.commit()
    thing.name = "b"
    session.commit()
    thing.owner = None
    session.commit()
    session.delete(owner)
    thing.name = "c"
    session.commit()
    thing.name = "d"
    session.commit()
    found = [one.owner and one.owner.step for one in thing.versions()]

    assert found == [10, 11, None, None]


def test_unversioned_classes_give_what_is_live(session: Session) -> None:
    owner = Owner(id=1, live=[Live(id=1, name="a")])
    session.add(owner)
    session.commit()
    owner.live[0].name = "b"
    step(session, owner)
    [first] = owner.versions()

    assert named(first.live) == [(1, "b")]
    assert first.live[0].owner.step == 0


def test_many_to_many(session: Session) -> None:
    a, b = Tag(id=1, name="a"), Tag(id=2, name="b")
    owner = Owner(id=1, tags=[a])
    session.add_all([owner, b])
    session.commit()
    owner.tags = [a, b]
    step(session, owner)
    a.name = "changed"
    session.commit()
    owner.tags = [a]
    session.delete(b)
    step(session, owner)
    owner.tags = []
    step(session, owner)
    found = [named(one.tags) for one in owner.versions()]

    assert found == [[(1, "a")], [(1, "a"), (2, "b")], [(1, "changed")]]


def test_association_objects(session: Session) -> None:
    owner = Owner(id=1, links=[Link(tag=Tag(id=1, name="a"), note="n")])
    session.add(owner)
    session.commit()
    owner.links[0].note = "m"
    owner.links[0].tag.name = "b"
    step(session, owner)
    session.delete(owner.links[0])
    step(session, owner)
    step(session, owner)
    found = [[(x.note, x.tag.name) for x in one.links] for one in owner.versions()]

    assert found == [[("n", "a")], [("m", "b")], []]


def test_parents_and_children_of_one_table_to_any_depth(session: Session) -> None:
    root = Node(id=1, name="a", children=[Node(id=2, children=[Node(id=3, name="x")])])
    session.add(root)
    session.commit()
    leaf = session.get_one(Node, 3)
    root.name, leaf.name = "b", "y"
    session.commit()
    leaf.parent = root
    root.name = "c"
    session.commit()
    leaf.name = "z"
    session.commit()
    first, second = root.versions()
    of_leaf = leaf.versions()

    assert first.children[0].children[0].name == "x"
    assert first.children[0].children[0].parent.parent.name == "a"
    assert [one.name for one in second.children[0].children] == ["y"]
    assert [one.id for one in second.children] == [2]
    assert [one.parent.id for one in of_leaf] == [2, 2, 1]
    assert of_leaf[1].parent.parent.name == "b"


def test_composite_keys_in_a_schema_with_a_strange_name(session: Session) -> None:
    hall = Hall(city="a b", number=1, name="x", seats=[Seat(id=1, label="l")])
    session.add(hall)
    session.commit()
    hall.seats[0].label = "m"
    hall.name = "y"
    session.commit()
    hall.seats = []
    hall.name = "z"
    session.commit()
    seat = session.get_one(Seat, 1)
    first, second = hall.versions()

    assert [[one.label for one in v.seats] for v in (first, second)] == [["l"], ["m"]]
    assert [v.hall.name for v in seat.versions()] == ["x", "y"]


def test_a_row_that_is_deleted_now(session: Session, owner: Owner) -> None:
    session.delete(owner)
    session.commit()
    found = [named(version.things) for version in owner.versions(session=session)]

    assert found == [*HAD, []]


def test_one_statement_asks_for_a_relation_twice_only_once(
    session: Session, owner: Owner
) -> None:
    version = owner.versions()[2]

    assert version.things is version.things


def test_what_is_related_cannot_be_changed(owner: Owner) -> None:
    from chrononaut_pg import ReadOnlyPastError

    version = owner.versions()[2]
    version.things[0].name = "forged"
    with pytest.raises(ReadOnlyPastError):
        version.things[0]._sa_instance_state.session.flush()


def test_integer_columns_of_the_owner_are_its_own(owner: Owner) -> None:
    assert [one.owner.step for one in owner.versions()[2].things] == [2, 2]
