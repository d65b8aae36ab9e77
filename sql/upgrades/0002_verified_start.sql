-- Core 1 to 2: where a verified cluster is noted, so that a transaction's first write need
-- not read the control file. Functions come with core/.

alter table chrononaut.incarnation
    add column if not exists verified_start timestamptz;

-- Functions whose parameters changed: core/ makes them anew.
drop function if exists chrononaut._statement_insert(
    chrononaut.versioning, text, text, text, text, text);
