-- TRUNCATE: every row leaves a change of operation T, or it is refused.
--
-- One function serves all tables: a TRUNCATE is rare, so it may look into the catalogs.
-- Safe to replay.

create or replace function chrononaut._record_truncate()
    returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set row_security = off
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning;
    v_said text := nullif(current_setting('chrononaut.change_info', true), '');
    v_info jsonb;
    v_leaf regclass;
    v_rows bigint;
    v_count bigint := 0;
begin
    perform chrononaut._relocate();
    v := chrononaut._entry(tg_argv[0]::integer);
    if not chrononaut._is_part(v, tg_relid) then
        return null;
    end if;
    perform chrononaut._check_truncate_locks(v, tg_relid);
    if current_setting('chrononaut.suppressed', true) = 'on' then
        if chrononaut._suppressed(v.id) then
            return null;
        end if;
    end if;
    perform chrononaut._check_truncate(v, tg_relid, v_said);
    perform chrononaut._check_drift(v.id);
    v_info := chrononaut._compose_change_info(v_said);
    for v_leaf in select l from chrononaut._truncated_here(v, tg_relid) l loop
        execute chrononaut._truncate_statement(v, v_leaf)
        using chrononaut._transaction_id(),
            chrononaut._for_table(v_info, v.schema_name || '.' || v.table_name);
        get diagnostics v_rows = row_count;
        v_count := v_count + v_rows;
    end loop;
    if v_count > 0 then
        perform chrononaut._record_transaction(v_info - 'tables');
    end if;
    return null;
end;
$$;

comment on function chrononaut._record_truncate() is
    'Trigger before TRUNCATE: records every row that is about to go.';


create or replace function chrononaut._is_part(v chrononaut.versioning, relation oid)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- A partition that was detached keeps the trigger, which only its owner can drop.
    select coalesce(v.active and (
        relation = v.relid
        or v.relid in (select a.relid from pg_partition_ancestors(relation) a)), false)
$$;

comment on function chrononaut._is_part(chrononaut.versioning, oid) is
    'Whether a relation is the versioned table or one of its partitions.';


create or replace function chrononaut._truncated_here(
    v chrononaut.versioning,
    truncated regclass)
    returns setof regclass
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Every leaf has a trigger of its own; a partitioned table's speaks for the leaves that
    -- were created or attached since the last sync and have none yet.
    select truncated
    where (select c.relkind from pg_class c where c.oid = truncated) = 'r'
    union all
    select p.relid
    from pg_partition_tree(truncated) p
    where p.isleaf and p.relid <> truncated
        and (select c.relkind from pg_class c where c.oid = p.relid) = 'r'
        and (select c.relkind from pg_class c where c.oid = truncated) = 'p'
        and not exists (
            select from pg_trigger t
            where t.tgrelid = p.relid and t.tgname = '00_chrononaut_truncate'
                and t.tgenabled in ('O', 'A'))
$$;

comment on function chrononaut._truncated_here(chrononaut.versioning, regclass) is
    'The tables whose rows a TRUNCATE trigger on this one has to record.';


create or replace function chrononaut._truncate_statement(
    v chrononaut.versioning,
    leaf regclass)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'insert into %s (%s) select %s, nextval(%L), clock_timestamp(), $1, ''T'', $2, null '
            'from only %s o',
        chrononaut._history_reference(v),
        chrononaut._insert_columns(v, 'image'),
        chrononaut._insert_values(v, 'o', 'image'),
        'chrononaut.change_id',
        leaf)
$$;

comment on function chrononaut._truncate_statement(chrononaut.versioning, regclass) is
    'The insert into history that records all rows of one table.';


create or replace function chrononaut._check_truncate(
    v chrononaut.versioning,
    target regclass,
    said text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if v.on_truncate = 'forbid' then
        perform chrononaut._refuse(target,
            format('TRUNCATE of versioned table %s is not allowed', target),
            'Use DELETE, or alter_versioning(..., on_truncate => ''record'').', 'VH006');
    end if;
    if v.require_change_info
        and chrononaut._says_nothing(said, v.schema_name || '.' || v.table_name) then
        perform chrononaut._refuse(target,
            format('a write to %s needs change info', target),
            'Begin with: select chrononaut.set_change_info(user_id => ..., rationale => ...);',
            'VH002');
    end if;
    perform chrononaut._check_change_info(said);
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        -- TRUNCATE removes rows that this transaction's snapshot does not see.
        perform chrononaut._refuse(target,
            format('TRUNCATE of versioned table %s is not allowed in a %s transaction',
                target, current_setting('transaction_isolation')),
            'Rows committed since its snapshot would vanish unrecorded. Use READ COMMITTED, or DELETE.',
            'VH006');
    end if;
end;
$$;

comment on function chrononaut._check_truncate(chrononaut.versioning, regclass, text) is
    'Raises where a TRUNCATE may not happen or could not be recorded in full.';
