"""as_of() over changes of the key: rows are told apart by the key of their time."""

from typing import Any

import pytest

from tests.core.asking import problems, refusal, rows, run, value
from tests.core.undoing import in_one
from tests.servers import Db

SYNC = "select chrononaut.sync_versioning('item')"


class Past:
    """The table item with what it held at each of its marks."""

    def __init__(self, db: Db, key: str, granularity: str = "row") -> None:
        self.db = db
        self.kept: dict[str, tuple[list[Any], int]] = {}
        run(db, "create table item (a int not null, b int not null, v int)")
        run(db, f"alter table item add constraint k primary key ({key})")
        call = "select chrononaut.create_versioning('item', granularity => %s)"
        run(db, call, [granularity])
        db.commit()

    def make(self, *statements: str) -> None:
        """Execute *statements* in a transaction each, with a mark after the last."""
        for statement in statements:
            newest = in_one(self.db, statement)
        name = f"m{len(self.kept)}"
        run(self.db, "select chrononaut.mark(%s)", [name])
        self.kept[name] = (self.read("item"), newest)
        self.db.commit()

    def rekey(self, key: str) -> None:
        """Give the table another key."""
        run(self.db, "alter table item drop constraint k")
        run(self.db, f"alter table item add constraint k primary key ({key})")
        run(self.db, SYNC)
        self.db.commit()

    def read(self, source: str) -> list[Any]:
        """Return the rows of *source*, sorted."""
        return rows(self.db, f"select * from {source} order by 1, 2, 3")

    def seen(self) -> dict[str, tuple[list[Any], list[Any]]]:
        """Return the rows at each mark, and after its last transaction."""
        as_of = "chrononaut.as_of(null::item,"
        return {
            name: (
                self.read(f"{as_of} mark => '{name}')"),
                self.read(f"{as_of} transaction_id => {transaction_id})"),
            )
            for name, (_, transaction_id) in self.kept.items()
        }

    def was(self) -> dict[str, tuple[list[Any], list[Any]]]:
        """Return what `seen` should say."""
        return {name: (kept, kept) for name, (kept, _) in self.kept.items()}


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_a_column_that_joins_the_key_and_leaves_it(db: Db, granularity: str) -> None:
    past = Past(db, "a", granularity)
    past.make("insert into item values (1, 1, 1), (2, 1, 1)")
    past.make(
        "insert into item values (3, 1, 1)",
        "update item set b = 2 where a = 1",
        "update item set b = 3 where a = 1",
        "delete from item where a = 2",
    )
    past.rekey("a, b")
    past.make("insert into item values (1, 9, 9), (2, 5, 5), (5, 5, 5)")
    past.make("update item set v = 7 where a = 3", "update item set b = b + 1")
    past.make("delete from item where v in (5, 9)", "update item set v = v + 1")
    assert past.seen() == past.was()
    past.rekey("a")
    assert past.seen() == past.was()
    past.make("update item set b = b + 1", "delete from item where a = 3")
    past.make("insert into item values (3, 3, 3)")
    assert past.seen() == past.was()
    assert problems(db) == []


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_a_key_that_another_column_takes_over(db: Db, granularity: str) -> None:
    past = Past(db, "a", granularity)
    past.make("insert into item values (1, 10, 1), (2, 20, 1), (3, 30, 1)")
    past.make(
        "update item set b = 40 where a = 3",
        "delete from item where a = 1",
        "insert into item values (4, 10, 4)",
    )
    past.rekey("b")
    past.make("update item set a = 1 where b in (20, 40)")
    past.make(
        "update item set b = 50 where b = 40", "insert into item values (1, 60, 6)"
    )
    assert past.seen() == past.was()
    assert problems(db) == []


def test_another_key_given_by_hand(db: Db) -> None:
    past = Past(db, "a")
    run(db, "alter table item add unique (b)")
    past.make("insert into item values (1, 10, 1), (2, 20, 1)")
    past.make("update item set b = 30 where a = 1")
    run(db, "select chrononaut.alter_versioning('item', key => '{b}')")
    past.make("update item set v = 2", "update item set a = a + 5")
    assert past.seen() == past.was()


def test_a_renamed_key_is_no_other_key(db: Db) -> None:
    past = Past(db, "a")
    past.make("insert into item values (1, 10, 1)")
    run(db, "alter table item rename a to c")
    run(db, "alter table item rename constraint k to other")
    run(db, SYNC)
    past.make("update item set v = 2")
    assert past.seen() == past.was()
    assert value(db, "select count(*) from chrononaut.key_period") == 0


def test_an_undo_that_cannot_tell_the_rows_is_refused(db: Db) -> None:
    past = Past(db, "a")
    past.make("insert into item values (1, 1, 1)")
    past.make("update item set v = 2")
    [made, changed] = [transaction_id for _, transaction_id in past.kept.values()]
    past.rekey("a, b")
    diag = refusal(db, "VH003", f"select chrononaut.undo_transaction({made})")
    assert "the key of public.item has got more columns" in (diag.message_primary or "")
    run(db, f"select chrononaut.undo_transaction({changed})")
    assert past.read("item") == [(1, 1, 1)]
