"""Locked objects: refused to everybody, listed, and free again when unlocked."""

import asyncio
import enum
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Date, Engine, ForeignKey, Numeric, text, update
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)

import chrononaut_pg
from chrononaut_pg import (
    ChrononautException,
    NoSessionError,
    NotPermittedError,
    NotVersionedError,
    RecordLock,
    RecordLockedError,
    Versioned,
    lock_record,
    record_locks,
    select_lock_record,
    select_record_locks,
    select_unlock_record,
    translate_errors,
    unlock_record,
)
from tests.orm.modelling import created, saved
from tests.servers import MakeRole


class Mood(enum.Enum):
    SAD = "sad"
    OK = "ok"


class Base(DeclarativeBase):
    pass


class Invoice(Versioned, Base):
    __tablename__ = "Invoice"
    __chrononaut_lockable__ = True
    id: Mapped[int] = mapped_column("The Id", primary_key=True)
    total: Mapped[int] = mapped_column(default=0)


class Person(Versioned, Base):
    __tablename__ = "person"
    __chrononaut_lockable__ = True
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str | None]


class Worker(Person):
    __tablename__ = "worker"
    __mapper_args__ = {"polymorphic_identity": "worker"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    wage: Mapped[int | None]


class Odd(Versioned, Base):
    __tablename__ = "odd"
    __chrononaut_lockable__ = True
    mood: Mapped[Mood] = mapped_column(primary_key=True)
    uuid: Mapped[UUID] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    price: Mapped[Decimal] = mapped_column(Numeric, primary_key=True)
    text: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(default=0)


class Plain(Versioned, Base):
    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)


class Unversioned(Base):
    __tablename__ = "unversioned"
    id: Mapped[int] = mapped_column(primary_key=True)


def test_locked_object_is_refused_to_the_orm_to_bulk_and_to_raw_sql(
    engine: Engine,
) -> None:
    with created(engine, Base.metadata) as session:
        invoice = saved(session, Invoice(id=1))
        lock_record(invoice, rationale="Booked")
        session.commit()

        invoice.total = 5
        with (
            pytest.raises(RecordLockedError, match="Booked") as caught,
            translate_errors(),
        ):
            session.commit()
        session.rollback()
        assert (caught.value.schema, caught.value.table) == ("public", "Invoice")
        for statement in (
            update(Invoice).values(total=5),
            text('delete from "Invoice"'),
        ):
            with pytest.raises(RecordLockedError), translate_errors():
                session.execute(statement)
            session.rollback()
        session.delete(invoice)
        with pytest.raises(RecordLockedError), translate_errors():
            session.flush()
        session.rollback()

        assert [unlock_record(invoice), unlock_record(invoice)] == [True, False]
        invoice.total = 5
        session.commit()


def test_locks_tell_who_when_and_why(engine: Engine) -> None:
    chrononaut_pg.listen(engine, user_id=lambda: "ann")
    with created(engine, Base.metadata) as session:
        before = session.execute(text("select clock_timestamp()")).scalar_one()
        invoice = saved(session, Invoice(id=1))
        worker = saved(session, Worker(id=1))
        with chrononaut_pg.rationale("Booked"):
            lock_record(invoice)
        lock_record(worker, "Left")
        session.commit()
        first, *others = record_locks(session)
        assert isinstance(first, RecordLock)
        assert before < first.locked_at < datetime.now(UTC)
        assert first == RecordLock(
            relation='"Invoice"',
            key={"The Id": 1},
            user_id="ann",
            db_user=str(engine.url.username),
            locked_at=first.locked_at,
            rationale="Booked",
            change_info={
                "user_id": "ann",
                "remote_addr": None,
                "extra": {"rationale": "Booked"},
            },
            enforced=True,
        )
        assert sorted(one.relation for one in others) == ["person", "worker"]
        assert record_locks(session, Invoice) == [first]
        assert sorted(record_locks(session, Worker), key=str) == sorted(others, key=str)


def test_object_of_several_tables_is_locked_in_all_of_them(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        worker = saved(session, Worker(id=1, name="a", wage=1))
        lock_record(worker)
        session.commit()
        for name in ("name", "wage"):
            setattr(worker, name, 5)
            with pytest.raises(RecordLockedError), translate_errors():
                session.commit()
            session.rollback()
        assert unlock_record(worker) is True
        worker.name, worker.wage = "b", 2
        session.commit()


def test_keys_of_every_type_are_understood(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        odd = saved(
            session,
            Odd(
                mood=Mood.SAD,
                uuid=uuid4(),
                day=date(2026, 1, 2),
                price=Decimal("1.50"),
                text="it's \u2603",
            ),
        )
        lock_record(odd)
        odd.n = 5
        with pytest.raises(RecordLockedError), translate_errors():
            session.flush()
        session.rollback()


def test_pending_changes_are_written_before_the_lock(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        invoice = Invoice(id=1)
        session.add(invoice)
        lock_record(invoice)
        session.commit()
        unlock_record(invoice)
        invoice.total = 5
        lock_record(invoice)
        session.commit()

        assert invoice.total == 5
        assert [one.total for one in invoice.versions()] == [0]


def test_what_cannot_be_locked_is_refused(engine: Engine, role: MakeRole) -> None:
    with created(engine, Base.metadata) as session:
        invoice = saved(session, Invoice(id=1))
        lock_record(invoice)
        with pytest.raises(RecordLockedError, match="is locked by"):
            lock_record(invoice)
        session.rollback()
        with pytest.raises(ChrononautException, match="cannot be locked") as caught:
            lock_record(saved(session, Plain(id=1)))
        assert caught.value.sqlstate == "VH003"
        session.rollback()
        with pytest.raises(NotVersionedError):
            lock_record(saved(session, Unversioned(id=1)))
        session.rollback()
        with pytest.raises(NoSessionError):
            lock_record(Invoice(id=9))
        with Session(engine) as other:
            other.execute(text('delete from "Invoice"'))
            other.commit()
        with pytest.raises(ChrononautException, match="no row") as caught:
            lock_record(invoice)
        assert caught.value.sqlstate == "P0002"


def test_others_lock_is_not_his_to_end(engine: Engine, role: MakeRole) -> None:
    app = role("app")
    with created(engine, Base.metadata) as session:
        invoice = saved(session, Invoice(id=1))
        session.execute(text(f'grant select, update on "Invoice" to {app}'))
        lock_record(invoice)
        session.commit()
        session.execute(text(f"set role {app}"))
        with pytest.raises(NotPermittedError, match="may not unlock"):
            unlock_record(invoice)


def test_statements_serve_async_sessions(
    engine: Engine, server: Any, superuser: str, dbname: str
) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, Invoice(id=1))
    url = server.url(dbname, user=superuser, driver="psycopg_async")

    async def run() -> tuple[Any, ...]:
        opened = create_async_engine(url)
        try:
            async with AsyncSession(opened) as session:
                invoice = await session.get_one(Invoice, 1)
                await session.execute(select_lock_record(invoice, "Booked"))
                locks = (await session.execute(select_record_locks(Invoice))).all()
                ended = await session.scalar(select_unlock_record(invoice))
                return [(one.key, one.rationale) for one in locks], ended
        finally:
            await opened.dispose()

    assert asyncio.run(run()) == ([({"The Id": 1}, "Booked")], True)


def test_locks_are_listed_for_sessions_and_others_are_refused(engine: Engine) -> None:
    scoped: Any = scoped_session(sessionmaker(engine))
    assert record_locks(scoped) == []
    scoped.remove()
    other: Any = AsyncSession(create_async_engine(engine.url))
    with pytest.raises(NoSessionError, match="object of AsyncSession"):
        record_locks(other)
