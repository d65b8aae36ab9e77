"""Transactions as objects: who, when, what they changed, whatever the table."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Column, Engine, ForeignKey, Integer, Table, Text, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

from chrononaut_pg import (
    NoSessionError,
    ReadOnlyHistoryError,
    Transaction,
    Versioned,
    VersionedSQLAlchemy,
    change_info,
    history_class,
    listen,
    rationale,
    row_changes_from,
    select_changes_by,
    select_changes_of,
    select_transactions,
    versioned_table,
)
from tests.orm.modelling import created, statements
from tests.servers import Cluster, Connect, Db, MakeRole


class Base(DeclarativeBase):
    pass


class Author(Versioned, Base):
    __tablename__ = "author"
    __chrononaut_hidden__ = ("secret",)
    __chrononaut_untracked__ = ("seen",)
    id: Mapped[int] = mapped_column(primary_key=True)
    full_name: Mapped[str | None] = mapped_column("na me")
    secret: Mapped[str | None]
    seen: Mapped[int | None]


class Being(Versioned, Base):
    __tablename__ = "being"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str | None]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "being"}  # noqa: RUF012


class Cat(Being):
    lives: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "cat"}  # noqa: RUF012


class Robot(Being):
    __tablename__ = "robot"
    id: Mapped[int] = mapped_column(ForeignKey(Being.id), primary_key=True)
    volts: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "robot"}  # noqa: RUF012


class Drone(Robot):
    __tablename__ = "drone"
    id: Mapped[int] = mapped_column(ForeignKey(Robot.id), primary_key=True)
    height: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "drone"}  # noqa: RUF012


class Seat(Versioned, Base):
    __tablename__ = "se at"
    __table_args__ = {"schema": "Hall"}  # noqa: RUF012
    line: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    taken: Mapped[bool | None]


LIKES = Table(
    "likes",
    Base.metadata,
    Column("who", Integer, primary_key=True),
    Column("what", Text),
)
versioned_table(LIKES)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with engine.begin() as connection:
        connection.execute(text('create schema "Hall"'))
    listen(engine)
    with created(engine, Base.metadata) as opened:
        yield opened


def transactions(session: Session) -> list[Transaction]:
    return list(session.scalars(select(Transaction).order_by(Transaction.id)))


def short(changes: Any) -> list[Any]:
    return [(c.model, c.operation, dict(c.key), c.values) for c in changes]


def test_a_transaction_tells_who_when_and_why(session: Session) -> None:
    with change_info(user_id="ann", remote_addr="10.0.0.1"), rationale("why not"):
        session.add(Author(id=1))
        session.commit()
    [found] = transactions(session)
    now, user = session.execute(text("select now(), current_user")).one()

    assert (found.user_id, found.remote_addr) == ("ann", "10.0.0.1")
    assert found.change_info["extra"] == {"rationale": "why not"}
    assert (found.db_user, found.suppressed) == (user, None)
    assert found.began_at <= found.issued_at <= now
    assert found.issued_at.tzinfo is not None
    assert isinstance(found.application_name, str)


def test_transactions_are_found_by_user_address_and_time(session: Session) -> None:
    for number, user in enumerate(("ann", "bob", "ann")):
        with change_info(user_id=user, remote_addr=f"10.0.0.{number}"):
            session.add(Author(id=number))
            session.commit()
    first, second, third = transactions(session)

    def ids(*where: Any) -> list[int]:
        return list(session.scalars(select(Transaction.id).where(*where)))

    assert ids(Transaction.user_id == "ann") == [first.id, third.id]
    assert ids(Transaction.remote_addr == "10.0.0.1") == [second.id]
    assert ids(Transaction.issued_at > second.issued_at) == [third.id]


def test_changes_come_in_order_across_tables(session: Session) -> None:
    session.add_all([Author(id=1, full_name="a", secret="s"), Seat(line="x", number=1)])
    session.commit()
    author = session.get_one(Author, 1)
    author.full_name, author.secret = "", "t"
    session.flush()
    session.execute(LIKES.insert().values(who=1, what="tea"))
    session.delete(session.get_one(Seat, ("x", 1)))
    session.flush()
    author.full_name = "b"
    session.commit()
    found = list(transactions(session)[1].changes())

    assert short(found) == [
        (Author, "U", {"id": 1}, {"full_name": ("a", "")}),
        (None, "I", {"who": 1}, {"who": (None, 1), "what": (None, "tea")}),
        (
            Seat,
            "D",
            {"line": "x", "number": 1},
            {"line": ("x", None), "number": (1, None)},
        ),
        (Author, "U", {"id": 1}, {"full_name": ("", "b")}),
    ]
    assert found[0].fields == ["full_name", "secret"]
    assert (found[0].before, found[0].after) == (
        {"id": 1, "full_name": "a"},
        {"id": 1, "full_name": ""},
    )
    assert found[0].change_info["hidden_cols_changed"] == ["secret"]
    assert [one.relation for one in found[1:3]] == ["public.likes", '"Hall"."se at"']
    assert [one.change_id for one in found] == sorted(one.change_id for one in found)
    assert {one.transaction_id for one in found} == {transactions(session)[1].id}


def test_changes_are_one_statement_and_come_in_pages(
    engine: Engine, session: Session
) -> None:
    session.add_all(Author(id=n) for n in range(5))
    session.flush()
    session.add_all(Seat(line="x", number=n) for n in range(5))
    session.commit()
    [made] = transactions(session)
    pages: list[list[Any]] = [[]]
    with statements(engine) as sent:
        last = None
        while page := list(made.changes(after_id=last, limit=4)):
            pages.append([one.key for one in page])
            last = page[-1].change_id

    assert [len(page) for page in pages] == [0, 4, 4, 2]
    assert pages[3] == [{"line": "x", "number": 3}, {"line": "x", "number": 4}]
    assert len(sent) == 4


def test_reading_sends_no_change_info(engine: Engine, session: Session) -> None:
    session.add(Author(id=1))
    session.commit()
    [made] = transactions(session)
    with change_info(user_id="ann"), statements(engine) as sent:
        session.rollback()
        assert len(list(made.changes())) == 1
        assert list(made.changed_entities) == [Author]

    assert [one for one in sent if "set_config" in one] == []
    assert len(transactions(session)) == 1


def test_rows_have_the_class_that_they_belong_to(session: Session) -> None:
    session.add_all([Being(id=1), Cat(id=2, lives=9), Robot(id=3), Drone(id=4)])
    session.commit()
    [made] = transactions(session)

    assert sorted(
        (c.relation, c.model.__name__) for c in made.changes() if c.model
    ) == [
        ("public.being", "Being"),
        ("public.being", "Cat"),
        ("public.being", "Drone"),
        ("public.being", "Robot"),
        ("public.drone", "Drone"),
        ("public.robot", "Robot"),
        ("public.robot", "Robot"),
    ]
    assert {c.key["id"]: dict(c.values) for c in made.changes()}[2] == {
        "id": (None, 2),
        "kind": (None, "cat"),
        "lives": (None, 9),
    }


def test_changed_entities_are_the_versions_that_it_left(session: Session) -> None:
    session.add_all([Author(id=1), Author(id=2), Seat(line="x", number=1)])
    session.commit()
    session.get_one(Author, 1).full_name = "a"
    session.flush()
    session.get_one(Author, 1).full_name = "b"
    session.delete(session.get_one(Seat, ("x", 1)))
    session.add(Author(id=3))
    session.commit()
    session.get_one(Author, 1).full_name = "later"
    session.commit()
    found = transactions(session)[1].changed_entities

    assert {
        model: [(one.version, one.operation) for one in versions]
        for model, versions in found.items()
    } == {Author: [(2, "U"), (0, None)], Seat: [(0, "D")]}
    assert [one.full_name for one in found[Author]] == ["b", None]


def test_changed_entities_come_in_the_order_in_which_they_were_changed(
    session: Session,
) -> None:
    session.add_all([Author(id=number, full_name="a") for number in range(1, 8)])
    session.commit()
    for number in (5, 2, 7, 3, 1, 5):
        change = 'update author set "na me" = "na me" || \'b\' where id = :id'
        session.execute(text(change), {"id": number})
    session.execute(text("delete from author where id = 2"))
    session.commit()
    made = transactions(session)[-1]
    session.execute(text("update author set \"na me\" = 'c' where id in (3, 7)"))
    session.commit()

    [found] = made.changed_entities.values()
    assert [(one.id, one.full_name) for one in found] == [
        (5, "abb"),
        (2, "ab"),
        (7, "ab"),
        (3, "ab"),
        (1, "ab"),
    ]


def test_changed_entities_know_subclasses(session: Session) -> None:
    session.add_all([Being(id=1), Cat(id=2), Robot(id=3), Drone(id=4), Drone(id=5)])
    session.commit()
    session.get_one(Drone, 5).volts = 7
    session.commit()
    made, changed = transactions(session)
    found = {
        model.__name__: sorted(one.id for one in versions)
        for model, versions in made.changed_entities.items()
    }
    [drone] = changed.changed_entities.pop(Drone)

    assert found == {"Being": [1], "Cat": [2], "Robot": [3], "Drone": [4, 5]}
    assert (drone.id, drone.volts, drone.kind) == (5, 7, "drone")


def test_what_a_user_changed_between_two_times(session: Session) -> None:
    for number, user in enumerate(("ann", "bob", "ann", None, "ann")):
        with change_info(user_id=user):
            session.add(Author(id=number))
            session.commit()
    times = [one.issued_at for one in transactions(session)]

    def keys(*arguments: Any, **page: Any) -> list[int]:
        rows = session.execute(select_changes_by(*arguments, **page))
        return [one.key["id"] for one in row_changes_from(rows)]

    last = next(transactions(session)[2].changes()).change_id
    assert keys("ann", times[0]) == [0, 2, 4]
    assert keys("ann", times[1], times[4]) == [2]
    assert keys("ann", times[0], limit=2) == [0, 2]
    assert keys("ann", times[0], after_id=last) == [4]
    assert keys(None, times[0]) == [3]
    assert keys("carl", times[0] - timedelta(days=1)) == []


def test_nobody_makes_changes_or_deletes_transactions(session: Session) -> None:
    session.add(Author(id=1))
    session.commit()
    [made] = transactions(session)

    with pytest.raises(ReadOnlyHistoryError):
        Transaction(id=1)
    with pytest.raises(ReadOnlyHistoryError):
        made.user_id = "eve"
    session.delete(made)
    with pytest.raises(ReadOnlyHistoryError, match="<Transaction"):
        session.commit()


def test_neither_create_all_nor_its_reverse_know_the_table(session: Session) -> None:
    assert [name for name in Base.metadata.tables if "transaction" in name] == []
    assert Transaction.__table__.metadata is not Base.metadata  # type: ignore[attr-defined]


def test_a_detached_transaction_needs_a_session(session: Session) -> None:
    session.add(Author(id=1))
    session.commit()
    [made] = transactions(session)
    session.expunge(made)

    assert len(list(made.changes(session))) == 1
    with pytest.raises(NoSessionError, match="select_changes"):
        list(made.changes())


def test_a_role_sees_what_it_may_read_and_no_more(
    session: Session, engine: Engine, role: MakeRole, connect: Connect
) -> None:
    reader = role("reader")
    session.add_all([Author(id=1), Seat(line="x", number=1)])
    session.commit()
    session.execute(text(f"grant select on author, author_history to {reader}"))
    session.commit()
    [made] = transactions(session)
    plain = connect(reader).execute(
        "select relation, after from chrononaut.changes_of(%s)", [made.id]
    )
    session.execute(text(f"set local role {reader}"))

    assert plain.fetchall() == [("public.author", {"id": 1, "na me": None})]
    rows = session.execute(select_changes_of(made.id))
    assert short(row_changes_from(rows)) == [
        (Author, "I", {"id": 1}, {"id": (None, 1)})
    ]
    with pytest.raises(ProgrammingError, match="permission denied"):
        transactions(session)


def test_asyncio_has_statements_for_everything(
    engine: Engine, session: Session
) -> None:
    async def ask() -> Any:
        url = engine.url.set(drivername="postgresql+asyncpg")
        asynchronous = create_async_engine(url, poolclass=NullPool)
        async with AsyncSession(asynchronous) as opened:
            opened.add(Author(id=1, full_name="a"))
            await opened.commit()
            [made] = (await opened.scalars(select(Transaction))).all()
            told = select_changes_by(None, made.issued_at)
            changes = [
                short(row_changes_from(await opened.execute(statement)))
                for statement in (made.select_changes(), told)
            ]
            entities = await opened.run_sync(lambda _: made.changed_entities)
        await asynchronous.dispose()
        return changes, [one.full_name for one in entities[Author]]

    change = (Author, "I", {"id": 1}, {"id": (None, 1), "full_name": (None, "a")})
    assert asyncio.run(ask()) == ([[change], [change]], ["a"])


def test_flask_sessions_select_transactions(engine: Engine) -> None:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = engine.url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"poolclass": NullPool}
    db = VersionedSQLAlchemy(app)

    class Thing(Versioned, db.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "thing"
        id: Mapped[int] = mapped_column(primary_key=True)

    with app.app_context():
        db.create_all()
        db.session.add(Thing(id=1))
        db.session.commit()
        [made] = db.session.scalars(select(Transaction)).all()
        found = (short(made.changes()), list(made.changed_entities))
        detached = list(made.changes(db.session()))
        db.session.remove()

    assert found == ([(Thing, "I", {"id": 1}, {"id": (None, 1)})], [Thing])
    assert len(detached) == 1


def test_transactions_of_another_bind_are_read_there(
    engine: Engine, server: Cluster, superuser: str, admin: Db, template_db: str
) -> None:
    other = f"{engine.url.database}_other"
    admin.execute(f"create database {other} template {template_db}".encode())
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = engine.url
    url = server.url(other, user=superuser, driver="psycopg")
    app.config["SQLALCHEMY_BINDS"] = {"other": url}
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"poolclass": NullPool}
    db = VersionedSQLAlchemy(app)

    class Near(Versioned, db.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "near"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Far(Versioned, db.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "far"
        __bind_key__ = "other"
        id: Mapped[int] = mapped_column(primary_key=True)

    with app.app_context():
        db.create_all()
        db.session.add_all([Near(id=1), Far(id=1)])
        db.session.commit()
        found = {}
        for model in (Near, Far):
            cls = history_class(model)
            version = db.session.scalars(select(cls)).one()
            made = version.created_transaction
            found[model] = (short(made.changes()), list(made.changed_entities))
            assert version.transaction is None
            where = {"bind": db.session.get_bind(model.__mapper__)}
            asked = select_transactions(touching=model)
            assert db.session.scalars(asked, bind_arguments=where).all() == [made]
        db.session.expunge_all()
        asked = select_transactions(touching=Far)
        where = {"bind": db.engines["other"]}
        [apart] = db.session.scalars(asked, bind_arguments=where)
        assert short(apart.changes()) == found[Far][0]
        db.session.remove()
        db.engines["other"].dispose()
    admin.execute(f"drop database {other} with (force)".encode())

    assert found == {
        model: ([(model, "I", {"id": 1}, {"id": (None, 1)})], [model])
        for model in (Near, Far)
    }
