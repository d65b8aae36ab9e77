# mypy: ignore-errors
"""Writes with SQLAlchemy-Continuum: joined inheritance, bytes, names of its own."""

import json
import sys

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Session, configure_mappers
from sqlalchemy_continuum import make_versioned

OPTIONS = {
    "transaction_column_name": "Tx",
    "end_transaction_column_name": "end_tx",
}

make_versioned(user_cls=None, options=OPTIONS if sys.argv[2] == "names" else {})


class Base(DeclarativeBase):
    pass


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
    __tablename__ = "employee"
    __mapper_args__ = {"polymorphic_identity": "employee"}  # noqa: RUF012
    id = sa.Column(sa.ForeignKey("person.id"), primary_key=True)
    title = sa.Column(sa.Text)


def write(session):
    ann = Employee(id=1, name="Ann", title="a", photo=b"\x00\xff'\\")
    bob = Person(id=2, name="Bob", photo=b"")
    session.add_all([ann, bob])
    session.commit()
    ann.title = "b"
    session.commit()
    ann.name, bob.name = "Anna", "Bobby"
    session.commit()
    ann.photo = None
    ann.title = "c"
    session.commit()
    session.delete(bob)
    session.commit()


def answers(session, person):
    return [
        {
            "name": version.name,
            "title": getattr(version, "title", None),
            "photo": None if version.photo is None else version.photo.hex(),
            "operation": "IUD"[version.operation_type],
        }
        for version in session.get(Employee, person).versions
    ]


configure_mappers()
engine = sa.create_engine(sys.argv[1])
Base.metadata.create_all(engine)
with Session(engine) as session:
    write(session)
    session.expire_all()
    if sys.argv[2] == "names":
        print(json.dumps([]))
    else:
        print(json.dumps(answers(session, 1)))
