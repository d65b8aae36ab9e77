"""Under which settings of the server changes are recorded."""

import psycopg
import pytest

from tests.core.asking import problems, run, value
from tests.servers import Db

TABLE = """
    create table item (id int primary key, v int);
    insert into item select n, n from generate_series(1, 3) n;
    select chrononaut.create_versioning('item', granularity => '{}');
    create function watch() returns trigger language plpgsql as $$
    begin
        perform set_config('test.seen', current_setting('jit'), false);
        perform set_config('test.memory', current_setting('work_mem'), false);
        return null;
    end
    $$;
    create trigger watch after insert on item_history execute function watch();
    set jit = on;
"""


@pytest.mark.parametrize(
    ("granularity", "compiling"), [("row", "on"), ("statement", "off")]
)
def test_statements_that_pair_transition_tables_are_never_compiled(
    db: Db, granularity: str, compiling: str
) -> None:
    run(db, TABLE.format(granularity))
    run(db, "update item set v = v + 1")
    settings = "select array[current_setting('test.seen'), current_setting('jit')]"
    assert value(db, settings) == [compiling, "on"]


@pytest.mark.parametrize(
    ("granularity", "given", "used"),
    [
        ("row", "4MB", "4MB"),
        ("statement", "64kB", "16MB"),
        ("statement", "4MB", "16MB"),
        ("statement", "1GB", "1GB"),
    ],
)
def test_pairing_takes_16_mb_at_least_and_leaves_the_setting_as_it_was(
    db: Db, granularity: str, given: str, used: str
) -> None:
    run(db, TABLE.format(granularity))
    run(db, f"set work_mem = '{given}'")
    run(db, "update item set v = v + 1")
    settings = (
        "select array[current_setting('test.memory'), current_setting('work_mem')]"
    )
    assert value(db, settings) == [used, given]
    with pytest.raises(psycopg.Error), db.transaction():
        run(db, "update item set id = 1")
    assert value(db, "show work_mem") == given


def test_check_versioning_reports_lost_settings_and_sync_restores_them(db: Db) -> None:
    run(db, TABLE.format("statement"))
    assert problems(db) == []
    run(db, "alter function chrononaut._capture_1() reset jit")
    assert problems(db) == ["the capture function is not the generated one"]
    run(db, "select chrononaut.sync_versioning('item')")
    assert problems(db) == []
