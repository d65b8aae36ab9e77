"""One tool's share of the ORM benchmark: `workload.py TOOL URL SHARE`.

Measures the same work on a bare and on a versioned model, in turns, and prints seconds
as JSON. Written for SQLAlchemy 1.4 and 2, so that every peer runs it.
"""

import json
import sys
import time
from contextlib import nullcontext

import sqlalchemy as sa
from sqlalchemy import orm

OBJECTS = 2000


def columns():
    """Return the columns of a model of the usual shape."""
    return {
        "id": sa.Column(sa.Integer, primary_key=True),
        "a": sa.Column(sa.Text),
        "b": sa.Column(sa.Text),
        "price": sa.Column(sa.Numeric(10, 2)),
        "flag": sa.Column(sa.Boolean),
        "number": sa.Column(sa.Integer),
        "at": sa.Column(sa.DateTime(timezone=True), server_default=sa.func.now()),
        "text": sa.Column(sa.Text),
    }


class Ours:
    """chrononaut_pg."""

    def __init__(self, url):
        import chrononaut_pg

        base = orm.declarative_base()
        self.bare = type("Bare", (base,), {"__tablename__": "bare", **columns()})
        mixins = (chrononaut_pg.Versioned, base)
        self.model = type("Kept", mixins, {"__tablename__": "kept", **columns()})
        self.engine = sa.create_engine(url)
        self.bare_engine = sa.create_engine(url)
        chrononaut_pg.listen(self.engine)
        base.metadata.create_all(self.engine)
        self.said = chrononaut_pg.change_info

    def context(self):
        return self.said(user_id="ann@example.com", remote_addr="10.0.0.1")

    def session(self, versioned):
        engine = self.engine if versioned else self.bare_engine
        return orm.Session(engine, expire_on_commit=False)

    def versions(self, one, session):
        return one.versions()

    def version_at(self, one, session, at):
        return one.version_at(at)

    def moment(self, version):
        return version.changed

    def diff(self, one, first, session):
        return one.diff(first)


class Continuum(Ours):
    """SQLAlchemy-Continuum."""

    def __init__(self, url):
        import sqlalchemy_continuum

        sqlalchemy_continuum.make_versioned(user_cls=None)
        base = orm.declarative_base()
        self.bare = type("Bare", (base,), {"__tablename__": "bare", **columns()})
        names = {"__tablename__": "kept", "__versioned__": {}, **columns()}
        self.model = type("Kept", (base,), names)
        orm.configure_mappers()
        self.engine = self.bare_engine = sa.create_engine(url)
        base.metadata.create_all(self.engine)
        self.version_class = sqlalchemy_continuum.version_class(self.model)
        self.changeset = sqlalchemy_continuum.changeset

    def context(self):
        return nullcontext()

    def versions(self, one, session):
        return list(one.versions)

    def moment(self, version):
        return version.transaction.issued_at

    def version_at(self, one, session, at):
        transaction = self.version_class.transaction.property.mapper.class_
        return (
            session.query(self.version_class)
            .join(transaction, transaction.id == self.version_class.transaction_id)
            .filter(self.version_class.id == one.id, transaction.issued_at <= at)
            .order_by(transaction.id.desc())
            .first()
        )

    def diff(self, one, first, session):
        return first.changeset


class Audit(Ours):
    """PostgreSQL-Audit."""

    def __init__(self, url):
        from postgresql_audit import VersioningManager

        base = orm.declarative_base()
        manager = VersioningManager()
        manager.init(base)
        self.bare = type("Bare", (base,), {"__tablename__": "bare", **columns()})
        names = {"__tablename__": "kept", "__versioned__": {}, **columns()}
        self.model = type("Kept", (base,), names)
        orm.configure_mappers()
        self.engine = self.bare_engine = sa.create_engine(url)
        manager.transaction_cls.__table__.create(self.engine)
        manager.activity_cls.__table__.create(self.engine)
        base.metadata.create_all(self.engine)
        self.activity = manager.activity_cls

    def context(self):
        return nullcontext()

    def versions(self, one, session):
        activity = self.activity
        key = activity.old_data["id"].astext == str(one.id)
        return (
            session.query(activity)
            .filter(activity.table_name == "kept", key)
            .order_by(activity.id)
            .all()
        )

    moment = version_at = diff = None


class Chrononaut(Ours):
    """Chrononaut, in a Flask application."""

    def __init__(self, url):
        import chrononaut
        import flask

        app = flask.Flask("bench")
        app.config["SQLALCHEMY_DATABASE_URI"] = url.replace("+psycopg:", "+psycopg2:")
        app.config["SQLALCHEMY_TRACK_MODIFICATIONS"] = False
        db = chrononaut.VersionedSQLAlchemy(app)
        app.app_context().push()
        self.bare = type("Bare", (db.Model,), {"__tablename__": "bare", **columns()})
        mixins = (db.Model, chrononaut.Versioned)
        self.model = type("Kept", mixins, {"__tablename__": "kept", **columns()})
        db.create_all()
        self.db = db

    def context(self):
        return nullcontext()

    def session(self, versioned):
        self.db.session.remove()
        self.db.session(expire_on_commit=False)
        return _Scoped(self.db.session)

    def versions(self, one, session):
        return one.versions()

    def moment(self, version):
        return version.chrononaut_meta["changed"]

    def diff(self, one, first, session):
        return one.diff(first)


class _Scoped:
    """A scoped session as a context manager."""

    def __init__(self, session):
        self.session = session

    def __enter__(self):
        return self.session

    def __exit__(self, *_):
        self.session.remove()


TOOLS = {
    "chrononaut_pg": Ours,
    "chrononaut": Chrononaut,
    "continuum": Continuum,
    "audit": Audit,
}


def timed(found, key, work, *arguments):
    """Add the seconds that *work* takes, and return its result."""
    began = time.perf_counter()
    result = work(*arguments)
    found.setdefault(key, []).append(time.perf_counter() - began)
    return result


def objects(model, first, count):
    return [
        model(
            id=first + number,
            a="alpha",
            b="beta",
            price=number,
            flag=True,
            number=number,
            text="x" * 60,
        )
        for number in range(count)
    ]


def flushes(tool, versioned, first, count, found):
    """Insert, update and delete *count* objects, each in one flush."""
    model = tool.model if versioned else tool.bare
    name = "versioned" if versioned else "bare"
    with tool.session(versioned) as session, tool.context():
        made = objects(model, first, count)

        def insert():
            session.add_all(made)
            session.commit()

        def update():
            for one in made:
                one.number += 1
            session.commit()

        def delete():
            for one in made:
                session.delete(one)
            session.commit()

        for work in (insert, update, delete):
            timed(found, f"{work.__name__}/{name}", work)


def transactions(tool, versioned, first, count, found):
    """Update *count* objects, each in a transaction of its own."""
    model = tool.model if versioned else tool.bare
    name = "versioned" if versioned else "bare"
    with tool.session(versioned) as session, tool.context():
        made = objects(model, first, count)
        session.add_all(made)
        session.commit()

        def one_by_one():
            for one in made:
                one.number += 1
                session.commit()

        timed(found, f"one object/{name}", one_by_one)


def readers(tool, found, versions, rounds):
    """Read the history of an object with many versions."""
    with tool.session(True) as session, tool.context():
        one = objects(tool.model, 9_000_000, 1)[0]
        session.add(one)
        session.commit()
        for number in range(versions):
            one.number = -number - 1
            session.commit()
        key = one.id
    with tool.session(True) as session:
        one = session.get(tool.model, key)
        kept = tool.versions(one, session)
        middle = tool.moment(kept[len(kept) // 2]) if tool.moment else None
        for _ in range(rounds):
            session.expunge_all()
            one = session.get(tool.model, key)
            kept = timed(found, "versions", tool.versions, one, session)
            assert len(kept) >= versions, len(kept)
            if tool.version_at:
                timed(found, "version_at", tool.version_at, one, session, middle)
            if tool.diff:
                timed(found, "diff", tool.diff, one, kept[1], session)


def main(name, url, share):
    share = float(share)
    tool = TOOLS[name](url)
    found = {}
    count = max(int(OBJECTS * share), 50)
    for number in range(4):
        first = 1 + number * 2 * OBJECTS
        for versioned in (False, True) if number % 2 else (True, False):
            flushes(tool, versioned, first, count, found)
            transactions(tool, versioned, first + 500_000, count, found)
    readers(tool, found, 1000, 5)
    print(json.dumps({"objects": count, "seconds": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
