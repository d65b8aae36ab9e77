"""`op.create_versioning(...)` and its siblings.

Each operation calls the core's function of the same name, with the same arguments. With
`--sql` it prints that call. Every operation knows its reverse and how to be rendered.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from alembic.operations import MigrateOperation, Operations
from sqlalchemy.exc import DBAPIError

from chrononaut_pg import core
from chrononaut_pg.exceptions import sqlstate_of
from chrononaut_pg.options import VersioningOptions

_LOCK_NOT_AVAILABLE = "55P03"


class VersioningOp(MigrateOperation):
    """Base: a call of one of the core's functions on one table."""

    function: ClassVar[str]

    def __init__(
        self,
        target: str,
        *,
        lock_timeout: str | None = None,
        retries: int = 0,
        **named: Any,
    ) -> None:
        self.target = target
        self.lock_timeout = lock_timeout
        self.retries = retries
        self.named = named

    @property
    def sql(self) -> str:
        """The call as SQL text."""
        return core.call_text(self.function, self.target, self.arguments)

    @property
    def arguments(self) -> dict[str, Any]:
        """The named arguments of the call."""
        return VersioningOptions(**self.named).given()

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what `alembic check` prints."""
        return (self.function, self.target, self.named)


@Operations.register_operation("create_versioning")
class CreateVersioningOp(VersioningOp):
    """Version a table."""

    function = "create_versioning"

    @classmethod
    def create_versioning(
        cls, operations: Operations, target: str, **options: Any
    ) -> None:
        """Version the table *target*; the options are those of the SQL function::

            op.create_versioning("app.user", hidden=["password"])

        *lock_timeout*, as in "3s", bounds each wait for a lock; *retries* tries again
        that often. A history that an earlier `drop_versioning` left is continued.
        """
        operations.invoke(cls(target, **options))

    def reverse(self) -> "DropVersioningOp":
        """Return the drop that keeps the history."""
        return DropVersioningOp(self.target, created=self.named)


@Operations.register_operation("alter_versioning")
class AlterVersioningOp(VersioningOp):
    """Change options of a versioned table."""

    function = "alter_versioning"

    def __init__(
        self, target: str, *, before: dict[str, Any] | None = None, **named: Any
    ) -> None:
        super().__init__(target, **named)
        self.before = before

    @classmethod
    def alter_versioning(
        cls, operations: Operations, target: str, **options: Any
    ) -> None:
        """Change the options of *target* that are given, and keep its history."""
        operations.invoke(cls(target, **options))

    def reverse(self) -> MigrateOperation:
        """Return the alteration back; raise if it is not known what was before."""
        if self.before is None:
            raise NotImplementedError(
                "alter_versioning does not know the former options: write the "
                "downgrade by hand"
            )
        return AlterVersioningOp(self.target, before=self.named, **self.before)


@Operations.register_operation("sync_versioning")
class SyncVersioningOp(VersioningOp):
    """Bring history in line with the table's columns."""

    function = "sync_versioning"

    @classmethod
    def sync_versioning(
        cls, operations: Operations, target: str, **options: Any
    ) -> None:
        """Bring the history of *target* in line, after DDL on the table."""
        operations.invoke(cls(target, **options))

    def reverse(self) -> "SyncVersioningOp":
        """Return the same: a downgrade must sync as well, after its DDL."""
        return SyncVersioningOp(self.target)


@Operations.register_operation("drop_versioning")
class DropVersioningOp(VersioningOp):
    """Stop versioning a table."""

    function = "drop_versioning"

    def __init__(
        self,
        target: str,
        *,
        drop_history: bool = False,
        created: dict[str, Any] | None = None,
        **named: Any,
    ) -> None:
        super().__init__(target, **named)
        self.drop_history = drop_history
        self.created = created

    @classmethod
    def drop_versioning(
        cls,
        operations: Operations,
        target: str,
        drop_history: bool = False,
        **options: Any,
    ) -> None:
        """Stop versioning *target*; its history stays unless *drop_history* is true."""
        operations.invoke(cls(target, drop_history=drop_history, **options))

    @property
    def arguments(self) -> dict[str, Any]:
        """The named arguments of the call."""
        return {"drop_history": True} if self.drop_history else {}

    def reverse(self) -> CreateVersioningOp:
        """Return the creation with the options that the table had."""
        return CreateVersioningOp(self.target, **(self.created or {}))


@Operations.register_operation("record_changes")
class RecordChangesOp(VersioningOp):
    """Have rows keep who changed them last."""

    function = "record_changes"

    @classmethod
    def record_changes(
        cls, operations: Operations, target: str, **options: Any
    ) -> None:
        """Keep the columns `change_info` and `changed` of *target* by a trigger."""
        operations.invoke(cls(target, **options))

    def reverse(self) -> "DropRecordChangesOp":
        """Return the end of it, which the columns must not be dropped without."""
        return DropRecordChangesOp(self.target)


@Operations.register_operation("drop_record_changes")
class DropRecordChangesOp(VersioningOp):
    """Let rows no longer keep who changed them last."""

    function = "drop_record_changes"

    @classmethod
    def drop_record_changes(
        cls, operations: Operations, target: str, **options: Any
    ) -> None:
        """Leave the columns `change_info` and `changed` of *target* alone."""
        operations.invoke(cls(target, **options))

    def reverse(self) -> RecordChangesOp:
        """Return what keeps them again."""
        return RecordChangesOp(self.target)


@Operations.register_operation("install_chrononaut")
class InstallChrononautOp(MigrateOperation):
    """Install or upgrade the core."""

    def __init__(self, auto_sync: bool = False) -> None:
        self.auto_sync = auto_sync

    @classmethod
    def install_chrononaut(
        cls, operations: Operations, auto_sync: bool = False
    ) -> None:
        """Install the core, or upgrade it to the version of this package.

        *auto_sync* creates the event triggers that sync after DDL, which only a
        superuser may.
        """
        operations.invoke(cls(auto_sync))

    def reverse(self) -> "NothingOp":
        """Return nothing: the core holds every table's history, so it stays."""
        return NothingOp()

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what `alembic check` prints."""
        return ("install_chrononaut",)


class NothingOp(MigrateOperation):
    """An operation that does nothing, but whose reverse may do something.

    It stands first in an upgrade for what must come last in the downgrade.
    """

    ops: ClassVar[tuple[MigrateOperation, ...]] = ()
    """For `alembic check`, which prints containers as what they contain."""

    def __init__(self, reverse: MigrateOperation | None = None) -> None:
        self._reverse = reverse

    def reverse(self) -> MigrateOperation:
        """Return what the downgrade has to do here."""
        return self._reverse or NothingOp()


def at_the_end(
    operation: MigrateOperation, back: MigrateOperation
) -> tuple[MigrateOperation, MigrateOperation]:
    """Return what to put first and last, so that both run last in their direction."""
    return NothingOp(back), OneWayOp(operation)


class OneWayOp(MigrateOperation):
    """An operation of the upgrade whose reverse stands elsewhere."""

    def __init__(self, operation: MigrateOperation) -> None:
        self.operation = operation

    def reverse(self) -> MigrateOperation:
        return NothingOp()

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return self.operation.to_diff_tuple()


@Operations.implementation_for(CreateVersioningOp)
@Operations.implementation_for(AlterVersioningOp)
@Operations.implementation_for(SyncVersioningOp)
@Operations.implementation_for(DropVersioningOp)
@Operations.implementation_for(RecordChangesOp)
@Operations.implementation_for(DropRecordChangesOp)
def _call(operations: Operations, operation: VersioningOp) -> None:
    timeout = operation.lock_timeout
    if operations.migration_context.as_sql:
        if timeout:
            _print(operations, f"set local lock_timeout = {core.literal(timeout)}")
        _print(operations, operation.sql)
        if timeout:
            _print(operations, "reset lock_timeout")
        return
    connection = operations.get_bind()

    def call() -> None:
        # Not for a driver to look for parameters in: names may hold percent signs.
        connection.exec_driver_sql(
            operation.sql, execution_options={"no_parameters": True}
        )

    if timeout is None and not operation.retries:
        call()
    else:
        _retrying(connection, call, timeout, operation.retries)


@Operations.implementation_for(InstallChrononautOp)
def _install(operations: Operations, operation: InstallChrononautOp) -> None:
    if operations.migration_context.as_sql:
        for statement in core.install_statements(operation.auto_sync):
            _print(operations, statement.rstrip().removesuffix(";"))
    else:
        core.install(operations.get_bind(), operation.auto_sync)


@Operations.implementation_for(NothingOp)
def _nothing(operations: Operations, operation: NothingOp) -> None:
    pass


@Operations.implementation_for(OneWayOp)
def _one_way(operations: Operations, operation: OneWayOp) -> None:
    operations.invoke(operation.operation)


def _retrying(
    connection: Any, call: Callable[[], None], timeout: str | None, retries: int
) -> None:
    """Call in a savepoint with a lock timeout; try again while a lock is not to be had.

    Giving the savepoint up gives its locks back, so that writers get on in between.
    """
    for attempt in range(retries + 1):
        try:
            with connection.begin_nested(), _lock_timeout(connection, timeout):
                call()
            return
        except DBAPIError as error:
            if sqlstate_of(error) != _LOCK_NOT_AVAILABLE or attempt == retries:
                raise
            time.sleep(min(0.1 * 2**attempt, 5.0))


@contextmanager
def _lock_timeout(connection: Any, timeout: str | None) -> Iterator[None]:
    """Set a lock timeout, and what was set before afterwards, but for an error.

    An error ends the savepoint, which brings back what was before.
    """
    if timeout is None:
        yield
        return
    local = "set local lock_timeout = {}"
    before = connection.exec_driver_sql("show lock_timeout").scalar()
    connection.exec_driver_sql(local.format(core.literal(timeout)))
    yield
    connection.exec_driver_sql(local.format(core.literal(before)))


def _print(operations: Operations, statement: str) -> None:
    impl: Any = operations.impl
    impl.static_output(statement + impl.command_terminator)
