"""Runs migrations of a Flask application, with chrononaut_pg's operations."""

from logging.config import fileConfig

from alembic import context
from flask import current_app

import chrononaut_pg.alembic

chrononaut_pg.alembic.include()

config = context.config
if config.config_file_name is not None:
    fileConfig(config.config_file_name)

migrate = current_app.extensions["migrate"]
target_metadata = migrate.db.metadata
url = migrate.db.engine.url.render_as_string(hide_password=False)


def run_migrations_offline() -> None:
    """Print SQL instead of executing it."""
    context.configure(
        url=url,
        target_metadata=target_metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online() -> None:
    """Connect as the application does, and migrate."""
    with migrate.db.engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=target_metadata,
            **migrate.configure_args,
        )
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
