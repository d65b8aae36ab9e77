"""A Flask application over the test's database."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import NullPool

from chrononaut_pg import VersionedSQLAlchemy
from tests.integrations.sites import Site, make_site
from tests.servers import Cluster


@dataclass
class MakeApp:
    """Makes Flask applications that use the test's database."""

    url: str

    def __call__(self, **config: Any) -> Flask:
        app = Flask("contacts")
        app.config.update(
            SQLALCHEMY_DATABASE_URI=self.url,
            SQLALCHEMY_ENGINE_OPTIONS={"poolclass": NullPool},
            SECRET_KEY="not a secret",
            **config,
        )
        return app


@pytest.fixture
def make_app(server: Cluster, superuser: str, dbname: str) -> MakeApp:
    """Makes Flask applications, not yet initialised with a `db`."""
    return MakeApp(server.url(dbname, user=superuser, driver="psycopg"))


@pytest.fixture
def app(make_app: MakeApp) -> Iterator[Flask]:
    """A Flask application with its context pushed."""
    made = make_app()
    with made.app_context():
        yield made


@pytest.fixture
def db_(app: Flask) -> VersionedSQLAlchemy:
    """The extension, initialised for `app`."""
    return VersionedSQLAlchemy(app)


@pytest.fixture
def site(make_app: MakeApp) -> Site:
    """An application with logins for ann@x.org and bob@x.org, and versioned items."""
    return make_site(make_app())
