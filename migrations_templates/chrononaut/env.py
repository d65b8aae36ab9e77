"""Runs migrations, with chrononaut_pg's operations and autogenerate."""

from logging.config import fileConfig

from alembic import context
from sqlalchemy import engine_from_config, pool

import chrononaut_pg.alembic

chrononaut_pg.alembic.include()

config = context.config
if config.config_file_name is not None:
    fileConfig(config.config_file_name)

# The metadata of the models, for autogenerate:
#     from app.models import Base
#     target_metadata = Base.metadata
target_metadata = None


def run_migrations_offline() -> None:
    """Print SQL instead of executing it."""
    context.configure(
        url=config.get_main_option("sqlalchemy.url"),
        target_metadata=target_metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online() -> None:
    """Connect and migrate."""
    engine = engine_from_config(
        config.get_section(config.config_ini_section, {}),
        prefix="sqlalchemy.",
        poolclass=pool.NullPool,
    )
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
