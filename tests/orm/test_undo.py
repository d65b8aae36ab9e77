"""Undo, revert_row and restore_row with sessions and models."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, ForeignKey, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    scoped_session,
    sessionmaker,
)

import chrononaut_pg
from chrononaut_pg import (
    CannotUndoError,
    CoreMissingError,
    NoSessionError,
    RevertedRow,
    UndoConflictError,
    UndoneRow,
    Versioned,
    rationale,
    restore_row,
    revert_row,
    revert_to,
    undo_change,
    undo_transaction,
)
from tests.orm.modelling import created
from tests.orm.test_emission_listen import async_url
from tests.servers import TemplateOf


class Base(DeclarativeBase):
    pass


class Kind(Enum):
    small = 1
    large = 2


class Author(Versioned, Base):
    __tablename__ = "author"
    __chrononaut_hidden__ = ("password",)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    password: Mapped[str | None]
    books: Mapped[list["Book"]] = relationship(
        back_populates="author", cascade="all, delete-orphan", order_by="Book.id"
    )


class Book(Versioned, Base):
    __tablename__ = "book"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    kind: Mapped[str] = mapped_column(default="book")
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    author: Mapped[Author] = relationship(back_populates="books")
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_on": "kind",
        "polymorphic_identity": "book",
    }


class Novel(Book):
    __tablename__ = "novel"

    id: Mapped[int] = mapped_column(ForeignKey("book.id"), primary_key=True)
    pages: Mapped[int] = mapped_column(default=0)
    __mapper_args__ = {"polymorphic_identity": "novel"}  # noqa: RUF012


class Parcel(Versioned, Base):
    __tablename__ = "parcel"
    __table_args__ = {"schema": "Stock"}  # noqa: RUF012

    code: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[Kind] = mapped_column(primary_key=True)
    weight: Mapped[int]


CODE = UUID("12345678-1234-5678-1234-567812345678")


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of('create schema "Stock"', Base.metadata)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A session on the models' tables with an author of two books."""
    chrononaut_pg.listen(engine)
    with created(engine, Base.metadata) as found:
        books = [Book(id=1, title="One"), Novel(id=2, title="Two", pages=200)]
        found.add(Author(id=1, name="Ann", password="x", books=books))
        found.commit()
        yield found


def newest(session: Session) -> int:
    """Return the id of the newest transaction, after a commit."""
    session.commit()
    query = text("select max(id) from chrononaut.transaction")
    return int(session.scalars(query).one())


def shape(session: Session) -> list[Any]:
    """Return the authors with their books, as they are in the database."""
    session.expire_all()
    return [
        (author.id, author.name, [(book.id, book.title) for book in author.books])
        for author in session.scalars(select(Author).order_by(Author.id))
    ]


def test_an_object_tree_that_was_deleted_comes_back(session: Session) -> None:
    before = shape(session)
    session.delete(session.get_one(Author, 1))
    done = newest(session)
    assert undo_transaction(session, done) == [
        UndoneRow(f"public.{name}", "insert", count, None, None, None, None)
        for name, count in (("author", 1), ("book", 2), ("novel", 1))
    ]
    session.commit()
    assert shape(session) == before
    assert session.get_one(Novel, 2).pages == 200


def test_an_object_tree_that_was_added_goes(session: Session) -> None:
    before = shape(session)
    session.add(Author(id=2, name="Bea", books=[Novel(id=3, title="Three")]))
    undo_transaction(session, newest(session))
    assert shape(session) == before


def test_books_that_changed_hands_go_back(session: Session) -> None:
    before = shape(session)
    ann = session.get_one(Author, 1)
    bea = Author(id=2, name="Bea", books=list(ann.books))
    session.add(bea)
    session.flush()
    session.delete(ann)
    undo_transaction(session, newest(session))
    assert shape(session) == before


def test_a_dry_run_describes_each_row(session: Session) -> None:
    session.get_one(Author, 1).name = "Bea"
    session.add(Book(id=9, title="Nine", author_id=1))
    done = newest(session)
    assert undo_transaction(session, done, dry_run=True) == [
        UndoneRow(
            "public.author",
            "update",
            1,
            {"id": 1},
            {"name": "Bea"},
            {"name": "Ann"},
            None,
        ),
        UndoneRow(
            "public.book",
            "delete",
            1,
            {"id": 9},
            {"id": 9, "title": "Nine", "kind": "book", "author_id": 1},
            None,
            None,
        ),
    ]
    assert newest(session) == done


def test_a_transaction_object_serves_as_well_as_its_id(session: Session) -> None:
    session.get_one(Author, 1).name = "Bea"
    undo_transaction(session, SimpleNamespace(id=newest(session)))
    assert session.get_one(Author, 1).name == "Ann"


def test_what_the_session_holds_is_flushed_before(session: Session) -> None:
    author = session.get_one(Author, 1)
    author.name = "Bea"
    done = newest(session)
    author.name = "Cleo"
    with pytest.raises(UndoConflictError):
        undo_transaction(session, done)


def test_loaded_objects_show_what_the_undo_did(session: Session) -> None:
    author = session.get_one(Author, 1)
    author.name = "Bea"
    done = newest(session)
    assert author.name == "Bea"
    undo_transaction(session, done)
    assert author.name == "Ann"


def test_a_conflict_names_the_place_and_force_overrides(session: Session) -> None:
    author = session.get_one(Author, 1)
    author.name = "Bea"
    done = newest(session)
    author.name = "Cleo"
    session.commit()
    with pytest.raises(UndoConflictError, match="name changed since") as caught:
        undo_transaction(session, done)
    session.rollback()
    error = caught.value
    assert (error.sqlstate, error.schema, error.table, error.column) == (
        "VH007",
        "public",
        "author",
        "name",
    )
    undo_transaction(session, done, force=True)
    session.commit()
    assert author.name == "Ann"


def test_a_conflict_in_a_savepoint_leaves_the_transaction_alive(
    session: Session,
) -> None:
    author = session.get_one(Author, 1)
    author.name = "Bea"
    done = newest(session)
    author.name = "Cleo"
    with pytest.raises(UndoConflictError), session.begin_nested():
        undo_transaction(session, done)
    session.commit()
    assert author.name == "Cleo"


def test_the_undo_says_who_and_why(session: Session) -> None:
    author = session.get_one(Author, 1)
    author.name = "Bea"
    done = newest(session)
    with rationale("a mistake"):
        undo_transaction(session, done)
        session.commit()
    author.name = "Cleo"
    session.commit()
    assert [one.change_info.get("extra") for one in author.changes()][-2:] == [
        {"rationale": "a mistake", "undone_transaction": done},
        None,
    ]


@pytest.mark.parametrize("target", [Author, Author.__table__, "author", None])
def test_one_change_by_its_history_object(session: Session, target: Any) -> None:
    author = session.get_one(Author, 1)
    for name in ("Bea", "Cleo"):
        author.name = name
        session.commit()
    author.password = "y"
    session.commit()
    renamed = author.versions()[1]
    [row] = undo_change(session, renamed, target)
    assert (row.before, row.after, author.name) == (
        {"name": "Cleo"},
        {"name": "Bea"},
        "Bea",
    )
    assert author.password == "y"


def test_the_live_version_and_the_object_stand_for_no_change(session: Session) -> None:
    author = session.get_one(Author, 1)
    author.name = "Bea"
    session.commit()
    live = author.versions()[-1].next
    with pytest.raises(CannotUndoError, match=r"ended .*Author.* yet.*created_change_"):
        undo_change(session, live)
    with pytest.raises(TypeError, match="not Author"):
        undo_change(session, author)
    [row] = undo_change(session, live.created_change_id)

    assert (row.after, author.name) == ({"name": "Ann"}, "Ann")


def test_a_row_is_reverted_by_version_time_and_change(session: Session) -> None:
    author = session.get_one(Author, 1)
    moment = session.scalars(select(func.clock_timestamp())).one()
    for name in ("Bea", "Cleo", "Dora"):
        author.name = name
        session.commit()
    change = author.versions()[1].change_id
    done = revert_row(session, Author, 1, version=2)
    assert (done.operation, done.columns, author.name) == ("update", ("name",), "Cleo")
    revert_row(session, Author, 1, at=moment)
    assert author.name == "Ann"
    assert revert_row(session, Author, {"id": 1}, change_id=change) == RevertedRow(
        "public.author", "update", 1, change, ("name",), {}
    )
    assert author.name == "Bea"
    session.commit()
    assert list(author.changes())[-1].change_info["extra"]["reverted_to"] == {
        "version": 1,
        "change_id": change,
    }


def test_a_row_that_did_not_exist_then_is_deleted(session: Session) -> None:
    session.add(Author(id=2, name="Bea"))
    session.commit()
    done = revert_row(session, Author, 2, at=datetime(2000, 1, 1, tzinfo=UTC))
    assert (done.operation, done.version) == ("delete", None)
    assert session.get(Author, 2) is None


def test_a_child_class_is_restored_with_its_parents(session: Session) -> None:
    session.delete(session.get_one(Novel, 2))
    session.commit()
    assert restore_row(session, Novel, 2).operation == "insert"
    session.commit()
    novel = session.get_one(Novel, 2)
    assert (novel.title, novel.pages, novel.author.name) == ("Two", 200, "Ann")


def test_keys_of_several_columns_and_of_types_that_json_lacks(
    session: Session,
) -> None:
    parcel = Parcel(code=CODE, kind=Kind.large, weight=1)
    session.add(parcel)
    session.commit()
    parcel.weight = 2
    session.commit()
    revert_row(session, Parcel, (CODE, Kind.large), version=0)
    assert parcel.weight == 1


def test_what_cannot_be_undone_is_told(session: Session) -> None:
    with pytest.raises(CannotUndoError, match="there is no transaction 0"):
        undo_transaction(session, 0)
    session.rollback()
    with pytest.raises(CannotUndoError, match=r"there is no change null\."):
        undo_change(session, None)
    session.rollback()
    with pytest.raises(CannotUndoError, match="name one version"):
        revert_row(session, Author, 1)
    session.rollback()
    with pytest.raises(CannotUndoError, match=r"row 1 .* is not deleted"):
        restore_row(session, Author, 1)
    session.rollback()


def test_what_is_no_transaction_undoes_none(session: Session) -> None:
    author = session.get_one(Author, 1)
    author.name = "Bea"
    session.commit()
    for given in (author, author.versions()[0], "1", None, True):
        with pytest.raises(TypeError, match="transaction is"):
            undo_transaction(session, given)
        with pytest.raises((TypeError, ValueError)):
            revert_to(author, transaction=given)

    assert author.name == "Bea"


def test_a_database_without_the_core(empty_db: Any, server: Any) -> None:
    from sqlalchemy import create_engine

    name, user = empty_db.info.dbname, empty_db.info.user
    engine = create_engine(server.url(name, user=user, driver="psycopg"))
    with Session(engine) as session, pytest.raises(CoreMissingError):
        undo_transaction(session, 1)
    engine.dispose()


def test_scoped_sessions(session: Session, engine: Engine) -> None:
    session.get_one(Author, 1).name = "Bea"
    done = newest(session)
    registry = scoped_session(sessionmaker(engine))
    undo_transaction(registry, done)
    registry.commit()
    registry.remove()
    assert shape(session)[0][1] == "Ann"


def test_what_names_no_table_or_version_is_refused_by_name(session: Session) -> None:
    author: Any = session.get_one(Author, 1)
    author.name = "Bea"
    session.commit()
    version: Any = author.versions()[0]
    with pytest.raises(TypeError, match="a model, a Table or a name, not a Author ob"):
        revert_row(session, author, 1, version=0)
    with pytest.raises(TypeError, match="version is a number, not a AuthorHistory"):
        revert_row(session, Author, 1, version=version)


def test_an_async_session_runs_it_in_its_own_way(
    session: Session, engine: Engine
) -> None:
    session.get_one(Author, 1).name = "Bea"
    done = newest(session)

    async def undo() -> list[UndoneRow]:
        async_engine = create_async_engine(async_url(engine, "psycopg_async"))
        async with AsyncSession(async_engine) as own:
            with pytest.raises(NoSessionError, match="run_sync"):
                undo_transaction(own, done)  # type: ignore[arg-type]
            undone = await own.run_sync(undo_transaction, done)
            await own.commit()
        await async_engine.dispose()
        return undone

    assert [row.operation for row in asyncio.run(undo())] == ["update"]
    assert shape(session)[0][1] == "Ann"
