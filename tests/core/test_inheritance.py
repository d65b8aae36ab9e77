"""parent => ...: the versions of a joined-table child merge the chain."""

from typing import Any

import pytest

from tests.core.asking import problems, refusal, rows, run
from tests.servers import Db

VERSIONS = "select version, name, wage, level, operation from boss_versions order by 1"


@pytest.fixture
def chain(db: Db) -> Db:
    """person <- worker <- boss, three tables with one key, all versioned."""
    run(
        db,
        """
        create table person (id integer primary key, name text);
        create table worker (id integer primary key references person on delete cascade,
            wage integer);
        create table boss (id integer primary key references worker on delete cascade,
            level integer);
        select chrononaut.create_versioning('person');
        select chrononaut.create_versioning('worker', parent => 'person');
        select chrononaut.create_versioning('boss', parent => 'worker');
        """,
    )
    db.commit()
    return db


def step(db: Db, *statements: str) -> None:
    """Run *statements* in one transaction of their own."""
    for statement in statements:
        run(db, statement)
    db.commit()


def test_one_version_per_transaction_that_touched_any_table(chain: Db) -> None:
    step(
        chain,
        "insert into person values (1, 'Ann')",
        "insert into worker values (1, 10)",
        "insert into boss values (1, 1)",
    )
    step(chain, "update person set name = 'Bea'")
    step(chain, "update worker set wage = 20", "update boss set level = 2")
    step(chain, "update boss set level = 3")
    assert rows(chain, VERSIONS) == [
        (0, "Ann", 10, 1, "U"),
        (1, "Bea", 10, 1, "U"),
        (2, "Bea", 20, 2, "U"),
        (3, "Bea", 20, 3, None),
    ]
    assert problems(chain) == []


def test_two_levels_merge_alike(chain: Db) -> None:
    step(
        chain,
        "insert into person values (1, 'Ann')",
        "insert into worker values (1, 10)",
    )
    step(chain, "update person set name = 'Bea'")
    step(chain, "update worker set wage = 20")
    assert rows(
        chain, "select version, name, wage from worker_versions order by 1"
    ) == [(0, "Ann", 10), (1, "Bea", 10), (2, "Bea", 20)]


def test_parents_keep_versions_of_their_own(chain: Db) -> None:
    step(
        chain,
        "insert into person values (1, 'Ann')",
        "insert into worker values (1, 10)",
    )
    step(chain, "update worker set wage = 20")
    assert rows(chain, "select version, name from person_versions") == [(0, "Ann")]


def test_deletion_ends_the_last_version_and_a_new_row_goes_on_numbering(
    chain: Db,
) -> None:
    build: list[str] = [
        "insert into person values (1, 'Ann')",
        "insert into worker values (1, 10)",
        "insert into boss values (1, 1)",
    ]
    step(chain, *build)
    step(chain, "delete from person")
    step(chain, *build)
    assert rows(chain, VERSIONS) == [
        (0, "Ann", 10, 1, "D"),
        (1, "Ann", 10, 1, None),
    ]


def test_periods_join_without_gap_and_name_what_opened_and_closed(chain: Db) -> None:
    step(
        chain,
        "select chrononaut.set_change_info('maker')",
        "insert into person values (1, 'Ann')",
        "insert into worker values (1, 10)",
        "insert into boss values (1, 1)",
    )
    step(
        chain,
        "select chrononaut.set_change_info('editor')",
        "update person set name = 'Bea'",
    )
    found: list[tuple[Any, ...]] = rows(
        chain,
        """
        select created_change_info ->> 'user_id', created_operation,
            change_info ->> 'user_id', valid_from is not null,
            valid_to is not distinct from lead(valid_from) over (order by version)
        from boss_versions order by version
        """,
    )
    assert found == [
        ("maker", "I", "editor", True, True),
        ("editor", "U", None, True, True),
    ]


def test_other_keys_do_not_mix(chain: Db) -> None:
    for n in (1, 2):
        step(
            chain,
            f"insert into person values ({n}, 'p{n}')",
            f"insert into worker values ({n}, {n})",
            f"insert into boss values ({n}, {n})",
        )
    step(chain, "insert into person values (3, 'only a person')")
    step(chain, "update person set name = name || '!'")
    assert rows(chain, "select id, version, name from boss_versions order by 1, 2") == [
        (1, 0, "p1"),
        (1, 1, "p1!"),
        (2, 0, "p2"),
        (2, 1, "p2!"),
    ]


def test_column_added_to_a_parent_shows_in_the_childs_versions(chain: Db) -> None:
    step(
        chain,
        "insert into person values (1, 'Ann')",
        "insert into worker values (1, 10)",
        "insert into boss values (1, 1)",
    )
    step(
        chain,
        "alter table person add column age integer",
        "select chrononaut.sync_versioning('person')",
    )
    step(chain, "update person set age = 40")
    assert rows(chain, "select version, age from boss_versions order by 1") == [
        (0, None),
        (1, 40),
    ]
    assert problems(chain) == []


def test_dropping_the_parents_versioning_leaves_the_child_its_own(chain: Db) -> None:
    step(
        chain,
        "insert into person values (1, 'Ann')",
        "insert into worker values (1, 10)",
    )
    step(chain, "select chrononaut.drop_versioning('person')")
    step(chain, "update worker set wage = 20")
    assert rows(chain, "select version, wage from worker_versions order by 1") == [
        (0, 10),
        (1, 20),
    ]
    assert problems(chain) == []


def test_parent_must_be_versioned_fit_and_no_descendant(chain: Db) -> None:
    run(chain, "create table plain (id integer primary key)")
    run(chain, "create table wide (a integer, b integer, primary key (a, b))")
    for call in [
        "create_versioning('wide', parent => 'person')",
        "create_versioning('wide', parent => 'plain')",
        "alter_versioning('person', parent => 'boss')",
        "alter_versioning('person', parent => 'person')",
    ]:
        refusal(chain, "VH003", f"select chrononaut.{call}")


def test_columns_of_one_name_are_told_apart_by_their_table(db: Db) -> None:
    step(
        db,
        """create table person (id integer primary key,
            name text, note text, version text)""",
        """create table worker (id integer primary key references person,
            name text, person_note text, note integer, version integer)""",
        "select chrononaut.create_versioning('person')",
        "select chrononaut.create_versioning('worker', parent => 'person')",
    )
    step(
        db,
        "insert into person values (1, 'Ann', 'p', 'one')",
        "insert into worker values (1, 'A.', 'taken', 7, 1)",
    )
    step(db, "update person set name = 'Bea'")

    assert rows(
        db,
        "select name, person_name, note, person_note, version, person_version, "
        "chrononaut_version from worker_versions order by change_id",
    ) == [
        ("A.", "Ann", 7, "taken", 1, "one", 0),
        ("A.", "Bea", 7, "taken", 1, "one", 1),
    ]
    assert problems(db) == []
