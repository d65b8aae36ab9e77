# mypy: ignore-errors
"""Writes history with PostgreSQL-Audit, and prints what its activities say."""

import json
import sys

import sqlalchemy as sa
from postgresql_audit import VersioningManager
from sqlalchemy.orm import DeclarativeBase, Session, configure_mappers


class Base(DeclarativeBase):
    pass


manager = VersioningManager(use_statement_level_triggers=sys.argv[2] == "statement")
manager.init(Base)


class Article(Base):
    __versioned__ = {"exclude": ["views"]}  # noqa: RUF012
    __tablename__ = "article"
    id = sa.Column(sa.Integer, primary_key=True)
    title = sa.Column(sa.Text)
    price = sa.Column(sa.Numeric(10, 2))
    tags = sa.Column(sa.ARRAY(sa.Text))
    seen = sa.Column(sa.DateTime(timezone=True))
    views = sa.Column(sa.Integer)


def write(session):
    def commit(actor):
        manager.values = {"actor_id": actor, "client_addr": "10.0.0.1"}
        session.commit()

    first = Article(title="One", price=1, tags=["a", "b c"], seen=sa.func.now())
    gone = Article(title="Gone", views=1)
    session.add_all([first, gone])
    commit("root")
    first.title = "Two"
    commit("ann")
    first.views = 2
    commit("bob")
    session.delete(gone)
    commit("bob")
    session.execute(
        sa.text("update article set tags = '{c}', price = 2.5 where id = 1")
    )
    session.execute(sa.text("update article set id = 7 where id = 1"))
    session.commit()


def answers(session):
    activity = manager.activity_cls
    rows = session.scalars(sa.select(activity).order_by(activity.id))
    return [
        {
            "verb": row.verb,
            "old": row.old_data,
            "new": row.data,
            "issued_at": row.issued_at.isoformat() + "+00:00",
            "actor": row.transaction and row.transaction.actor_id,
        }
        for row in rows
    ]


configure_mappers()
engine = sa.create_engine(sys.argv[1])
tables = [manager.transaction_cls.__table__, manager.activity_cls.__table__]
Base.metadata.create_all(engine, tables)
Base.metadata.create_all(engine)
with Session(engine) as session:
    write(session)
    print(json.dumps(answers(session)))
