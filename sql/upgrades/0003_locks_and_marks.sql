-- Core 2 to 3: record locks and row versions are there, so the options may be true. The
-- tables of marks and locks come with core/.

alter table chrononaut.versioning
    drop constraint if exists versioning_lockable_check,
    drop constraint if exists versioning_row_version_check;

-- Functions whose parameters changed: core/ makes them anew.
drop function if exists chrononaut._check_words(regclass, text, text, boolean, boolean);
