"""Sessions that name a database for classes alone, `Session(binds=...)`."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chrononaut_pg import (
    History,
    Transaction,
    Versioned,
    deleted,
    history_class,
    record_locks,
    revert_to,
    select_changes_by,
    select_transactions,
    select_versions_that_changed,
    undo_change,
    undo_transaction,
)
from tests.orm.modelling import saved


class Base(DeclarativeBase):
    pass


class Item(Versioned, Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    Base.metadata.create_all(engine)
    binds: dict[Any, Any] = {Base: engine, History: engine, Transaction: engine}
    with Session(binds=binds) as found:
        yield found


def test_history_and_transactions_may_be_named_like_any_class(session: Session) -> None:
    saved(session, Item(id=1, name="a"), name="b")
    history = history_class(Item)
    numbers = session.scalars(select(history.version).order_by(history.version)).all()
    [made, changed] = session.scalars(select_transactions(touching=Item)).all()
    named = session.scalars(select_versions_that_changed(Item, "name")).all()

    assert (numbers, [one.version for one in named]) == ([0, 1], [0, 1])
    assert [c.operation for t in (made, changed) for c in t.changes()] == ["I", "U"]
    assert named[0].transaction is changed


def test_what_has_no_class_takes_bind_arguments(session: Session) -> None:
    item = saved(session, Item(id=1, name="a"), name="b")
    where = {"mapper": Item.__mapper__}
    [made, changed] = session.scalars(select_transactions(touching=Item)).all()
    told = select_changes_by(None, made.issued_at)
    assert len(session.execute(told, bind_arguments=where).all()) == 2
    undo_transaction(session, changed, bind_arguments=where)
    assert item.name == "a"
    undo_change(session, item.versions()[-1], Item, bind_arguments=where)
    assert item.name == "b"
    revert_to(item, transaction=made)
    session.commit()

    assert (item.name, deleted(Item, session), record_locks(session, Item)) == (
        "a",
        [],
        [],
    )
