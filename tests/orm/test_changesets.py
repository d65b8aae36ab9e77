"""What lies next to a version: its neighbours, its transactions, what began it."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    selectinload,
)

from chrononaut_pg import (
    NoSessionError,
    Transaction,
    Versioned,
    change_info,
    changeset_from,
    history_class,
    listen,
    select_next,
    select_previous,
)
from tests.orm.modelling import created, saved, statements


class Base(DeclarativeBase):
    pass


class Book(Versioned, Base):
    __tablename__ = "book"
    __chrononaut_hidden__ = ("secret",)
    __chrononaut_untracked__ = ("seen",)
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    pages: Mapped[int | None]
    secret: Mapped[str | None]
    seen: Mapped[int | None]


class Link(Versioned, Base):
    """A model that has use for the names of ours."""

    __tablename__ = "link"
    id: Mapped[int] = mapped_column(primary_key=True)
    index: Mapped[int] = mapped_column(default=0)
    changeset: Mapped[str | None]
    transaction: Mapped[str | None]
    next_id: Mapped[int | None] = mapped_column(ForeignKey("link.id"))
    next: Mapped["Link | None"] = relationship(
        remote_side=[id], back_populates="previous"
    )
    previous: Mapped["Link | None"] = relationship(back_populates="next")


class Person(Versioned, Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str | None]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012


class Clerk(Person):
    __tablename__ = "clerk"
    id: Mapped[int] = mapped_column(ForeignKey(Person.id), primary_key=True)
    desk: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "clerk"}  # noqa: RUF012


def numbers(*versions: Any) -> list[int | None]:
    return [None if one is None else one.version for one in versions]


def all_versions(session: Session, model: Any) -> list[Any]:
    cls = history_class(model)
    return list(session.scalars(select(cls).order_by(cls.version)))


def test_neighbours_go_from_the_first_version_to_the_live_one(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, Book(id=1, title="a"), title="b", pages=7)
        first, second, live = all_versions(session, Book)

        assert numbers(first.previous, first.next) == [None, 1]
        assert numbers(second.previous, second.next) == [0, 2]
        assert numbers(live.previous, live.next) == [1, None]
        assert second.previous is first
        assert live.change_id is None
        assert [one.index for one in (first, second, live)] == [0, 1, 2]


def test_neighbours_are_there_after_the_row_is_gone_and_back(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        book = saved(session, Book(id=1, title="a"), title="b")
        session.delete(book)
        session.commit()
        first, last = all_versions(session, Book)
        before = numbers(first.previous, first.next, last.previous, last.next)
        saved(session, Book(id=1, title="c"))

        assert before == [None, 1, 0, None]
        assert numbers(last.next) == [2]
        assert last.next.changeset == {"id": (None, 1), "title": (None, "c")}


def test_each_neighbour_is_one_statement(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, Book(id=1), title="b")
        [version] = session.get_one(Book, 1).versions()
        session.expunge_all()
        session.add(version)
        with statements(engine) as sent:
            assert version.next is not None
            assert version.previous is None
            assert version.next.changeset == {"title": (None, "b")}

    assert len(sent) == 4


def test_changeset_of_an_insert_has_what_is_not_null(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, Book(id=1, title="", pages=0, secret="s", seen=1))
        [first] = all_versions(session, Book)

        assert first.changeset == {
            "id": (None, 1),
            "title": (None, ""),
            "pages": (None, 0),
        }


def test_changeset_of_an_update_has_what_changed_falsy_values_too(
    engine: Engine,
) -> None:
    with created(engine, Base.metadata) as session:
        book = saved(session, Book(id=1, title="a", pages=1), pages=0, title="")
        book.title, book.secret = None, "x"
        session.commit()
        saved(session, book, secret="y")
        found = [one.changeset for one in all_versions(session, Book)]

        assert found[1:] == [
            {"pages": (1, 0)},
            {"title": ("a", "")},
            {"title": ("", None)},
            {},
        ]


def test_changeset_of_a_row_older_than_its_history_is_empty(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        session.execute(text("select chrononaut.drop_versioning('book', true)"))
        session.add(Book(id=1, title="a"))
        session.commit()
        session.execute(
            text("select chrononaut.create_versioning('book', '{secret}', '{seen}')")
        )
        session.commit()
        saved(session, session.get_one(Book, 1), title="b")
        first, second = all_versions(session, Book)

        assert (first.changeset, second.changeset) == ({}, {"title": ("a", "b")})


def test_joined_tables_have_neighbours_and_changesets(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        clerk = saved(session, Clerk(id=1, name="a", desk=1), name="b", desk=2)
        clerk.name, clerk.desk = "c", 3
        session.commit()
        found = all_versions(session, Clerk)

        assert [one.changeset for one in found[1:]] == [
            {"name": ("a", "b")},
            {"desk": (1, 2)},
            {"desk": (2, 3), "name": ("b", "c")},
        ]
        assert numbers(found[0].next, found[3].previous) == [1, 2]


def test_versions_know_the_transactions_that_began_and_ended_them(
    engine: Engine,
) -> None:
    listen(engine)
    with created(engine, Base.metadata) as session:
        with change_info(user_id="ann"):
            saved(session, Book(id=1, title="a"))
        with change_info(user_id="bob"):
            saved(session, session.get_one(Book, 1), title="b")
        first, live = all_versions(session, Book)

        assert first.created_transaction.user_id == "ann"
        assert first.transaction.user_id == "bob"
        assert first.transaction is live.created_transaction
        assert live.transaction is None


def test_transactions_of_versions_load_eagerly_and_join(engine: Engine) -> None:
    listen(engine)
    with created(engine, Base.metadata) as session:
        with change_info(user_id="ann"):
            saved(session, Book(id=1), title="a", pages=3)
        cls = history_class(Book)
        query = (
            select(cls)
            .join(cls.transaction)
            .where(Transaction.user_id == "ann")
            .options(selectinload(cls.transaction))
            .order_by(cls.version)
        )
        with statements(engine) as sent:
            found = session.scalars(query).all()
            users = [one.transaction.user_id for one in found]

    assert (numbers(*found), users, len(sent)) == ([0, 1], ["ann", "ann"], 2)


def test_names_of_the_model_win_and_ours_take_a_prefix(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, Link(id=1, index=5, transaction="x"), index=6, changeset="y")
        first, second, live = all_versions(session, Link)

        assert (first.index, second.index, live.index) == (5, 6, 6)
        assert (first.transaction, live.changeset) == ("x", "y")
        assert second.chrononaut_index == 1
        assert second.chrononaut_previous is first
        assert second.chrononaut_next is live
        assert live.chrononaut_changeset == {"changeset": (None, "y")}
        assert first.chrononaut_transaction.id == first.transaction_id
        assert first.created_transaction.id == first.created_transaction_id


def test_without_a_session_neighbours_say_what_to_do(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, Book(id=1), title="b")
        [version] = session.get_one(Book, 1).versions()
        session.expunge_all()

        with pytest.raises(NoSessionError, match="select_previous"):
            assert version.previous


def test_asyncio_has_statements_for_them(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, Book(id=1, title="a"), title="b")
        url = engine.url.set(drivername="postgresql+asyncpg")

    async def ask() -> Any:
        asynchronous = create_async_engine(url)
        async with AsyncSession(asynchronous) as opened:
            cls = history_class(Book)
            live = (await opened.scalars(select(cls).where(cls.version == 1))).one()
            previous = (await opened.scalars(select_previous(live))).one()
            following = (await opened.scalars(select_next(live))).first()
            found = (previous.title, following, changeset_from(live, previous))
        await asynchronous.dispose()
        return found

    assert asyncio.run(ask()) == ("a", None, {"title": ("a", "b")})
