"""A hidden value is in no byte that a dump of everything but the live table holds."""

import subprocess
from pathlib import Path

import pytest

from tests.core.asking import run, value
from tests.servers import Db

STEPS = """
insert into vault values (1, 'a', 'swordfish1'), (2, 'b', 'swordfish2')
update vault set token = 'swordfish3' where id = 1
update vault set label = 'c', token = 'swordfish4' where id = 1
update vault set id = 5 where id = 2
insert into vault values (1) on conflict (id) do update set token = 'swordfish5'
select chrononaut.append_change_info('vault', '[[1]]', '[{"why": "audit"}]')
select chrononaut.lock_record('vault', '{"id": 1}', 'audit')
select chrononaut.unlock_record('vault', '{"id": 1}')
select chrononaut.mark('here')
select chrononaut.changes_of(max(id)) from chrononaut.transaction
select chrononaut.revert_row('vault', '1', version => 0)
delete from vault where id = 5
select chrononaut.restore_row('vault', '5')
select chrononaut.undo_transaction(min(id), force => true) from chrononaut.transaction
alter table vault rename token to pass
select chrononaut.sync_versioning('vault')
update vault set pass = 'swordfish6'
truncate vault
"""


@pytest.mark.parametrize("granularity", ["row", "statement"])
def test_dump_without_the_live_table_has_no_hidden_value(
    db: Db, db_url: str, clients: Path, granularity: str
) -> None:
    heard: list[str] = []
    db.add_notice_handler(lambda notice: heard.append(str(notice.message_primary)))
    run(db, "create table vault (id int primary key, label text, token text)")
    run(
        db,
        "select chrononaut.create_versioning('vault', hidden => '{token}',"
        " lockable => true, granularity => %s)",
        [granularity],
    )
    db.commit()
    db.autocommit = True
    for step in STEPS.strip().splitlines():
        run(db, step)
    dump = subprocess.run(
        [clients / "pg_dump", "-T", "vault", db_url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    hidden = "change_info ? 'hidden_cols_changed'"
    recorded = f"select count(*), count(*) filter (where {hidden}) from vault_history"
    changes, of_hidden = db.execute(recorded.encode()).fetchall()[0]
    assert (changes > 12, of_hidden > 3) == (True, True)
    assert "vault_history" in dump
    assert "swordfish" not in dump
    assert [text for text in heard if "swordfish" in text] == []
    assert value(db, "select count(*) from vault") == 0
