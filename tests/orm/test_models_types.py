"""Column types of other packages, reduced to what they do with SQLAlchemy."""

from typing import Any

from sqlalchemy import ColumnElement, Engine, Text, TypeDecorator, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chrononaut_pg import Versioned, history_class
from tests.orm.modelling import created, saved


class Base(DeclarativeBase):
    pass


class CaseInsensitive(TypeDecorator[str]):
    """Compares lower-cased, as e-mail addresses are compared."""

    impl = Text
    cache_ok = True

    class Comparator(TypeDecorator.Comparator[Any]):
        def __eq__(self, other: Any) -> ColumnElement[bool]:  # type: ignore[override]
            return func.lower(self.expr) == func.lower(other)

    comparator_factory = Comparator


class Incomparable(TypeDecorator[str]):
    """Has no equality in SQL."""

    impl = Text
    cache_ok = True

    class Comparator(TypeDecorator.Comparator[Any]):
        def __eq__(self, other: Any) -> ColumnElement[bool]:  # type: ignore[override]
            raise NotImplementedError

    comparator_factory = Comparator


class Account(Versioned, Base):
    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(CaseInsensitive)
    seal: Mapped[str | None] = mapped_column(Incomparable)
    name: Mapped[str | None]


def test_types_that_compare_otherwise_are_read_back(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        one = saved(
            session, Account(id=1, email="Ann", seal="a"), email="Bob", seal="b"
        )
        first, second = one.versions()
        history = history_class(Account)
        found = session.scalars(select(history).where(history.email == "ann")).all()

        assert [(v.email, v.seal) for v in (first, second)] == [
            ("Ann", "a"),
            ("Bob", "a"),
        ]
        assert found == [first]
        assert one.diff(first) == {"email": ("Ann", "Bob"), "seal": ("a", "b")}
