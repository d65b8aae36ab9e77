"""The Flask layer: `VersionedSQLAlchemy`, and who is logged in.

The user is resolved once per request, before the view runs, and kept as text with the
request; a login or logout replaces it. Whatever writes later only reads that text.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import flask
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine

from chrononaut_pg._emission import Provider, listen_to_engine
from chrononaut_pg.session import listen

_USER = "chrononaut_pg.user_id"


class VersionedSQLAlchemy(SQLAlchemy):
    """Flask-SQLAlchemy's extension, recording who and why of every request::

        db = VersionedSQLAlchemy(app)  # or db = VersionedSQLAlchemy(); db.init_app(app)

    The user is Flask-Login's `current_user`: its `email` if it has one, else what
    `get_id()` returns. Configuration:

    - `CHRONONAUT_USER_ID`: name of another attribute of the user, or a function that is
      called with the user and returns its id;
    - `CHRONONAUT_EXTRA_CHANGE_INFO_FUNC`: a function that returns a dictionary for
      `extra`, called once per transaction;
    - `CHRONONAUT_REQUIRE_EXTRA_CHANGE_INFO`: refuse writes of versioned models that
      have no rationale or other extra change info.
    """

    def init_app(self, app: Flask) -> None:
        """Initialise the application, and record who and why of its requests."""
        super().init_app(app)
        app.before_request(_remember_user)
        _follow_logins(app)

    def _make_engine(self, bind_key: str | None, options: Any, app: Flask) -> Engine:
        engine = super()._make_engine(bind_key, options, app)
        listen(engine)
        listen_to_engine(engine, _provider(app))
        return engine


def _provider(app: Flask) -> Provider:
    def extra() -> Mapping[str, Any] | None:
        function: Callable[[], Any] | None
        function = app.config.get("CHRONONAUT_EXTRA_CHANGE_INFO_FUNC")
        return function() if function is not None else None

    return Provider(
        user_id=_user_id,
        remote_addr=_remote_addr,
        extra=extra,
        require_extra=lambda: bool(
            app.config.get("CHRONONAUT_REQUIRE_EXTRA_CHANGE_INFO")
        ),
    )


def _user_id() -> str | None:
    if not flask.has_request_context():
        return None
    found: str | None = flask.request.environ.get(_USER)
    return found


def _remote_addr() -> str | None:
    return flask.request.remote_addr or None if flask.has_request_context() else None


def _remember_user() -> None:
    """Resolve the user of this request, before anything is flushed."""
    app = flask.current_app
    environ = flask.request.environ
    environ.pop(_USER, None)
    if hasattr(app, "login_manager") and flask.request.endpoint != "static":
        from flask_login import current_user

        environ[_USER] = _id_of(app, current_user._get_current_object())


def _follow_logins(app: Flask) -> None:
    """Take note of who logs in and out during a request."""
    if find_spec("flask_login") is None:
        return
    from flask_login import user_logged_in, user_logged_out

    def logged_in(sender: Flask, user: Any, **_: Any) -> None:
        if flask.has_request_context():
            flask.request.environ[_USER] = _id_of(sender, user)

    def logged_out(sender: Flask, user: Any, **_: Any) -> None:
        if flask.has_request_context():
            flask.request.environ[_USER] = None

    user_logged_in.connect(logged_in, app, weak=False)
    user_logged_out.connect(logged_out, app, weak=False)


def _id_of(app: Flask, user: Any) -> str | None:
    """Return the id to record for a user; None for anonymous ones."""
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    wanted = app.config.get("CHRONONAUT_USER_ID")
    if callable(wanted):
        found = wanted(user)
    elif wanted:
        found = getattr(user, wanted)
    else:
        found = getattr(user, "email", None) or user.get_id()
    return None if found is None else str(found)
