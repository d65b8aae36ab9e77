"""The right person, with Flask-Login: who is named when, and at what cost."""

from typing import Any

import flask
import pytest
from flask_login import LoginManager, current_user, login_user, logout_user
from sqlalchemy import text

from chrononaut_pg import ChrononautException
from tests.integrations.conftest import MakeApp
from tests.integrations.sites import Site, make_site, recorded, users_recorded
from tests.servers import Db

ANN, BOB = "ann@x.org", "bob@x.org"


def test_user_is_named_by_email_with_the_address(site: Site, db: Db) -> None:
    site.client(ANN).post("/add")

    assert recorded(db) == [(ANN, "127.0.0.1")]


def test_user_without_email_is_named_by_get_id(site: Site, db: Db) -> None:
    client = site.client(ANN)
    with site.app.app_context():
        site.user(ANN).email = None
        site.db.session.commit()
    client.post("/add")

    assert users_recorded(db) == ["1"]


def test_attribute_of_the_user_can_be_named(make_app: MakeApp, db: Db) -> None:
    site = make_site(make_app(CHRONONAUT_USER_ID="id"))
    site.client(BOB).post("/add")

    assert users_recorded(db) == ["2"]


def test_function_of_the_user_can_be_named(make_app: MakeApp, db: Db) -> None:
    site = make_site(make_app(CHRONONAUT_USER_ID=lambda user: f"user {user.id}"))
    site.client(BOB).post("/add")

    assert users_recorded(db) == ["user 2"]


def test_method_of_the_user_can_be_named(make_app: MakeApp, db: Db) -> None:
    site = make_site(make_app(CHRONONAUT_USER_ID="get_id"))
    site.client(BOB).post("/add")

    assert users_recorded(db) == ["2"]


def test_attribute_that_users_lack_is_an_error_that_names_it(
    make_app: MakeApp, db: Db
) -> None:
    site = make_site(make_app(CHRONONAUT_USER_ID="nickname", TESTING=True))

    with pytest.raises(ChrononautException, match="'nickname', which User lacks"):
        site.client(BOB)


def test_anonymous_request_names_its_address_only(site: Site, db: Db) -> None:
    site.client().post("/add")

    assert recorded(db) == [(None, "127.0.0.1")]


def test_login_and_logout_take_effect_within_a_request(site: Site, db: Db) -> None:
    @site.app.post("/all")
    def all_in_one() -> str:
        site.add("before")
        login_user(site.user(ANN))
        site.add("as Ann")
        login_user(site.user(BOB))
        site.add("as Bob")
        logout_user()
        site.add("after")
        return ""

    site.client().post("/all")

    assert users_recorded(db) == [None, ANN, BOB, None]


def test_login_in_the_middle_of_a_transaction_names_both(site: Site, db: Db) -> None:
    @site.app.post("/both")
    def both() -> str:
        ann = site.user(ANN)
        site.db.session.add(site.Item(name="before"))
        site.db.session.flush()
        login_user(ann)
        site.add("after")
        return ""

    site.client().post("/both")

    assert users_recorded(db) == [None, ANN]


def test_request_after_logout_is_anonymous(site: Site, db: Db) -> None:
    client = site.client(ANN)
    client.post("/logout")
    client.post("/add")

    assert users_recorded(db) == [None]


def test_request_loader_names_the_owner_of_an_api_key(site: Site, db: Db) -> None:
    manager: LoginManager = site.app.login_manager  # type: ignore[attr-defined]

    @manager.request_loader  # type: ignore[untyped-decorator]
    def by_key(request: flask.Request) -> Any:
        return site.User.query.filter_by(email=request.headers.get("X-Key")).first()

    site.client().post("/add", headers={"X-Key": BOB})
    site.client().post("/add", headers={"X-Key": "wrong"})

    assert users_recorded(db) == [BOB, None]


def test_request_loader_may_need_what_before_request_prepares(
    site: Site, db: Db
) -> None:
    manager: LoginManager = site.app.login_manager  # type: ignore[attr-defined]

    @site.app.before_request
    def prepare() -> None:
        flask.g.key = flask.request.headers.get("X-Key")

    @manager.request_loader  # type: ignore[untyped-decorator]
    def by_key(_: flask.Request) -> Any:
        return site.User.query.filter_by(email=flask.g.key).first()

    site.client().post("/add", headers={"X-Key": BOB})

    assert users_recorded(db) == [BOB]


def test_login_manager_without_loaders_names_nobody(make_app: MakeApp, db: Db) -> None:
    site = make_site(make_app())
    LoginManager(site.app)
    site.client().post("/add")

    assert users_recorded(db) == [None]


def test_user_is_resolved_once_and_never_inside_a_flush(site: Site, db: Db) -> None:
    @site.app.post("/much")
    def much() -> str:
        for number in range(3):
            site.add(str(number))
            site.db.session.execute(text("update item set name = name || '!'"))
            site.db.session.commit()
        return ""

    client = site.client(ANN)
    with site.app.app_context():
        seen = site.count_user_queries()
    client.post("/much")

    assert set(users_recorded(db)) == {ANN}
    assert [flushing for _, flushing in seen] == [False]


def test_write_by_before_request_names_the_user_who_is_resolved_once(
    site: Site, db: Db
) -> None:
    @site.app.before_request
    def count_hits() -> None:
        if flask.request.path == "/add":
            site.add("hit")

    client = site.client(ANN)
    with site.app.app_context():
        seen = site.count_user_queries()
    client.post("/add")

    assert users_recorded(db) == [ANN, ANN]
    assert len(seen) == 1


def test_expired_user_is_named_without_a_query(site: Site, db: Db) -> None:
    @site.app.post("/expire")
    def expire() -> str:
        assert current_user.email == ANN
        site.db.session.commit()
        site.db.session.expire_all()
        site.add()
        return ""

    client = site.client(ANN)
    with site.app.app_context():
        seen = site.count_user_queries()
    client.post("/expire")

    assert users_recorded(db) == [ANN]
    assert len(seen) == 1


def test_user_who_deletes_the_own_account_is_named(site: Site, db: Db) -> None:
    @site.app.post("/leave")
    def leave() -> str:
        site.db.session.delete(current_user._get_current_object())
        site.db.session.commit()
        site.add("last words")
        return ""

    site.client(ANN).post("/leave")

    assert users_recorded(db) == [ANN]


def test_user_loader_that_writes_does_not_recurse(make_app: MakeApp, db: Db) -> None:
    site = make_site(make_app())
    manager: LoginManager = site.app.login_manager  # type: ignore[attr-defined]

    @manager.user_loader  # type: ignore[untyped-decorator]
    def load(user_id: str) -> Any:
        site.add("seen")
        return site.db.session.get(site.User, int(user_id))

    site.client(ANN).post("/add")

    assert users_recorded(db) == [None, ANN]


def test_view_whose_name_ends_like_static_resolves_its_user(site: Site, db: Db) -> None:
    @site.app.post("/all")
    def export_static() -> str:
        seen.clear()
        site.add()
        return ""

    seen: list[tuple[str, bool]] = []
    with site.app.app_context():
        seen = site.count_user_queries()
    site.client(ANN).post("/all")

    assert (users_recorded(db), seen) == ([ANN], [])


def test_static_files_resolve_nobody(site: Site) -> None:
    client = site.client(ANN)
    with site.app.app_context():
        seen = site.count_user_queries()
    client.get("/static/missing.css")

    assert seen == []
