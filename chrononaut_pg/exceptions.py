"""Every error that chrononaut_pg raises, and its origin in the database.

The SQL core raises SQLSTATEs of class VH, one per cause. `translate_errors` turns them
into the classes below, whichever driver or SQLAlchemy wrapper they arrive in.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class ChrononautException(Exception):
    """Base of all errors of this package.

    Raised as it is for a VH code that this release does not know. What the database
    said about the place is in *schema*, *table* and *column*; *hint* says what to do.
    """

    def __init__(
        self,
        message: str,
        *,
        sqlstate: str | None = None,
        schema: str | None = None,
        table: str | None = None,
        column: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(f"{message}. {hint}" if hint else message)
        self.message = message
        self.sqlstate = sqlstate
        self.schema = schema
        self.table = table
        self.column = column
        self.hint = hint


class InvalidChangeInfoError(ChrononautException):
    """VH001: the change info is not a JSON object; the write was refused."""


class ChangeInfoRequiredError(ChrononautException):
    """VH002: the table takes no write without change info."""


class CannotVersionError(ChrononautException):
    """VH003: the relation cannot be versioned, or not in the way that was asked for."""


class NameClashError(ChrononautException):
    """VH004: a name that versioning needs is taken."""


class DriftError(ChrononautException):
    """VH005: the live table has changed and `sync_versioning` has not run since."""


class NotPermittedError(ChrononautException):
    """VH006: the role may not do this, or a GRANT is missing."""


class UndoConflictError(ChrononautException):
    """VH007: a later change stands in the way of an undo."""


class CannotUndoError(ChrononautException):
    """What should be undone or put back is not known, or cannot be at the moment."""


class AppendOnlyError(ChrononautException):
    """VH008: history can be added to, not altered."""


class VerificationError(ChrononautException):
    """VH009: sealed history is not what it was."""


class RecordLockedError(ChrononautException):
    """VH010: the row is locked against change."""


class DeclarationError(ChrononautException):
    """A model cannot be versioned in the way that it declares."""


class UnknownColumnError(DeclarationError):
    """An option of a model names a column that the model does not have."""


class NotVersionedError(ChrononautException):
    """The class or object is not versioned, or is none of ours."""


class VersioningMissingError(ChrononautException):
    """A model is Versioned, but its table in the database is not."""


class UnsupportedDatabaseError(ChrononautException):
    """A versioned model is bound to something that is not PostgreSQL."""


class NoSessionError(ChrononautException):
    """An object belongs to no session, and none was given."""


class ReadOnlyHistoryError(ChrononautException, AttributeError):
    """History objects cannot be changed."""


class ReadOnlyPastError(ChrononautException):
    """A session of the past only reads."""


class UnknownMomentError(ChrononautException):
    """There is no such mark or transaction."""


class RevertError(ChrononautException):
    """An object, or one of its relations, cannot be put back as it was."""


class HiddenAttributeError(ChrononautException, AttributeError):
    """History knows that this attribute changed, but never its value."""


class UntrackedAttributeError(ChrononautException, AttributeError):
    """History knows nothing of this attribute."""


class ChangeInfoLostWarning(UserWarning):
    """Change info was said on a connection that cannot carry it."""


class RevertWarning(UserWarning):
    """A revert left columns alone, since history and table differ in them.

    *skipped* is {table: {column: reason}}.
    """

    def __init__(self, skipped: Mapping[str, Mapping[str, str]]) -> None:
        told = ", ".join(
            f"{table}.{column} {reason}"
            for table, columns in skipped.items()
            for column, reason in columns.items()
        )
        super().__init__(f"not put back: {told}")
        self.skipped = skipped


class CoreVersionError(ChrononautException):
    """Base of the errors about which core a database has and which one is needed.

    *installed* is the core version of the database (None: no core), *required* the one
    that this release of the package brings.
    """

    def __init__(
        self, message: str, *, hint: str, installed: int | None, required: int
    ) -> None:
        super().__init__(message, schema="chrononaut", hint=hint)
        self.installed = installed
        self.required = required


class CoreMissingError(CoreVersionError):
    """The database has no chrononaut core."""

    def __init__(self, required: int) -> None:
        super().__init__(
            f"the database has no chrononaut core; this package has version {required}",
            hint="Install it with `python -m chrononaut_pg install`.",
            installed=None,
            required=required,
        )


class CoreNewerError(CoreVersionError):
    """The database's core is newer than the package."""

    def __init__(self, installed: int, required: int) -> None:
        super().__init__(
            f"the database has core version {installed}, "
            f"newer than version {required} of this package",
            hint="Upgrade the package chrononaut-pg.",
            installed=installed,
            required=required,
        )


class CoreOlderError(CoreVersionError):
    """The database's core is older than the package."""

    def __init__(self, installed: int, required: int) -> None:
        super().__init__(
            f"the database has core version {installed}, "
            f"older than version {required} of this package",
            hint="Upgrade it with `python -m chrononaut_pg install`.",
            installed=installed,
            required=required,
        )


ERRORS_BY_SQLSTATE: dict[str, type[ChrononautException]] = {
    "VH001": InvalidChangeInfoError,
    "VH002": ChangeInfoRequiredError,
    "VH003": CannotVersionError,
    "VH004": NameClashError,
    "VH005": DriftError,
    "VH006": NotPermittedError,
    "VH007": UndoConflictError,
    "VH008": AppendOnlyError,
    "VH009": VerificationError,
    "VH010": RecordLockedError,
}


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise errors of the core as ChrononautException, the original as their cause::

        with translate_errors():
            session.commit()

    Other errors pass unchanged.
    """
    try:
        yield
    except Exception as error:
        translated = from_database_error(error)
        if translated is None:
            raise
        raise translated from error


def from_database_error(
    error: BaseException, others: Mapping[str, type[ChrononautException]] | None = None
) -> ChrononautException | None:
    """Return the exception for an error of psycopg or SQLAlchemy, None if not ours.

    *others* are SQLSTATEs beside those of class VH that are ours where it is asked.
    """
    original = getattr(error, "orig", None) or error
    sqlstate = sqlstate_of(error)
    known = {**ERRORS_BY_SQLSTATE, **(others or {})}
    if sqlstate is None or not (sqlstate.startswith("VH") or sqlstate in known):
        return None
    said = _Diagnostics(original)
    return known.get(sqlstate, ChrononautException)(
        said.find("message_primary", "message") or str(original),
        sqlstate=sqlstate,
        schema=said.find("schema_name"),
        table=said.find("table_name"),
        column=said.find("column_name"),
        hint=said.find("message_hint", "hint"),
    )


class _Diagnostics:
    """What the database has said of an error, whichever driver passes it on.

    psycopg keeps it in `diag`, asyncpg in the error that SQLAlchemy's adapter raises
    its own from, pg8000 in the fields of the protocol.
    """

    def __init__(self, original: BaseException) -> None:
        cause = original.__cause__
        self._source = getattr(original, "diag", original if cause is None else cause)
        self._fields = _fields(original)

    def find(self, *names: str) -> str | None:
        """Return the first field of these names that holds something."""
        found = (
            self._fields.get(_LETTERS.get(name, ""))
            or getattr(self._source, name, None)
            for name in names
        )
        return next((one for one in found if isinstance(one, str) and one), None)


_LETTERS = {
    "message_primary": "M",
    "message_hint": "H",
    "schema_name": "s",
    "table_name": "t",
    "column_name": "c",
}
"""What PostgreSQL's protocol calls the fields of an error."""


def _fields(original: BaseException) -> Mapping[str, str]:
    """Return the fields that pg8000 raises its errors with; none for other drivers."""
    found = original.args[0] if original.args else None
    return found if isinstance(found, dict) else {}


UNDEFINED_TABLE = ("42P01", "3F000")
"""SQLSTATEs of a relation or schema that is not there."""

UNDEFINED_COLUMN = "42703"
"""The SQLSTATE of a column that is not there."""

UNDEFINED_FUNCTION = "42883"
"""The SQLSTATE of a function that is not there."""

NO_DATA_FOUND = "P0002"
"""The SQLSTATE of a transaction or a mark that is not there."""


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of a driver's error, wrapped by SQLAlchemy or not."""
    original = getattr(error, "orig", None) or error
    # psycopg calls it sqlstate, psycopg2 pgcode.
    found: str | None = getattr(original, "sqlstate", None)
    return found or getattr(original, "pgcode", None) or _fields(original).get("C")
