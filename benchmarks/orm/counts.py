"""Counts what no clock shows: statements, network round trips; and times the import."""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import chrononaut_pg
from benchmarks.database import Database
from benchmarks.goals import Result
from tests.orm.turns import Turns, counting_turns

_IMPORT = (
    "import sqlalchemy, sqlalchemy.orm, time; began = time.perf_counter();"
    "from chrononaut_pg import Versioned, listen;"
    "print((time.perf_counter() - began) * 1e3)"
)


class _Base(DeclarativeBase):
    pass


class _Bare(_Base):
    __tablename__ = "counted_bare"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]


class _Kept(chrononaut_pg.Versioned, _Base):
    __tablename__ = "counted_kept"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]


def judge_counts(database: Database) -> Iterator[Result]:
    """Compare the round trips of small transactions; count the readers' statements."""
    place = conninfo_to_dict(database.url)
    with counting_turns(f"{place['host']}/.s.PGSQL.{place['port']}") as proxy:
        url = f"postgresql+psycopg://{place['user']}@127.0.0.1:{proxy.port}/bench"
        query = {"sslmode": "disable", "gssencmode": "disable"}
        bare, kept = (sa.create_engine(sa.make_url(url).set(query=query)) for _ in "12")
        chrononaut_pg.listen(kept)
        _Base.metadata.create_all(kept)
        kept.dispose()  # the proxy serves one connection at a time
        without = dict(_transactions(bare, _Bare, proxy))
        bare.dispose()
        for work, found in _transactions(kept, _Kept, proxy):
            yield Result(
                f"round trips, {work}", "without history", found, without[work]
            )
        yield from _readers(kept)
        kept.dispose()


def judge_import(rounds: int) -> Result:
    """Time what importing costs beyond SQLAlchemy's own, in a process each.

    A first one writes the bytecode, as installing a package does.
    """
    with tempfile.TemporaryDirectory() as folder:
        bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        _, *times = [
            float(
                subprocess.check_output(
                    [sys.executable, "-c", _IMPORT], env=os.environ | bytecode
                )
            )
            for _ in range(rounds + 1)
        ]
    return Result(
        "import", "SQLAlchemy", statistics.median(times), 50, min(times), " ms"
    )


def _transactions(
    engine: sa.Engine, model: type[Any], proxy: Turns
) -> Iterator[tuple[str, int]]:
    """Yield the round trips that an object takes to be written, and to be read."""
    with (
        Session(engine, expire_on_commit=False) as session,
        chrononaut_pg.change_info(user_id="ann@example.com"),
    ):
        one = model(id=1, number=0)

        def turns(work: Callable[[], Any]) -> int:
            before = proxy.count
            work()
            session.commit()
            return proxy.count - before

        session.connection()
        session.commit()
        yield "insert", turns(lambda: session.add(one))
        for _ in range(6):  # the driver prepares what it sees often
            one.number += 1
            session.commit()
        yield "update", turns(lambda: setattr(one, "number", 9))
        yield "read", turns(lambda: session.refresh(one))
        yield "delete", turns(lambda: session.delete(one))


def _readers(engine: sa.Engine) -> Iterator[Result]:
    with Session(engine) as session:
        one = _Kept(id=2, number=0)
        session.add(one)
        session.commit()
        for number in range(1, 4):
            one.number = number
            session.commit()
        first, second, _ = one.versions()
        at = first.changed
        works: dict[str, Callable[[], Any]] = {
            "versions": one.versions,
            "version_at": lambda: one.version_at(at),
            "previous_version": one.previous_version,
            "has_changed_since": lambda: one.has_changed_since(at),
            "changes": lambda: list(one.changes()),
            "blame": one.blame,
            "diff": lambda: one.diff(first, second),
        }
        for name, work in works.items():
            goal = 0 if name == "diff" else 1
            yield Result(f"statements, {name}", "", _statements(engine, work), goal)


def _statements(engine: sa.Engine, work: Callable[[], Any]) -> int:
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    return len(sent)
