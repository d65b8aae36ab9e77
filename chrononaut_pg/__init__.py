"""History for PostgreSQL tables: what changed, when, by whom and why."""

from chrononaut_pg.exceptions import (
    AppendOnlyError,
    CannotVersionError,
    ChangeInfoRequiredError,
    ChrononautException,
    CoreMissingError,
    CoreNewerError,
    CoreOlderError,
    CoreVersionError,
    DriftError,
    InvalidChangeInfoError,
    NameClashError,
    NotPermittedError,
    RecordLockedError,
    UndoConflictError,
    VerificationError,
    translate_errors,
)
from chrononaut_pg.options import VersioningOptions

__version__ = "0.1.0"

__all__ = [
    "AppendOnlyError",
    "CannotVersionError",
    "ChangeInfoRequiredError",
    "ChrononautException",
    "CoreMissingError",
    "CoreNewerError",
    "CoreOlderError",
    "CoreVersionError",
    "DriftError",
    "InvalidChangeInfoError",
    "NameClashError",
    "NotPermittedError",
    "RecordLockedError",
    "UndoConflictError",
    "VerificationError",
    "VersioningOptions",
    "translate_errors",
]
