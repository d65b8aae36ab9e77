-- Core 2 to 3: record locks and row versions are there, so the options may be true. The
-- tables of marks and locks come with core/.

alter table chrononaut.versioning
    drop constraint if exists versioning_lockable_check,
    drop constraint if exists versioning_row_version_check;

-- Functions whose parameters changed: core/ makes them anew.
drop function if exists chrononaut._check_words(regclass, text, text, boolean, boolean);

-- Functions that capture no longer needs; it is written anew before anybody writes.
drop function if exists chrononaut._open_transaction(jsonb, text);
drop function if exists chrononaut._explain(integer, text);
drop function if exists chrononaut._said_by();
drop function if exists chrononaut._row_insert(chrononaut.versioning, text, text, text, text);
