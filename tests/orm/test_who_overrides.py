"""The override points of the mixin: models that say for themselves who and why."""

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, Integer, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import chrononaut_pg
from chrononaut_pg import Versioned, append_change_info, change_info, rationale
from tests.servers import Db


@pytest.fixture
def own(engine: Engine) -> SimpleNamespace:
    """Models that override, beside one that does not."""

    class Base(DeclarativeBase):
        id: Mapped[int] = mapped_column(primary_key=True)

    class ByClass(Versioned, Base):
        __tablename__ = "by_class"

        @classmethod
        def _fetch_current_user_id(cls) -> str:
            return cls.__name__

    class ByStatic(Versioned, Base):
        __tablename__ = "by_static"

        @staticmethod
        def _fetch_remote_addr() -> str:
            return "10.0.0.9"

    class ByObject(Versioned, Base):
        __tablename__ = "by_object"
        name: Mapped[str]

        def _get_custom_change_info(self) -> dict[str, Any]:
            return {"name": self.name}

    class Whole(Versioned, Base):
        __tablename__ = "whole"

        def _capture_change_info(self) -> dict[str, Any]:
            return {**super()._capture_change_info(), "user_id": "system"}

    class Usual(Versioned, Base):
        __tablename__ = "usual"

    Base.metadata.create_all(engine)
    chrononaut_pg.listen(engine)
    found = (ByClass, ByStatic, ByObject, Whole, Usual)
    return SimpleNamespace(**{one.__name__: one for one in found})


def told(db: Db, table: str) -> list[Any]:
    """Return the change info of all changes of a table."""
    rows = db.execute(
        f"select change_info from {table}_history order by change_id"
    ).fetchall()
    db.commit()
    return [info for (info,) in rows]


def test_each_model_speaks_for_its_own_table_only(
    engine: Engine, own: SimpleNamespace, db: Db
) -> None:
    with Session(engine) as session, change_info(user_id="ann"):
        session.add_all([own.ByClass(id=1), own.ByStatic(id=1)])
        session.add_all([own.Whole(id=1), own.Usual(id=1)])
        session.commit()

    ann = {"user_id": "ann", "remote_addr": None}
    assert [told(db, name) for name in ("by_class", "by_static", "whole", "usual")] == [
        [{**ann, "user_id": "ByClass"}],
        [{**ann, "remote_addr": "10.0.0.9"}],
        [{**ann, "user_id": "system"}],
        [ann],
    ]


@pytest.mark.parametrize("textually", [False, True])
def test_statements_without_objects_ask_the_model_too(
    engine: Engine, own: SimpleNamespace, db: Db, textually: bool
) -> None:
    statement = "insert into by_class values (1)"
    with Session(engine) as session:
        session.execute(
            text(statement) if textually else insert(own.ByClass).values(id=1)
        )
        session.commit()

    assert [info["user_id"] for info in told(db, "by_class")] == ["ByClass"]


def test_method_that_looks_at_its_object_speaks_for_each_object(
    engine: Engine, own: SimpleNamespace, db: Db
) -> None:
    with Session(engine) as session, change_info(user_id="ann"), rationale("why"):
        objects = [own.ByObject(id=number, name=f"n{number}") for number in range(3)]
        session.add_all([*objects, own.Usual(id=1)])
        session.flush()
        with append_change_info(objects[1], more=1):
            objects[1].name = "new"
        session.commit()

    extras = [info["extra"] for info in told(db, "by_object")]
    assert (extras, told(db, "usual")[0]["extra"]) == (
        [
            {"name": "n0", "rationale": "why"},
            {"name": "n1", "rationale": "why"},
            {"name": "n2", "rationale": "why"},
            {"name": "new", "more": 1, "rationale": "why"},
        ],
        {"rationale": "why"},
    )


@pytest.fixture
def named(engine: Engine) -> type[Any]:
    """A model whose objects say different things, one of them its key."""

    class Base(DeclarativeBase):
        id: Mapped[int] = mapped_column(primary_key=True)

    class Named(Versioned, Base):
        __tablename__ = "named"
        name: Mapped[str]

        def _fetch_current_user_id(self) -> str:
            return self.name

        def _get_custom_change_info(self) -> dict[str, Any]:
            return {"key": self.id, self.name: 1, "all": 1}

    Base.metadata.create_all(engine)
    chrononaut_pg.listen(engine)
    return Named


def test_what_one_object_says_is_not_said_of_others_whatever_their_addresses(
    engine: Engine, named: type[Any], db: Db
) -> None:
    count = 8
    with Session(engine) as session:
        session.add_all([named(name=f"new{n}") for n in range(count)])
        session.commit()
        objects = session.scalars(select(named).order_by(named.id)).all()
        for one in reversed(objects):
            one.name = f"n{one.id}"
        session.commit()

    assert [(info["user_id"], info["extra"]) for info in told(db, "named")] == [
        *(("new0", {"key": n + 1, f"new{n}": 1, "all": 1}) for n in range(count)),
        *(("n1", {"key": n + 1, f"n{n + 1}": 1, "all": 1}) for n in range(count)),
    ]


def test_models_that_share_a_method_are_each_asked_for_what_is_written(
    engine: Engine, db: Db
) -> None:
    class Base(DeclarativeBase):
        id: Mapped[int] = mapped_column(primary_key=True)

    class Signed(Versioned):
        @classmethod
        def _fetch_current_user_id(cls) -> str:
            return cls.__name__

        def _get_custom_change_info(self: Any) -> dict[str, Any]:
            return {"key": self.id}

    class Letter(Signed, Base):
        __tablename__ = "signed_letter"

    class Parcel(Signed, Base):
        __tablename__ = "signed_parcel"

    Base.metadata.create_all(engine)
    chrononaut_pg.listen(engine)
    with Session(engine) as session:
        session.add_all([Letter(id=1), Parcel(id=2), Parcel(id=3)])
        session.commit()

    assert [
        (info["user_id"], info["extra"])
        for table in ("signed_letter", "signed_parcel")
        for info in told(db, table)
    ] == [("Letter", {"key": 1}), ("Parcel", {"key": 2}), ("Parcel", {"key": 3})]


def test_model_does_not_speak_for_another_whose_table_has_the_same_name(
    engine: Engine, db: Db
) -> None:
    """As of another database of the application."""

    def model(**methods: Any) -> type[Any]:
        base = type("Base", (DeclarativeBase,), {})
        column = {"id": mapped_column(Integer, primary_key=True)}
        body = {"__tablename__": "twin", **column, **methods}
        return type("Twin", (Versioned, base), body)

    mute = model()
    model(_fetch_current_user_id=lambda self: "twin")
    mute.metadata.create_all(engine)
    chrononaut_pg.listen(engine)
    with Session(engine) as session, change_info(user_id="ann"):
        session.add(mute(id=1))
        session.flush()
        session.execute(insert(mute).values(id=2))
        session.commit()

    assert [info["user_id"] for info in told(db, "twin")] == ["ann", "ann"]
