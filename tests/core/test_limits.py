"""Tables as wide as PostgreSQL lets them be: versioned, or refused with a way out."""

import pytest

from tests.core.asking import problems, refusal, run, value
from tests.servers import Db

TEXTS_THAT_FIT = 1600 - 12 - 1
REST = "array(select format('c%s', n) from generate_series({}, 1598) n)"


def create(db: Db, count: int, type: str = "text") -> None:
    columns = ", ".join(f"c{n} {type}" for n in range(count))
    run(db, f"create table wide (id int primary key, {columns})")


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_as_many_columns_as_the_versions_view_can_have_are_recorded(
    db: Db, granularity: str
) -> None:
    create(db, TEXTS_THAT_FIT)
    run(
        db, f"select chrononaut.create_versioning('wide', granularity=>'{granularity}')"
    )
    run(db, "insert into wide (id, c0) values (1, 'a')")
    run(db, "update wide set c1 = 'b'")
    assert value(db, "select max(version) from wide_versions") == 1
    assert problems(db) == []


@pytest.mark.parametrize(
    ("count", "type", "said"),
    [
        (TEXTS_THAT_FIT + 1, "text", "would have 1601 columns"),
        (1599, "text", "would have 1606 columns"),
        (1000, "bigint", "would not fit into a page"),
    ],
)
def test_wider_tables_are_refused_and_leave_nothing(
    db: Db, count: int, type: str, said: str
) -> None:
    create(db, count, type)
    diag = refusal(db, "VH003", "select chrononaut.create_versioning('wide')")
    assert said in (diag.message_primary or "")
    assert "leave columns untracked" in (diag.message_hint or "")
    assert value(db, "select to_regclass('wide_history')") is None


@pytest.mark.parametrize("option", ["hidden", "untracked"])
def test_refused_tables_can_be_versioned_as_the_hint_says(db: Db, option: str) -> None:
    create(db, 1599)
    rest = REST.format(TEXTS_THAT_FIT)
    run(db, f"select chrononaut.create_versioning('wide', {option} => {rest})")
    run(db, "insert into wide (id, c0) values (1, 'a')")
    run(db, "update wide set c1 = 'b', c1598 = 'c'")
    assert value(db, "select max(version) from wide_versions") == 1


def test_child_whose_view_with_its_parents_columns_is_too_wide_is_refused(
    db: Db,
) -> None:
    run(db, "create table base (id int primary key, name text)")
    run(db, "select chrononaut.create_versioning('base')")
    create(db, TEXTS_THAT_FIT)
    diag = refusal(
        db, "VH003", "select chrononaut.create_versioning('wide', parent => 'base')"
    )
    assert "would have 1601 columns" in (diag.message_primary or "")


def test_column_that_is_one_too_many_is_refused_by_sync(db: Db) -> None:
    create(db, TEXTS_THAT_FIT)
    run(db, "select chrononaut.create_versioning('wide')")
    run(db, "alter table wide add column more text")
    refusal(db, "VH003", "select chrononaut.sync_versioning('wide')")
    run(db, "select chrononaut.alter_versioning('wide', untracked => '{more}')")
    assert problems(db) == []


def test_change_whose_record_would_not_fit_into_a_page_is_refused_as_a_whole(
    db: Db,
) -> None:
    run(db, "create table item (id int primary key, v text)")
    run(db, "alter table item alter v set storage plain")
    run(db, "select chrononaut.create_versioning('item')")
    run(db, "alter table item_history alter v set storage plain")
    run(db, "insert into item values (1, repeat('x', 8110))")
    refusal(db, "54000", "update item set v = 'short'")
    counted = "select count(*) from item_history"
    assert (value(db, "select length(v) from item"), value(db, counted)) == (8110, 1)
