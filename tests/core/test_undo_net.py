"""What a transaction took back itself, or never recorded, an undo leaves alone."""

import pytest

from tests.core.asking import rows
from tests.core.undoing import ITEM, in_one, preview, table, undo
from tests.servers import Db

SECRET = """
create table account (id integer primary key, name text, password text);
select chrononaut.create_versioning('account', hidden => '{password}');
insert into account values (1, 'ann', 'x'), (2, 'bob', 'y');
"""


def test_a_row_left_as_it_was_found_and_deleted_since_stays_deleted(db: Db) -> None:
    in_one(db, ITEM)
    there_and_back = in_one(
        db,
        "update item set a = 10 where id = 1",
        "update item set a = id where id = 1",
        "update item set b = 'x' where id = 2",
    )
    in_one(db, "delete from item where id = 1")
    assert preview(db, there_and_back) == [
        ({"id": 2}, "update", {"b": "x"}, {"b": "b2"}, None)
    ]
    undo(db, there_and_back)
    assert table(db) == [(2, 2, "b2", "new"), (3, 3, "b3", "new")]


def test_force_brings_back_no_row_that_the_transaction_left_as_it_was(db: Db) -> None:
    in_one(db, ITEM)
    there_and_back = in_one(
        db, "update item set a = 10 where id = 1", "update item set a = id"
    )
    in_one(db, "delete from item where id = 1")
    assert undo(db, there_and_back, ", force => true") == []


def test_a_hidden_change_of_a_row_that_is_gone_is_nothing_to_undo(db: Db) -> None:
    in_one(db, SECRET)
    done = in_one(db, "update account set password = 'z'")
    in_one(db, "delete from account where id = 1")
    assert (preview(db, done), undo(db, done)) == ([], [])


def test_a_hidden_change_alone_is_nothing_to_undo(db: Db) -> None:
    in_one(db, SECRET)
    in_one(db, "update account set password = 'z' where id = 1")
    in_one(db, "delete from account where id = 1")
    [(change,)] = rows(
        db, "select change_id from account_history where operation = 'U'"
    )
    done = rows(db, f"select * from chrononaut.undo_change({change}, 'account')")
    assert done == []


@pytest.mark.parametrize(
    "statements",
    [
        ["delete from account where id = 1"],
        [
            "update account set id = -1 where id = 1",
            "update account set id = 1 where id = 2",
            "update account set id = 2 where id = -1",
        ],
    ],
)
def test_hidden_columns_of_rows_that_went_are_said_to_be_left_alone(
    db: Db, statements: list[str]
) -> None:
    told: list[str] = []
    in_one(db, SECRET)
    done = in_one(db, *statements)
    db.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
    undo(db, done)
    assert told == [
        "column password of public.account is left alone:"
        " it is hidden: its old value is not known"
    ]
