"""The sample application of `examples/contacts`: its pages, its driver, the demo."""

import importlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient

from chrononaut_pg.testing import find_clients
from tests.servers import Cluster, Db

EXAMPLES = Path(__file__).parents[2] / "examples"
ANNA = "anna@agency.example"


@pytest.fixture
def client(
    monkeypatch: pytest.MonkeyPatch, server: Cluster, superuser: str, dbname: str
) -> Iterator[FlaskClient]:
    """A client of the seeded application, logged in as Anna."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    contacts: Any = importlib.import_module("contacts")
    seeding: Any = importlib.import_module("contacts.seed")
    app = contacts.create_app(server.url(dbname, user=superuser, driver="psycopg"))
    app.config["WTF_CSRF_ENABLED"] = False
    with app.app_context():
        seeding.seed()
    found = app.test_client()
    found.post("/login", data={"email": ANNA, "password": seeding.PASSWORD})
    yield found
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


def edit(client: FlaskClient, **values: Any) -> int:
    """Edit the first contact; return the status."""
    form = {
        "name": "Marta Lindqvist",
        "email": "marta@harbour-coffee.example",
        "phone": "+49 421 555 0101",
        "position": "Head of buying",
        "company_id": 1,
        **values,
    }
    return client.post("/contacts/1/edit", data=form).status_code


def last_change(db: Db) -> tuple[Any, ...] | None:
    """Return what the newest change of a contact says of who, from where and why."""
    return db.execute(
        "select change_info ->> 'user_id', change_info ->> 'remote_addr',"
        " change_info #>> '{extra,rationale}'"
        " from contact_history order by change_id desc limit 1"
    ).fetchone()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/login",
        "/changes",
        "/contacts/1",
        "/contacts/1/edit",
        "/contacts/1/history",
        "/companies/1/domain",
        "/static/style.css",
    ],
)
def test_page_is_shown(client: FlaskClient, path: str) -> None:
    with client.get(path) as response:
        assert response.status_code == 200


def test_edit_records_user_address_and_reason(client: FlaskClient, db: Db) -> None:
    status = edit(client, phone="+49 421 555 0199", rationale="new number")

    assert (status, last_change(db)) == (302, (ANNA, "127.0.0.1", "new number"))


def test_edit_without_a_reason_is_refused(client: FlaskClient, db: Db) -> None:
    status = edit(client, phone="+49 421 555 0199", rationale="")

    assert (status, last_change(db)) == (200, ("seed", None, "first import"))


def test_edit_needs_a_login(client: FlaskClient, db: Db) -> None:
    client.post("/logout")
    edit(client, phone="+49 421 555 0199", rationale="nobody's business")

    assert last_change(db) == ("seed", None, "first import")


def test_history_and_diff_show_what_changed(client: FlaskClient) -> None:
    edit(client, phone="+49 421 555 0199", rationale="new number")
    history = client.get("/contacts/1/history").text
    diff = client.get("/contacts/1/diff?from=0").text
    old, new = "<del>+49 421 555 0101</del>", "<ins>+49 421 555 0199</ins>"

    assert all(part in history for part in (old, new, ANNA, "new number"))
    assert all(part in diff for part in (old, new))


def test_diff_of_an_unknown_version_is_not_found(client: FlaskClient) -> None:
    assert client.get("/contacts/1/diff?from=7").status_code == 404


def test_bulk_update_records_the_reason_for_every_row(
    client: FlaskClient, db: Db
) -> None:
    new = {"domain": "new.example", "rationale": "renamed"}
    client.post("/companies/1/domain", data=new)
    rows = db.execute(
        "select id, change_info ->> 'user_id', change_info #>> '{extra,rationale}'"
        " from contact_history where operation = 'U' order by id"
    ).fetchall()

    assert rows == [(key, ANNA, "renamed") for key in (1, 2, 3)]


def test_write_from_psql_stands_beside_those_of_the_web(
    client: FlaskClient, db: Db
) -> None:
    edit(client, phone="+49 421 555 0199", rationale="new number")
    db.execute("set application_name = 'psql'")
    db.execute("update contact set position = 'CEO' where id = 4")
    db.commit()
    page = client.get("/changes").text

    assert page.index("through psql") < page.index("new number")
    assert "through psql" in client.get("/contacts/4/history").text


def test_driver_notices_a_wrong_name_and_a_missing_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    driver: Any = importlib.import_module("contacts.drive")
    found = list(driver.EXPECTED)
    found[4] = ("somebody else", *found[4][1:])
    found[5] = (found[5][0], "", *found[5][2:])
    wrong = driver.differences(found)

    assert driver.differences(driver.EXPECTED) == []
    assert [line[0] for line in wrong].count("-") == 2


def test_serve_prints_a_url_that_answers_until_interrupted() -> None:
    command = [sys.executable, "-u", "-m", "contacts"]
    with subprocess.Popen(
        command,
        cwd=EXAMPLES,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        status = httpx.get(first.split()[-1], trust_env=False).status_code
        process.send_signal(signal.SIGINT)
        try:
            rest, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise

    assert (status, process.returncode) == (200, 0), first + rest


@pytest.mark.skipif(find_clients(None) is None, reason="pgbench is not here")
def test_demo_passes() -> None:
    command = [sys.executable, str(EXAMPLES / "demo.py"), "--seconds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "address book's history names each writer and reason" in done.stdout


@pytest.mark.skipif(find_clients(None) is None, reason="pgbench is not here")
def test_demo_fails_if_history_was_tampered_with() -> None:
    command = [sys.executable, str(EXAMPLES / "demo.py"), "--seconds", "1", "--tamper"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert done.returncode == 1, done.stdout + done.stderr


def test_serving_ends_while_a_browser_keeps_its_connection(
    client: FlaskClient,
) -> None:
    serving: Any = importlib.import_module("contacts.serving")
    with serving.serving(client.application) as url:
        browser = HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=60)
        browser.request("GET", "/")
        browser.getresponse().read()
        kept = browser.sock

    assert kept.recv(1) == b""
    browser.close()
