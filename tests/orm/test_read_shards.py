"""Horizontal sharding: an object's history is read where the object is."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine
from sqlalchemy.ext.horizontal_shard import ShardedSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import chrononaut_pg
from chrononaut_pg import Versioned, append_change_info, change_info
from tests.servers import TemplateOf


class Base(DeclarativeBase):
    pass


class City(Versioned, Base):
    """Its numbers say nothing about its shard: those of two shards are the same."""

    __tablename__ = "city"
    id: Mapped[int] = mapped_column(primary_key=True)
    region: Mapped[str]
    name: Mapped[str]


def _chosen(mapper: Any, instance: Any, clause: Any = None) -> str:
    return str(instance.region)


def _all(*_: Any, **__: Any) -> list[str]:
    return ["north", "south"]


@pytest.fixture
def session(
    engine: Engine, template_of: TemplateOf, admin: Any
) -> Iterator[ShardedSession]:
    other = engine.url.set(database=template_of(Base.metadata))
    shards = {"north": engine, "south": create_engine(other, poolclass=NullPool)}
    Base.metadata.create_all(engine)
    for one in shards.values():
        chrononaut_pg.listen(one)
    with ShardedSession(
        shards=shards,
        shard_chooser=_chosen,
        identity_chooser=_all,
        execute_chooser=_all,
    ) as opened:
        yield opened


def test_objects_of_one_number_in_two_shards_keep_their_own_history(
    session: ShardedSession,
) -> None:
    north, south = (
        City(id=1, region="north", name="a"),
        City(id=1, region="south", name="x"),
    )
    session.add_all([north, south])
    session.commit()
    with change_info(user_id="ann"):
        north.name, south.name = "b", "y"
        session.commit()
    south.name = "z"
    session.commit()

    now = datetime.now(UTC)
    assert [one.name for one in north.versions()] == ["a"]
    assert [one.name for one in south.versions()] == ["x", "y"]
    assert north.previous_version().change_info["user_id"] == "ann"
    assert [one.version_at(now) for one in (north, south)] == [north, south]
    assert south.version_at(south.versions()[1].valid_from).name == "y"
    assert [one.operation for one in north.changes()] == ["I", "U"]
    assert south.blame()["name"].version == 2
    assert south.diff(south.versions()[0]) == {"name": ("x", "z")}
    assert south.has_changed_since(north.versions()[0].valid_from)


def test_shard_of_an_object_says_whether_a_reason_is_missing_and_keeps_its_extras(
    session: ShardedSession,
) -> None:
    for shard in ("north", "south"):
        bind = session.get_bind(shard_id=shard)
        chrononaut_pg.listen(bind, require_extra=lambda: False)
    north, south = (
        City(id=1, region="north", name="a"),
        City(id=1, region="south", name="x"),
    )
    with append_change_info(south, ticket=7):
        session.add_all([north, south])
        session.commit()
    with append_change_info(north, ticket=8):
        north.name = "b"
        session.commit()

    told = [
        [c.change_info.get("extra") for c in one.changes()] for one in (north, south)
    ]
    assert told == [[None, {"ticket": 8}], [{"ticket": 7}]]
