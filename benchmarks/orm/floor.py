"""The least that keeping old rows, and loading them, takes; for scale.

Imported by `workload.py` as a neighbour, in this project's own turn only.
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

TRIGGER = """
create table if not exists public.floor_log (
    like public.floor, change_id bigserial, changed timestamptz, transaction_id bigint,
    operation text, who jsonb, primary key (id, change_id));
create index if not exists floor_log_brin on public.floor_log
    using brin (changed, transaction_id);
create or replace function public.floor_log() returns trigger language plpgsql
    security definer set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'INSERT' then
        insert into public.floor_log (id, changed, transaction_id, operation, who)
        values (new.id, clock_timestamp(), 1, 'I',
            current_setting('chrononaut.change_info')::jsonb);
    else
        insert into public.floor_log (id, a, b, price, flag, number, at, text, changed,
            transaction_id, operation, who)
        values (old.id, old.a, old.b, old.price, old.flag, old.number, old.at, old.text,
            clock_timestamp(), 1, 'U',
            current_setting('chrononaut.change_info')::jsonb);
    end if;
    return null;
end $$;
create or replace trigger floor_log after insert or delete on public.floor
    for each row execute function public.floor_log();
create or replace trigger floor_log_update after update on public.floor
    for each row when (old.* operator(pg_catalog.*<>) new.*)
    execute function public.floor_log()
"""
"""The least that a trigger does which keeps old rows as the design has it.

It is a definer function with a pinned path that is called for real changes only, and
records the change info and what BRIN needs to find the later changes. It makes no row
for the transaction, minds no order, no drift, no savepoint and no hidden column.
"""


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
