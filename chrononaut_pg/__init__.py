"""History for PostgreSQL tables: what changed, when, by whom and why."""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from chrononaut_pg.context import (
    capture_change_info,
    change_info,
    extra_change_info,
    rationale,
    restore_change_info,
)
from chrononaut_pg.exceptions import (
    AppendOnlyError,
    CannotUndoError,
    CannotVersionError,
    ChangeInfoLostWarning,
    ChangeInfoRequiredError,
    ChrononautException,
    CoreMissingError,
    CoreNewerError,
    CoreOlderError,
    CoreVersionError,
    DeclarationError,
    DriftError,
    HiddenAttributeError,
    InvalidChangeInfoError,
    NameClashError,
    NoSessionError,
    NotPermittedError,
    NotVersionedError,
    ReadOnlyHistoryError,
    ReadOnlyPastError,
    RecordLockedError,
    RevertError,
    RevertWarning,
    UndoConflictError,
    UnknownColumnError,
    UnknownMomentError,
    UnsupportedDatabaseError,
    UntrackedAttributeError,
    VerificationError,
    VersioningMissingError,
    translate_errors,
)
from chrononaut_pg.options import VersioningOptions

if TYPE_CHECKING:
    from chrononaut_pg.converters import HistoryModelDataConverter
    from chrononaut_pg.ddl import create_all_versioning, versioned_table
    from chrononaut_pg.flask import VersionedSQLAlchemy
    from chrononaut_pg.history import (
        History,
        changeset_from,
        history_class,
        select_next,
        select_previous,
    )
    from chrononaut_pg.locks import (
        RecordLock,
        lock_record,
        record_locks,
        select_lock_record,
        select_record_locks,
        select_unlock_record,
        unlock_record,
    )
    from chrononaut_pg.mixins import Versioned, append_change_info
    from chrononaut_pg.readers import Blame, Change, blame_from, changes_from
    from chrononaut_pg.recording import RecordChanges
    from chrononaut_pg.reverting import (
        deleted,
        restore,
        revert,
        revert_to,
        select_deleted,
    )
    from chrononaut_pg.session import announce, current_change_info, listen
    from chrononaut_pg.timetravel import time_travel
    from chrononaut_pg.transactions import (
        RowChange,
        Transaction,
        row_changes_from,
        select_changes_by,
        select_changes_of,
        select_transactions,
        select_versions_that_changed,
    )
    from chrononaut_pg.undo import (
        RevertedRow,
        UndoneRow,
        restore_row,
        revert_row,
        undo_change,
        undo_transaction,
    )

__version__ = "0.1.0"

__all__ = [
    "AppendOnlyError",
    "Blame",
    "CannotUndoError",
    "CannotVersionError",
    "Change",
    "ChangeInfoLostWarning",
    "ChangeInfoRequiredError",
    "ChrononautException",
    "CoreMissingError",
    "CoreNewerError",
    "CoreOlderError",
    "CoreVersionError",
    "DeclarationError",
    "DriftError",
    "HiddenAttributeError",
    "History",
    "HistoryModelDataConverter",
    "InvalidChangeInfoError",
    "NameClashError",
    "NoSessionError",
    "NotPermittedError",
    "NotVersionedError",
    "ReadOnlyHistoryError",
    "ReadOnlyPastError",
    "RecordChanges",
    "RecordLock",
    "RecordLockedError",
    "RevertError",
    "RevertWarning",
    "RevertedRow",
    "RowChange",
    "Transaction",
    "UndoConflictError",
    "UndoneRow",
    "UnknownColumnError",
    "UnknownMomentError",
    "UnsupportedDatabaseError",
    "UntrackedAttributeError",
    "VerificationError",
    "Versioned",
    "VersionedSQLAlchemy",
    "VersioningMissingError",
    "VersioningOptions",
    "announce",
    "append_change_info",
    "blame_from",
    "capture_change_info",
    "change_info",
    "changes_from",
    "changeset_from",
    "create_all_versioning",
    "current_change_info",
    "deleted",
    "extra_change_info",
    "history_class",
    "listen",
    "lock_record",
    "rationale",
    "record_locks",
    "restore",
    "restore_change_info",
    "restore_row",
    "revert",
    "revert_row",
    "revert_to",
    "row_changes_from",
    "select_changes_by",
    "select_changes_of",
    "select_deleted",
    "select_lock_record",
    "select_next",
    "select_previous",
    "select_record_locks",
    "select_transactions",
    "select_unlock_record",
    "select_versions_that_changed",
    "time_travel",
    "translate_errors",
    "undo_change",
    "undo_transaction",
    "unlock_record",
    "versioned_table",
]

if importlib.util.find_spec("flask_sqlalchemy") is None:
    del __all__[__all__.index("VersionedSQLAlchemy")]  # `import *` is for everybody

_LAZY = {
    **dict.fromkeys(("Versioned", "append_change_info"), "mixins"),
    **dict.fromkeys(("Blame", "Change", "blame_from", "changes_from"), "readers"),
    **dict.fromkeys(
        (
            *("RecordLock", "lock_record", "record_locks", "select_lock_record"),
            *("select_record_locks", "select_unlock_record", "unlock_record"),
        ),
        "locks",
    ),
    **dict.fromkeys(("announce", "current_change_info", "listen"), "session"),
    **dict.fromkeys(
        (
            *("History", "changeset_from", "history_class"),
            *("select_next", "select_previous"),
        ),
        "history",
    ),
    **dict.fromkeys(
        (
            *("RowChange", "Transaction", "row_changes_from"),
            *("select_changes_by", "select_changes_of"),
            *("select_transactions", "select_versions_that_changed"),
        ),
        "transactions",
    ),
    "HistoryModelDataConverter": "converters",
    **dict.fromkeys(
        ("deleted", "restore", "revert", "revert_to", "select_deleted"), "reverting"
    ),
    "RecordChanges": "recording",
    "time_travel": "timetravel",
    **dict.fromkeys(
        (
            *("RevertedRow", "UndoneRow", "restore_row"),
            *("revert_row", "undo_change", "undo_transaction"),
        ),
        "undo",
    ),
    "VersionedSQLAlchemy": "flask",
    **dict.fromkeys(("create_all_versioning", "versioned_table"), "ddl"),
}
"""Names that are imported when first asked for, so that the rest stays light."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_LAZY[name]}")
    except ImportError as error:
        if name == "VersionedSQLAlchemy":
            raise ImportError(
                "VersionedSQLAlchemy needs Flask-SQLAlchemy: "
                "pip install 'chrononaut-pg[flask]'"
            ) from error
        raise
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
