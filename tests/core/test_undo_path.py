"""An undo calls nothing that others have put on the caller's search path."""

import pytest

from tests.core.asking import rows, run, value
from tests.core.undoing import in_one
from tests.servers import Db

TRAP = """
create function evil.{} returns {} language plpgsql as $$
begin
    insert into public.called values ('{}');
    return {};
end$$;
"""

TRAPS = "create table called (what text); create schema evil;" + "".join(
    TRAP.format(call, kind, call, result)
    for call, kind, result in [
        ("unnest(bigint[])", "setof bigint", ""),
        ("unnest(text[])", "setof text", ""),
        ("jsonb_build_object(text, integer)", "jsonb", "'{}'"),
        ("concat_ws(text, text)", "text", "$2"),
        ("concat_ws(text, text, text)", "text", "$2"),
    ]
)

PAIR = """
create table pair (id integer primary key, n integer not null unique,
    other integer references pair on delete cascade);
select chrononaut.create_versioning('pair');
insert into pair values (1, 1, null), (2, 2, null);
"""

EXCHANGE = (
    "update pair set n = 0 where id = 1",
    "update pair set n = 1 where id = 2",
    "update pair set n = 2 where id = 1",
)

DELETED = ("delete from pair",)

COME = ("insert into pair values (3, 3, null), (4, 4, 3)",)


@pytest.mark.parametrize("statements", [EXCHANGE, DELETED, COME])
@pytest.mark.parametrize("dry_run", [True, False])
def test_undo_calls_no_functions_of_the_search_path(
    db: Db, statements: tuple[str, ...], dry_run: bool
) -> None:
    in_one(db, PAIR, TRAPS)
    before = rows(db, "select * from pair order by 1")
    done = in_one(db, *statements)
    run(db, "set search_path = public, evil")
    run(db, f"select chrononaut.undo_transaction({done}, dry_run => {dry_run})")

    assert rows(db, "select * from called") == []
    assert dry_run or rows(db, "select * from pair order by 1") == before
    assert value(db, "select current_setting('search_path')") == "public, evil"
