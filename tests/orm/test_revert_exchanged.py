"""Rows of a tree that exchange places: a parent has become a child of its child."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from chrononaut_pg import Versioned, revert_to
from tests.orm.modelling import created


class Base(DeclarativeBase):
    pass


class Branch(Versioned, Base):
    __tablename__ = "branch"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    above_id: Mapped[int | None] = mapped_column(ForeignKey("branch.id"))
    above: Mapped["Branch | None"] = relationship(
        back_populates="below", remote_side=[id]
    )
    below: Mapped[list["Branch"]] = relationship(
        back_populates="above", order_by="Branch.id"
    )


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with created(engine, Base.metadata) as found:
        yield found


def tree(session: Session) -> list[tuple[Any, ...]]:
    session.expire_all()
    found = select(Branch.id, Branch.name, Branch.above_id).order_by(Branch.id)
    return [tuple(row) for row in session.execute(found)]


def turned(session: Session) -> list[tuple[Any, ...]]:
    """Mark a chain of 1, 2, 3 and 4, and turn it round."""
    session.add_all(Branch(id=n, name=f"b{n}") for n in range(1, 5))
    session.flush()
    session.execute(text("update branch set above_id = id - 1 where id > 1"))
    session.execute(text("select chrononaut.mark('then')"))
    session.commit()
    before = tree(session)
    session.execute(
        text(
            "update branch set name = upper(name),"
            " above_id = case when id < 4 then id + 1 end"
        )
    )
    session.commit()
    return before


@pytest.mark.parametrize("loaded", [True, False])
@pytest.mark.parametrize(
    "relations", [["below.below.below"], ["below.below.below", "above"]]
)
def test_a_chain_that_was_turned_round_is_turned_back(
    session: Session, relations: list[str], loaded: bool
) -> None:
    before = turned(session)
    if loaded:
        found = session.scalars(select(Branch)).all()
        assert [len(one.below) for one in found] == [0, 1, 1, 1]
    revert_to((Branch, 1), mark="then", relations=relations, session=session)
    session.commit()
    assert tree(session) == before


def test_a_chain_that_was_turned_round_is_turned_back_from_below(
    session: Session,
) -> None:
    before = turned(session)
    path = ["above.above.above"]
    revert_to((Branch, 4), mark="then", relations=path, session=session)
    session.commit()
    assert tree(session) == before


def test_all_that_a_turned_chain_takes_says_what_it_was_reverted_to(
    session: Session,
) -> None:
    turned(session)
    path = ["below.below.below"]
    revert_to((Branch, 1), mark="then", relations=path, session=session)
    session.commit()
    unsaid = text(
        "select count(*) from branch_history where transaction_id ="
        " (select max(transaction_id) from branch_history)"
        " and not change_info -> 'extra' ? 'reverted_to'"
    )
    assert session.scalar(unsaid) == 0
