"""Columns whose names look like what the converter writes into its queries."""

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import chrononaut_pg
from chrononaut_pg import Versioned
from chrononaut_pg.converters import HistoryModelDataConverter


class Base(DeclarativeBase):
    pass


class Odd(Versioned, Base):
    __tablename__ = "odd e."

    scope: Mapped[int] = mapped_column("scope.id", primary_key=True)
    number: Mapped[int] = mapped_column("source_no", primary_key=True)
    name: Mapped[str | None] = mapped_column("e.name %s")


CONTINUUM = """
create table transaction (
    id bigint primary key, issued_at timestamp, user_id text, remote_addr text);
insert into transaction
    select n, timestamp '2024-01-01' + n * interval '1 day', 'user ' || n, null
    from generate_series(1, 3) n;
create table "odd e._version" (
    "scope.id" int, source_no int, "e.name %s" text,
    transaction_id bigint, end_transaction_id bigint, operation_type smallint,
    primary key ("scope.id", source_no, transaction_id));
insert into "odd e._version" values
    (1, 1, 'a', 1, 2, 0), (1, 1, 'b', 2, 3, 1), (1, 1, 'c', 3, null, 1),
    (1, 2, 'x', 1, 2, 0), (1, 2, 'y', 2, null, 1);
"""

CHRONONAUT = """
create table "odd e._history_old" (
    "scope.id" int, source_no int, "e.name %s" text,
    version int, changed timestamptz, change_info jsonb,
    primary key ("scope.id", source_no, version));
insert into "odd e._history_old" values
    (1, 1, 'a', 0, '2024-01-02Z', '{"user_id": "user 2", "remote_addr": null}'),
    (1, 1, 'b', 1, '2024-01-03Z', '{"user_id": "user 3", "remote_addr": null}'),
    (1, 2, 'x', 0, '2024-01-02Z', '{"user_id": "user 2", "remote_addr": null}');
"""

ACTIVITY = """
create table chrononaut_activity (
    id serial primary key, table_name text, changed timestamptz, version int,
    key jsonb, data jsonb, user_info jsonb, extra_info jsonb);
insert into chrononaut_activity
    (table_name, changed, version, key, data, user_info, extra_info)
select 'odd e.', timestamptz '2024-01-01Z' + v * interval '1 day', v,
    jsonb_build_object('scope.id', 1, 'source_no', n),
    jsonb_build_object('scope.id', 1, 'source_no', n, 'e.name %s', name),
    jsonb_build_object('user_id', 'user ' || v + 1, 'remote_addr', null), '{}'
from (values (1, 0, 'a'), (1, 1, 'b'), (1, 2, 'c'), (2, 0, 'x'), (2, 1, 'y'))
    t(n, v, name);
"""


@pytest.mark.parametrize("source", [CONTINUUM, CHRONONAUT, ACTIVITY])
def test_names_like_those_of_the_queries_do_not_confuse_the_converter(
    engine: Engine, source: str
) -> None:
    Base.metadata.create_all(engine)
    chrononaut_pg.listen(engine)
    with Session(engine) as session:
        session.add_all(
            [Odd(scope=1, number=1, name="c"), Odd(scope=1, number=2, name="y")]
        )
        session.execute(text("set local chrononaut.suppressed = on"))
        session.commit()
        session.connection().exec_driver_sql(
            source, execution_options={"no_parameters": True}
        )
        session.commit()
        converter = HistoryModelDataConverter(Odd)
        converter.convert_all(session)
        found = [
            [
                (one.name, one.change_info["user_id"])
                for one in session.get_one(Odd, (1, number)).versions()
            ]
            for number in (1, 2)
        ]

        assert (found, converter.problems(session)) == (
            [[("a", "user 2"), ("b", "user 3")], [("x", "user 2")]],
            [],
        )
