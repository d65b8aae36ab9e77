"""The Flask layer: `VersionedSQLAlchemy`, and who is logged in.

The user is resolved once per request, after its `before_request` functions and before
its view, and kept as text with the request; a login or logout replaces it. Whatever
writes later only reads that text.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import flask
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, event

from chrononaut_pg._emission import listen_to_engine
from chrononaut_pg._providers import Provider
from chrononaut_pg.exceptions import ChrononautException
from chrononaut_pg.session import listen

_KEY = "chrononaut_pg.request"
"""Where the environment of a request keeps what is known of its user."""

_INNERMOST = "_chrononaut_request"
"""Where `g` keeps the request that it serves: one `g` may serve several."""

_CACHED = "_login_user"
"""Where `g` keeps the user of Flask-Login."""


@dataclass(slots=True, eq=False)
class _Request:
    """What is known of the user of one request."""

    user_id: str | None = None
    outer: "_Request | None" = None
    cached: Any = None
    """The request and the user that `g` held before this request."""


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
        if not event.contains(self.session, "before_flush", _before_flush):
            event.listen(self.session, "before_flush", _before_flush)
        _wrap_preprocessing(app)
        app.teardown_request(_leave)
        _follow_logins(app)

    def _make_engine(self, bind_key: str | None, options: Any, app: Flask) -> Engine:
        engine = super()._make_engine(bind_key, options, app)
        listen(engine)
        listen_to_engine(engine, _provider(app))
        return engine


def _provider(app: Flask) -> Provider:
    def extra() -> Any:
        given = app.config.get("CHRONONAUT_EXTRA_CHANGE_INFO_FUNC")
        return given() if callable(given) else given

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
    return _resolved().user_id


def _remote_addr() -> str | None:
    return flask.request.remote_addr or None if flask.has_request_context() else None


def _before_flush(*_: Any) -> None:
    """Resolve the user of a write by a `before_request` function, ahead of its SQL."""
    _user_id()


def _wrap_preprocessing(app: Flask) -> None:
    """Resolve the user when all `before_request` functions are done.

    Those of blueprints included: a user loader may need what they put on `g`.
    """
    preprocess = app.preprocess_request

    def preprocess_request(*arguments: Any) -> Any:
        _enter()
        answer = preprocess(*arguments)
        if answer is None and not _is_static(flask.request.endpoint):
            _resolved()
        return answer

    app.preprocess_request = preprocess_request  # type: ignore[method-assign]


def _is_static(endpoint: str | None) -> bool:
    """Whether an endpoint is Flask's for static files, or that of a blueprint."""
    return (endpoint or "").rpartition(".")[2] == "static"


def _enter() -> None:
    """Keep apart what Flask-Login knows of an enclosing request that shares `g`.

    That is so where an application context is pushed around requests, and where a view
    sends requests to its own application.
    """
    outer = flask.g.get(_INNERMOST)
    request = _Request(outer=outer, cached=flask.g.get(_CACHED))
    setattr(flask.g, _INNERMOST, request)
    if outer is not None:
        flask.g.pop(_CACHED, None)
    flask.request.environ.pop(_KEY, None)


def _leave(_: BaseException | None) -> None:
    """Give back to `g` what it held before the request."""
    request = flask.g.pop(_INNERMOST, None)
    if request is None:
        return
    flask.g.pop(_CACHED, None)
    if request.outer is not None:
        setattr(flask.g, _INNERMOST, request.outer)
    if request.cached is not None:
        setattr(flask.g, _CACHED, request.cached)


def _resolved() -> _Request:
    """Return the request's user, asking Flask-Login the first time."""
    environ = flask.request.environ
    found: _Request | None = environ.get(_KEY)
    if found is None:
        found = environ[_KEY] = _Request()  # known while the user is being loaded
        app = flask.current_app
        if _loads_users(app):
            from flask_login import current_user

            found.user_id = _id_of(app, current_user._get_current_object())
    return found


def _loads_users(app: Flask) -> bool:
    manager = getattr(app, "login_manager", None)
    loaders = ("_user_callback", "_request_callback")
    return any(getattr(manager, name, None) is not None for name in loaders)


def _follow_logins(app: Flask) -> None:
    """Take note of who logs in and out during a request."""

    def take_note(user: Any) -> None:
        if flask.has_request_context():
            known = flask.request.environ.setdefault(_KEY, _Request())
            known.user_id = _id_of(app, user)

    def logged_in(_: Any, user: Any, **__: Any) -> None:
        take_note(user)

    def logged_out(_: Any, **__: Any) -> None:
        take_note(None)

    def identity_changed(_: Any, **__: Any) -> None:
        take_note(flask.g.get(_CACHED))

    if find_spec("flask_login") is not None:
        from flask_login import user_logged_in, user_logged_out

        user_logged_in.connect(logged_in, app, weak=False)
        user_logged_out.connect(logged_out, app, weak=False)
    if find_spec("flask_principal") is not None:  # Flask-Security: HTTP basic, tokens
        import flask_principal  # type: ignore[import-untyped]

        flask_principal.identity_changed.connect(identity_changed, app, weak=False)


def _id_of(app: Flask, user: Any) -> str | None:
    """Return the id to record for a user; None for anonymous ones."""
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    wanted = app.config.get("CHRONONAUT_USER_ID")
    if callable(wanted):
        found = wanted(user)
    elif wanted:
        found = _attribute(user, wanted)
    else:
        found = getattr(user, "email", None) or user.get_id()
    return None if found is None else str(found)


def _attribute(user: Any, name: str) -> Any:
    try:
        found = getattr(user, name)
    except AttributeError as error:
        raise ChrononautException(
            f"CHRONONAUT_USER_ID is {name!r}, which {type(user).__name__} lacks",
            hint="Name an attribute of the user, or set it to a function of the user.",
        ) from error
    return found() if callable(found) else found
