# mypy: ignore-errors
"""Writes with PostgreSQL-Audit: joined inheritance and bytes."""

import json
import sys

import sqlalchemy as sa
from postgresql_audit import VersioningManager
from sqlalchemy.orm import DeclarativeBase, Session, configure_mappers


class Base(DeclarativeBase):
    pass


manager = VersioningManager()
manager.init(Base)


class Person(Base):
    __versioned__ = {}  # noqa: RUF012
    __tablename__ = "person"
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_on": "kind",
        "polymorphic_identity": "person",
    }
    id = sa.Column(sa.Integer, primary_key=True)
    kind = sa.Column(sa.Text)
    name = sa.Column(sa.Text)
    photo = sa.Column(sa.LargeBinary)


class Employee(Person):
    __versioned__ = {}  # noqa: RUF012
    __tablename__ = "employee"
    __mapper_args__ = {"polymorphic_identity": "employee"}  # noqa: RUF012
    id = sa.Column(sa.ForeignKey("person.id"), primary_key=True)
    title = sa.Column(sa.Text)


def write(session):
    ann = Employee(id=1, name="Ann", title="a", photo=b"\x00\xff'\\")
    bob = Employee(id=2, name="Bob", photo=b"")
    session.add_all([ann, bob])
    session.commit()
    ann.title = "b"
    session.commit()
    ann.name = "Anna"
    session.commit()
    ann.photo = None
    ann.title = "c"
    session.commit()
    session.delete(bob)
    session.commit()


def answers(session):
    activity = manager.activity_cls
    rows = session.scalars(sa.select(activity).order_by(activity.id))
    return [(row.table_name, row.verb, row.old_data) for row in rows]


configure_mappers()
engine = sa.create_engine(sys.argv[1])
tables = [manager.transaction_cls.__table__, manager.activity_cls.__table__]
Base.metadata.create_all(engine, tables)
Base.metadata.create_all(engine)
with Session(engine) as session:
    write(session)
    print(json.dumps(answers(session)))
