"""Alembic against the test's database, without files."""

from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, Engine

import chrononaut_pg.alembic  # noqa: F401


class Migrating:
    """Compares metadata with a database and applies what comes out."""

    def __init__(self, connection: Connection, **options: Any) -> None:
        self.connection = connection
        # alembic-utils reads these options without asking whether they are there.
        given = {"include_schemas": False, "include_object": None, "include_name": None}
        self.context = MigrationContext.configure(connection, opts={**given, **options})
        self.op = Operations(self.context)

    def script(self, metadata: Any) -> Any:
        """Return the migration script that autogenerate writes."""
        self.context = MigrationContext.configure(
            self.connection, opts={**self.context.opts, "target_metadata": metadata}
        )
        return produce_migrations(self.context, metadata)

    def upgrade_code(self, metadata: Any) -> list[str]:
        """Return the lines of the upgrade that autogenerate writes."""
        return lines(self.script(metadata).upgrade_ops)

    def downgrade_code(self, metadata: Any) -> list[str]:
        """Return the lines of the downgrade that autogenerate writes."""
        return lines(self.script(metadata).downgrade_ops)

    def apply(self, operations: Any) -> None:
        """Run the rendered code, as a revision file would."""
        import sqlalchemy as sa
        from sqlalchemy.dialects import postgresql

        code = "\n".join(lines(operations))
        types = {"sa": sa, "postgresql": postgresql, "Text": sa.Text}
        names = {"op": self.op, **types}
        exec(code, names)


def lines(operations: Any) -> list[str]:
    """Return rendered operations, one per line, without comments."""
    code = render_python_code(operations)
    found = [line.removeprefix("    ") for line in code.splitlines()]
    return [line for line in found if line and not line.startswith("#")]


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A connection whose work is committed by the test, or not at all."""
    with engine.connect() as opened:
        yield opened


@pytest.fixture
def migrating(connection: Connection) -> Migrating:
    """Autogenerate and operations on that connection."""
    return Migrating(connection)


@pytest.fixture
def offline() -> Callable[[Callable[[Operations], None]], str]:
    """Returns what operations print with `--sql`."""

    def run(migration: Callable[[Operations], None]) -> str:
        printed = StringIO()
        context = MigrationContext.configure(
            dialect_name="postgresql",
            opts={"as_sql": True, "output_buffer": printed},
        )
        migration(Operations(context))
        return printed.getvalue()

    return run
