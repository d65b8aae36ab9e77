"""What was related to a version while it was in force.

The version is turned into an object of its model in a session of the past, at the
moment that its own transaction left behind; SQLAlchemy loads the relation from there,
whatever kind it is, and what is reached from there is of that moment, too.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import (
    Mapper,
    RelationshipProperty,
    make_transient_to_detached,
    object_session,
)
from sqlalchemy.orm.attributes import set_committed_value

from chrononaut_pg._loading import loader_of
from chrononaut_pg._members import queried
from chrononaut_pg._straight import read_straight
from chrononaut_pg.exceptions import NoSessionError

if TYPE_CHECKING:
    from chrononaut_pg._past import Moment
    from chrononaut_pg._past_session import PastSession

_KEY = "chrononaut_past_instance"

_NEVER_LOADED = ("raise", "raise_on_sql", "noload", "write_only", "dynamic")


class Related:
    """The attribute of a history class that gives one relation of a version."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.__doc__ = f"`{name}` as it was when this version began."

    def __get__(self, version: Any, owner: type[Any]) -> Any:
        return self if version is None else related(version, self.name)


class Proxied(Related):
    """The attribute of a history class that gives what the model makes of relations.

    Association proxies, and columns that are reckoned from other tables.
    """

    def __get__(self, version: Any, owner: type[Any]) -> Any:
        return self if version is None else getattr(past_instance(version), self.name)


def related(version: Any, name: str) -> Any:
    """Return what the relation *name* of the model held when *version* began."""
    instance = past_instance(version)
    relation: RelationshipProperty[Any] = sa_inspect(type(instance)).relationships[name]
    if relation.lazy not in _NEVER_LOADED:
        read_straight(instance, relation)
        return getattr(instance, name)
    found = queried(instance, relation)
    return found if relation.uselist else next(iter(found), None)


def past_instance(version: Any, session: Any = None) -> Any:
    """Return the version as an object of its model, in a session of its moment.

    It reads with the live session *session*, else with the version's own.
    """
    from chrononaut_pg._past_session import PastSession  # most programs never do

    state = sa_inspect(version)
    known = state.info.get(_KEY)
    past = object_session(known) if known is not None else None
    if (
        isinstance(past, PastSession)
        and not past.moment.provisional
        and session in (None, past.live)
    ):
        return known
    live = object_session(version) if session is None else session
    if live is None:
        raise NoSessionError(
            f"{version!r} belongs to no session",
            hint="Read relations of a version while its session is open.",
        )
    while isinstance(live, PastSession):
        live = live.live
    instance = _made(version, PastSession(live=live, moment=moment_of(version)))
    state.info[_KEY] = instance
    return instance


def moment_of(version: Any) -> "Moment":
    """Return the moment at which a version began, its own transaction included.

    What began before its table was versioned is taken as it was just before its end,
    and so is what one transaction began and deleted: it left nothing related behind.
    """
    from chrononaut_pg._past import Moment

    names = type(version).__chrononaut_meta_names__
    began = getattr(version, names["created_transaction_id"])
    ended = getattr(version, names["transaction_id"])
    is_deleted = getattr(version, names["operation"]) in ("D", "T")
    if began is not None and not (began == ended and is_deleted):
        return Moment.around(began, before=False)
    if ended is not None:
        return Moment.around(ended, before=True)
    return replace(Moment.now(), by_name=True)


def _made(version: Any, past: "PastSession") -> Any:
    """Return an object of the model with the values of the version, in *past*."""
    model = type(version).__chrononaut_declaration__.model
    loader, known = loader_of(model), sa_inspect(type(version)).column_attrs
    if loader.serves(past.live) and all(map(known.__contains__, loader.attributes)):
        values = {name: getattr(version, name) for name in loader.attributes}
        found = loader.objects(past, [values])
        past.keep(found)
        return found[0]
    mapper: Mapper[Any] = sa_inspect(model).mapper
    make = cast(Callable[[], Any], mapper.class_manager.new_instance)
    instance = make()
    for name in mapper.column_attrs.keys():  # noqa: SIM118
        if name in known:
            set_committed_value(instance, name, getattr(version, name))
    make_transient_to_detached(instance)
    past.hold(instance)
    return instance
