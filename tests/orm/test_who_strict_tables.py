"""Strict mode: which tables it means, and models that give a reason of their own."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, Table, insert, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import chrononaut_pg
from chrononaut_pg import ChangeInfoRequiredError, Versioned, rationale
from tests.orm.conftest import Item, Told
from tests.servers import Db


class OtherBase(DeclarativeBase):
    """Base of another application of the same process, with a database of its own."""


class OtherPlain(Versioned, OtherBase):
    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)


class OtherNamed(Versioned, OtherBase):
    __tablename__ = 'It"em'
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
def strict(session: Session) -> Session:
    """A session whose engine asks for a reason."""
    chrononaut_pg.listen(session.get_bind(), require_extra=lambda: True)
    return session


def prepared(session: Session, statement: str) -> None:
    with rationale("for the test"):
        session.execute(text(statement))
        session.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "insert into plain values (1)",
        "update public . plain set id = 2",
        'delete from "plain"',
        'with d as (delete from public."plain" returning id) select * from d',
    ],
)
def test_table_that_only_another_applications_database_versions_needs_no_reason(
    strict: Session, statement: str
) -> None:
    strict.execute(text(statement))
    strict.commit()


def test_unversioned_table_of_a_versioned_ones_name_in_another_schema_needs_no_reason(
    strict: Session,
) -> None:
    prepared(strict, "create schema elsewhere; create table elsewhere.item (id int)")

    strict.execute(text("insert into elsewhere.item values (1)"))
    strict.execute(
        insert(Table("item", MetaData("elsewhere"), autoload_with=strict.bind))
    )
    strict.execute(text("set local search_path = elsewhere"))
    strict.execute(text("delete from item"))
    strict.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "update item set value = 5",
        "UPDATE Public.ITEM as i SET value = 5",
        'update public."item" set value = 5',
        'update "public" . item set value = 5',
        "insert into plain select id from item; delete from item",
    ],
)
def test_versioned_table_needs_a_reason_however_its_name_is_spelled(
    strict: Session, statement: str
) -> None:
    with pytest.raises(ChangeInfoRequiredError):
        strict.execute(text(statement))


def test_versioned_table_of_a_name_with_quotes_needs_a_reason(strict: Session) -> None:
    OtherNamed.__table__.create(strict.bind)  # type: ignore[attr-defined]
    with pytest.raises(ChangeInfoRequiredError):
        strict.execute(text('insert into "It""em" values (1)'))


def test_versioned_table_that_was_reflected_needs_a_reason(strict: Session) -> None:
    item = Table("item", MetaData(), autoload_with=strict.bind)
    with pytest.raises(ChangeInfoRequiredError):
        strict.execute(update(item).values(value=5))


def test_statement_of_a_failed_transaction_fails_for_that_reason(
    strict: Session,
) -> None:
    with pytest.raises(Exception, match="no_such_table"):
        strict.execute(text("select * from no_such_table"))
    with pytest.raises(Exception, match="current transaction is aborted"):
        strict.execute(text("update item set value = 5"))


class OwnBase(DeclarativeBase):
    id: Mapped[int] = mapped_column(primary_key=True)


class WithReason(Versioned, OwnBase):
    __tablename__ = "with_reason"

    def _get_custom_change_info(self) -> dict[str, Any]:
        return {"rationale": "its own"}


class WithUser(Versioned, OwnBase):
    __tablename__ = "with_user"

    def _fetch_current_user_id(self) -> str:
        return "system"


def flush(session: Session, model: Any) -> None:
    session.add(model(id=1))
    session.flush()


WRITES: list[Callable[[Session, Any], Any]] = [
    flush,
    lambda session, model: session.execute(insert(model).values(id=1)),
    lambda session, model: session.execute(insert(model), [{"id": 1}, {"id": 2}]),
    lambda session, model: session.bulk_save_objects([model(id=1)]),
    lambda session, model: session.execute(
        text(f"insert into {model.__tablename__} values (1)")
    ),
]


@pytest.mark.parametrize("write", WRITES)
def test_reason_of_the_model_itself_is_enough(
    engine: Engine, strict: Session, told: Told, write: Callable[[Session, Any], Any]
) -> None:
    OwnBase.metadata.create_all(engine)
    write(strict, WithReason)
    strict.commit()

    assert set(told("I", "with_reason")) == {(None, "its own")}


@pytest.mark.parametrize("write", WRITES)
def test_override_that_gives_no_reason_is_not_enough(
    engine: Engine, strict: Session, write: Callable[[Session, Any], Any]
) -> None:
    OwnBase.metadata.create_all(engine)
    with pytest.raises(ChangeInfoRequiredError):
        write(strict, WithUser)


def test_statement_that_writes_another_table_too_needs_a_reason(
    engine: Engine, strict: Session
) -> None:
    OwnBase.metadata.create_all(engine)
    with pytest.raises(ChangeInfoRequiredError):
        strict.execute(
            text(
                "with w as (insert into with_reason values (1) returning id)"
                " update item set value = 1"
            )
        )
    assert strict.get_one(Item, 1).value == 0


ONE_MIXIN = """
import sys
from sqlalchemy import create_engine, insert, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
import chrononaut_pg

class Audited(chrononaut_pg.Versioned):
    def _fetch_current_user_id(self):
        return "system"
    def _get_custom_change_info(self):
        return {"rationale": "nightly"}

class Base(DeclarativeBase):
    id: Mapped[int] = mapped_column(primary_key=True)

class A(Audited, Base):
    __tablename__ = "a"

class B(Base, Audited):
    __tablename__ = "b"

engine = create_engine(sys.argv[1])
Base.metadata.create_all(engine)
chrononaut_pg.listen(engine, require_extra=lambda: True)
with Session(engine) as session:
    session.add_all([A(id=1), B(id=1)])
    session.commit()
    session.execute(insert(B).values(id=2))
    session.execute(text("insert into a values (2)"))
    session.get_one(A, 1)
    session.commit()
"""


def test_mixin_shared_by_all_models_speaks_once_for_all(db: Db, engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    subprocess.run([sys.executable, "-c", ONE_MIXIN, url], check=True)
    query = (
        "select (select array_agg(change_info) from {0}_history),"
        " (select bool_or(change_info ? 'tables') from chrononaut.transaction)"
    )

    nightly = {"extra": {"rationale": "nightly"}}
    info = {**nightly, "user_id": "system", "remote_addr": None}
    assert [db.execute(query.format(one)).fetchone() for one in "ab"] == [
        ([info, info], False),
        ([info, info], False),
    ]
