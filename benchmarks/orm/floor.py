"""The least that keeping old rows, and loading them, takes; for scale.

Imported by `workload.py` as a neighbour, in this project's own turn only.
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

TRIGGER = """
create table if not exists floor_log (
    like floor, change_id bigserial, changed timestamptz, operation text, who jsonb,
    primary key (id, change_id));
create or replace function floor_log() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into floor_log (id, changed, operation, who)
        values (new.id, clock_timestamp(), 'I', '{}');
    else
        insert into floor_log (id, a, b, price, flag, number, at, text, changed,
            operation, who)
        values (old.id, old.a, old.b, old.price, old.flag, old.number, old.at, old.text,
            clock_timestamp(), 'U', '{}');
    end if;
    return null;
end $$;
create or replace trigger floor_log after insert or update or delete on floor
    for each row execute function floor_log()
"""
"""The least that any trigger does which keeps old rows."""


def plain_history(engine: sa.Engine, key: int) -> Callable[[orm.Session], None]:
    """Map the history table as it is; return what loads the rows of one object."""
    base = orm.declarative_base()
    table = sa.Table("kept_history", base.metadata, autoload_with=engine)
    leaving_out = {"exclude_properties": ["tuple"]}
    plain: Any = type(
        "Plain", (base,), {"__table__": table, "__mapper_args__": leaving_out}
    )
    rows: sa.Select[Any] = (
        sa.select(plain).where(table.c.id == key).order_by(table.c.change_id)
    )

    def load(session: orm.Session) -> None:
        assert [one.number for one in session.scalars(rows)]

    return load
