"""The right person, with Flask-Security: sessions, tokens, HTTP basic."""

from typing import Any

import pytest
from flask import Flask
from flask_security import (
    RoleMixin,
    Security,
    SQLAlchemyUserDatastore,
    UserMixin,
    auth_required,
    hash_password,
)

from chrononaut_pg import Versioned, VersionedSQLAlchemy
from tests.integrations.conftest import MakeApp
from tests.integrations.sites import Site, users_recorded
from tests.servers import Db

ANN = "ann@example.com"
LOGIN = {"email": ANN, "password": "long enough"}
CONFIG = {
    "SECURITY_PASSWORD_HASH": "plaintext",
    "SECURITY_PASSWORD_SALT": "salt",
    "SECURITY_PASSWORD_SCHEMES": ["plaintext"],
    "SECURITY_HASHING_SCHEMES": ["sha256_crypt"],
    "SECURITY_DEPRECATED_HASHING_SCHEMES": [],
    "SECURITY_SEND_REGISTER_EMAIL": False,
    "SECURITY_EMAIL_VALIDATOR_ARGS": {"check_deliverability": False},
    "WTF_CSRF_ENABLED": False,
}


@pytest.fixture
def secure(make_app: MakeApp) -> Site:
    """A site whose users log in through Flask-Security."""
    app = make_app(**CONFIG)
    db = VersionedSQLAlchemy(app)
    user, role, item = _models(db)
    datastore = SQLAlchemyUserDatastore(db, user, role)
    Security(app, datastore)
    site = Site(app, db, user, item)
    _add_view(app, site)
    with app.app_context():
        db.create_all()
        datastore.create_user(email=ANN, password=hash_password(LOGIN["password"]))
        db.session.commit()
    return site


def _models(db: VersionedSQLAlchemy) -> tuple[Any, Any, Any]:
    class Role(RoleMixin, db.Model):  # type: ignore[name-defined, misc]
        id = db.Column(db.Integer, primary_key=True)
        name = db.Column(db.String, unique=True)

    link = db.Table(
        "roles_users",
        db.Column("user_id", db.ForeignKey("appuser.id"), primary_key=True),
        db.Column("role_id", db.ForeignKey("role.id"), primary_key=True),
    )

    class User(UserMixin, db.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "appuser"
        id = db.Column(db.Integer, primary_key=True)
        email = db.Column(db.String, unique=True)
        password = db.Column(db.String)
        active = db.Column(db.Boolean)
        fs_uniquifier = db.Column(db.String(64), unique=True, nullable=False)
        roles = db.relationship(Role, secondary=link)  # type: ignore[assignment]

    class Item(Versioned, db.Model):  # type: ignore[name-defined, misc]
        id = db.Column(db.Integer, primary_key=True)
        name = db.Column(db.String)

    return User, Role, Item


def _add_view(app: Flask, site: Site) -> None:
    @app.post("/add")
    @auth_required("session", "token", "basic")
    def add() -> str:
        site.db.session.commit()  # expires the user
        site.add()
        return ""


def test_session_login_is_named(secure: Site, db: Db) -> None:
    client = secure.app.test_client()
    client.post("/login", json=LOGIN)

    assert client.post("/add").status_code == 200
    assert users_recorded(db) == [ANN]


def test_token_is_named(secure: Site, db: Db) -> None:
    client = secure.app.test_client()
    answer = client.post("/login?include_auth_token", json=LOGIN).get_json()
    token = answer["response"]["user"]["authentication_token"]
    other = secure.app.test_client()
    response = other.post("/add", headers={"Authentication-Token": token})

    assert response.status_code == 200
    assert users_recorded(db) == [ANN]


def test_http_basic_is_named_although_the_view_authenticates(
    secure: Site, db: Db
) -> None:
    client = secure.app.test_client()
    response = client.post("/add", auth=(ANN, LOGIN["password"]))

    assert response.status_code == 200
    assert users_recorded(db) == [ANN]


def test_nobody_is_named_after_logout(secure: Site, db: Db) -> None:
    @secure.app.post("/public")
    def public() -> str:
        secure.add()
        return ""

    client = secure.app.test_client()
    client.post("/login", json=LOGIN)
    client.post("/public")
    client.post("/logout")
    client.post("/public")

    assert users_recorded(db) == [ANN, None]
