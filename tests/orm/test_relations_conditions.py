"""Many-to-one relations whose conditions go beyond equal keys, in versions and reverts.

A null is no reference in a foreign key only; elsewhere conditions may ask for it.
"""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from chrononaut_pg import Versioned
from tests.orm.modelling import created

# SQLAlchemy says it of each null that a condition compares, whatever the operator.
pytestmark = pytest.mark.filterwarnings("ignore:Got None for value of column")


class Base(DeclarativeBase):
    pass


class Buyer(Versioned, Base):
    __tablename__ = "buyer"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str]


class Order(Versioned, Base):
    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)
    total: Mapped[int]
    cancelled: Mapped[str | None]
    buyer_id: Mapped[int | None] = mapped_column(ForeignKey(Buyer.id))
    buyer_code: Mapped[str | None]
    buyer: Mapped[Buyer | None] = relationship(
        primaryjoin="and_(Order.buyer_id == Buyer.id, Order.cancelled.is_(None))"
    )
    either: Mapped[Buyer | None] = relationship(
        primaryjoin="or_(foreign(Order.buyer_id) == Buyer.id,"
        " foreign(Order.buyer_code) == Buyer.code)",
        viewonly=True,
        lazy="raise",
    )


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with created(engine, Base.metadata) as opened:
        opened.add_all([Buyer(id=1, code="a"), Order(id=1, total=1, buyer_id=1)])
        opened.add(Order(id=2, total=1, buyer_code="a"))
        opened.commit()
        yield opened


def test_a_null_that_a_condition_asks_for_keeps_what_is_related(
    session: Session,
) -> None:
    order = session.get_one(Order, 1)
    order.total = 2
    session.commit()
    order.versions()[0].revert(relations=["buyer"])
    session.commit()

    assert (order.total, order.buyer_id) == (1, 1)


def test_one_of_two_keys_is_enough_where_the_condition_says_so(
    session: Session,
) -> None:
    order = session.get_one(Order, 2)
    order.total = 2
    session.commit()

    assert order.versions()[0].either.code == "a"
