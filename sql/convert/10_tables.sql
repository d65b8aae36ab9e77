-- What has been converted from other tools' tables: what makes conversion resumable.
--
-- Loaded when a converter first runs, by the core's owner; safe to replay. Numbers of
-- converted changes and transactions are negative: they lie before all that is recorded,
-- and are drawn upwards, so that what is converted later comes later. They stay above
-- -2^53, so that JSON readers can hold them.

-- Files may call what later files define.
set local check_function_bodies = off;

do $check$
begin
    if to_regclass('chrononaut.versioning') is null then
        raise exception 'the core is not installed'
            using errcode = 'VH005', hint = 'Run chrononaut_pg.core.install() first.';
    elsif not pg_has_role(current_user, chrononaut._owner(), 'member') then
        raise exception 'role % may not convert history', current_user
            using errcode = 'VH006',
                  schema = 'chrononaut',
                  hint = format('Convert as %I, who owns the core, or as a superuser.',
                      chrononaut._owner());
    end if;
    perform pg_advisory_xact_lock(hashtextextended('chrononaut.convert', 0));
end
$check$;


create sequence if not exists chrononaut.conversion_id
    as bigint
    increment by 2
    minvalue -4503599627370496
    maxvalue -2
    start with -4503599627370496
    cache 1;

comment on sequence chrononaut.conversion_id is
    'Numbers converted changes; each takes two, for a row that ended and began anew at once.';


create table if not exists chrononaut.conversion_source (
    id integer generated always as identity primary key,
    versioning_id integer not null references chrononaut.versioning on delete cascade,
    format text not null check (format in ('activity', 'history', 'continuum', 'audit')),
    relation text not null,
    relid oid not null,
    part text not null default '',
    transactions text not null,
    transaction_base bigint not null,
    names jsonb not null default '{}',
    converted_to bigint not null default -9223372036854775808,
    created_at timestamptz not null default clock_timestamp(),
    constraint conversion_source_once unique (versioning_id, relation, part)
);

comment on table chrononaut.conversion_source is
    'One row per versioned table and table of another tool that it was converted from.';
comment on column chrononaut.conversion_source.id is 'Surrogate key.';
comment on column chrononaut.conversion_source.versioning_id is 'The versioned table.';
comment on column chrononaut.conversion_source.format is
    'activity: Chrononaut 0.3 and later; history: Chrononaut 0.1 and 0.2; continuum: '
    'SQLAlchemy-Continuum; audit: PostgreSQL-Audit.';
comment on column chrononaut.conversion_source.relation is 'The table read from.';
comment on column chrononaut.conversion_source.relid is
    'Its oid, as a number, so that it is known again under another name.';
comment on column chrononaut.conversion_source.part is
    'The table name whose rows are read, where one source table serves many, else empty.';
comment on column chrononaut.conversion_source.transactions is
    'The table that numbers transactions; sources that share it share transactions.';
comment on column chrononaut.conversion_source.transaction_base is
    'What is added to its numbers to get chrononaut.transaction.id.';
comment on column chrononaut.conversion_source.names is
    'Column names by the names that the source has for them, where these differ.';
comment on column chrononaut.conversion_source.converted_to is
    'The change_id up to which planned rows have been converted.';
comment on column chrononaut.conversion_source.created_at is 'When it was first converted.';


create table if not exists chrononaut.conversion (
    source_id integer not null references chrononaut.conversion_source on delete cascade,
    source_key jsonb not null,
    source_no bigint not null,
    previous_no bigint,
    operation char(1) not null,
    change_id bigint not null,
    transaction_id bigint not null,
    changed timestamptz not null,
    closed_as bigint,
    primary key (source_id, source_key, source_no)
);

create index if not exists conversion_change on chrononaut.conversion (source_id, change_id);

comment on table chrononaut.conversion is
    'One row per source row that was or is to be converted, so that none is twice.';
comment on column chrononaut.conversion.source_id is 'The source.';
comment on column chrononaut.conversion.source_key is 'Key of the object, as a JSON array.';
comment on column chrononaut.conversion.source_no is
    'With the key, the row in the source: its id, version or transaction.';
comment on column chrononaut.conversion.previous_no is
    'The row before it of the same object.';
comment on column chrononaut.conversion.operation is
    'I, U, D; X: ended and began anew; K: changed its key; L: the triggers had recorded it '
    'already; N: has no key and was not converted.';
comment on column chrononaut.conversion.change_id is
    'The change in the history table; change_id + 1 for what began.';
comment on column chrononaut.conversion.transaction_id is 'chrononaut.transaction.id.';
comment on column chrononaut.conversion.changed is 'When it happened, as the source says.';
comment on column chrononaut.conversion.closed_as is
    'The change that ended its state where the source has none; the triggers saw no more of it.';


create table if not exists chrononaut.conversion_problem (
    id bigint generated always as identity primary key,
    source_id integer not null references chrononaut.conversion_source on delete cascade,
    source_key jsonb,
    source_no bigint,
    reason text not null,
    lost jsonb,
    converted boolean not null,
    noted_at timestamptz not null default clock_timestamp()
);

create index if not exists conversion_problem_row
    on chrononaut.conversion_problem (source_id, source_key, source_no);

comment on table chrononaut.conversion_problem is
    'What could not be converted as it stood, and why. Nothing here was lost: see lost.';
comment on column chrononaut.conversion_problem.id is 'Surrogate key.';
comment on column chrononaut.conversion_problem.source_id is 'The source.';
comment on column chrononaut.conversion_problem.source_key is 'Key of the object.';
comment on column chrononaut.conversion_problem.source_no is 'The row in the source.';
comment on column chrononaut.conversion_problem.reason is 'What was wrong.';
comment on column chrononaut.conversion_problem.lost is
    'What history does not hold: the values, or the whole row if it was not converted.';
comment on column chrononaut.conversion_problem.converted is
    'Whether the rest of the row was converted; false if all of it was left out.';
comment on column chrononaut.conversion_problem.noted_at is 'When it was noted.';


do $rights$
declare
    v_name text;
begin
    foreach v_name in array '{conversion_source,conversion,conversion_problem}'::text[] loop
        execute format('revoke all on chrononaut.%I from public', v_name);
        if (select pg_get_userbyid(c.relowner) from pg_class c
                where c.oid = format('chrononaut.%I', v_name)::regclass) <> chrononaut._owner() then
            execute format('alter table chrononaut.%I owner to %I', v_name, chrononaut._owner());
        end if;
    end loop;
    revoke all on chrononaut.conversion_id from public;
    if (select pg_get_userbyid(c.relowner) from pg_class c
            where c.oid = 'chrononaut.conversion_id'::regclass) <> chrononaut._owner() then
        execute format('alter sequence chrononaut.conversion_id owner to %I', chrononaut._owner());
    end if;
end
$rights$;
