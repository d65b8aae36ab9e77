"""Readers that go past the versions view say what the view says, whatever happened.

Histories are made up: clocks that run backwards, rows that come back without an insert,
histories whose beginning is gone, live rows that nobody recorded.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, Text, column, insert, table, text
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    column_property,
    declared_attr,
    mapped_column,
)

from chrononaut_pg import Versioned, changes_from
from tests.orm.modelling import created, statements


class Base(DeclarativeBase):
    pass


class Odd:
    """Awkward on purpose: names of meta columns, a key of two, quotes."""

    __chrononaut_hidden__ = ("secret",)
    number: Mapped[int] = mapped_column("the number", primary_key=True, key="nr")
    kind: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int | None]
    change_info: Mapped[Any] = mapped_column(JSONB, nullable=True)
    price: Mapped[Decimal | None]
    secret: Mapped[str | None]
    note: Mapped[str | None] = mapped_column("Note", Text)


class Item(Odd, Versioned, Base):
    """Its history is loaded by the ORM, for the expression."""

    __tablename__ = "Odd item"

    @declared_attr
    @classmethod
    def loud(cls) -> Mapped[str | None]:
        return column_property(cls.note + "!")


class Thing(Odd, Versioned, Base):
    """The readers make the objects of its history."""

    __tablename__ = "Odd thing"


class Beast(Versioned, Base):
    __tablename__ = "beast"
    __mapper_args__ = {"polymorphic_on": "kind"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column()
    note: Mapped[str | None]


class Cat(Beast):
    __mapper_args__ = {"polymorphic_identity": "cat"}  # noqa: RUF012
    lives: Mapped[int | None]


class Dog(Beast):
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012


START = datetime(2026, 1, 1, tzinfo=UTC)

SEEDS = range(60)

INFOS: list[Any] = [{"user_id": "a"}, {"user_id": "b", "extra": {"n": [1, {}]}}]


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with created(engine, Base.metadata) as found:
        found.execute(text("set session_replication_role = replica"))
        found.commit()
        yield found


def tick(random_: random.Random) -> datetime:
    return START + timedelta(seconds=random_.randrange(12))


def made_up(session: Session, seed: int, model: type[Any]) -> Any:
    """Write changes of one key past the triggers; return the object, stored or not."""
    random_ = random.Random(seed)
    odd = issubclass(model, Odd)
    said = "chrononaut_change_info" if odd else "change_info"
    for change_id in random_.sample(range(1, 99), random_.randrange(9)):
        operation = random_.choice("IUUUDT")
        values: dict[str, Any] = {
            "change_id": seed * 100 + change_id,
            "changed": tick(random_),
            "operation": operation,
            "transaction_id": random_.randrange(9),
            said: random_.choice(INFOS),
            **({"the number": seed, "kind": "a'b"} if odd else {"id": seed}),
        }
        if operation != "I":
            kind = {} if odd else {"kind": random_.choice(["cat", "dog"])}
            values |= {"Note" if odd else "note": f"n{change_id}", **kind}
        history = table(
            f"{model.__tablename__}_history",
            *(column(name, JSONB() if name == said else None) for name in values),
        )
        session.execute(insert(history).values(values))
    another = random_.choice([Cat, Dog])(id=seed, note="live")
    one = model(number=seed, kind="a'b", note="live") if odd else another
    if random_.random() < 0.6:
        session.add(one)
    session.commit()
    return one


def told(version: Any, instance: Any) -> Any:
    """Return all that a version says, and of what class it is."""
    if version is None or version is instance:
        return "live" if version is instance else None
    names = sa_inspect(type(version)).column_attrs.keys()
    values = {n: getattr(version, n) for n in names if not n.startswith("_sa_")}
    change_id = values[type(version).__chrononaut_meta_names__["change_id"]]
    return "live" if change_id is None else (type(version), values)


@pytest.mark.parametrize("model", [Item, Thing, Beast])
def test_version_at_agrees_with_the_view(
    session: Session, model: type[Any], engine: Engine
) -> None:
    differing = []
    kinds = set()
    for seed in SEEDS:
        one = made_up(session, seed, model)
        for second in range(-1, 13):
            at = START + timedelta(seconds=second)
            by_view = session.scalars(one.select_version_at(at)).one_or_none()
            expected = told(by_view, one)
            session.expunge_all()
            with statements(engine) as sent:
                found = told(one.version_at(at, session=session), one)
            kinds.add(type(found))
            if found != expected or len(sent) != 1:
                differing.append((seed, second, expected, found, sent))

    assert differing == []
    assert kinds == {type(None), str, tuple}


@pytest.mark.parametrize("model", [Item, Thing, Beast])
def test_versions_agree_with_the_view(session: Session, model: type[Any]) -> None:
    for seed in SEEDS:
        one = made_up(session, seed, model)
        expected = [told(v, one) for v in session.scalars(one.select_versions())]
        session.expunge_all()

        assert [told(v, one) for v in one.versions(session=session)] == expected


@pytest.mark.parametrize("model", [Item, Thing, Beast])
def test_changes_agree_with_the_view(session: Session, model: type[Any]) -> None:
    def all_of(changes: Any) -> list[Any]:
        return [
            {**vars(one), "before": told(one.before, 0), "after": told(one.after, 0)}
            for one in changes
        ]

    for seed in SEEDS:
        one = made_up(session, seed, model)
        expected = all_of(changes_from(session.scalars(one.select_changes())))
        session.expunge_all()

        assert all_of(one.changes(session=session)) == expected


@pytest.mark.parametrize("model", [Item, Thing, Beast])
def test_the_previous_version_agrees_with_the_view(
    session: Session, model: type[Any]
) -> None:
    for seed in SEEDS:
        one = made_up(session, seed, model)
        by_view = session.scalars(one.select_previous_version()).one_or_none()
        expected = told(by_view, one)
        session.expunge_all()

        assert told(one.previous_version(session=session), one) == expected


@pytest.mark.parametrize("model", [Item, Thing])
def test_change_infos_of_versions_are_objects_of_their_own(
    session: Session, model: type[Any]
) -> None:
    one = next(
        found
        for seed in SEEDS
        if len((found := made_up(session, seed, model)).versions(session=session)) > 2
    )
    versions = one.versions(session=session)
    name = type(versions[0]).__chrononaut_meta_names__["change_info"]
    before = [dict(getattr(v, name)) for v in versions[1:]]
    getattr(versions[0], name).clear()

    assert [getattr(v, name) for v in versions[1:]] == before
