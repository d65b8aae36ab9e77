"""CHRONONAUT_EXTRA_CHANGE_INFO_FUNC and CHRONONAUT_REQUIRE_EXTRA_CHANGE_INFO."""

from typing import Any

import flask
import pytest
from sqlalchemy import delete, insert, text, update

from chrononaut_pg import (
    ChangeInfoRequiredError,
    ChrononautException,
    InvalidChangeInfoError,
    append_change_info,
    extra_change_info,
    rationale,
)
from tests.integrations.conftest import MakeApp
from tests.integrations.sites import Site, make_site
from tests.servers import Db


@pytest.fixture
def strict(make_app: MakeApp) -> Site:
    """A site that refuses writes of items without extra change info."""
    return make_site(make_app(CHRONONAUT_REQUIRE_EXTRA_CHANGE_INFO=True))


def extras(db: Db) -> list[object]:
    """Return `extra` of every change of an item, in order."""
    query = "select change_info -> 'extra' from item_history order by change_id"
    return [row[0] for row in db.execute(query).fetchall()]


def test_function_adds_extra_once_per_transaction(make_app: MakeApp, db: Db) -> None:
    calls: list[str] = []

    def extra() -> dict[str, str]:
        path = flask.request.path if flask.has_request_context() else ""
        calls.append(path)
        return {"path": path}

    site = make_site(make_app(CHRONONAUT_EXTRA_CHANGE_INFO_FUNC=extra))

    @site.app.post("/two")
    def two() -> str:
        site.db.session.add(site.Item(name="one"))
        site.db.session.flush()
        site.add("two")
        return ""

    calls.clear()
    site.client().post("/two")

    assert extras(db) == [{"path": "/two"}] * 2
    assert calls == ["/two"]


def test_function_is_called_outside_of_requests_too(make_app: MakeApp, db: Db) -> None:
    site = make_site(
        make_app(CHRONONAUT_EXTRA_CHANGE_INFO_FUNC=lambda: {"release": "1.2"})
    )
    with site.app.app_context():
        site.add()

    assert extras(db) == [{"release": "1.2"}]


def test_function_may_have_nothing_to_say(make_app: MakeApp, db: Db) -> None:
    site = make_site(make_app(CHRONONAUT_EXTRA_CHANGE_INFO_FUNC=lambda: None))
    with site.app.app_context():
        site.add()

    assert extras(db) == [None]


@pytest.mark.parametrize("given", [lambda: "web1", "web1"])
def test_function_that_returns_no_dictionary_is_an_error(
    make_app: MakeApp, db: Db, given: Any
) -> None:
    site = make_site(make_app())
    site.app.config["CHRONONAUT_EXTRA_CHANGE_INFO_FUNC"] = given

    with (
        site.app.app_context(),
        pytest.raises(InvalidChangeInfoError, match="is 'web1', not a dictionary"),
    ):
        site.add()
    assert extras(db) == []


def test_block_wins_over_the_function(make_app: MakeApp, db: Db) -> None:
    site = make_site(
        make_app(CHRONONAUT_EXTRA_CHANGE_INFO_FUNC=lambda: {"a": 1, "b": 1})
    )
    with site.app.app_context(), extra_change_info(b=2):
        site.add()

    assert extras(db) == [{"a": 1, "b": 2}]


def test_strict_mode_refuses_insert_update_and_delete_before_writing(
    strict: Site, db: Db
) -> None:
    refused = []
    with strict.app.app_context():
        session = strict.db.session
        with rationale("stock"):
            strict.add("kept")
        item = strict.Item.query.one()
        for act in ("insert", "update", "delete"):
            if act == "insert":
                session.add(strict.Item(name="new"))
            elif act == "update":
                item.name = "changed"
            else:
                session.delete(item)
            with pytest.raises(ChrononautException) as caught:
                session.commit()
            refused.append(type(caught.value))
            session.rollback()

    assert refused == [ChangeInfoRequiredError] * 3
    assert db.execute("select name from item").fetchall() == [("kept",)]
    assert extras(db) == [{"rationale": "stock"}]


def test_strict_mode_refuses_before_anything_of_the_flush_is_written(
    strict: Site, db: Db
) -> None:
    with strict.app.app_context():
        session = strict.db.session
        session.add(strict.User(email="cleo@x.org"))
        session.add(strict.Item(name="new"))
        with pytest.raises(ChangeInfoRequiredError):
            session.flush()
        session.rollback()
    found = db.execute("select count(*) from member where email ~ 'cleo'").fetchone()

    assert found == (0,)


def test_strict_mode_refuses_bulk_and_raw_writes(strict: Site) -> None:
    statements = (
        insert(strict.Item).values(name="x"),
        update(strict.Item).values(name="x"),
        delete(strict.Item),
        text("update item set name = 'x'"),
    )
    with strict.app.app_context():
        for statement in statements:
            with pytest.raises(ChangeInfoRequiredError):
                strict.db.session.execute(statement)
            strict.db.session.rollback()


def test_each_way_of_giving_a_reason_satisfies_strict_mode(
    strict: Site, db: Db
) -> None:
    with strict.app.app_context():
        session = strict.db.session
        with rationale("first"):
            strict.add("a")
        item = strict.Item.query.one()
        with extra_change_info(ticket=7):
            item.name = "b"
            session.commit()
        with append_change_info(item, ticket=8):
            item.name = "c"
        session.commit()
        with rationale("bulk"):
            session.execute(update(strict.Item).values(name="d"))
            session.commit()

    assert extras(db) == [
        {"rationale": "first"},
        {"ticket": 7},
        {"ticket": 8},
        {"rationale": "bulk"},
    ]


def test_function_satisfies_strict_mode(make_app: MakeApp, db: Db) -> None:
    site = make_site(
        make_app(
            CHRONONAUT_REQUIRE_EXTRA_CHANGE_INFO=True,
            CHRONONAUT_EXTRA_CHANGE_INFO_FUNC=lambda: {"release": "1.2"},
        )
    )
    with site.app.app_context():
        site.add()

    assert extras(db) == [{"release": "1.2"}]


def test_strict_mode_does_not_concern_unversioned_models(strict: Site) -> None:
    with strict.app.app_context():
        session = strict.db.session
        session.add(strict.User(email="cleo@x.org"))
        session.commit()
        strict.user("cleo@x.org").handle = "cleo"
        session.commit()
        session.execute(update(strict.User).values(handle="all"))
        session.execute(text("update member set handle = 'raw'"))
        session.commit()

        assert {user.handle for user in strict.User.query} == {"raw"}


def test_request_that_lacks_a_reason_fails_and_the_next_one_works(
    strict: Site, db: Db
) -> None:
    @strict.app.post("/reason")
    def reason() -> str:
        with rationale("asked"):
            strict.add()
        return ""

    client = strict.client("ann@x.org")
    statuses = [client.post(path).status_code for path in ("/add", "/reason")]

    assert (statuses, extras(db)) == ([500, 200], [{"rationale": "asked"}])
