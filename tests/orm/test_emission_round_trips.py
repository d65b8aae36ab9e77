"""Who and why cost no network round trip with psycopg: BEGIN, the write, COMMIT."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, select, update
from sqlalchemy.orm import Session

import chrononaut_pg
from chrononaut_pg import change_info
from tests.orm.conftest import Item, Told
from tests.orm.turns import Turns, counting_turns


@pytest.fixture
def proxy(engine: Engine, session: Session) -> Iterator[Turns]:
    """A counting proxy before the test's server."""
    folder: Any = engine.url.query.get("host")
    if not folder or not str(folder).startswith("/"):
        pytest.skip("the server under test has no Unix socket to stand before")
    port = engine.url.query.get("port") or engine.url.port or 5432
    with counting_turns(f"{folder}/.s.PGSQL.{port}") as found:
        yield found


def engine_through(proxy: Turns, engine: Engine) -> Engine:
    url = engine.url.set(host="127.0.0.1", port=proxy.port, query={})
    query = {"sslmode": "disable", "gssencmode": "disable"}
    return create_engine(url.set(query=query), poolclass=NullPool)


def turns_of_update(engine: Engine, proxy: Turns, user_id: str | None) -> int:
    """Return the round trips of one update and its commit."""
    with Session(engine) as session, change_info(user_id=user_id):
        session.connection()
        before = proxy.count
        session.execute(update(Item).values(value=Item.value + 1))
        session.commit()
        return proxy.count - before


def test_who_and_why_cost_no_round_trip(
    proxy: Turns, engine: Engine, told: Told
) -> None:
    bare = engine_through(proxy, engine)
    without = turns_of_update(bare, proxy, None)
    chrononaut_pg.listen(bare)
    found = turns_of_update(bare, proxy, "ann")

    assert (without, found, told()) == (3, 3, [(None, None), ("ann", None)])


def test_reading_takes_no_more_round_trips(proxy: Turns, engine: Engine) -> None:
    counts = []
    listening = engine_through(proxy, engine)
    chrononaut_pg.listen(listening)
    for one in (engine_through(proxy, engine), listening):
        with Session(one) as session, change_info(user_id="ann"):
            session.connection()
            before = proxy.count
            session.execute(select(Item)).all()
            session.commit()
            counts.append(proxy.count - before)

    assert counts[0] == counts[1]
