"""Greenlets of gevent, with everything patched, name their own person."""

import importlib.util
import subprocess
import sys

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tests.servers import Db

SCRIPT = """
import gevent.monkey
gevent.monkey.patch_all()

import sys
import gevent
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker
import chrononaut_pg
from chrononaut_pg import change_info, rationale

engine = create_engine(sys.argv[1], pool_size=3)
makers = [sessionmaker(engine) for _ in range(2)]
for number, make in enumerate(makers):
    chrononaut_pg.listen(make, user_id=lambda number=number: f"maker {number}")
turns = []

def work(number):
    who = {} if number < 2 else {"user_id": f"user {number}"}
    with change_info(**who), makers[number % 2]() as session:
        for step in range(5):
            with rationale(f"step {step}"):
                turns.append(number)
                values = {"id": number * 10 + step}
                session.execute(text("insert into item values (:id, 0)"), values)
                session.execute(text("select pg_sleep(0.002)"))
        session.commit()

jobs = [gevent.spawn(work, number) for number in range(1, 7)]
gevent.joinall(jobs, raise_error=True)
assert turns != sorted(turns), "the greenlets did not take turns"
"""


def test_greenlets_of_gevent_name_their_own_person(
    session: Session, engine: Engine, db: Db
) -> None:
    if importlib.util.find_spec("gevent") is None:
        pytest.skip("gevent is not installed")
    url = engine.url.render_as_string(hide_password=False)
    subprocess.run([sys.executable, "-c", SCRIPT, url], check=True, timeout=60)
    found = db.execute(
        "select id, change_info ->> 'user_id', change_info #>> '{extra,rationale}'"
        " from item_history where id >= 10 order by id"
    ).fetchall()

    users = {1: "maker 1", **{number: f"user {number}" for number in range(2, 7)}}
    assert found == [
        (number * 10 + step, user, f"step {step}")
        for number, user in users.items()
        for step in range(5)
    ]
