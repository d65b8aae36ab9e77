# mypy: ignore-errors
# ruff: noqa: E501, RUF007, RUF012
"""Writes history with Chrononaut 0.4, and prints what Chrononaut answers about it."""

import decimal
import enum
import json
import sys
from datetime import UTC, date, datetime

import chrononaut
from flask import Flask, g
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

app = Flask("writer")
app.config["SQLALCHEMY_DATABASE_URI"] = sys.argv[1]
app.config["SQLALCHEMY_TRACK_MODIFICATIONS"] = False
db = chrononaut.VersionedSQLAlchemy(app)
moments = []


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class User(db.Model, chrononaut.Versioned):
    __tablename__ = "appuser"
    __chrononaut_hidden__ = ["password"]
    __chrononaut_untracked__ = ["login_count"]

    id = db.Column(db.Integer, primary_key=True)
    name = db.Column("full_name", db.String(80))
    email = db.Column(db.String(255))
    password = db.Column(db.Text)
    login_count = db.Column(db.Integer)
    born = db.Column(db.Date)
    seen = db.Column(db.DateTime(timezone=True))
    balance = db.Column(db.Numeric(12, 2))
    settings = db.Column(JSONB)
    tags = db.Column(ARRAY(db.Text))
    color = db.Column(db.Enum(Color, name="color"))

    @classmethod
    def _fetch_current_user_id(cls):
        return getattr(g, "actor", None)


class Party(db.Model, chrononaut.Versioned):
    __tablename__ = "party"
    id = db.Column(db.Integer, primary_key=True)
    kind = db.Column(db.Text)
    name = db.Column(db.Text)
    __mapper_args__ = {"polymorphic_on": kind, "polymorphic_identity": "party"}


class Company(Party):
    __tablename__ = "company"
    id = db.Column(db.ForeignKey("party.id"), primary_key=True)
    seat = db.Column(db.Text)
    __mapper_args__ = {"polymorphic_identity": "company"}


def commit(actor=None):
    g.actor = actor
    db.session.commit()
    moments.append(datetime.now(UTC).isoformat())


def write():
    ann = User(
        name="Ann",
        email="ann@example.com",
        password="one",
        login_count=1,
        born=date(1990, 2, 3),
        seen=datetime(2020, 1, 2, 3, 4, 5, 678, UTC),
        balance=decimal.Decimal("10.50"),
        color=Color.RED,
        settings={"a": [1, None, 'it\'s "x"'], "b": True},
        tags=["x", "y z"],
    )
    bob = User(name="Bob", email="bob@example.com")
    db.session.add_all([ann, bob])
    commit("root")
    ann.email = "new@example.com"
    ann.settings = {"a": []}
    with chrononaut.rationale("GH #1732"):
        commit("ann")
    ann.password = "two"
    commit("bob")
    bob.name = "Bobby"
    ann.color = Color.BLUE
    ann.tags = ["q"]
    ann.balance = decimal.Decimal("7.25")
    commit()
    db.session.delete(bob)
    commit("root")
    acme = Company(name="ACME", seat="Rome")
    db.session.add(acme)
    commit()
    acme.seat = "Bonn"
    commit("ann")
    acme.name = "Acme"
    commit("bob")
    return ann, acme


def shown(version):
    return {
        "data": version._data,
        "meta": {
            **version.chrononaut_meta,
            "changed": version.chrononaut_meta["changed"].isoformat(),
        },
    }


def answers(one):
    versions = one.versions()
    return {
        "versions": [shown(v) for v in versions],
        "at": [
            [m, one.version_at(datetime.fromisoformat(m), return_snapshot=True)]
            for m in moments
        ],
        "diffs": [
            sorted(one.diff(a, b)) for a, b in zip(versions, versions[1:], strict=False)
        ],
    }


def grow(objects, updates):
    """Write many activity rows at once, as Chrononaut would have them."""
    db.session.execute(
        "insert into appuser (id, full_name, born, version) select n, 'name ' || :last, '1990-02-03', :last "
        "from generate_series(1000, 999 + :objects) n",
        {"objects": objects, "last": updates - 1},
    )
    db.session.execute(
        "insert into chrononaut_activity (table_name, changed, version, key, data, user_info, extra_info) "
        "select 'appuser', '2020-01-01'::timestamptz + (v * :objects + n) * interval '10 ms', v, "
        "jsonb_build_object('id', n), jsonb_build_object('id', n, 'version', v, 'name', 'name ' || v, "
        "'email', null, 'born', '1990-02-03', 'seen', null, 'balance', null, 'settings', null, "
        "'tags', null, 'color', null), '{\"user_id\": \"ann\", \"remote_addr\": null}', '{}' "
        "from generate_series(0, :updates - 1) v, generate_series(1000, 999 + :objects) n",
        {"objects": objects, "updates": updates},
    )
    db.session.commit()


with app.app_context():
    step = sys.argv[2] if len(sys.argv) > 2 else "write"
    if step == "write":
        db.create_all()
        ann, acme = write()
        print(
            json.dumps({"moments": moments, "ann": answers(ann), "acme": answers(acme)})
        )
    elif step == "more":
        ann = User.query.get(1)
        ann.email = "later@example.com"
        commit("late")
        print(json.dumps({"ann": answers(ann)}))
    else:
        db.create_all()
        grow(*map(int, sys.argv[3:5]))
        print("null")
