-- How rows are identified.
--
-- Reads the catalogs only. Safe to replay.

create or replace function chrononaut._never_null(a pg_attribute)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- PostgreSQL 18 has NOT NULL that old rows need not obey yet.
    select a.attnotnull and not exists (
        select from pg_constraint c
        where c.conrelid = a.attrelid and c.contype = 'n' and c.conkey[1] = a.attnum
            and not c.convalidated)
$$;

comment on function chrononaut._never_null(pg_attribute) is
    'Whether no row has a null in a column.';


create or replace function chrononaut._unique_keys(target regclass)
    returns table (key name[], attnums smallint[], index_oid oid, is_primary boolean, problem text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select
        array_agg(a.attname order by k.position),
        array_agg(a.attnum order by k.position),
        i.indexrelid,
        i.indisprimary,
        case
            when not i.indimmediate then 'is deferrable'
            when not i.indisvalid then 'is not valid'
            when i.indpred is not null then 'is partial'
            when bool_or(not chrononaut._never_null(a)) then 'has columns that may be null'
        end
    from pg_index i
    cross join unnest(i.indkey::smallint[]) with ordinality k(attnum, position)
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
    where i.indrelid = target
        and i.indisunique
        and k.position <= i.indnkeyatts
        and i.indexprs is null
    group by i.indexrelid, i.indisprimary, i.indimmediate, i.indisvalid, i.indpred
$$;

comment on function chrononaut._unique_keys(regclass) is
    'The table''s unique keys, and why one cannot identify rows (null if it can).';


create or replace function chrononaut._find_key(target regclass, wanted name[])
    returns name[]
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_key name[];
    v_problem text;
begin
    select u.key, u.problem into v_key, v_problem
    from chrononaut._unique_keys(target) u
    where case
        when wanted is null then u.is_primary
        when cardinality(wanted) > (select count(distinct w) from unnest(wanted) w) then false
        else u.key @> wanted and u.key <@ wanted
            or u.is_primary and u.key @> wanted
                and exists (select from pg_class c where c.oid = target and c.relkind = 'p')
    end
    order by u.problem is not null, u.is_primary desc, cardinality(u.key)
    limit 1;
    if not found then
        perform chrononaut._refuse(target,
            case
                when wanted is null then format('cannot version %s: it has no primary key', target)
                else format('cannot version %s: no unique index is on just the columns %s',
                    target, array_to_string(wanted, ', '))
            end,
            'Add a primary key, or pass key => with the columns of a unique index, all not null.');
    elsif v_problem is not null then
        perform chrononaut._refuse(target,
            format('cannot version %s: the key (%s) %s',
                target, array_to_string(v_key, ', '), v_problem),
            'The key must be immediate, valid, complete and not null.');
    end if;
    return coalesce(wanted, v_key);
end;
$$;

comment on function chrononaut._find_key(regclass, name[]) is
    'The columns that identify a row: those wanted, else the primary key; VH003 if unfit.';


-- Asked for once per key column and generated text, thus in two small queries whose plans
-- last: planning them as one took longer than all else that create_versioning() does.
create or replace function chrononaut._class_equality(class oid)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce((
        select format('operator(%I.%s)', n.nspname, o.oprname)
        from pg_opclass c
        join pg_amop p on p.amopfamily = c.opcfamily and p.amopstrategy = 3
            and p.amoplefttype = c.opcintype and p.amoprighttype = c.opcintype
        join pg_operator o on o.oid = p.amopopr
        join pg_namespace n on n.oid = o.oprnamespace
        where c.oid = class), 'operator(pg_catalog.=)')
$$;

comment on function chrononaut._class_equality(oid) is
    'The equality operator of a btree operator class, qualified; without one PostgreSQL''s own.';


create or replace function chrononaut._key_operator(target regclass, column_name name)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_history oid := (
        select v.history_relid from chrononaut.versioning v
        where v.relid = target and v.active);
    v_class oid;
begin
    -- While the live table has no key, the history's own tells.
    select k.class into v_class
    from pg_index i
    cross join unnest(i.indkey::smallint[], i.indclass::oid[]) k(attnum, class)
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
    join pg_opclass c on c.oid = k.class
    join pg_am m on m.oid = c.opcmethod and m.amname = 'btree'
    where i.indrelid in (target, v_history) and i.indisunique and a.attname = column_name
    order by i.indisprimary desc, i.indexrelid
    limit 1;
    -- Without an index any more, writes go on and check_versioning() tells.
    return chrononaut._class_equality(v_class);
end;
$$;

comment on function chrononaut._key_operator(regclass, name) is
    'The equality operator of a key column''s own operator class, qualified.';
