"""Requests from several threads, through a real WSGI server."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import flask
import httpx
import pytest
import waitress
from flask_login import current_user

from chrononaut_pg import rationale
from tests.integrations.conftest import MakeApp
from tests.integrations.sites import Site, make_site
from tests.servers import Db

USERS = tuple(f"user{number}@x.org" for number in range(6))
REQUESTS = 8


@pytest.fixture
def busy_site(make_app: MakeApp) -> Iterator[tuple[Site, str]]:
    """A site with a connection pool, served by six threads; and its URL."""
    app = make_app()
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_size": 3, "max_overflow": 0}
    site = make_site(app, USERS)
    server = waitress.create_server(app, host="127.0.0.1", port=0, threads=6)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield site, f"http://127.0.0.1:{server.effective_port}"
    server.close()
    server.task_dispatcher.shutdown()
    thread.join(timeout=30)
    with app.app_context():
        site.db.engine.dispose()


def test_each_thread_names_its_own_user_and_reason(
    busy_site: tuple[Site, str], db: Db
) -> None:
    site, url = busy_site

    @site.app.post("/write/<name>")
    def write(name: str) -> str:
        with rationale(f"{current_user.email} wants {name}"):
            site.add(name)
            item = site.Item.query.filter_by(name=name).one()
            item.name = f"{flask.request.form['who']}: {name}"
            site.db.session.commit()
        return ""

    def work(user: str) -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            client.post("/login", data={"email": user}).raise_for_status()
            for number in range(REQUESTS):
                path = f"/write/{USERS.index(user)}-{number}"
                client.post(path, data={"who": user}).raise_for_status()

    with ThreadPoolExecutor(len(USERS)) as pool:
        list(pool.map(work, USERS))
    rows = db.execute(
        "select i.name, h.operation, h.change_info ->> 'user_id',"
        " h.change_info #>> '{extra,rationale}'"
        " from item_history h join item i using (id)"
    ).fetchall()

    assert sorted(rows) == sorted(
        (
            f"{user}: {place}-{number}",
            operation,
            user,
            f"{user} wants {place}-{number}",
        )
        for place, user in enumerate(USERS)
        for number in range(REQUESTS)
        for operation in "IU"
    )
