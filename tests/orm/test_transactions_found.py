"""Which transactions touched a class, and which versions changed a property."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chrononaut_pg import (
    NotVersionedError,
    Transaction,
    UnknownColumnError,
    UntrackedAttributeError,
    Versioned,
    change_info,
    history_class,
    listen,
    select_transactions,
    select_versions_that_changed,
)
from tests.orm.modelling import created, saved, statements
from tests.servers import TemplateOf


class Base(DeclarativeBase):
    pass


@dataclass
class Nameless:
    name: str


class Being(Versioned, Base):
    __tablename__ = "creature"
    __chrononaut_tablename__ = "creature_past"
    __chrononaut_hidden__ = ("secret",)
    __chrononaut_untracked__ = ("seen",)
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str | None]
    nick: Mapped[str | None] = mapped_column("Nick name")
    secret: Mapped[str | None]
    seen: Mapped[int | None]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "being"}  # noqa: RUF012


class Cat(Being):
    lives: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "cat"}  # noqa: RUF012


class Robot(Being):
    __tablename__ = "machine"
    id: Mapped[int] = mapped_column(ForeignKey(Being.id), primary_key=True)
    volts: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "robot"}  # noqa: RUF012


class Place(Versioned, Base):
    __tablename__ = "Pl ace"
    row: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    taken: Mapped[bool | None]
    change_id: Mapped[int | None]
    transaction_id: Mapped[int | None]


class Plain(Base):
    __tablename__ = "not_versioned"
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    listen(engine)
    with created(engine, Base.metadata) as opened:
        yield opened


def touched(session: Session, *arguments: Any, **named: Any) -> list[int]:
    """Return the numbers, from 0, of the transactions found."""
    order = list(session.scalars(select(Transaction.id).order_by(Transaction.id)))
    found = session.scalars(select_transactions(*arguments, **named))
    return [order.index(one.id) for one in found]


def versions(session: Session, *arguments: Any, **named: Any) -> list[Any]:
    """Return class, key and number of the versions found."""
    found = session.scalars(select_versions_that_changed(*arguments, **named)).all()
    return [(type(one).__name__[:-7], one.id, one.version) for one in found]


def inhabit(session: Session) -> None:
    """Make one of each kind, and change each, in transactions of their own."""
    for one in (Being(id=1), Cat(id=2), Robot(id=3), Place(row="a", number=1)):
        saved(session, one)
    saved(session, session.get_one(Being, 1), name="a")
    saved(session, session.get_one(Cat, 2), name="b")
    saved(session, session.get_one(Robot, 3), name="c", volts=1)
    session.delete(session.get_one(Cat, 2))
    session.commit()


@pytest.mark.parametrize("limit", [None, 100])
def test_transactions_that_touched_a_class_or_its_subclasses(
    session: Session, limit: int | None
) -> None:
    inhabit(session)

    assert {
        model.__name__: touched(session, model, limit=limit)
        for model in (Being, Cat, Robot, Place)
    } == {
        "Being": [0, 1, 2, 4, 5, 6, 7, 8],
        "Cat": [1, 5, 8],
        "Robot": [2, 6, 7],
        "Place": [3],
    }


def test_transactions_come_in_pages(session: Session) -> None:
    inhabit(session)
    pages, last = [], None
    while page := session.scalars(
        select_transactions(Being, after_id=last, limit=3)
    ).all():
        last = page[-1].id
        pages.append([one.id for one in page])

    assert [len(page) for page in pages] == [3, 3, 2]
    assert [i for page in pages for i in page] == sorted({i for p in pages for i in p})


def test_transactions_of_a_user_a_class_and_a_time(session: Session) -> None:
    for number in range(6):
        with change_info(user_id="ann" if number % 2 else "bob"):
            saved(session, Being(id=number))
    times = list(
        session.scalars(select(Transaction.issued_at).order_by(Transaction.id))
    )
    window = {"after": times[1], "before": times[5]}

    assert touched(session, user_id="ann") == [1, 3, 5]
    assert touched(session, **window, limit=2) == [1, 2]
    assert touched(session, Being, "ann", **window) == [1, 3]
    assert touched(session, Being, "ann", limit=2) == [1, 3]
    assert touched(session, Cat, **window) == []


def test_a_walk_goes_on_until_it_has_found_enough(session: Session) -> None:
    for number in range(150):
        session.execute(
            text("insert into creature values (:n, 'being')"), {"n": number}
        )
        session.commit()
    saved(session, Cat(id=200), name="x")

    assert touched(session, Cat, limit=1) == [150]
    assert touched(session, Cat, limit=9) == [150, 151]
    assert versions(session, Cat, "name", limit=1) == [("Cat", 200, 1)]


@pytest.mark.parametrize("limit", [None, 100])
def test_versions_that_changed_a_property(session: Session, limit: int | None) -> None:
    inhabit(session)
    saved(session, session.get_one(Being, 1), nick="x", name=None)
    saved(session, session.get_one(Robot, 3), volts=0)
    found = {
        (model.__name__, name): versions(session, model, name, limit=limit)
        for model in (Being, Cat, Robot)
        for name in ("name", "nick", "volts", "lives")
        if hasattr(model, name)
    }

    assert found == {
        ("Being", "name"): [
            *(("Being", 1, 1), ("Cat", 2, 1), ("Being", 3, 1), ("Being", 1, 3)),
        ],
        ("Being", "nick"): [("Being", 1, 2)],
        ("Cat", "name"): [("Cat", 2, 1)],
        ("Cat", "nick"): [],
        ("Cat", "lives"): [],
        ("Robot", "name"): [("Robot", 3, 1)],
        ("Robot", "nick"): [],
        ("Robot", "volts"): [("Robot", 3, 2), ("Robot", 3, 3)],
    }


def test_versions_of_one_row_that_changed_a_property(session: Session) -> None:
    saved(session, Being(id=2, name="other"))
    one = saved(session, Being(id=1, name=""), nick="n", name="a", secret="s")
    saved(session, one, name=None, seen=1)
    session.delete(one)
    session.commit()
    saved(session, Being(id=1), name="back")
    page = session.scalars(
        select_versions_that_changed(Being, "name", key=1, limit=2)
    ).all()

    assert versions(session, Being, "name", key=1) == [
        ("Being", 1, number) for number in (0, 2, 4, 6)
    ]
    assert versions(session, Being, "name", key=1, following=page[-1]) == [
        ("Being", 1, 4),
        ("Being", 1, 6),
    ]
    assert versions(session, Being, "secret", key=1) == [("Being", 1, 3)]
    assert versions(session, Being, "secret") == [("Being", 1, 3)]


def test_property_may_be_given_as_the_attribute_of_the_class(session: Session) -> None:
    inhabit(session)
    saved(session, session.get_one(Robot, 3), nick="x")
    questions = [
        session.scalars(select_versions_that_changed(Robot, name)).all()
        for name in (Robot.nick, Being.nick, "nick")
    ]

    assert [[found.version for found in one] for one in questions] == [[3]] * 3


def test_attribute_of_another_model_is_refused(session: Session) -> None:
    with pytest.raises(UnknownColumnError, match="is no attribute of Being"):
        select_versions_that_changed(Being, Place.row)


def test_versions_that_changed_a_property_come_in_pages(session: Session) -> None:
    session.add_all(Robot(id=number, name="a") for number in range(5))
    session.commit()
    session.execute(
        text("update creature set name = 'b'; update machine set volts = 1")
    )
    session.commit()

    def pages(model: Any) -> list[Any]:
        found, last = [], None
        while page := session.scalars(
            select_versions_that_changed(model, "name", following=last, limit=3)
        ).all():
            found.append([(one.id, one.version) for one in page])
            last = page[-1]
        return found

    everything = [(n, v) for v in (0, 1) for n in range(5)]
    for model in (Being, Robot):
        assert [len(page) for page in pages(model)] == [3, 3, 3, 1]
        assert [v for page in pages(model) for v in page] == everything


def test_what_a_transaction_did_to_a_row_of_several_tables_is_one_change(
    session: Session,
) -> None:
    """What it took back is none, and pages are full until nothing is left."""
    for number in (1, 2, 3):
        saved(session, Robot(id=number, name="a"))
    for values in (["b", "a"], ["b", "c"]):
        for value in values:
            session.get_one(Robot, 2).name = value
            session.flush()
        session.commit()
    session.add(Robot(id=4, name="gone"))
    session.flush()
    session.delete(session.get_one(Robot, 4))
    session.commit()
    session.execute(text("update creature set name = 'd', secret = 's' where id < 3"))
    for number in (2, 1):
        session.execute(text(f"update machine set volts = 9 where id = {number}"))
    session.commit()

    def pages(name: str, limit: int) -> list[Any]:
        found: list[Any] = []
        last = None
        while page := session.scalars(
            select_versions_that_changed(Robot, name, following=last, limit=limit)
        ).all():
            last = page[-1]
            found.append([(one.id, one.version) for one in page])
            if len(page) < limit:
                break
        return found

    every = [(1, 0), (2, 0), (3, 0), (2, 2), (1, 1), (2, 3)]
    assert versions(session, Robot, "name", key=2) == [
        ("Robot", 2, number) for number in (0, 2, 3)
    ]
    assert versions(session, Robot, "name") == [("Robot", *one) for one in every]
    for limit in (1, 2, 4, 5, 7):
        assert [one for page in pages("name", limit) for one in page] == every
    assert pages("secret", 3) == [[(1, 1), (2, 3)]]


def test_a_row_that_becomes_one_of_a_class_is_found_by_it(session: Session) -> None:
    for number in (1, 2):
        saved(session, Being(id=number))
    for statement in (
        "update creature set kind = 'cat', lives = 9 where id = 1",
        "update creature set name = 'b' where id = 2",
        "update creature set kind = 'being', lives = 8 where id = 1",
        "update creature set name = 'c' where id = 1",
    ):
        session.execute(text(statement))
        session.commit()

    assert touched(session, Cat) == [2, 4]
    assert versions(session, Cat, "lives") == [("Cat", 1, 1)]
    assert versions(session, Cat, "kind") == [("Cat", 1, 1)]


def test_composite_keys_and_names_of_ours_are_no_trouble(session: Session) -> None:
    saved(session, Place(row="a", number=1, change_id=1), taken=True, transaction_id=2)
    saved(session, Place(row="b", number=1))
    one = select_versions_that_changed(Place, "taken", key=("a", 1))
    everyone = select_versions_that_changed(Place, "change_id", limit=5)

    def found(statement: Any) -> list[Any]:
        return [(v.row, v.number, v.version) for v in session.scalars(statement)]

    assert found(one) == [("a", 1, 1)]
    assert found(everyone) == [("a", 1, 0)]
    assert found(select_versions_that_changed(Place, "row")) == [
        ("a", 1, 0),
        ("b", 1, 0),
    ]


def test_each_question_is_one_statement(engine: Engine, session: Session) -> None:
    inhabit(session)
    with statements(engine) as sent:
        session.scalars(select_transactions(Robot, limit=2)).all()
        session.scalars(select_versions_that_changed(Robot, "name", limit=2)).all()
        session.scalars(select_versions_that_changed(Robot, "name", key=3)).all()

    assert len(sent) == 3


def test_what_history_cannot_tell_is_an_error() -> None:
    with pytest.raises(UntrackedAttributeError):
        select_versions_that_changed(Being, "seen")
    with pytest.raises(UnknownColumnError, match="no column attribute 'nonsense'"):
        select_versions_that_changed(Being, "nonsense")
    with pytest.raises(NotVersionedError):
        select_transactions(Plain)
    table: Any = Being.__table__
    with pytest.raises(NotVersionedError, match="creature is a table: a versioned mo"):
        select_transactions(table)
    odd: Any = Nameless(name="unhashable")
    for asking in (history_class, select_transactions):
        with pytest.raises(NotVersionedError, match="asked for, not a Nameless object"):
            asking(odd)
    with pytest.raises(ValueError, match="key of Being has 1 columns, not 2"):
        select_versions_that_changed(Being, "name", key=(1, 2))
