"""A type that finds 'a' and 'A' equal, as citext does: a change, but no other key.

The type is made here, so that this is tested where the extension is not packaged.
"""

import psycopg
import pytest

from tests.core.asking import rows, run
from tests.servers import Db

FOLDED = """
create type folded;
create function folded_in(cstring) returns folded language internal immutable strict
    as 'textin';
create function folded_out(folded) returns cstring language internal immutable strict
    as 'textout';
create type folded (input = folded_in, output = folded_out, like = text,
    collatable = true);
create cast (folded as text) without function as implicit;
create cast (text as folded) without function as assignment;
create function folded_cmp(folded, folded) returns integer language sql immutable
    as 'select pg_catalog.bttextcmp(lower($1::text), lower($2::text))';
"""
SIGNS = {"<": "lt", "<=": "le", "=": "eq", ">=": "ge", ">": "gt"}


def create_folded(db: Db) -> None:
    """Create the type `folded` with its operators and its default operator class."""
    run(db, FOLDED)
    for sign, name in SIGNS.items():
        run(
            db,
            f"create function folded_{name}(folded, folded) returns boolean"
            " language plpgsql immutable as"  # not inlined, or it could not be merged
            f" 'begin return public.folded_cmp($1, $2) {sign} 0; end';"
            f" create operator {sign} (leftarg = folded, rightarg = folded,"
            f" function = folded_{name}{', merges' * (sign == '=')})",
        )
    listed = ", ".join(f"operator {n} {sign}" for n, sign in enumerate(SIGNS, 1))
    run(
        db,
        "create operator class folded_ops default for type folded using btree as"
        f" {listed}, function 1 folded_cmp(folded, folded)",
    )


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_key_is_compared_by_the_operator_class_of_its_type(
    db: Db, granularity: str
) -> None:
    create_folded(db)
    run(db, "create table item (name folded primary key, v int)")
    run(
        db,
        "select chrononaut.create_versioning('item', granularity => %s)",
        [granularity],
    )
    run(db, "insert into item values ('a', 1)")
    run(db, "update item set name = 'A'")
    run(db, "update item set name = 'b'")
    told = rows(db, "select operation, name::text from item_history order by change_id")
    assert (told[:2], sorted(told[2:])) == (
        [("I", "a"), ("U", "a")],
        [("D", "A"), ("I", "b")],
    )
    versions = "select i.name::text, version from item_versions i order by i.name, 2"
    assert rows(db, versions) == [("a", 0), ("A", 1), ("b", 0)]


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_value_that_only_equals_the_old_one_is_a_change(
    db: Db, granularity: str
) -> None:
    create_folded(db)
    run(db, "create table item (id int primary key, v folded, free int)")
    run(
        db,
        "select chrononaut.create_versioning('item', untracked => '{free}',"
        " granularity => %s)",
        [granularity],
    )
    run(db, "insert into item values (1, 'a')")
    run(db, "update item set v = 'A'")
    run(db, "update item set v = v")
    told = rows(db, "select operation, v::text from item_history order by change_id")
    assert told == [("I", None), ("U", "a")]


def test_columns_of_history_keep_the_collation_of_the_live_ones(db: Db) -> None:
    run(db, 'create schema other; create collation other."My own" from "C"')
    own = 'collate other."My own"'
    run(db, f'create table item (id text collate "C" primary key, v varchar(3) {own})')
    run(db, "select chrononaut.create_versioning('item')")
    run(db, f"alter table item add column w text {own}")
    run(db, "select chrononaut.sync_versioning('item')")
    collations = (
        "select attname, attcollation::regcollation::text from pg_attribute"
        " where attrelid = %s::regclass and attname in ('id', 'v', 'w') order by 1"
    )
    kept = [("id", '"C"'), ("v", 'other."My own"'), ("w", 'other."My own"')]
    for relation in ("item", "item_history", "item_versions"):
        assert rows(db, collations, [relation]) == kept


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_letter_case_is_a_change_under_a_collation_given_later(
    db: Db, granularity: str
) -> None:
    try:
        run(
            db,
            "create collation folding (provider = icu, locale = 'und-u-ks-level2',"
            " deterministic = false)",
        )
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this server was built without ICU")
    run(db, "create table item (id int primary key, name text, code varchar(9))")
    run(
        db,
        "select chrononaut.create_versioning('item', granularity => %s)",
        [granularity],
    )
    run(
        db,
        "alter table item alter name type text collate folding,"
        " alter code type varchar(9) collate folding",
    )
    run(db, "insert into item values (1, 'a', 'b')")
    run(db, "update item set name = 'A'")
    run(db, "update item set code = 'B'")
    assert rows(
        db,
        "select operation, name, code from item_history order by change_id",
    ) == [("I", None, None), ("U", "a", "b"), ("U", "A", "b")]
