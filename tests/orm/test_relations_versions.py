"""Relations of versions in transactions that are open, of old rows, of hierarchies."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    mapped_column,
    relationship,
)
from sqlalchemy.pool import NullPool

from chrononaut_pg import NoSessionError, Versioned, history_class
from tests.orm.modelling import saved, statements
from tests.servers import TemplateOf


class Base(DeclarativeBase):
    pass


class DataBase(MappedAsDataclass, DeclarativeBase):
    pass


class User(Versioned, Base):
    __tablename__ = "user"
    __chrononaut_hidden__ = ("password",)
    __chrononaut_untracked__ = ("logins",)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    password: Mapped[str | None]
    logins: Mapped[int | None]
    city_id: Mapped[int | None] = mapped_column(ForeignKey("city.id"))
    city: Mapped["City | None"] = relationship(back_populates="users")
    pets: Mapped[list["Pet"]] = relationship(back_populates="user", order_by="Pet.id")


class City(Versioned, Base):
    __tablename__ = "city"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    users: Mapped[list[User]] = relationship(
        back_populates="city", passive_deletes="all", order_by="User.id"
    )


class Pet(Versioned, Base):
    __tablename__ = "pet"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str | None]
    user_id: Mapped[int | None] = mapped_column(ForeignKey(User.id))
    user: Mapped[User | None] = relationship(back_populates="pets")
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
    bows: Mapped[list["Bow"]] = relationship(back_populates="poodle")
    __mapper_args__ = {"polymorphic_identity": "poodle"}  # noqa: RUF012


class Bow(Versioned, Base):
    __tablename__ = "bow"
    id: Mapped[int] = mapped_column(primary_key=True)
    colour: Mapped[str | None]
    poodle_id: Mapped[int | None] = mapped_column(ForeignKey(Poodle.id))
    poodle: Mapped[Poodle | None] = relationship(back_populates="bows")


class Plain(Versioned, Base):
    __tablename__ = "plain_thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    city_id: Mapped[int | None] = mapped_column(ForeignKey(City.id))
    city: Mapped[City | None] = relationship()


class Special(Plain):
    __tablename__ = "special_thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    city_id: Mapped[int | None] = mapped_column(ForeignKey(City.id))
    city: Mapped[City | None] = relationship()
    __mapper_args__ = {"concrete": True}  # noqa: RUF012


NAMES = ("version", "previous", "next", "index", "transaction", "changed", "revert")


class Clash(Versioned, Base):
    __tablename__ = "clash"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    other_id: Mapped[int | None] = mapped_column(ForeignKey("clash.id"))
    version: Mapped["Clash | None"] = relationship(remote_side=[id], viewonly=True)
    previous: Mapped["Clash | None"] = relationship(remote_side=[id], viewonly=True)
    next: Mapped["Clash | None"] = relationship(remote_side=[id], viewonly=True)
    index: Mapped["Clash | None"] = relationship(remote_side=[id], viewonly=True)
    transaction: Mapped["Clash | None"] = relationship(remote_side=[id], viewonly=True)
    changed: Mapped["Clash | None"] = relationship(remote_side=[id], viewonly=True)
    revert: Mapped["Clash | None"] = relationship(remote_side=[id], viewonly=True)


class Made(Versioned, DataBase):
    __tablename__ = "made"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    parts: Mapped[list["Part"]] = relationship(default_factory=list)


class Part(Versioned, DataBase):
    __tablename__ = "part"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    made_id: Mapped[int | None] = mapped_column(ForeignKey("made.id"), default=None)


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata, DataBase.metadata)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as found:
        yield found


def test_each_of_two_updates_in_one_transaction_has_its_own_keys(
    session: Session,
) -> None:
    session.add_all([City(id=n, name=str(n)) for n in (1, 2, 3)])
    user = saved(session, User(id=1, city_id=1))
    for city in (2, 3):
        user.city_id = city
        session.flush()
    session.commit()
    user.name = "x"
    session.commit()

    assert [one.city.name for one in user.versions()] == ["1", "2", "3"]


def test_an_open_transaction_is_read_as_far_as_it_got(session: Session) -> None:
    user = saved(session, User(id=1, pets=[Pet(id=1, name="a")]))
    user.name, user.pets[0].name = "x", "b"
    session.flush()
    user.name = "y"
    session.flush()
    first, second = user.versions()
    assert (first.pets[0].name, second.pets[0].name) == ("a", "b")
    user.pets[0].name = "c"
    session.flush()
    assert (first.pets[0].name, second.pets[0].name) == ("a", "c")
    session.rollback()

    assert user.versions() == []


def test_a_rolled_back_transaction_leaves_nothing(session: Session) -> None:
    user = saved(session, User(id=1, pets=[Pet(id=1, name="a")]), name="x")
    [first] = user.versions()
    user.pets[0].name = "never"
    session.flush()
    assert first.pets[0].name == "a"
    session.rollback()

    assert first.pets[0].name == "a"


def test_rows_older_than_their_history(engine: Engine, session: Session) -> None:
    for table in ("pet", "user"):
        session.execute(
            text(f"select chrononaut.drop_versioning('{table}', drop_history => true)")
        )
    session.add(User(id=1, pets=[Pet(id=1, name="a"), Pet(id=2, name="b")]))
    session.commit()
    for table in ("user", "pet"):
        session.execute(text(f"select chrononaut.create_versioning('{table}')"))
    session.commit()
    user = session.get_one(User, 1)
    user.pets[0].name = "changed"
    session.commit()
    user.pets = user.pets[:1]
    user.name = "x"
    session.commit()
    [first] = user.versions()

    assert first.created_transaction_id is None
    assert [one.name for one in first.pets] == ["changed", "b"]


def test_a_change_of_the_key(session: Session) -> None:
    user = saved(session, User(id=1, name="a"))
    city = saved(session, City(id=1, users=[user]))
    city.users = []
    user.id = 2
    session.commit()
    city.name = "x"
    session.commit()
    [first, second] = city.versions()[-1:] + city.versions()[:1]
    cls = history_class(User)
    old = session.scalars(select(cls).where(cls.id == 1).order_by(cls.version)).all()

    assert first == second
    assert [one.id for one in first.users] == [1]
    assert [one.city and one.city.id for one in old] == [None, 1]


def test_hidden_and_untracked_columns_of_the_past_are_none(session: Session) -> None:
    user = User(id=1, name="a", password="p", logins=1)
    pet = saved(session, Pet(id=1, user=user), name="x")
    [first] = pet.versions()
    found = first.user

    assert (found.name, found.password, found.logins) == ("a", None, None)


def test_relations_of_a_version_with_hidden_columns(session: Session) -> None:
    user = User(id=1, password="p", logins=1, pets=[Pet(id=1)], city=City(id=1))
    saved(session, user, name="x")
    [first] = user.versions()

    assert ([one.id for one in first.pets], first.city.id) == ([1], 1)


def test_related_objects_are_of_their_own_class(session: Session) -> None:
    cat, dog = Cat(id=1, lives=9), Dog(id=2, tricks=1)
    poodle = Poodle(id=3, tricks=2, curls=3)
    user = saved(session, User(id=1, pets=[cat, dog, poodle]))
    cat.lives, dog.tricks, poodle.tricks, poodle.curls = 8, 7, 6, 5
    user.name = "x"
    session.commit()
    session.delete(poodle)
    dog.name = "y"
    user.name = "z"
    session.commit()
    user.name = "end"
    session.commit()
    found = [
        [
            tuple(
                getattr(pet, name, None)
                for name in ("__class__", "lives", "tricks", "curls")
            )
            for pet in version.pets
        ]
        for version in user.versions()
    ]

    assert found == [
        [(Cat, 9, None, None), (Dog, None, 1, None), (Poodle, None, 2, 3)],
        [(Cat, 8, None, None), (Dog, None, 7, None), (Poodle, None, 6, 5)],
        [(Cat, 8, None, None), (Dog, None, 7, None)],
    ]


def test_relations_of_versions_of_three_tables(session: Session) -> None:
    poodle = Poodle(id=1, bows=[Bow(id=1, colour="red")], user=User(id=1, name="a"))
    saved(session, poodle)
    assert poodle.user is not None
    poodle.bows[0].colour = "blue"
    poodle.user.name = "b"
    poodle.name = "in the parent only"
    session.commit()
    poodle.bows = []
    poodle.curls = 5
    session.commit()
    session.delete(poodle)
    session.commit()
    versions = poodle.versions(session=session)
    found = [([x.colour for x in one.bows], one.user.name) for one in versions]

    assert found == [(["red"], "a"), (["blue"], "b"), ([], "b")]
    assert versions[1].bows[0].poodle.name == "in the parent only"


def test_concrete_inheritance(session: Session) -> None:
    city = City(id=1, name="a")
    one, other = Plain(id=1, city=city), Special(id=1, city=city)
    session.add_all([one, other])
    session.commit()
    city.name = "b"
    one.name = other.name = "x"
    session.commit()

    assert [x.versions()[0].city.name for x in (one, other)] == ["a", "a"]


@pytest.mark.parametrize("name", NAMES)
def test_relations_may_have_any_name(session: Session, name: str) -> None:
    other = saved(session, Clash(id=1, name="a"))
    one = saved(session, Clash(id=2, name="x", other_id=1))
    other.name = "b"
    session.commit()
    one.name = "y"
    session.commit()
    [first] = one.versions()
    ours = getattr(first, f"chrononaut_{name}")

    assert getattr(first, name).name == "a"
    assert not isinstance(ours, Clash)


def test_dataclasses(session: Session) -> None:
    made = Made(id=1, name="a", parts=[Part(id=1, name="p")])
    saved(session, made)
    made.parts[0].name, made.name = "q", "b"
    session.commit()
    [first] = made.versions()

    assert [one.name for one in first.parts] == ["p"]


def test_the_live_version_has_the_present(session: Session) -> None:
    user = saved(session, User(id=1, name="a", pets=[Pet(id=1, name="a")]), name="b")
    user.pets[0].name = "b"
    session.commit()
    cls = history_class(User)
    [live] = session.scalars(select(cls).where(cls.change_id.is_(None)))

    assert [one.name for one in live.pets] == ["a"]
    assert [one.name for one in user.pets] == ["b"]


def test_without_a_session_it_says_so(session: Session) -> None:
    user = saved(session, User(id=1), name="a")
    [first] = user.versions()
    session.expunge(first)
    with pytest.raises(NoSessionError, match="belongs to no session"):
        assert first.pets


def test_a_commit_between_changes_nothing(session: Session) -> None:
    user = saved(session, User(id=1, pets=[Pet(id=1, user=None)]), name="a")
    user.pets[0].name = "later"
    [first] = user.versions()
    pets = first.pets
    session.commit()

    assert [one.name for one in pets] == [None]
    assert [one.user.id for one in pets] == [1]
    assert [one.id for one in first.pets] == [1]


def test_two_reads_of_one_version_ask_once(engine: Engine, session: Session) -> None:
    user = saved(session, User(id=1, pets=[Pet(id=1)]), name="a")
    [first] = user.versions()
    first.pets  # noqa: B018
    with statements(engine) as sent:
        first.pets  # noqa: B018

    assert sent == []


def test_with_asyncio(engine: Engine, session: Session) -> None:
    user = User(id=1, city=City(id=1, name="a"), pets=[Pet(id=1, name="a")])
    saved(session, user)
    assert user.city is not None
    user.city.name = user.pets[0].name = "b"
    user.name = "x"
    session.commit()
    session.close()

    async def read() -> Any:
        place = create_async_engine(engine.url, poolclass=NullPool)
        async with AsyncSession(place) as live:
            one = await live.get_one(User, 1)
            [first] = await live.scalars(one.select_versions())
            pets = await live.run_sync(lambda _: [pet.name for pet in first.pets])
            city = (await live.run_sync(lambda _: first.city)).name
            await live.run_sync(lambda _: first.revert(relations=["pets"]))
            await live.commit()
            names = (await live.scalars(select(Pet.name))).all()
        await place.dispose()
        return pets, city, names

    assert asyncio.run(read()) == (["a"], "a", ["a"])
