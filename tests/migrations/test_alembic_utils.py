"""Applications that use alembic-utils for their own views, functions and triggers."""

from collections.abc import Iterator

import pytest
from alembic_utils.pg_function import PGFunction
from alembic_utils.pg_view import PGView
from alembic_utils.replaceable_entity import register_entities, registry
from sqlalchemy import Connection, text

from tests.migrations.conftest import Migrating
from tests.migrations.test_autogenerate import bring_up, user_model


@pytest.fixture(autouse=True)
def no_entities() -> Iterator[None]:
    """Forget after the test what was registered."""
    yield
    registry.clear()  # type: ignore[no-untyped-call]


def register() -> None:
    """Register a view and a function of the application's own."""
    register_entities(
        [
            PGView("public", "emails", "select email from appuser"),
            PGFunction("public", "one()", "returns int language sql as $$ select 1 $$"),
        ],
        schemas=["public", "chrononaut"],
    )


@pytest.fixture
def migrating(connection: Connection) -> Migrating:
    """Autogenerate that looks at all schemas."""
    return Migrating(connection, include_schemas=True)


def test_neither_drops_what_belongs_to_the_core(migrating: Migrating) -> None:
    metadata = user_model()
    bring_up(migrating, metadata)
    migrating.connection.commit()
    register()

    code = "\n".join(migrating.upgrade_code(metadata))

    assert "drop_entity" not in code
    assert "chrononaut" not in code
    assert "create_entity" in code


def test_versions_view_is_left_when_the_applications_own_view_is_dropped(
    migrating: Migrating,
) -> None:
    metadata = user_model()
    bring_up(migrating, metadata)
    migrating.connection.execute(text("create view old as select 1 as one"))
    migrating.connection.commit()
    register()

    code = "\n".join(migrating.upgrade_code(metadata))

    assert code.count("drop_entity") == 1
    assert "appuser_versions" not in code
