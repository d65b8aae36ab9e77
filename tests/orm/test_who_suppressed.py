"""Recording switched off: for whom, for how long, and what remains to be seen of it."""

import pytest
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.orm import Session

import chrononaut_pg
from chrononaut_pg import NotPermittedError, change_info
from chrononaut_pg.unsafe import suppress_versioning
from tests.orm.conftest import Item, Told
from tests.servers import Cluster, Db, MakeRole

UPDATE = text("update item set value = value + 1")


def test_owner_of_the_core_writes_without_history_and_leaves_a_trace(
    session: Session, told: Told, db: Db
) -> None:
    with suppress_versioning(), change_info(user_id="ann"):
        session.execute(UPDATE)
        session.commit()
    session.execute(UPDATE)
    session.commit()

    traces = db.execute(
        "select suppressed, change_info ->> 'user_id' from chrononaut.transaction"
        " where suppressed is not null"
    ).fetchall()
    assert (told(), traces) == ([(None, None)], [(["public.item"], "ann")])


def test_suppression_ends_with_its_block_inside_one_transaction(
    session: Session, told: Told
) -> None:
    with suppress_versioning():
        session.execute(UPDATE)
    with change_info(user_id="ann"):
        session.execute(UPDATE)
    session.commit()

    assert told() == [("ann", None)]


def test_savepoint_rolled_back_behind_the_block_does_not_bring_suppression_back(
    session: Session, told: Told
) -> None:
    with suppress_versioning():
        session.execute(UPDATE)
    nested = session.begin_nested()
    session.execute(UPDATE)
    nested.rollback()
    with change_info(user_id="ann"):
        session.execute(UPDATE)
    session.commit()

    assert told() == [("ann", None)]


def test_savepoint_rolled_back_inside_the_block_leaves_suppression_on(
    session: Session, told: Told
) -> None:
    with suppress_versioning():
        nested = session.begin_nested()
        session.execute(UPDATE)
        nested.rollback()
        session.execute(UPDATE)
        session.commit()

    assert told() == []


def test_nobody_else_can_switch_recording_off(
    session: Session,
    engine: Engine,
    told: Told,
    db: Db,
    role: MakeRole,
    server: Cluster,
    dbname: str,
) -> None:
    name = role("clerk")
    db.execute(f"grant select, update on item to {name}")
    db.commit()
    url = server.url(dbname, user=name, driver="psycopg")
    clerks = create_engine(url, poolclass=NullPool)
    chrononaut_pg.listen(clerks)
    with Session(clerks) as own, suppress_versioning(), change_info(user_id="ann"):
        own.execute(UPDATE)
        own.commit()
    db.execute("drop owned by " + name)
    db.commit()

    assert told() == [("ann", None)]


def test_flush_of_objects_is_suppressed_like_any_write(
    session: Session, told: Told
) -> None:
    with suppress_versioning():
        session.get_one(Item, 1).value = 5
        session.add(Item(id=2))
        session.commit()

    assert (told(), told("I")) == ([], [(None, None)])


def test_deleting_history_is_refused() -> None:
    with (
        pytest.raises(NotPermittedError, match="append-only"),
        suppress_versioning(allow_deleting_history=True),
    ):
        pass
