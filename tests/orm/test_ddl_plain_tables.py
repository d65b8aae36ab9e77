"""Tables without a model of their own, such as those of many-to-many relations."""

import pytest
from sqlalchemy import Column, Engine, ForeignKey, Integer, MetaData, String, Table

from chrononaut_pg import UnknownColumnError, versioned_table
from tests.servers import Db


def association(metadata: MetaData) -> Table:
    Table("post", metadata, Column("id", Integer, primary_key=True))
    return versioned_table(
        Table(
            "post_tag",
            metadata,
            Column("post_id", ForeignKey("post.id"), primary_key=True),
            Column("tag", String, primary_key=True),
            Column("note", String),
        ),
        untracked=["note"],
    )


def test_create_all_versions_it_and_drop_all_removes_history(
    engine: Engine, db: Db
) -> None:
    metadata = MetaData()
    association(metadata)
    metadata.create_all(engine)
    db.execute("insert into post values (1)")
    db.execute("insert into post_tag values (1, 'a', 'x')")
    db.execute("update post_tag set note = 'y'")
    db.execute("delete from post_tag")
    operations = db.execute("select operation from post_tag_history order by change_id")
    assert operations.fetchall() == [("I",), ("D",)]
    db.commit()

    metadata.drop_all(engine)
    assert db.execute("select to_regclass('post_tag_history')").fetchone() == (None,)


def test_unknown_column_is_refused() -> None:
    table = Table("t", MetaData(), Column("id", Integer, primary_key=True))

    with pytest.raises(UnknownColumnError, match="no column 'nmae'"):
        versioned_table(table, hidden=["nmae"])
