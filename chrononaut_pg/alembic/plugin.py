"""What Alembic 1.18 and later load by themselves, by the entry point `alembic.plugins`.

Alembic loads it in the middle of its own import, so this module imports nothing of it
before it is called.
"""

from typing import Any


def setup(plugin: Any) -> None:
    """Register the operations and the comparison."""
    from alembic.util import DispatchPriority

    import chrononaut_pg.alembic.operations  # noqa: F401

    plugin.add_autogenerate_comparator(
        _hide, "autogenerate", priority=DispatchPriority.FIRST
    )
    plugin.add_autogenerate_comparator(
        _compare, "autogenerate", priority=DispatchPriority.LAST
    )


def _hide(context: Any, upgrade_ops: Any) -> Any:
    from alembic.util import PriorityDispatchResult

    from chrononaut_pg.alembic.autogenerate import hide

    hide(context)
    return PriorityDispatchResult.CONTINUE


def _compare(context: Any, upgrade_ops: Any) -> Any:
    from alembic.util import PriorityDispatchResult

    from chrononaut_pg.alembic.autogenerate import compare

    compare(context, upgrade_ops)
    return PriorityDispatchResult.CONTINUE
