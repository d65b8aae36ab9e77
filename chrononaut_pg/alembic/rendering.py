"""How autogenerate writes the operations into a revision file."""

from typing import Any

from alembic.autogenerate import renderers

from chrononaut_pg.alembic.operations import (
    AlterVersioningOp,
    CreateVersioningOp,
    DropRecordChangesOp,
    DropVersioningOp,
    InstallChrononautOp,
    NothingOp,
    OneWayOp,
    RecordChangesOp,
    SyncVersioningOp,
    VersioningOp,
)


@renderers.dispatch_for(CreateVersioningOp)
@renderers.dispatch_for(AlterVersioningOp)
@renderers.dispatch_for(SyncVersioningOp)
@renderers.dispatch_for(DropVersioningOp)
@renderers.dispatch_for(RecordChangesOp)
@renderers.dispatch_for(DropRecordChangesOp)
def _render(context: Any, operation: VersioningOp) -> str:
    arguments = [repr(operation.target)]
    arguments += [
        f"{name}={_plain(value)!r}" for name, value in operation.arguments.items()
    ]
    return f"op.{operation.function}({', '.join(arguments)})"


@renderers.dispatch_for(InstallChrononautOp)
def _render_install(context: Any, operation: InstallChrononautOp) -> str:
    return f"op.install_chrononaut({'auto_sync=True' if operation.auto_sync else ''})"


@renderers.dispatch_for(NothingOp)
def _render_nothing(context: Any, operation: NothingOp) -> list[str]:
    return []


@renderers.dispatch_for(OneWayOp)
def _render_one_way(context: Any, operation: OneWayOp) -> Any:
    return renderers.dispatch(operation.operation)(context, operation.operation)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
