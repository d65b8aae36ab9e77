"""The right person and the right reason, on every way that a write can take."""

from collections.abc import Callable

import pytest
from sqlalchemy import (
    Engine,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

import chrononaut_pg
from chrononaut_pg import (
    InvalidChangeInfoError,
    change_info,
    rationale,
)
from tests.orm.conftest import Base, Item, Told
from tests.servers import Db, TemplateOf


def core_update(session: Session) -> None:
    session.execute(update(Item).values(value=Item.value + 1))


def textual(session: Session) -> None:
    session.execute(text("update item set value = value + 1"))


def driver_sql(session: Session) -> None:
    session.connection().exec_driver_sql("update item set value = value + 1")


def executemany(session: Session) -> None:
    session.connection().execute(
        text("update item set value = :v where id = :i"),
        [{"v": 7, "i": 1}, {"v": 7, "i": 2}],
    )


def bulk_by_key(session: Session) -> None:
    session.execute(update(Item), [{"id": 1, "value": 9}])


def writing_function(session: Session) -> None:
    session.execute(text("select bump()"))


def writing_function_of_core(session: Session) -> None:
    session.execute(select(func.bump()))


def writable_cte(session: Session) -> None:
    changed = "update item set value = value + 1 returning id"
    session.execute(text(f"with u as ({changed}) select count(*) from u"))


def core_cte(session: Session) -> None:
    changed = update(Item).values(value=5).returning(Item.id).cte("changed")
    session.execute(select(func.count()).select_from(changed))


def upserting(session: Session) -> None:
    statement = upsert(Item).values(id=1, value=3)
    session.execute(
        statement.on_conflict_do_update(index_elements=["id"], set_={"value": 4})
    )


def commented(session: Session) -> None:
    session.execute(text("/* select */ -- select\n update item set value = value + 1"))


def in_a_block(session: Session) -> None:
    session.execute(text("do $$ begin update item set value = 8; end $$"))


WRITES: list[Callable[[Session], None]] = [
    core_update,
    textual,
    driver_sql,
    executemany,
    bulk_by_key,
    writing_function,
    writing_function_of_core,
    writable_cte,
    core_cte,
    upserting,
    commented,
    in_a_block,
]


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@pytest.mark.parametrize("write", WRITES, ids=lambda write: str(write.__name__))
@pytest.mark.parametrize("after_read", [False, True])
def test_every_kind_of_write_carries_who_and_why(
    session: Session,
    db: Db,
    told: Told,
    write: Callable[[Session], None],
    after_read: bool,
) -> None:
    db.execute(
        "create function bump() returns void language sql"
        " as 'update item set value = value + 1'"
    )
    db.commit()
    if after_read:
        session.execute(select(Item)).all()
    with change_info(user_id="ann"), rationale("why"):
        write(session)
    session.commit()

    assert told() == [("ann", "why")]


def test_inserts_of_many_and_bulk_deletes_carry_who_and_why(
    session: Session, told: Told
) -> None:
    with change_info(user_id="ann"), rationale("why"):
        session.add_all(Item(id=number) for number in range(2, 2002))
        session.flush()
        session.execute(insert(Item), [{"id": 5000}, {"id": 5001}])
        session.execute(delete(Item).where(Item.id > 4000))
        session.commit()

    assert set(told("I")[1:]) == set(told("D")) == {("ann", "why")}


@pytest.mark.min_pg(15)
def test_merge_carries_who_and_why(session: Session, told: Told) -> None:
    with change_info(user_id="ann"):
        session.execute(
            text(
                "merge into item using (values (1, 5)) s(id, value) on s.id = item.id"
                " when matched then update set value = s.value"
            )
        )
        session.commit()

    assert told() == [("ann", None)]


def test_announced_copy_carries_who_and_why(session: Session, told: Told) -> None:
    with change_info(user_id="ann"), rationale("import"):
        chrononaut_pg.announce(session)
        cursor = session.connection().connection.cursor()
        with cursor.copy("copy item (id, value) from stdin") as copy:
            copy.write_row((7, 7))
        session.commit()

    assert told("I")[-1] == ("ann", "import")


def test_server_side_cursor_carries_who_and_why(
    session: Session, db: Db, told: Told
) -> None:
    db.execute(
        "create function bump() returns setof int language sql"
        " as 'update item set value = value + 1 returning value'"
    )
    db.commit()
    with change_info(user_id="ann"):
        statement = text("select * from bump()").execution_options(stream_results=True)
        session.execute(statement).all()
        session.commit()

    assert told() == [("ann", None)]


def test_two_phase_transaction_carries_who_and_why(
    listening: Engine, told: Told
) -> None:
    with Session(listening, twophase=True) as own, change_info(user_id="ann"):
        own.add(Item(id=1))
        own.commit()

    assert told("I") == [("ann", None)]


HOSTILE = [
    "100 % of it %s %(x)s :y",
    "it's \"quoted\" \\ back\\'slash",
    "lines\nand\ttabs\r\n",
    "4 bytes: 🦉 🎻",
    "x" * 100_000,
    "'); drop table item; --",
]


@pytest.mark.parametrize("reason", HOSTILE, ids=range(len(HOSTILE)))
def test_reason_arrives_as_it_was(session: Session, told: Told, reason: str) -> None:
    with rationale(reason):
        session.execute(text("update item set value = 1"))
        session.commit()

    assert told() == [(None, reason)]


def test_nul_in_a_reason_is_refused_before_anything_is_written(
    session: Session, told: Told
) -> None:
    with pytest.raises(InvalidChangeInfoError, match=r"U\+0000"), rationale("a\0b"):
        session.execute(text("update item set value = 1"))
    session.rollback()

    assert told() == []
