"""Callables are asked once per transaction, however often and wherever they are due."""

import itertools
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, QueuePool, create_engine, text
from sqlalchemy.orm import Session

import chrononaut_pg
from chrononaut_pg import change_info, extra_change_info, rationale
from tests.orm.conftest import Base, Told
from tests.servers import Db, TemplateOf


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata, "insert into item values (1, 0)")


@pytest.fixture
def pooled(engine: Engine) -> Iterator[Engine]:
    """An engine whose every transaction runs on the one connection that it has."""
    found = create_engine(engine.url, poolclass=QueuePool, pool_size=1, max_overflow=0)
    chrononaut_pg.listen(found)
    yield found
    found.dispose()


def write(session: Session) -> None:
    session.execute(text("update item set value = value + 1"))


def test_block_inside_does_not_have_the_outer_ones_callable_asked_again(
    pooled: Engine, told: Told
) -> None:
    users, calls = itertools.count(), itertools.count()
    with (
        Session(pooled) as session,
        change_info(user_id=lambda: str(next(users))),
        extra_change_info(ticket=lambda: next(calls)),
    ):
        write(session)
        with rationale("inner"):
            write(session)
        write(session)
        session.commit()

    assert told() == [("0", None), ("0", "inner"), ("0", None)]
    assert (next(users), next(calls)) == (1, 1)


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_next_transaction_of_a_pooled_connection_asks_anew(
    pooled: Engine, told: Told, end: str
) -> None:
    calls = itertools.count()
    with change_info(user_id=lambda: str(next(calls))):
        with Session(pooled) as session:
            write(session)
            getattr(session, end)()
            write(session)
            session.commit()
        with Session(pooled) as session:
            write(session)
            session.commit()

    expected = [("0", None), ("1", None), ("2", None)]
    assert told() == expected[0 if end == "commit" else 1 :]


def test_words_of_a_transaction_do_not_reach_the_next_on_a_pooled_connection(
    pooled: Engine, told: Told, db: Db
) -> None:
    with Session(pooled) as session:
        with change_info(user_id="ann"), rationale("why"):
            write(session)
            session.commit()
        write(session)
        session.commit()
    with Session(pooled) as session:
        write(session)
        session.commit()

    assert told() == [("ann", "why"), (None, None), (None, None)]
    rows = "select change_info ->> 'user_id' from chrononaut.transaction order by id"
    assert [user for [user] in db.execute(rows)][-3:] == ["ann", None, None]
