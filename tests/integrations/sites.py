"""A small application with logins, for tests of who is named.

Its tables are `member` (not versioned) and `item` (versioned).
"""

from dataclasses import dataclass
from typing import Any

import flask
from flask import Flask
from flask.testing import FlaskClient
from flask_login import LoginManager, UserMixin, login_user, logout_user
from sqlalchemy import event

from chrononaut_pg import Versioned, VersionedSQLAlchemy
from tests.servers import Db


@dataclass
class Site:
    """An application with its extension and models, created in the database."""

    app: Flask
    db: VersionedSQLAlchemy
    User: Any
    Item: Any

    def add(self, name: str = "", **values: Any) -> None:
        """Add an item and commit."""
        self.db.session.add(self.Item(name=name, **values))
        self.db.session.commit()

    def client(self, email: str | None = None) -> FlaskClient:
        """Return a client, logged in as the user of that address."""
        client = self.app.test_client()
        if email is not None:
            client.post("/login", data={"email": email})
        return client

    def user(self, email: str) -> Any:
        """Return a user."""
        return self.User.query.filter_by(email=email).one()

    def count_user_queries(self) -> list[tuple[str, bool]]:
        """Return a list that grows by each query on users: text, and if in a flush."""
        seen: list[tuple[str, bool]] = []

        def note(_: Any, __: Any, statement: str, *___: Any) -> None:
            if "FROM member" in statement:
                seen.append((statement, self.db.session()._flushing))

        event.listen(self.db.engine, "before_cursor_execute", note)
        return seen


def make_site(app: Flask, users: tuple[str, ...] = ("ann@x.org", "bob@x.org")) -> Site:
    """Return the site of an application, with Flask-Login and these users."""
    db = VersionedSQLAlchemy()
    user_model, item_model = make_models(db)
    site = Site(app, db, user_model, item_model)
    db.init_app(app)
    manage_logins(site)
    add_views(site)
    with app.app_context():
        db.create_all()
        db.session.add_all([user_model(email=email) for email in users])
        db.session.commit()
    return site


def make_models(db: VersionedSQLAlchemy) -> tuple[Any, Any]:
    """Return the models of users and items."""

    class User(UserMixin, db.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "member"
        id = db.Column(db.Integer, primary_key=True)
        email = db.Column(db.String)
        handle = db.Column(db.String)

    class Item(Versioned, db.Model):  # type: ignore[name-defined, misc]
        id = db.Column(db.Integer, primary_key=True)
        name = db.Column(db.String)

    return User, Item


def manage_logins(site: Site) -> LoginManager:
    """Let users log in by the cookie of their session."""
    manager = LoginManager(site.app)

    @manager.user_loader  # type: ignore[untyped-decorator]
    def load(user_id: str) -> Any:
        return site.db.session.get(site.User, int(user_id))

    return manager


def add_views(site: Site) -> None:
    """Add what every test needs: logging in and out, and adding an item."""

    def login() -> str:
        login_user(site.user(flask.request.form["email"]))
        return "in"

    def logout() -> str:
        logout_user()
        return "out"

    def add() -> str:
        site.add(flask.request.args.get("name", ""))
        return "added"

    for view in (login, logout, add):
        site.app.add_url_rule(f"/{view.__name__}", view_func=view, methods=["POST"])


def recorded(db: Db) -> list[tuple[str | None, str | None]]:
    """Return user and address of every change of an item, in order."""
    query = (
        "select change_info ->> 'user_id', change_info ->> 'remote_addr'"
        " from item_history order by change_id"
    )
    rows = db.execute(query).fetchall()
    db.rollback()
    return [(row[0], row[1]) for row in rows]


def users_recorded(db: Db) -> list[str | None]:
    """Return the user of every change of an item, in order."""
    return [user for user, _ in recorded(db)]
