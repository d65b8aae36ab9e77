"""Users, companies, their people, and notes about them; all of them keep a history."""

from flask_login import UserMixin
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from chrononaut_pg import Versioned, VersionedSQLAlchemy


class Base(DeclarativeBase):
    """Base of the models."""


db = VersionedSQLAlchemy(model_class=Base)


class User(UserMixin, Versioned, Base):  # type: ignore[misc]
    """Somebody who may log in; that a password changed is recorded, the hash is not."""

    __tablename__ = "appuser"
    __chrononaut_hidden__ = ("password_hash",)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]


class Company(Versioned, Base):
    """An employer of contacts."""

    __tablename__ = "company"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    city: Mapped[str]
    domain: Mapped[str]
    contacts: Mapped[list["Contact"]] = relationship(back_populates="company")


class Contact(Versioned, Base):
    """A person; how often somebody looked is of no interest to history."""

    __tablename__ = "contact"
    __chrononaut_untracked__ = ("views",)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]
    phone: Mapped[str]
    position: Mapped[str]
    views: Mapped[int] = mapped_column(default=0)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"))
    company: Mapped[Company] = relationship(back_populates="contacts")
    notes: Mapped[list["Note"]] = relationship(order_by="Note.id")


class Note(Versioned, Base):
    """What was talked about with a contact."""

    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    contact_id: Mapped[int] = mapped_column(ForeignKey("contact.id"))
    text: Mapped[str]
