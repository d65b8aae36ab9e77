"""Rows that an undo puts back and that its own deletes would take along again.

A foreign key acts when a statement is done: also on rows that this very statement made
refer to what it deletes, although another row has the same value by then.
"""

import pytest

from tests.core.asking import refusal, value
from tests.core.undoing import NEWEST, in_one, table, undo
from tests.servers import Db

TEAM = """
create table team (id integer primary key, code integer unique);
create table member (id integer primary key, code integer default 0
    references team (code) on delete {} {}, note text);
select chrononaut.create_versioning('team', granularity => 'statement'),
    chrononaut.create_versioning('member');
insert into team values (0, 0), (1, 1), (2, 2);
insert into member values (1, 1, 'a'), (2, 2, 'b');
"""
KINDS = [
    f"{action} {when}".split(",")
    for action in ("cascade", "set null", "set default")
    for when in (", ", ",deferrable initially deferred")
]


@pytest.mark.parametrize("force", ["", ", force => true"])
@pytest.mark.parametrize(("action", "when"), KINDS)
def test_a_reference_comes_back_to_a_row_whose_key_changed(
    db: Db, action: str, when: str, force: str
) -> None:
    in_one(db, TEAM.format(action, when))
    before = (table(db, "team"), table(db, "member"))
    done = in_one(
        db,
        "update member set code = null where id = 1",
        "update team set id = 11 where id = 1",
    )
    after = (table(db, "team"), table(db, "member"))
    undo(db, done, force)
    assert (table(db, "team"), table(db, "member")) == before
    undo(db, value(db, NEWEST), force)
    assert (table(db, "team"), table(db, "member")) == after


@pytest.mark.parametrize("force", ["", ", force => true"])
@pytest.mark.parametrize("action", ["set null", "set default"])
def test_references_exchanged_between_rows_whose_keys_changed(
    db: Db, action: str, force: str
) -> None:
    in_one(db, TEAM.format(action, ""))
    before = (table(db, "team"), table(db, "member"))
    done = in_one(
        db,
        "update member set code = 3 - code",
        "update team set id = id + 10 where id > 0",
    )
    undo(db, done, force)
    assert (table(db, "team"), table(db, "member")) == before


@pytest.mark.parametrize("force", ["", ", force => true"])
def test_rows_that_would_be_lost_are_a_conflict_and_nothing_is_written(
    db: Db, force: str
) -> None:
    in_one(db, TEAM.format("cascade", ""))
    done = in_one(
        db,
        "update member set code = 3 - code",
        "update team set id = id + 10 where id > 0",
    )
    before = (table(db, "team"), table(db, "member"))
    query = f"select chrononaut.undo_transaction({done}{force})"
    refusal(db, "VH007", query)
    assert (table(db, "team"), table(db, "member")) == before
