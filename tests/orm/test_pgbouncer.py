"""Behind PgBouncer in transaction mode, clients share connections and never a name."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL, Engine, NullPool, create_engine, text, update
from sqlalchemy.orm import Session

import chrononaut_pg
from chrononaut_pg import change_info, rationale
from chrononaut_pg.testing.server import _free_port
from tests.orm.conftest import Item, Told

CONFIG = """
[databases]
shared = host={host} port={port} dbname={dbname} user={user} pool_size=1

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
ignore_startup_parameters = extra_float_digits
{more}

pidfile = {folder}/pid
"""

UPDATE = update(Item).values(value=Item.value + 1)


def as_the_server(folder: Path, socket_folder: str) -> dict[str, Any]:
    """Return the options under which PgBouncer starts, which refuses to be root."""
    if os.getuid() != 0:
        return {}
    owner = os.stat(socket_folder)
    os.chown(folder, owner.st_uid, owner.st_gid)
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other accounts can reach, unlike pytest's own."""
    with TemporaryDirectory(prefix="bouncer") as found:
        yield Path(found)


@pytest.fixture
def bouncer(
    engine: Engine, session: Session, folder: Path, request: pytest.FixtureRequest
) -> Iterator[URL]:
    """The URL of a PgBouncer with one server connection for all of its clients."""
    binary = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    host = engine.url.query.get("host")
    if binary is None or not host:
        pytest.skip("pgbouncer is not installed, or the server is not on this machine")
    if hasattr(request, "param") and version(binary) < (1, 21):
        pytest.skip("PgBouncer before 1.21 takes no prepared statements")
    session.close()
    settings = {
        "host": host,
        "port": engine.url.query.get("port") or engine.url.port or 5432,
        "dbname": engine.url.database,
        "user": engine.url.username,
        "folder": folder,
        "more": getattr(request, "param", ""),
    }
    for _ in range(5):  # somebody else may take the port that was free
        listen = _free_port()
        config = folder / "pgbouncer.ini"
        config.write_text(CONFIG.format(listen=listen, **settings))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [binary, str(config)], stderr=log, **as_the_server(folder, str(host))
            )
        url = URL.create(
            "postgresql+psycopg",
            "any",
            host="127.0.0.1",
            port=listen,
            database="shared",
        )
        try:
            if answers(url, process):
                yield url
                return
        finally:
            process.terminate()
            process.wait()
    pytest.fail(f"pgbouncer ended: {(folder / 'log').read_text()}")


def version(binary: str) -> tuple[int, ...]:
    """Return the version of PgBouncer, such as (1, 21)."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True)
    return tuple(int(part) for part in said.stdout.split()[1].split(".")[:2])


def answers(url: URL, process: subprocess.Popen[bytes]) -> bool:
    """Return whether a client can connect, as soon as it can or PgBouncer has ended."""
    plain = url.set(drivername="postgresql").render_as_string()
    patience = time.monotonic() + 60
    while process.poll() is None:
        try:
            psycopg.connect(plain, connect_timeout=5).close()
        except psycopg.OperationalError:
            if time.monotonic() > patience:
                pytest.fail("pgbouncer does not answer")
        else:
            return process.poll() is None  # else somebody else has answered
    return False


def client(url: URL, prepare_threshold: int | None) -> Engine:
    engine = create_engine(
        url,
        poolclass=NullPool,
        connect_args={"prepare_threshold": prepare_threshold},
    )
    chrononaut_pg.listen(engine)
    return engine


def backend(session: Session) -> Any:
    return session.scalar(text("select pg_backend_pid()"))


def told_by_turns(url: URL, told: Told, prepare_threshold: int | None) -> list[Any]:
    """Let two clients write by turns, and return what history tells of it."""
    first = client(url, prepare_threshold)
    second = client(url, prepare_threshold)
    pids = set()
    with Session(first) as ann, Session(second) as nobody:
        for number in range(3):
            with change_info(user_id="ann"), rationale(f"why {number}"):
                pids.add(backend(ann))
                ann.execute(UPDATE)
                ann.commit()
            pids.add(backend(nobody))
            nobody.execute(UPDATE)
            nobody.commit()
    return [len(pids), *told()]


BY_TURNS = [
    1,
    ("ann", "why 0"),
    (None, None),
    ("ann", "why 1"),
    (None, None),
    ("ann", "why 2"),
    (None, None),
]


def test_clients_sharing_a_connection_never_see_each_others_change_info(
    bouncer: URL, told: Told
) -> None:
    assert told_by_turns(bouncer, told, None) == BY_TURNS


@pytest.mark.parametrize("bouncer", ["max_prepared_statements = 100"], indirect=True)
def test_prepared_statements_of_the_driver_carry_their_own_clients_change_info(
    bouncer: URL, told: Told
) -> None:
    assert told_by_turns(bouncer, told, 0) == BY_TURNS


def test_statement_prepared_by_one_client_carries_the_next_ones_change_info(
    bouncer: URL, told: Told
) -> None:
    prepare = "prepare change as update item set value = value + 1"
    with Session(client(bouncer, None)) as ann, change_info(user_id="ann"):
        ann.execute(text(prepare))
        ann.execute(text("execute change"))
        ann.commit()
    with Session(client(bouncer, None)) as nobody:
        nobody.execute(text("execute change"))
        nobody.commit()

    assert told() == [("ann", None), (None, None)]


def test_transaction_rolled_back_leaves_nothing_to_the_next_client(
    bouncer: URL, told: Told
) -> None:
    with Session(client(bouncer, None)) as ann, change_info(user_id="ann"):
        ann.execute(UPDATE)
        ann.rollback()
    with Session(client(bouncer, None)) as nobody:
        nobody.execute(UPDATE)
        nobody.commit()

    assert told() == [(None, None)]
