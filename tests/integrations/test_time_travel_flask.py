"""During a block of time travel `db.session` reads the past, and nothing else does."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flask
import pytest
from flask import stream_with_context
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session
from werkzeug.exceptions import NotFound

from chrononaut_pg import ReadOnlyPastError, Versioned, VersionedSQLAlchemy, time_travel
from tests.integrations.conftest import MakeApp
from tests.integrations.sites import Site
from tests.servers import Db


@pytest.fixture
def travelled(site: Site) -> Iterator[Site]:
    """The application, in whose past there was an item `old` that is `new` now."""
    with site.app.app_context():
        session = site.db.session
        site.add("old")
        session.execute(text("select chrononaut.mark('before')"))
        session.commit()
        session.get_one(site.Item, 1).name = "new"
        site.add("later")
        yield site


def names(site: Site) -> list[Any]:
    statement = select(site.Item.name).order_by(site.Item.id)
    return list(site.db.session.scalars(statement))


def test_whoever_asks_for_the_session_gets_the_past(travelled: Site) -> None:
    db, Item = travelled.db, travelled.Item
    live: Any = db.session()
    with time_travel(db.session, mark="before") as past:
        asked: Any = db.session()
        found = [
            asked is past,
            names(travelled),
            [item.name for item in Item.query],
            Item.query.count(),
            db.session.get_one(Item, 1).name,
            db.session.query(Item).first_or_404().name,
            db.get_or_404(Item, 1).name,
            db.paginate(select(Item)).total,
            Item.query.paginate().items[0].name,
            db.session.scalar(text("select name from item")),
        ]
        with pytest.raises(NotFound):
            db.get_or_404(Item, 2)

    assert found == [True, ["old"], ["old"], 1, *["old"] * 3, 1, "old", "old"]
    assert [db.session() is live, names(travelled)] == [True, ["new", "later"]]


def test_plain_session_stays_in_the_present(travelled: Site) -> None:
    item = select(travelled.Item.name).where(travelled.Item.id == 1)
    with time_travel(travelled.db.session, mark="before"):
        with Session(travelled.db.engine) as plain:
            found = [plain.scalar(item), travelled.db.session.scalar(item)]
        with time_travel(plain, mark="before") as past:
            found += [past.scalar(item)]
        plain.close()

    assert found == ["new", "old", "old"]


def test_travelling_with_the_session_itself_leaves_the_registry_alone(
    travelled: Site,
) -> None:
    with time_travel(travelled.db.session(), mark="before") as past:
        found = [names(travelled), past.get_one(travelled.Item, 1).name]

    assert found == [["new", "later"], "old"]


def test_other_threads_and_requests_stay_in_the_present(travelled: Site) -> None:
    def read() -> list[Any]:
        with travelled.app.app_context():
            return names(travelled)

    with (
        time_travel(travelled.db.session, mark="before"),
        ThreadPoolExecutor(1) as pool,
    ):
        found = [pool.submit(read).result(), read(), names(travelled)]

    assert found == [["new", "later"], ["new", "later"], ["old"]]


def test_blocks_nest(travelled: Site) -> None:
    session = travelled.db.session
    number = session.scalar(text("select max(id) from chrononaut.transaction"))
    with time_travel(session, mark="before"):
        with time_travel(session, transaction=number, before=True):
            inner = names(travelled)
        outer = names(travelled)

    assert (inner, outer, names(travelled)) == (["old"], ["old"], ["new", "later"])


def test_writes_are_refused_and_the_session_writes_again_afterwards(
    travelled: Site,
) -> None:
    session = travelled.db.session
    with time_travel(session, mark="before"):
        item = session.get_one(travelled.Item, 1)
        item.name = "changed"
        with pytest.raises(ReadOnlyPastError):
            session.commit()
        with pytest.raises(ReadOnlyPastError):
            travelled.add("refused")
    travelled.add("added")

    assert names(travelled) == ["new", "later", "added"]


def test_error_in_the_block_gives_the_session_back(travelled: Site) -> None:
    live = travelled.db.session()

    def fail() -> None:
        with time_travel(travelled.db.session, mark="before"):
            names(travelled)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert [travelled.db.session() is live, names(travelled)] == [
        True,
        ["new", "later"],
    ]


def test_request_that_ends_within_the_block_leaves_nothing(
    travelled: Site, db: Db
) -> None:
    """A response streamed after its context is gone: teardown removes the past."""
    opened: list[Any] = []

    def stream(outlive: bool) -> Any:
        def rows() -> Iterator[str]:
            with time_travel(travelled.db.session, mark="before") as past:
                opened.append(past)
                for name in names(travelled):
                    if outlive:
                        travelled.db.session.remove()
                    yield name

        return flask.Response(stream_with_context(rows()))

    for number, outlive in enumerate((False, True)):
        travelled.app.add_url_rule(
            f"/{number}", f"stream{number}", lambda outlive=outlive: stream(outlive)
        )
    travelled.db.session.remove()
    client = travelled.app.test_client()
    found = [client.get(f"/{number}").text for number in range(2)]
    begun = [past.live.in_transaction() for past in opened]
    now = names(travelled)
    travelled.db.session.remove()
    left = "select count(*) from pg_stat_activity where state like 'idle in%'"
    db.rollback()
    idle = db.execute(
        left + " and datname = current_database() and pid <> pg_backend_pid()"
    ).fetchone()

    assert (found, begun, now, idle) == (
        ["old", "old"],
        [False, False],
        ["new", "later"],
        (0,),
    )


def test_each_bind_key_has_a_past_of_its_own(make_app: MakeApp, empty_db: Db) -> None:
    app = make_app()
    url = make_app.url.rsplit("/", 1)
    query = "?" + url[1].partition("?")[2]
    other = f"{url[0]}/{empty_db.info.dbname}{query if len(query) > 1 else ''}"
    app.config["SQLALCHEMY_BINDS"] = {"other": other}
    db = VersionedSQLAlchemy(app)
    first, second = make_models(db)
    with app.app_context():
        db.create_all()
        for one in (first, second):
            db.session.add(one(id=1, name="old"))
            db.session.commit()
            # Each database has marks of its own.
            mark = select(func.chrononaut.mark("before"))
            db.session.execute(mark, bind_arguments={"mapper": one})
            db.session.commit()
            db.session.get_one(one, 1).name = "new"
            db.session.commit()
        with time_travel(db.session, mark="before"):
            then = [db.session.get_one(one, 1).name for one in (first, second)]
        now = [db.session.get_one(one, 1).name for one in (first, second)]

    assert (then, now) == (["old", "old"], ["new", "new"])


def make_models(db: VersionedSQLAlchemy) -> tuple[Any, Any]:
    class First(Versioned, db.Model):  # type: ignore[name-defined, misc]
        id = db.Column(db.Integer, primary_key=True)
        name = db.Column(db.String)

    class Second(Versioned, db.Model):  # type: ignore[name-defined, misc]
        __bind_key__ = "other"
        id = db.Column(db.Integer, primary_key=True)
        name = db.Column(db.String)

    return First, Second
