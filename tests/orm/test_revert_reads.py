"""What a revert with relations reads: little, and never from memory."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from chrononaut_pg import RevertError, RevertWarning, Versioned
from tests.orm.modelling import statements
from tests.orm.test_drivers import Run, run
from tests.servers import TemplateOf

__all__ = ["run"]


class Base(DeclarativeBase):
    pass


class Shelf(Versioned, Base):
    __tablename__ = "shelf"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    first_id: Mapped[int | None] = mapped_column(
        ForeignKey("volume.id", use_alter=True)
    )
    volumes: Mapped[list["Volume"]] = relationship(
        foreign_keys="Volume.shelf_id", order_by="Volume.id"
    )
    first: Mapped["Volume | None"] = relationship(
        foreign_keys=[first_id], post_update=True
    )
    refusing: Mapped[list["Volume"]] = relationship(
        primaryjoin="and_(Shelf.id == Volume.shelf_id, Volume.title != 'x')",
        foreign_keys="Volume.shelf_id",
        order_by="Volume.id",
        overlaps="volumes",
    )


class Volume(Versioned, Base):
    __tablename__ = "volume"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey(Shelf.id))
    pages: Mapped[list["Page"]] = relationship(lazy="raise", order_by="Page.id")


class Page(Versioned, Base):
    __tablename__ = "page"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str | None]
    volume_id: Mapped[int | None] = mapped_column(ForeignKey(Volume.id))


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as found:
        yield found


def filled(session: Session) -> Shelf:
    """Return a shelf of two volumes, which it has no longer, with another name."""
    one = Shelf(id=1, name="a")
    one.volumes = [
        Volume(id=n, title="v", pages=[Page(id=n, text="p")]) for n in (1, 2)
    ]
    session.add(one)
    session.commit()
    one.name = "b"
    for volume in one.volumes:
        volume.title = "w"
    one.volumes.pop(0)
    session.commit()
    return one


@pytest.fixture
def shelf(session: Session) -> Shelf:
    return filled(session)


def volumes(session: Session) -> list[Any]:
    found = session.execute(text("select id, title, shelf_id from volume order by id"))
    return [tuple(row) for row in found]


def test_two_statements_read_one_relation(
    session: Session, shelf: Shelf, engine: Engine
) -> None:
    first = shelf.versions()[0]
    with statements(engine) as sent:
        first.revert(relations=["volumes"])

    past, live = sent
    assert "past" in past
    assert "FROM shelf LEFT OUTER JOIN volume" in live
    session.commit()
    assert volumes(session) == [(1, "v", 1), (2, "v", 1)]


@pytest.mark.parametrize("is_shown", [False, True], ids=["unseen", "shown"])
def test_once_the_past_is_known_to_be_there_nothing_is_opened(
    session: Session, shelf: Shelf, is_shown: bool
) -> None:
    volume = session.get_one(Volume, 1)
    volume.versions()[0].revert(relations=["pages"])
    session.rollback()
    session.execute(text("update page set text = 'q'"))
    session.commit()
    first = volume.versions()[0]
    session.expunge(first)
    first = volume.versions()[0]
    if is_shown:  # what is loaded is read again
        first.pages.clear()
    driver: Any = session.connection().connection.dbapi_connection
    sent: list[str] = []

    class Noting(type(driver.cursor())):  # type: ignore[misc]
        def execute(self, query: str, *arguments: Any, **options: Any) -> Any:
            sent.append(query)
            return super().execute(query, *arguments, **options)

    driver.cursor_factory = Noting
    first.revert(relations=["pages"])
    session.commit()

    past, live, *_ = sent
    assert " AS past" in past
    assert "FROM volume LEFT OUTER JOIN page" in live
    assert "chrononaut._recorded_columns(" in live
    assert [one.split()[0] for one in sent[2:]] == ["UPDATE", "UPDATE", "select"]
    assert volumes(session)[0] == (1, "v", 1)
    assert session.get_one(Page, 1).text == "p"


def test_every_driver_brings_the_recorded_columns_along(run: Run) -> None:
    def work(session: Session) -> Any:
        Base.metadata.create_all(session.connection())
        session.commit()
        shelf = filled(session)
        session.delete(session.get(Volume, 1))
        session.commit()
        shelf.versions()[0].revert(relations=["volumes"])
        session.commit()
        return volumes(session)

    assert run(work) == [(1, "v", 1), (2, "v", 1)]


def test_every_driver_brings_them_along_when_nothing_is_opened(run: Run) -> None:
    def work(session: Session) -> Any:
        Base.metadata.create_all(session.connection())
        session.commit()
        filled(session)
        for change in (
            "update page set text = 'q'",
            "alter table page drop text, add text text default 'r'",
            "select chrononaut.sync_versioning('page')",
        ):
            session.execute(text(change))
        session.commit()
        for _ in ("opened", "known"):  # the past
            session.expunge_all()
            volume = session.get_one(Volume, 2)
            with pytest.warns(RevertWarning) as told:
                volume.versions()[0].revert(relations=["pages"])
            session.rollback()
        return [one.message.skipped for one in told]  # type: ignore[union-attr]

    assert run(work) == [{"page": {"text": "was not recorded at the time"}}]


def test_what_the_registry_says_is_asked_for_at_every_revert(
    session: Session, shelf: Shelf
) -> None:
    first = shelf.versions()[0]
    sync = text("select chrononaut.sync_versioning('volume')")
    session.execute(sync)
    first.revert(relations=["volumes"])
    session.flush()
    session.execute(text("alter table volume drop column title"))
    session.execute(text("alter table volume add column title text default 'new'"))
    session.execute(sync)
    session.expunge(first)
    first = shelf.versions()[0]
    with pytest.warns(RevertWarning) as told:
        first.revert(relations=["volumes"])
    session.flush()

    [one] = told
    assert one.message.skipped == {"volume": {"title": "was not recorded at the time"}}  # type: ignore[union-attr]
    assert volumes(session) == [(1, "new", 1), (2, "new", 1)]


def test_a_revert_that_failed_leaves_nothing_for_the_next_one(
    session: Session, shelf: Shelf
) -> None:
    first = shelf.versions()[0]
    with pytest.raises(RevertError, match="no relation 'nothing'"):
        first.revert(relations=["volumes", "nothing"])
    session.rollback()
    session.execute(text("select chrononaut.sync_versioning('volume')"))
    session.execute(text("alter table volume rename column title to caption"))
    session.execute(text("select chrononaut.sync_versioning('volume')"))
    session.execute(text("alter table volume rename column caption to title"))
    session.execute(text("select chrononaut.sync_versioning('volume')"))
    first.revert(relations=["volumes"])
    session.commit()

    assert volumes(session) == [(1, "v", 1), (2, "v", 1)]


def test_objects_on_two_paths_keep_relations_that_refuse_to_load(
    session: Session, shelf: Shelf
) -> None:
    shelf.first_id = 2
    session.commit()
    shelf.name = "c"
    session.execute(text("update page set text = 'q'"))
    session.execute(text("delete from page where id = 2"))
    session.commit()
    shelf.versions()[2].revert(relations=["volumes.pages", "first.pages"])
    session.commit()

    found = session.execute(text("select id, text, volume_id from page order by id"))
    assert [tuple(row) for row in found] == [(1, "q", 1), (2, "p", 2)]


def test_conditions_beyond_keys_hold_for_what_is_read_along(
    session: Session, shelf: Shelf
) -> None:
    session.execute(text("update volume set title = 'x', shelf_id = 1"))
    session.commit()
    shelf.versions()[0].revert(relations=["refusing"])
    session.commit()

    assert volumes(session) == [(1, "v", 1), (2, "v", 1)]


def test_what_others_committed_meanwhile_is_put_back(
    session: Session, shelf: Shelf, engine: Engine
) -> None:
    first = shelf.versions()[0]
    assert [one.title for one in shelf.volumes] == ["w"]
    with engine.begin() as other:
        other.execute(text("update volume set title = 'v', shelf_id = 1"))
        other.execute(text("update volume set title = 'z' where id = 2"))
        other.execute(text("update shelf set name = 'a'"))
    first.revert(relations=["volumes"])
    session.commit()

    assert volumes(session) == [(1, "v", 1), (2, "v", 1)]
    assert shelf.name == "a"
