"""Conversions that are killed or run twice at once: nothing twice, nothing lost."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chrononaut_pg import Versioned
from chrononaut_pg.converters import HistoryModelDataConverter


class Base(DeclarativeBase):
    """Base of the model, as the application has it after moving."""


class Item(Versioned, Base):
    __tablename__ = "item"

    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int | None]
    data: Mapped[bytes | None]


OBJECTS, VERSIONS = 100, 60

OLD = f"""
create table item_history_old (
    id integer, value text, data bytea,
    version integer, changed timestamptz, change_info jsonb, primary key (id, version));
insert into item_history_old
select id, case when id = 7 and version % 20 = 3 then 'bad' else version::text end,
    decode(to_hex(256 * 255 + version), 'hex'),
    version, timestamptz '2019-01-01Z' + version * interval '1 hour',
    jsonb_build_object('user_id', 'user ' || id)
from generate_series(1, {OBJECTS}) id, generate_series(0, {VERSIONS} - 1) version;
"""

PROGRAM = """
import sys
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from chrononaut_pg.converters import HistoryModelDataConverter
from tests.converters.test_interrupted import Item

with Session(create_engine(sys.argv[1])) as session:
    converter = HistoryModelDataConverter(Item)
    while done := converter.convert(session, limit=int(sys.argv[2])):
        print(done, flush=True)
        sys.stdin.readline()
"""


@pytest.fixture
def session(engine: Engine) -> Any:
    """A session on a database with old history and the versioned table."""
    with engine.begin() as connection:
        connection.execute(text(OLD))
    Base.metadata.create_all(engine)
    with Session(engine) as found:
        found.execute(
            text(
                "insert into item"
                f" select id, {VERSIONS} from generate_series(1, {OBJECTS}) id"
            )
        )
        found.commit()
        yield found


@contextmanager
def converting(
    session: Session, engine: Engine, limit: int, chunks: int
) -> Iterator[subprocess.Popen[str]]:
    """Run a process that converts, *limit* rows per transaction.

    During the block it has done *chunks* of them and is in the middle of the next.
    """
    url = engine.url.render_as_string(hide_password=False)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url, str(limit)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    for number in range(chunks):
        if number:
            print(file=process.stdin, flush=True)
        process.stdout.readline()
    session.execute(text("lock table item_history_old in access exclusive mode"))
    print(file=process.stdin, flush=True)
    waiting = "select exists (select from pg_locks where not granted)"
    while process.poll() is None and not session.scalar(text(waiting)):
        pass
    yield process
    session.rollback()
    process.communicate()


def counted(session: Session) -> int:
    """Return how many old rows history has, and end the transaction."""
    query = "select count(*) from item_history where change_id < 0"
    found: int = session.scalar(text(query)) or 0
    session.rollback()
    return found


def differences(session: Session) -> list[Any]:
    """Return what history lacks of the old rows, what it has besides, or twice."""
    query = (
        "select * from ("
        " select id, version, case value when 'bad' then null else value::int end"
        "  as value, data, changed, change_info ->> 'user_id' as info"
        "  from item_history_old) o full join ("
        " select id, version, value, data, changed, change_info ->> 'user_id' as info,"
        "  1 as here from item_versions where change_id is not null) n"
        " using (id, version) where row(o.value, o.data, o.changed, o.info)"
        " is distinct from row(n.value, n.data, n.changed, n.info)"
    )
    return list(session.execute(text(query)))


@pytest.mark.parametrize("chunks", [1, 4, 11])
def test_killed_run_goes_on_where_it_stopped(
    session: Session, engine: Engine, chunks: int
) -> None:
    with converting(session, engine, 500, chunks) as process:
        process.send_signal(signal.SIGKILL)
    before = counted(session)
    done = HistoryModelDataConverter(Item).convert_all(session)

    assert before == 500 * chunks < OBJECTS * VERSIONS
    assert before + done == OBJECTS * VERSIONS == counted(session)
    assert differences(session) == []
    assert HistoryModelDataConverter(Item).convert_all(session) == 0


def test_run_whose_server_process_is_ended_goes_on_where_it_stopped(
    session: Session, engine: Engine
) -> None:
    with converting(session, engine, 500, 1):
        session.execute(
            text(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
                " and backend_type = 'client backend'"
            )
        )
    HistoryModelDataConverter(Item).convert_all(session)

    assert (counted(session), differences(session)) == (OBJECTS * VERSIONS, [])


def test_two_runs_at_once_convert_everything_once(
    session: Session, engine: Engine
) -> None:
    done: list[int] = []
    start = threading.Barrier(3, timeout=30)

    def work() -> None:
        with Session(engine) as own:
            start.wait()
            done.append(HistoryModelDataConverter(Item).convert_all(own, limit=300))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert (len(done), sum(done)) == (3, OBJECTS * VERSIONS)
    assert (counted(session), differences(session)) == (OBJECTS * VERSIONS, [])


def test_bad_values_are_reported_once_however_often_it_was_interrupted(
    session: Session, engine: Engine
) -> None:
    with converting(session, engine, 700, 1) as process:
        process.kill()
    converter = HistoryModelDataConverter(Item)
    converter.convert_all(session)

    assert [(one.key, one.number, one.lost) for one in converter.problems(session)] == [
        ([7], number, {"value": "bad"}) for number in (3, 23, 43)
    ]


def test_bytes_come_back_as_they_were(session: Session) -> None:
    HistoryModelDataConverter(Item).convert_all(session)
    versions = session.get_one(Item, 5).versions()

    assert [one.data for one in versions] == [
        bytes([255, number]) for number in range(VERSIONS)
    ]
