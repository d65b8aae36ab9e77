"""What turns objects back, locks or describes them asks where the tables are."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, Identity, Integer, String, select, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
)
from sqlalchemy.schema import CreateSchema

import chrononaut_pg
from chrononaut_pg import (
    RecordLockedError,
    Transaction,
    Versioned,
    append_change_info,
    deleted,
    lock_record,
    record_locks,
    restore,
    restore_row,
    revert_row,
    row_changes_from,
    select_changes_of,
    select_transactions,
    time_travel,
    undo_change,
    unlock_record,
)

TENANTS = "ann", "Bo b%"


class Base(DeclarativeBase):
    pass


class Owner(Versioned, Base):
    __tablename__ = "owner"
    __chrononaut_lockable__ = True
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    things: Mapped[list["Thing"]] = relationship(
        back_populates="owner", cascade="all, delete-orphan"
    )


class Thing(Versioned, Base):
    __tablename__ = "thing"
    __table_args__ = {"schema": "per_tenant"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey(Owner.id))
    owner: Mapped[Owner] = relationship(back_populates="things")


@pytest.fixture
def tenants(engine: Engine) -> list[Engine]:
    """Engines of two tenants, whose tables stand in schemas of their own."""
    chrononaut_pg.listen(engine)
    found: list[Engine] = []
    for name in TENANTS:
        with engine.begin() as connection:
            connection.execute(CreateSchema(name))
        map_ = {None: name, "per_tenant": name}
        found.append(engine.execution_options(schema_translate_map=map_))
        Base.metadata.create_all(found[-1])
    return found


@pytest.fixture
def sessions(tenants: list[Engine]) -> Iterator[list[Session]]:
    """Sessions of both tenants, with an owner of one thing; he was renamed."""
    opened = [Session(tenant) for tenant in tenants]
    for session, name in zip(opened, TENANTS, strict=True):
        owner = Owner(id=1, name=name, things=[Thing()])
        session.add(owner)
        session.commit()
        owner.name = "new"
        session.commit()
    yield opened
    for session in opened:
        session.close()


def names(sessions: list[Session]) -> list[list[str]]:
    return [[version.name for version in owner(s).versions()] for s in sessions]


def owner(session: Session) -> Owner:
    return session.get_one(Owner, 1)


def test_records_are_locked_where_the_tenant_has_them(sessions: list[Session]) -> None:
    ann, bob = sessions
    lock_record(owner(bob), rationale="booked")
    bob.commit()
    for session in sessions:
        owner(session).name = "newer"
    ann.commit()
    with pytest.raises(RecordLockedError), chrononaut_pg.translate_errors():
        bob.commit()
    bob.rollback()
    locks = [[lock.key for lock in record_locks(s, Owner)] for s in sessions]
    unlocked = [unlock_record(owner(session)) for session in sessions]

    assert (locks, unlocked) == ([[], [{"id": 1}]], [False, True])


def test_what_is_said_of_an_object_is_said_to_its_tenant(
    sessions: list[Session],
) -> None:
    for session, name in zip(sessions, TENANTS, strict=True):
        with append_change_info(owner(session), tenant=name):
            owner(session).name = "newer"
            session.commit()
    said = [
        [*owner(session).changes()][-1].change_info["extra"]["tenant"]
        for session in sessions
    ]

    assert said == list(TENANTS)


def test_objects_are_reverted_with_their_relations(sessions: list[Session]) -> None:
    _, bob = sessions
    [first] = owner(bob).versions()
    bob.delete(owner(bob))
    bob.commit()
    first.revert(relations=["things"])
    bob.commit()
    [last] = [*owner(bob).changes()][-1:]

    assert (owner(bob).name, [thing.id for thing in owner(bob).things]) == (
        "Bo b%",
        [1],
    )
    assert last.change_info["extra"]["reverted_to"]["version"] == 0
    assert names(sessions)[0] == ["ann"]


def test_deleted_objects_are_found_and_restored(sessions: list[Session]) -> None:
    ann, bob = sessions
    bob.delete(owner(bob))
    bob.commit()
    found = [deleted(Owner, session) for session in sessions]
    restore(found[1][0], ["things"])
    bob.commit()

    assert ([one.name for one in found[1]], found[0]) == (["new"], [])
    assert (owner(bob).name, owner(ann).name) == ("new", "new")


def test_rows_and_changes_are_undone_for_the_tenant(sessions: list[Session]) -> None:
    _, bob = sessions
    [change] = bob.scalars(
        text("select max(change_id) from \"Bo b%\".owner_history where operation = 'U'")
    )
    undo_change(bob, change, Owner)
    bob.commit()
    found: list[Any] = [owner(session).name for session in sessions]
    revert_row(bob, Owner, 1, version=1)
    bob.commit()
    found += [owner(session).name for session in sessions]
    bob.delete(owner(bob))
    bob.commit()
    restore_row(bob, Owner, 1)
    bob.commit()

    assert (found, owner(bob).name) == (["new", "Bo b%", "new", "new"], "new")


def test_transactions_name_the_objects_of_the_tenant(sessions: list[Session]) -> None:
    for session, name in zip(sessions, TENANTS, strict=True):
        made, renamed = session.scalars(select_transactions(touching=Owner)).all()
        all_made = session.scalars(select(Transaction).order_by(Transaction.id)).all()
        others = [one for one in all_made if one not in (made, renamed)]
        changed = [(one.model, one.values) for one in renamed.changes()]
        entities = {
            model: [(one.id, one.version) for one in found]
            for model, found in made.changed_entities.items()
        }
        with time_travel(session, transaction=renamed) as past:
            rows = past.execute(select_changes_of(renamed.id))
            assert [one.model for one in row_changes_from(rows)] == [Owner]
        assert changed == [(Owner, {"name": (name, "new")})]
        assert entities == {Owner: [(1, 0)], Thing: [(1, 0)]}
        assert {one.model for two in others for one in two.changes()} == {None}
        assert [one.changed_entities for one in others] == [{}, {}]


def shared(schema: str | None, hidden: str = "", **columns: Any) -> Any:
    """Return a model of a table that other models of a test have, too."""
    apart = type("Apart", (DeclarativeBase,), {})
    body = {
        "__tablename__": "shared",
        "__table_args__": {"schema": schema},
        "__chrononaut_hidden__": hidden.split(),
        "id": mapped_column(Integer, primary_key=True),
        **{name: mapped_column(String) for name in columns},
    }
    return type("Shared", (Versioned, apart), body)


def test_of_models_that_share_a_name_that_with_just_the_columns_is_meant(
    tenants: list[Engine],
) -> None:
    meant = shared(None, a=1, b=1)
    meant.metadata.create_all(tenants[0])
    others = [shared(s, a=1, b=1, c=1) for s in ("per_tenant", None)]
    others += [shared(None, a=1), shared(None, d=1)]
    with Session(tenants[0]) as session:
        session.add(meant(id=1, a="x", b="y"))
        session.commit()
        [made] = session.scalars(select(Transaction).order_by(Transaction.id)).all()[
            -1:
        ]
        found = [one.model for one in made.changes()]
        entities = [*made.changed_entities]

    assert (found, entities, len(others)) == ([meant], [meant], 4)


def test_of_models_of_the_same_columns_the_one_declared_last_is_meant(
    tenants: list[Engine],
) -> None:
    models = [shared(s, a=1) for s in ("per_tenant", None, "per_tenant")]
    models += [shared(None, a=1, b=1, hidden="b")]
    models[0].metadata.create_all(tenants[0])
    with Session(tenants[0]) as session:
        session.add(models[0](id=1, a="x"))
        session.commit()
        [made] = session.scalars(select(Transaction).order_by(Transaction.id)).all()[
            -1:
        ]
        found = [one.model for one in made.changes()]

    assert found == [models[-1]]


def test_a_session_that_has_databases_for_its_classes_alone(
    tenants: list[Engine],
) -> None:
    with Session(binds={Base: tenants[0]}) as session:
        made = Owner(id=1, name="old", things=[Thing()])
        session.add(made)
        session.commit()
        with append_change_info(made, why="wrong"):
            made.name = "new"
            session.commit()
        [first] = made.versions()
        first.revert(["things"])
        session.commit()
        said = [one.change_info["extra"] for one in [*made.changes()][1:]]
        last = made.versions()[-1].previous
        session.delete(made)
        session.commit()
        gone = [one.name for one in deleted(Owner, session)]

    assert (said[0], said[1]["reverted_to"]["version"]) == ({"why": "wrong"}, 0)
    assert (last.name, gone) == ("old", ["old"])
