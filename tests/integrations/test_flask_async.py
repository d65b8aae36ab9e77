"""Asynchronous views of Flask: each request's writes name its own user."""

import asyncio
import importlib.util
import threading
from typing import Any

import pytest
from sqlalchemy import text

from chrononaut_pg import rationale
from tests.integrations.conftest import MakeApp
from tests.integrations.sites import Site, make_site, users_recorded
from tests.servers import Db

if importlib.util.find_spec("asgiref") is None:
    pytest.skip("asynchronous views need asgiref", allow_module_level=True)


@pytest.fixture
def site(make_app: MakeApp) -> Site:
    """A site with an asynchronous view that writes around an `await`."""
    found = make_site(make_app())
    gate = threading.Barrier(2, timeout=30)

    @found.app.post("/slow")
    async def slow() -> str:
        found.db.session.add(found.Item(name="before"))
        found.db.session.flush()
        await asyncio.to_thread(gate.wait)
        with rationale("after"):
            await asyncio.sleep(0)
            found.add("after")
        return ""

    @found.app.post("/quick")
    async def quick() -> str:
        await asyncio.sleep(0)
        found.add("quick")
        return ""

    return found


def test_async_view_names_its_user(site: Site, db: Db) -> None:
    site.client("ann@x.org").post("/quick")
    site.client().post("/quick")
    site.client("bob@x.org").post("/quick")

    assert users_recorded(db) == ["ann@x.org", None, "bob@x.org"]


def test_async_views_at_one_time_name_their_own_users(site: Site, db: Db) -> None:
    clients = [site.client(email) for email in ("ann@x.org", "bob@x.org")]
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda one=one: answers.append(one.post("/slow")))
        for one in clients
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    query = (
        "select change_info ->> 'user_id',"
        " array_agg(change_info #>> '{extra,rationale}' order by change_id)"
        " from item_history group by 1 order by 1"
    )
    assert [one.status_code for one in answers] == [200, 200]
    assert db.execute(query).fetchall() == [
        ("ann@x.org", [None, "after"]),
        ("bob@x.org", [None, "after"]),
    ]


def test_async_before_request_function_may_write_in_the_users_name(
    site: Site, db: Db
) -> None:
    @site.app.before_request
    async def note() -> None:
        await asyncio.sleep(0)
        if site.app.config.get("NOTE"):
            site.db.session.execute(text("insert into item (name) values ('note')"))
            site.db.session.commit()

    client = site.client("ann@x.org")
    site.app.config["NOTE"] = True
    client.post("/quick")

    assert users_recorded(db) == ["ann@x.org", "ann@x.org"]
