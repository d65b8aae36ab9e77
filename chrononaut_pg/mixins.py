"""The mixin `Versioned`, for models with a history.

What they promise follows the documentation of Chrononaut; the work is done by triggers
in the database, so that writes past the ORM show up as well. Methods that read import
what they need, so that a model is imported in half the time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, Table, event
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Mapper, Session

from chrononaut_pg import _row_version, ddl
from chrononaut_pg._comparing import differing_when_loaded
from chrononaut_pg.capture import DEFAULTS
from chrononaut_pg.context import NOT_SAID, said
from chrononaut_pg.declarations import declare, is_declared
from chrononaut_pg.exceptions import NotVersionedError

if TYPE_CHECKING:
    from chrononaut_pg.readers import Blame, Change


class _HistoryMapper:
    """The class attribute `__history_mapper__`."""

    def __get__(self, instance: object, owner: type[Any]) -> Mapper[Any]:
        from chrononaut_pg.history import history_class

        mapper: Mapper[Any] = sa_inspect(history_class(owner))
        return mapper


class _VersionNumber:
    """The attribute `version` of a model that has none of its own."""

    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        from chrononaut_pg import _reading

        if instance is None:
            return self
        session = _reading.session_of(instance, None)
        return _reading.scalars(instance, session, instance.select_version)[0]


class Capturing:
    """Who and why, as a model may say for itself; see `Versioned`."""

    def _capture_change_info(self) -> dict[str, Any]:
        """Return who and why: `user_id`, `remote_addr` and, if any, `extra`."""
        info: dict[str, Any] = {
            "user_id": self._fetch_current_user_id(),
            "remote_addr": self._fetch_remote_addr(),
        }
        custom = self._get_custom_change_info()
        return {**info, "extra": dict(custom)} if custom else info

    def _fetch_current_user_id(self) -> str | None:
        """Return the id of the acting user, None if nobody is known."""
        found: str | None = _default("user_id")
        return found

    def _fetch_remote_addr(self) -> str | None:
        """Return the address that the request came from, None if there is none."""
        found: str | None = _default("remote_addr")
        return found

    def _get_custom_change_info(self) -> dict[str, Any] | None:
        """Return further values for `extra`, None for none."""
        return None


class Versioned(Capturing):
    """Mixin for models whose rows keep a history::

        class User(Versioned, Base):
            __tablename__ = "appuser"
            __chrononaut_untracked__ = ["login_count"]
            __chrononaut_hidden__ = ["password"]

    Hidden columns: that they changed is recorded, their values never. Untracked columns
    are ignored. `metadata.create_all()` creates history and triggers along with the
    table. Four methods may be overridden to say who and why for changes of this model:
    `_capture_change_info`, `_fetch_current_user_id`, `_fetch_remote_addr` and
    `_get_custom_change_info`.

    Readers use the object's session, else the Flask application's, else the one that is
    passed; each is one statement. For AsyncSession the `select_...` methods return it.
    Times are timezone-aware; naive ones are taken for UTC. Source: Chrononaut.
    """

    __history_mapper__ = _HistoryMapper()

    if TYPE_CHECKING:
        version: Any
        """The number of the newest version; an attribute of the model's own wins."""

    def versions(
        self,
        before: datetime | None = None,
        after: datetime | None = None,
        ordered: bool = True,
        return_query: bool = False,
        session: Session | None = None,
    ) -> Any:
        """Return the earlier versions, the oldest first, as history objects::

            user.versions()[0].email

        *before* and *after* bound the time at which a version ended, inclusively. The
        state that the object has now is not among them. With *return_query* returns a
        Query instead, for paging and further filters.
        """
        from chrononaut_pg import _reading, readers

        found = _reading.session_of(self, session)
        if return_query:
            return readers.query_versions(self, found, before, after, ordered)
        direct = readers.direct_of(self) if before is None and after is None else None
        if direct is not None and direct.has_all:
            return _reading.all_versions(self, found, direct, readers.key_of(self))
        return _reading.scalars(
            self, found, lambda: self.select_versions(before, after, ordered)
        )

    def version_at(self, at: datetime, session: Session | None = None) -> Any:
        """Return the history object in force at a time.

        Returns the object itself if its present state was in force, and None before it
        existed or while it was deleted.
        """
        from chrononaut_pg import _reading, readers

        found = _reading.session_of(self, session)
        direct = readers.direct_of(self)
        if direct is not None:
            key, moment = readers.key_of(self), readers.aware(at)
            return _reading.in_force(self, found, direct, key, moment)
        begun = _reading.scalars(
            self, found, lambda: _fresh(readers.select_newest_begun(self, at))
        )
        return readers.in_force_of(self, begun, at)

    def previous_version(self, session: Session | None = None) -> Any:
        """Return the newest earlier version, None if there is none."""
        from chrononaut_pg import _reading, readers

        found = _reading.session_of(self, session)
        direct = readers.direct_of(self)
        if direct is not None:
            return _reading.newest_ended(self, found, direct, readers.key_of(self))
        versions = _reading.scalars(self, found, self.select_previous_version)
        return next(iter(versions), None)

    def has_changed_since(
        self, since: datetime, session: Session | None = None
    ) -> bool:
        """Return whether any change was recorded after a time."""
        from chrononaut_pg import _reading, readers

        found = _reading.session_of(self, session)
        return any(
            _reading.scalars(
                self, found, lambda: readers.select_has_changed_since(self, since)
            )
        )

    def changes(
        self, fold: str | None = None, session: Session | None = None
    ) -> "Iterator[Change]":
        """Yield every change, the oldest first, with the states before and after it.

        With *fold* "transaction" the changes of one transaction are one change.
        """
        from chrononaut_pg import _reading, readers

        found = _reading.session_of(self, session)
        direct = readers.direct_of(self)
        if direct is not None and direct.has_all:
            key = readers.key_of(self)
            versions = _reading.all_versions(self, found, direct, key, live=True)
        else:
            versions = _reading.scalars(self, found, self.select_changes)
        return readers.changes_from(versions, fold)

    def blame(self, session: Session | None = None) -> "dict[str, Blame]":
        """Return for each attribute the version that last set it, who and why::

        user.blame()["email"].change_info["user_id"]
        """
        from chrononaut_pg import _reading, readers

        found = _reading.session_of(self, session)
        return readers.blame_from(_reading.rows(self, found, self.select_blame))

    def diff(
        self,
        from_model: Any,
        to: Any = None,
        include_hidden: bool = False,
        session: Session | None = None,
    ) -> dict[str, tuple[Any, Any]]:
        """Return what changed from one version to a later one, or to now::

            user.diff(user.versions()[0])  # {"email": ("old@...", "new@...")}

        With *include_hidden* hidden attributes that changed since then are shown as
        (None, present value). Raises ChrononautException if *from_model* is no history
        object, belongs to another row, or is younger than *to*.
        """
        found = differing_when_loaded(self, from_model, self if to is None else to)
        if found is None:
            from chrononaut_pg import readers

            found = readers.diff(self, from_model, to)
        if include_hidden:
            names = self._hidden_changed_since(from_model, to, session)
            found |= {name: (None, getattr(self, name)) for name in names}
        return found

    def select_versions(
        self,
        before: datetime | None = None,
        after: datetime | None = None,
        ordered: bool = True,
    ) -> Select[Any]:
        """Return the statement of `versions`; it selects history objects."""
        from chrononaut_pg import readers

        return _fresh(readers.select_versions(self, before, after, ordered))

    def select_version_at(self, at: datetime) -> Select[Any]:
        """Return the statement of `version_at`; it selects one history object or none.

        The live state comes as a history object, too: its `change_id` is None.
        """
        from chrononaut_pg import readers

        return _fresh(readers.select_version_at(self, at))

    def select_version(self) -> Select[Any]:
        """Return the statement behind `version`; it selects one number."""
        from chrononaut_pg import readers

        return readers.select_version(self)

    def select_previous_version(self) -> Select[Any]:
        """Return the statement of `previous_version`."""
        from chrononaut_pg import readers

        return _fresh(readers.select_previous_version(self))

    def select_has_changed_since(self, since: datetime) -> Select[Any]:
        """Return the statement of `has_changed_since`; it selects one boolean."""
        from chrononaut_pg import readers

        return readers.select_has_changed_since(self, since)

    def select_changes(self) -> Select[Any]:
        """Return the statement of `changes`, for `chrononaut_pg.changes_from`."""
        from chrononaut_pg import readers

        return _fresh(readers.select_changes(self))

    def select_blame(self) -> Select[Any]:
        """Return the statement of `blame`, for `chrononaut_pg.blame_from`."""
        from chrononaut_pg import readers

        return readers.select_blame(self)

    def _hidden_changed_since(
        self, version: Any, to: Any, session: Session | None
    ) -> list[str]:
        from chrononaut_pg import _reading, readers
        from chrononaut_pg.history import History, meta

        if isinstance(to, History) or meta(version, "change_id") is None:
            return []
        found = _reading.session_of(self, session)
        told = _reading.scalars(
            self, found, lambda: readers.select_hidden_changed_since(self, version)
        )
        return readers.hidden_attributes(type(self), {n for one in told for n in one})


@contextmanager
def append_change_info(*instances: Any, **extra: Any) -> Iterator[None]:
    """Add *extra* to the change info of these objects only::

        with append_change_info(user, ticket=1732):
            user.email = "updated@example.com"
        db.session.commit()

    It stays on the objects until a flush that writes them is committed, so the commit
    may come after the block; an exception that leaves the block takes it off again.
    Raises NotVersionedError for other objects.
    """
    from chrononaut_pg._extras import add_extras, remove_extras

    for instance in instances:
        if not is_declared(type(instance)):
            raise NotVersionedError(
                f"{instance!r} is not versioned",
                hint="Pass objects of Versioned models.",
            )
    before = [add_extras(instance, extra) for instance in instances]
    try:
        yield
    except BaseException:
        for instance, replaced in zip(instances, before, strict=True):
            remove_extras(instance, extra, replaced)
        raise


@event.listens_for(Versioned, "after_mapper_constructed", propagate=True)
def _declare(mapper: Mapper[Any], model: type[Any]) -> None:
    if _is_union(model, mapper):
        return
    if isinstance(mapper.local_table, Table):
        _row_version.wire(model, mapper)
    ddl.follow(declare(model, mapper).table)
    if not hasattr(model, "version"):
        # Not on the mixin: there it would hide an attribute of another mixin.
        model.version = _VersionNumber()


def _is_union(model: type[Any], mapper: Mapper[Any]) -> bool:
    """Whether a class only unites the tables of its concrete children."""
    from sqlalchemy.ext.declarative import AbstractConcreteBase

    union = not isinstance(mapper.local_table, Table)
    return union and issubclass(model, AbstractConcreteBase)


def _default(name: str) -> Any:
    """Return what is known of the user or the address without asking the model."""
    asked = DEFAULTS.get(None)
    if asked is not None:
        return asked.get(name)
    value = getattr(said(), name)
    return None if value is NOT_SAID else value() if callable(value) else value


def _fresh(statement: Select[Any]) -> Select[Any]:
    return statement.execution_options(populate_existing=True)
