"""revert_row and restore_row where something keeps them from writing the row."""

import pytest

from tests.core.asking import refusal, run
from tests.core.undoing import ITEM, in_one, table
from tests.servers import Db

KEEPER = """
create function keep() returns trigger language plpgsql
    as 'begin return null; end';
create trigger keep before insert or update or delete on item
    for each row execute function keep();
"""

BEFORE_IT_WAS = "(select min(valid_from) - interval '1 day' from item_versions)"

QUERIES = {
    "update": "select chrononaut.revert_row('item', '1', version => 0)",
    "delete": f"select chrononaut.revert_row('item', '2', at => {BEFORE_IT_WAS})",
    "insert": "select chrononaut.restore_row('item', '3')",
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_row_that_a_trigger_keeps_as_it_is_is_an_error(db: Db, name: str) -> None:
    in_one(db, ITEM)
    in_one(db, "update item set a = 9 where id = 1", "delete from item where id = 3")
    in_one(db, KEEPER)
    found = refusal(db, "55000", QUERIES[name])
    assert (found.table_name, table(db)) == (
        "item",
        [(1, 9, "b1", "new"), (2, 2, "b2", "new")],
    )


@pytest.mark.parametrize("name", QUERIES)
def test_a_rule_that_does_nothing_instead_is_an_error(db: Db, name: str) -> None:
    in_one(db, ITEM)
    in_one(db, "update item set a = 9 where id = 1", "delete from item where id = 3")
    run(db, f"create rule keep as on {name} to item do instead nothing")
    found = refusal(db, "55000", QUERIES[name])
    assert found.table_name == "item"
