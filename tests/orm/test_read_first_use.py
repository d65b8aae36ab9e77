"""What is made of a model on first use is the same whoever asks first, and for what."""

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Column, Engine, Integer, String, event
from sqlalchemy.orm import DeclarativeBase, Mapper, Session, mapped_column

from chrononaut_pg import (
    Versioned,
    deleted,
    history_class,
    select_transactions,
    select_versions_that_changed,
)
from chrononaut_pg._direct import direct
from tests.orm.modelling import created


def model(**columns: Any) -> type[Any]:
    """Return a model of its own, with a hidden column."""
    base = type("Base", (DeclarativeBase,), {})
    body = {
        "__tablename__": "first_use",
        "__chrononaut_hidden__": ["secret"],
        "id": mapped_column(Integer, primary_key=True),
        "secret": mapped_column(Integer),
        **columns,
    }
    return type("FirstUse", (Versioned, base), body)


QUESTIONS: dict[str, Callable[[Session, Any, Any], Any]] = {
    "changed": lambda session, of, one: session.scalars(
        select_versions_that_changed(of, "secret")
    ).all(),
    "of all": lambda session, of, one: session.scalars(select_transactions(of)).all(),
    "deleted": lambda session, of, one: deleted(of, session),
    "versions": lambda session, of, one: one.versions(),
    "previous": lambda session, of, one: one.previous_version(),
    "since": lambda session, of, one: one.has_changed_since(one.versions()[0].changed),
}


@pytest.mark.parametrize("first", QUESTIONS)
def test_no_question_spoils_another(engine: Engine, first: str) -> None:
    of = model(value=mapped_column(Integer))

    def asked(name: str) -> list[Any]:
        found = QUESTIONS[name](session, of, one)
        return (
            [type(each).__name__ for each in found]
            if isinstance(found, list)
            else [type(found).__name__]
        )

    with created(engine, of.metadata) as session:
        one = of(id=1, value=1, secret=1)
        session.add(one)
        session.commit()
        one.secret, one.value = 2, 2
        session.commit()
        asked(first)
        answers = {name: asked(name) for name in QUESTIONS}

    assert answers == {
        "changed": ["FirstUseHistory"],
        "of all": ["Transaction", "Transaction"],
        "deleted": [],
        "versions": ["FirstUseHistory"],
        "previous": ["FirstUseHistory"],
        "since": ["bool"],
    }


@pytest.mark.parametrize("table", ["first_use_history", "first_use_versions"])
def test_threads_that_ask_first_at_once_are_both_answered(table: str) -> None:
    """The second one asks while the Table is being made for the first."""
    of = model(a=mapped_column(Integer), b=mapped_column(Integer))
    found: list[Any] = []

    def ask() -> None:
        cls = history_class(of)
        found.append((cls, direct(cls), str(select_versions_that_changed(of, "a"))))

    second = Thread(target=ask)

    def interrupt(column: Any, parent: Any) -> None:
        if (parent.name, column.name) == (table, "b") and not second.ident:
            second.start()
            second.join(0.2)  # if it is not made to wait, it is done by then

    event.listen(Column, "before_parent_attach", interrupt)
    try:
        ask()
    finally:
        event.remove(Column, "before_parent_attach", interrupt)
    second.join()

    assert (len(found), len({(cls, text) for cls, _, text in found})) == (2, 1)


def test_no_thread_is_given_a_class_that_does_not_know_its_subclasses_yet() -> None:
    kinds = {"polymorphic_on": "kind", "polymorphic_identity": "any"}
    of = model(kind=mapped_column(String), __mapper_args__=kinds)
    for name in ("cat", "dog"):
        type(name, (of,), {"__mapper_args__": {"polymorphic_identity": name}})
    known: list[list[str]] = []

    def ask() -> None:
        known.append(sorted(history_class(of).__mapper__.polymorphic_map))

    second = Thread(target=ask)

    def interrupt(mapper: Any, cls: type[Any]) -> None:
        if cls.__name__ == "catHistory":
            second.start()
            second.join(0.2)

    event.listen(Mapper, "instrument_class", interrupt)
    try:
        ask()
    finally:
        event.remove(Mapper, "instrument_class", interrupt)
    second.join()

    assert known == [["any", "cat", "dog"]] * 2
