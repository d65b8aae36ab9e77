# mypy: ignore-errors
"""Writes history with SQLAlchemy-Continuum, and prints what it answers about it."""

import json
import sys

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Session, configure_mappers
from sqlalchemy_continuum import make_versioned, versioning_manager
from sqlalchemy_continuum.plugins import PropertyModTrackerPlugin, TransactionMetaPlugin

meta_plugin = TransactionMetaPlugin()
make_versioned(user_cls=None, plugins=[meta_plugin, PropertyModTrackerPlugin()])


class Base(DeclarativeBase):
    pass


class Article(Base):
    __versioned__ = {"exclude": ["views"]}  # noqa: RUF012
    __tablename__ = "article"
    id = sa.Column(sa.Integer, primary_key=True)
    title = sa.Column(sa.Unicode(255))
    price = sa.Column(sa.Numeric(10, 2))
    tags = sa.Column(sa.ARRAY(sa.Text))
    views = sa.Column(sa.Integer)


class Tag(Base):
    __versioned__ = {}  # noqa: RUF012
    __tablename__ = "tag"
    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.Text)


def write(session):
    def commit(actor):
        unit = versioning_manager.unit_of_work(session)
        transaction = unit.create_transaction(session)
        transaction.remote_addr = actor
        session.commit()

    first = Article(title="One", price=1, tags=["a", "b"], views=1)
    gone = Article(title="Gone")
    session.add_all([first, gone, Tag(name="news")])
    commit("10.0.0.1")
    tag = session.get(Tag, 1)
    first.title = "Two"
    tag.name = "olds"
    commit("10.0.0.2")
    first.views = 2
    session.commit()
    first.title, first.tags = "Three", ["c"]
    session.delete(gone)
    commit("10.0.0.3")
    session.add(Article(id=2, title="Back"))
    commit("10.0.0.4")


def answers(session, key):
    rows = session.execute(
        sa.text(
            "select v.*, t.remote_addr, t.issued_at from article_version v"
            " join transaction t on t.id = v.transaction_id where v.id = :key"
            " order by v.transaction_id"
        ),
        {"key": key},
    ).mappings()
    return [
        {
            "title": row["title"],
            "price": None if row["price"] is None else str(row["price"]),
            "tags": row["tags"],
            "operation": "IUD"[row["operation_type"]],
            "remote_addr": row["remote_addr"],
            "issued_at": row["issued_at"].isoformat() + "+00:00",
            "transaction": row["transaction_id"],
        }
        for row in rows
    ]


configure_mappers()
engine = sa.create_engine(sys.argv[1])
Base.metadata.create_all(engine)
with Session(engine) as session:
    write(session)
    print(json.dumps({"first": answers(session, 1), "second": answers(session, 2)}))
