"""The right person, whatever an application does with requests and contexts."""

from collections.abc import Iterator

import pytest
from flask import Blueprint, Flask, Response, stream_with_context
from flask_login import current_user, login_user
from sqlalchemy import text
from werkzeug.middleware.proxy_fix import ProxyFix

from chrononaut_pg import VersionedSQLAlchemy, change_info, rationale
from tests.integrations.conftest import MakeApp
from tests.integrations.sites import (
    Site,
    add_views,
    make_models,
    make_site,
    manage_logins,
    recorded,
    users_recorded,
)
from tests.servers import Cluster, Connect, Db

ANN, BOB = "ann@x.org", "bob@x.org"


def test_empty_remote_addr_is_null(site: Site, db: Db) -> None:
    client = site.client(ANN)
    client.post("/add", environ_overrides={"REMOTE_ADDR": ""})

    assert recorded(db) == [(ANN, None)]


def test_address_behind_a_proxy_is_the_clients_with_proxyfix(
    site: Site, db: Db
) -> None:
    headers = {"X-Forwarded-For": "203.0.113.7"}
    client = site.client(ANN)
    client.post("/add", headers=headers)
    site.app.wsgi_app = ProxyFix(site.app.wsgi_app)  # type: ignore[method-assign]
    client.post("/add", headers=headers)

    assert recorded(db) == [(ANN, "127.0.0.1"), (ANN, "203.0.113.7")]


def test_app_context_without_a_request_names_nobody(site: Site, db: Db) -> None:
    with site.app.app_context():
        site.add()

    assert recorded(db) == [(None, None)]


def test_block_names_the_user_where_there_is_no_request(site: Site, db: Db) -> None:
    with site.app.app_context(), change_info(user_id="import", remote_addr="::1"):
        site.add()

    assert recorded(db) == [("import", "::1")]


def test_block_wins_over_the_login(site: Site, db: Db) -> None:
    @site.app.post("/for-bob")
    def for_bob() -> str:
        with change_info(user_id=BOB):
            site.add()
        return ""

    site.client(ANN).post("/for-bob")

    assert recorded(db) == [(BOB, "127.0.0.1")]


def test_engine_outside_of_any_context_names_nobody(site: Site, db: Db) -> None:
    with site.app.app_context():
        engine = site.db.engine
    with engine.begin() as connection:
        connection.execute(text("insert into item (name) values ('raw')"))

    assert recorded(db) == [(None, None)]


def test_cli_command_names_nobody_and_may_give_a_reason(site: Site, db: Db) -> None:
    @site.app.cli.command("import-items")
    def import_items() -> None:
        with rationale("nightly import"):
            site.add("imported")

    runner = site.app.test_cli_runner()
    result = runner.invoke(args=["import-items"], catch_exceptions=False)
    [(info,)] = db.execute("select change_info from item_history").fetchall()

    assert (result.exit_code, info) == (
        0,
        {
            "user_id": None,
            "remote_addr": None,
            "extra": {"rationale": "nightly import"},
        },
    )


def test_shell_context_names_nobody(site: Site, db: Db) -> None:
    with site.app.app_context():
        shell = site.app.make_shell_context()
        shell["db"] = site.db
        exec(
            "from sqlalchemy import text\n"
            "db.session.execute(text('insert into item values (9)'))\n"
            "db.session.commit()",
            shell,
        )

    assert recorded(db) == [(None, None)]


def test_user_of_a_pushed_request_context_is_resolved_on_demand(
    site: Site, db: Db
) -> None:
    with site.app.test_request_context(environ_base={"REMOTE_ADDR": "10.1.1.1"}):
        login_user(site.user(ANN))
        site.add()

    assert recorded(db) == [(ANN, "10.1.1.1")]


def test_two_apps_share_one_extension_and_each_names_its_user(
    make_app: MakeApp,
    db: Db,
    admin: Db,
    connect: Connect,
    server: Cluster,
    template_db: str,
    superuser: str,
) -> None:
    name = f"{db.info.dbname}_second"
    admin.execute(f'create database "{name}" template "{template_db}"'.encode())
    try:
        first = make_site(make_app(CHRONONAUT_USER_ID="id"))
        other = Flask("other")
        other.config.update(
            SQLALCHEMY_DATABASE_URI=server.url(name, user=superuser, driver="psycopg"),
            SECRET_KEY="not a secret",
        )
        second = Site(other, first.db, first.User, first.Item)
        first.db.init_app(other)
        manage_logins(second)
        add_views(second)
        with other.app_context():
            first.db.create_all()
            first.db.session.add(first.User(email=BOB))
            first.db.session.commit()
        first.client(ANN).post("/add")
        second.client(BOB).post("/add")
        first.client(BOB).post("/add")

        elsewhere = connect(dbname=name)
        assert users_recorded(db) == ["1", "2"]
        assert users_recorded(elsewhere) == [BOB]
        elsewhere.close()
        with other.app_context():
            first.db.engine.dispose()
    finally:
        admin.execute(f'drop database "{name}" with (force)'.encode())


def test_login_manager_may_be_initialised_before_or_after(
    make_app: MakeApp, db: Db
) -> None:
    for number, login_first in enumerate((True, False)):
        extension = VersionedSQLAlchemy()
        user, item = make_models(extension)
        app = make_app()
        site = Site(app, extension, user, item)
        if login_first:
            manage_logins(site)
        extension.init_app(app)
        if not login_first:
            manage_logins(site)
        add_views(site)
        with app.app_context():
            extension.create_all()
            if not number:
                extension.session.add(user(email=ANN))
                extension.session.commit()
        site.client(ANN).post("/add")

    assert users_recorded(db) == [ANN, ANN]


def test_before_request_of_a_blueprint_may_log_in_and_write(site: Site, db: Db) -> None:
    blueprint = Blueprint("api", __name__)

    @blueprint.before_request
    def enter() -> None:
        site.add("anonymous")
        login_user(site.user(BOB))
        site.add("logged in")

    @blueprint.post("/api")
    def view() -> str:
        site.add("view")
        return ""

    site.app.register_blueprint(blueprint)
    site.client().post("/api")

    assert users_recorded(db) == [None, BOB, BOB]


def test_answer_of_before_request_is_kept(site: Site) -> None:
    @site.app.before_request
    def closed() -> str:
        return "closed"

    assert site.client().post("/add").text == "closed"


def test_writes_after_the_view_name_its_user(site: Site, db: Db) -> None:
    @site.app.after_request
    def after(response: Response) -> Response:
        site.add("after")
        return response

    @site.app.teardown_request
    def teardown(_: BaseException | None) -> None:
        site.add("teardown")

    client = site.client(ANN)
    done = users_recorded(db)
    client.post("/add")

    assert (done, users_recorded(db)[2:]) == ([ANN, ANN], [ANN, ANN, ANN])


def test_streaming_response_names_its_user(site: Site, db: Db) -> None:
    @site.app.get("/stream")
    def stream() -> Response:
        def lines() -> Iterator[str]:
            for number in range(3):
                site.add(str(number))
                yield f"{number}\n"

        return Response(stream_with_context(lines()))

    client = site.client(ANN)
    response = client.get("/stream", buffered=False)
    between = site.client(BOB)
    between.post("/add")

    assert response.text == "0\n1\n2\n"
    assert sorted(users_recorded(db), key=str) == [ANN, ANN, ANN, BOB]


def test_request_within_a_view_names_its_own_user(site: Site, db: Db) -> None:
    @site.app.post("/outer")
    def outer() -> str:
        site.add("outer")
        site.client(BOB).post("/add")
        site.client().post("/add")
        site.add("outer again")
        return str(current_user.email)

    response = site.client(ANN).post("/outer")

    assert (users_recorded(db), response.text) == ([ANN, BOB, None, ANN], ANN)


def test_users_do_not_leak_through_an_app_context_around_requests(
    site: Site, db: Db
) -> None:
    ann, bob = site.client(ANN), site.client(BOB)
    with site.app.app_context():
        for client in (ann, bob, site.client(), ann):
            client.post("/add")
        site.add("no request")

    assert users_recorded(db) == [ANN, BOB, None, ANN, None]


def test_login_in_an_enclosing_request_context_holds_for_its_requests(
    site: Site, db: Db
) -> None:
    with site.app.test_request_context():
        login_user(site.user(ANN))
        site.app.test_client().post("/add")
        site.app.test_client().post("/add")

    assert users_recorded(db) == [ANN, ANN]


@pytest.mark.parametrize("propagate", [True, False])
def test_exception_in_a_view_leaves_nothing_behind(
    site: Site, db: Db, propagate: bool
) -> None:
    site.app.config["PROPAGATE_EXCEPTIONS"] = propagate

    @site.app.post("/fail")
    def fail() -> str:
        with rationale("never recorded"):
            site.db.session.add(site.Item(name="lost"))
            site.db.session.flush()
            raise RuntimeError("on purpose")

    ann, anonymous = site.client(ANN), site.client()
    if propagate:
        with pytest.raises(RuntimeError):
            ann.post("/fail")
    else:
        assert ann.post("/fail").status_code == 500
    anonymous.post("/add")
    rows = db.execute("select change_info from item_history").fetchall()

    assert rows == [({"user_id": None, "remote_addr": "127.0.0.1"},)]


def test_error_handler_writes_as_the_user(site: Site, db: Db) -> None:
    @site.app.errorhandler(404)
    def not_found(_: Exception) -> tuple[str, int]:
        site.add("not found")
        return "", 404

    site.client(ANN).get("/nowhere")

    assert users_recorded(db) == [ANN]


def test_test_client_that_keeps_its_context_still_knows_the_user(
    site: Site, db: Db
) -> None:
    with site.client(ANN) as client:
        client.post("/add")
        assert current_user.email == ANN
        client.post("/logout")
        client.post("/add")
        assert current_user.is_anonymous

    assert users_recorded(db) == [ANN, None]


def test_pages_that_only_read_leave_no_transaction_row(site: Site, db: Db) -> None:
    @site.app.get("/read")
    def read() -> str:
        return str(site.Item.query.count())

    client = site.client(ANN)
    before = db.execute("select count(*) from chrononaut.transaction").fetchone()
    db.rollback()
    client.get("/read")

    query = "select count(*) from chrononaut.transaction"
    assert db.execute(query).fetchone() == before
