"""Alembic: operations for migrations, and autogenerate.

Alembic 1.18 and later find both by themselves. With older ones write in env.py::

    import chrononaut_pg.alembic

    chrononaut_pg.alembic.include()
"""


def include() -> None:
    """Register operations and autogenerate, where Alembic has not done it itself."""
    from alembic.autogenerate import comparators

    import chrononaut_pg.alembic.operations  # noqa: F401

    try:
        from alembic.runtime import plugins  # noqa: F401
    except ImportError:
        from chrononaut_pg.alembic.autogenerate import compare

        comparators.dispatch_for("schema")(
            lambda context, upgrade_ops, schemas: compare(context, upgrade_ops)
        )
