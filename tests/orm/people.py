"""Models that tests of readers share."""

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chrononaut_pg import (
    Versioned,
)


class Base(DeclarativeBase):
    pass


class User(Versioned, Base):
    __tablename__ = "user"
    __chrononaut_hidden__ = ("secret",)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    age: Mapped[int | None]
    secret: Mapped[str | None] = mapped_column("pass_word")


class Other(Versioned, Base):
    __tablename__ = "other"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
