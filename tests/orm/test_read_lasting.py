"""History objects across commits and rollbacks: they last, and tell only what is."""

import asyncio
import pickle
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.orm.exc import DetachedInstanceError, ObjectDeletedError

import chrononaut_pg
from chrononaut_pg import Versioned, history_class
from tests.orm.conftest import Item
from tests.orm.modelling import saved, statements


@pytest.fixture
def item(session: Session) -> Item:
    """An item with the values 0 to 3, of which 3 is the live one."""
    found = session.get_one(Item, 1)
    for value in (1, 2, 3):
        saved(session, found, value=value)
    return found


def values(versions: Any) -> list[int]:
    return [version.value for version in versions]


def test_commit_leaves_earlier_versions_loaded(
    session: Session, engine: Engine, item: Item
) -> None:
    versions = [*item.versions(), item.previous_version()]
    session.commit()
    with statements(engine) as sent:
        found = values(versions), [one.version for one in versions]
        told = [one.change_info for one in versions]

    assert (*found, len(told), sent) == ([0, 1, 2, 2], [0, 1, 2, 2], 4, [])


def test_versions_read_by_a_query_stay_loaded_too(
    session: Session, engine: Engine, item: Item
) -> None:
    cls = history_class(Item)
    versions = session.scalars(
        select(cls).where(cls.change_id.is_not(None)).order_by(cls.version)
    ).all()
    saved(session, item, value=9)
    with statements(engine) as sent:
        found = values(versions)

    assert (found, sent) == ([0, 1, 2], [])


def test_versions_can_be_pickled_after_commit_and_close(
    session: Session, item: Item
) -> None:
    versions = item.versions()
    session.commit()
    session.close()
    again = pickle.loads(pickle.dumps(versions))

    assert (again, values(again)) == (versions, [0, 1, 2])
    assert [one.changed for one in again] == [one.changed for one in versions]


def test_live_version_follows_the_row(session: Session, item: Item) -> None:
    cls = history_class(Item)
    live = session.scalars(select(cls).where(cls.change_id.is_(None))).one()
    saved(session, item, value=9)

    assert (live.value, live.version) == (9, 4)


def test_live_version_of_a_closed_session_says_that_it_cannot_be_read(
    session: Session, item: Item
) -> None:
    cls = history_class(Item)
    live = session.scalars(select(cls).where(cls.change_id.is_(None))).one()
    session.commit()
    session.close()

    with pytest.raises(DetachedInstanceError):
        pickle.dumps(live)
    assert repr(live) == "<ItemHistory id=1 current>"


def test_query_brings_what_the_database_has_now(session: Session, item: Item) -> None:
    cls = history_class(Item)
    live = select(cls).where(cls.change_id.is_(None))
    first = session.scalars(live).one()
    before = first.value
    item.value = 9
    session.flush()

    assert (before, session.scalars(live).one().value) == (3, 9)
    assert session.get_one(cls, (1, None)).value == 9


def test_image_that_was_rolled_back_is_never_served(
    session: Session, item: Item
) -> None:
    cls = history_class(Item)
    of_item = select(cls).where(cls.id == 1).order_by(cls.version)
    item.value = 9
    session.flush()
    undone = item.previous_version()
    within = values(session.scalars(of_item))
    session.rollback()
    after = values(session.scalars(of_item))
    saved(session, item, value=10)

    assert (within, after) == ([0, 1, 2, 3, 9], [0, 1, 2, 3])
    assert values(session.scalars(of_item)) == [0, 1, 2, 3, 10]
    with pytest.raises(ObjectDeletedError):
        _ = undone.value


def test_image_of_a_rolled_back_savepoint_is_never_served(
    session: Session, item: Item
) -> None:
    nested = session.begin_nested()
    item.value = 9
    session.flush()
    undone = item.previous_version()
    change = undone.change_id
    nested.rollback()
    item.value = 10
    session.commit()

    assert change not in [one.change_id for one in item.versions()]
    assert values(item.versions()) == [0, 1, 2, 3]


def test_committed_savepoint_expires_nothing(session: Session, item: Item) -> None:
    versions = item.versions()
    with session.begin_nested():
        item.value = 9
    session.commit()

    assert values(versions) == [0, 1, 2]


def test_explicit_expiry_reads_again(
    session: Session, engine: Engine, item: Item
) -> None:
    (first, *_) = item.versions()
    session.expire(first)
    with statements(engine) as sent:
        found = first.value

    assert (found, len(sent)) == (0, 1)


def test_deferred_column_can_still_be_loaded(engine: Engine) -> None:
    class Base(DeclarativeBase):
        pass

    class Page(Versioned, Base):
        __tablename__ = "page"
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]
        body: Mapped[str] = mapped_column(deferred=True)

    Base.metadata.create_all(engine)
    with Session(engine) as session:
        page = saved(session, Page(id=1, title="a", body="A"), title="b")
        (version,) = page.versions()
        session.commit()

        assert (version.title, version.body) == ("a", "A")


def test_versions_of_an_async_session_can_be_read_after_its_commit(
    session: Session, engine: Engine, item: Item
) -> None:
    async def main() -> Any:
        fresh = create_async_engine(engine.url)
        async with AsyncSession(fresh) as own:
            found = await own.get_one(Item, 1)
            versions = (await own.scalars(found.select_versions())).all()
            await own.commit()
            told = values(versions)
        await fresh.dispose()
        return told

    assert asyncio.run(main()) == [0, 1, 2]


def test_session_that_does_not_expire_needs_nothing(engine: Engine, item: Item) -> None:
    chrononaut_pg.listen(engine)
    with Session(engine, expire_on_commit=False) as own:
        versions = own.get_one(Item, 1).versions()
        own.commit()

        assert (values(versions), own.info) == ([0, 1, 2], {})


def test_unpickled_versions_can_be_merged_as_caches_do(
    engine: Engine, session: Session, item: Item
) -> None:
    kept = pickle.dumps(item.versions())
    with Session(engine) as other, statements(engine) as sent:
        merged = [other.merge(one, load=False) for one in pickle.loads(kept)]
        found = values(merged)
        other.flush()

        assert (found, sent) == ([0, 1, 2], [])
        assert merged[1].previous == merged[0]
    with Session(engine) as other:
        first = pickle.loads(kept)[0]
        other.add(first)

        assert first.next.value == 1


def test_merging_versions_that_are_loaded_writes_nothing(
    session: Session, item: Item
) -> None:
    versions = item.versions()
    session.expunge_all()
    merged = [session.merge(one) for one in versions]
    session.commit()

    assert values(merged) == [0, 1, 2]
