"""Alembic: operations for migrations, and autogenerate.

Alembic 1.18 and later find both by themselves. With older ones write in env.py::

    import chrononaut_pg.alembic

    chrononaut_pg.alembic.include()
"""

from typing import Any


def include() -> None:
    """Register operations and autogenerate, where Alembic has not done it itself."""
    import chrononaut_pg.alembic.operations  # noqa: F401

    try:
        from alembic.runtime import plugins  # noqa: F401
    except ImportError:
        _include_in_older()


def _include_in_older() -> None:
    """Put our comparisons around Alembic's own, which reads what it does not know."""
    from alembic.autogenerate import comparators

    found: list[Any] = comparators._registry[("schema", "default")]
    if _compare not in found:
        found.insert(0, _hide)
        found.append(_compare)


def _hide(context: Any, upgrade_ops: Any, schemas: Any) -> None:
    from chrononaut_pg.alembic.autogenerate import hide

    hide(context)


def _compare(context: Any, upgrade_ops: Any, schemas: Any) -> None:
    from chrononaut_pg.alembic.autogenerate import compare

    compare(context, upgrade_ops)
