-- What may be versioned, by whom, and how its rows are identified.
--
-- Reads the catalogs only. Safe to replay.

create or replace function chrononaut._owner()
    returns name
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
-- Not in SQL: the guard of every history table asks for it, and it would be planned anew.
begin
    return (select pg_get_userbyid(n.nspowner) from pg_namespace n where n.nspname = 'chrononaut');
end;
$$;

comment on function chrononaut._owner() is
    'The core''s owner, who owns all history.';


create or replace function chrononaut._refuse(
    target regclass,
    problem text,
    hint text,
    code text default 'VH003',
    column_name name default null)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_schema name;
    v_table name;
begin
    select n.nspname, c.relname into v_schema, v_table
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where c.oid = target;
    raise exception '%', problem
        using errcode = code,
              hint = hint,
              schema = coalesce(v_schema, ''),
              table = coalesce(v_table, ''),
              column = coalesce(column_name, '');
end;
$$;

comment on function chrononaut._refuse(regclass, text, text, text, name) is
    'Raises an error of class VH that names schema, table and column.';


create or replace function chrononaut._unlogged(target regclass)
    returns table (part regclass)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select c.oid::regclass
    from (select target union select p.relid from pg_partition_tree(target) p) t(relid)
    join pg_class c on c.oid = t.relid
    where c.relpersistence = 'u'
$$;

comment on function chrononaut._unlogged(regclass) is
    'The table or those of its partitions that a crash would empty.';


create or replace function chrononaut._check_kind(target regclass)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_class pg_class;
begin
    select c.* into v_class from pg_class c where c.oid = target;
    if v_class.relkind = 'v' or v_class.relkind = 'm' then
        perform chrononaut._refuse(target,
            format('cannot version %s: it is a view', target),
            'Version its base tables instead: ' || chrononaut._base_tables(target) || '.');
    elsif v_class.relkind = 'f' then
        perform chrononaut._refuse(target,
            format('cannot version %s: it is a foreign table', target),
            'Changes made on the remote server cannot be seen here; version the table there.');
    elsif v_class.relkind not in ('r', 'p') then
        perform chrononaut._refuse(target,
            format('cannot version %s: it is not a table', target),
            'Name an ordinary or a partitioned table.');
    elsif v_class.relpersistence = 't' then
        perform chrononaut._refuse(target,
            format('cannot version %s: it is a temporary table', target),
            'Its rows end with the session; use an ordinary table.');
    end if;
    perform chrononaut._refuse(target,
        format('cannot version %s: %s unlogged', target,
            case when u.part = target then 'it is' else format('its partition %s is', u.part) end),
        format('A crash would empty it without a change. Run: alter table %s set logged', u.part))
    from chrononaut._unlogged(target) u
    limit 1;
    if target < 16384 or v_class.relnamespace = 'chrononaut'::regnamespace then
        perform chrononaut._refuse(target,
            format('cannot version %s: it belongs to the system', target),
            'Name a table of your own.');
    end if;
    if exists (select from chrononaut.versioning v where v.history_relid = target) then
        perform chrononaut._refuse(target,
            format('cannot version %s: it is a history table', target),
            'A history table only grows; it needs no history of its own.');
    end if;
end;
$$;

comment on function chrononaut._check_kind(regclass) is
    'Raises VH003 unless the relation is of a kind that can be versioned.';


create or replace function chrononaut._base_tables(target regclass)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(string_agg(distinct d.refobjid::regclass::text, ', '), 'none found')
    from pg_rewrite r
    join pg_depend d on d.objid = r.oid and d.classid = 'pg_rewrite'::regclass
    join pg_class c on c.oid = d.refobjid and d.refclassid = 'pg_class'::regclass
    where r.ev_class = target and c.relkind in ('r', 'p') and c.oid <> target
$$;

comment on function chrononaut._base_tables(regclass) is
    'The tables that a view reads from, for error messages.';


create or replace function chrononaut._check_relatives(target regclass)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_child regclass;
begin
    select i.inhrelid into v_child
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    where i.inhparent = target
        and not c.relispartition
        and not exists (
            select from chrononaut.versioning v where v.relid = i.inhrelid and v.active)
    limit 1;
    if found then
        perform chrononaut._refuse(target,
            format('cannot version %s: it has inheritance children that are not versioned', target),
            format('Version %s first: triggers are not inherited.', v_child));
    end if;
    select v.relid into v_child
    from pg_partition_tree(target) p
    join chrononaut.versioning v on v.relid = p.relid and v.active
    where p.relid <> target
    limit 1;
    if found then
        perform chrononaut._refuse(target,
            format('cannot version %s: its partition %s is versioned by itself', target, v_child),
            format('Run first: select chrononaut.drop_versioning(%L);', v_child));
    end if;
end;
$$;

comment on function chrononaut._check_relatives(regclass) is
    'Raises VH003 if children of the table would be missed, or recorded twice.';


create or replace function chrononaut._check_width(target regclass)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_columns integer;
    v_fixed integer;
    v_block integer := current_setting('block_size')::integer;
begin
    select count(*),
        coalesce(sum(a.attlen) filter (where m.state = 'tracked' and a.attlen > 0), 0)
    into v_columns, v_fixed
    from chrononaut.versioned_column m
    left join pg_attribute a on a.attrelid = target and a.attnum = m.attnum
    where m.versioning_id = (chrononaut._find(target)).id and m.history_name is not null;
    perform chrononaut._check_column_count(target, v_columns + 6);
    if v_fixed + v_columns / 8 + 100 > v_block - 32 then
        perform chrononaut._refuse(target,
            format('cannot version %s: a history row would not fit into a page', target),
            'Meta columns are added to each row; leave columns untracked, or split the table.');
    end if;
end;
$$;

comment on function chrononaut._check_width(regclass) is
    'Raises VH003 if a history row could not hold the columns and the meta columns.';


create or replace function chrononaut._check_column_count(target regclass, columns integer)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    if columns > 1600 then
        perform chrononaut._refuse(target,
            format('cannot version %s: its history would have %s columns, and 1600 is the limit',
                target, columns),
            'Meta columns are added to each row; leave columns untracked, or split the table.');
    end if;
end;
$$;

comment on function chrononaut._check_column_count(regclass, integer) is
    'Raises VH003 if a history table or a versions view would have more columns than can be.';


create or replace function chrononaut._check_caller(target regclass)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_owner oid;
begin
    select c.relowner into v_owner from pg_class c where c.oid = target;
    if not pg_has_role(chrononaut._caller(), v_owner, 'member') then
        perform chrononaut._refuse(target,
            format('role %s may not change the versioning of %s', chrononaut._caller(), target),
            format('Only members of its owner may: %I.', pg_get_userbyid(v_owner)),
            'VH006');
    end if;
end;
$$;

comment on function chrononaut._check_caller(regclass) is
    'Raises VH006 unless the caller is a member of the table''s owner.';


create or replace function chrononaut._check_core_rights(target regclass, always boolean)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_core name := chrononaut._owner();
    v_schema name;
    v_owner oid;
    v_missing text[] := '{}';
begin
    select n.nspname, c.relowner into v_schema, v_owner
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = target;
    if not has_schema_privilege(v_core, v_schema, 'usage') then
        v_missing := v_missing || format('grant usage on schema %I to %I', v_schema, v_core);
    end if;
    if not has_table_privilege(v_core, target, 'select')
        or not has_table_privilege(v_core, target, 'trigger') then
        v_missing := v_missing || format('grant select, trigger on %s to %I', target, v_core);
    end if;
    if always and not pg_has_role(v_core, v_owner, 'member') then
        v_missing := v_missing || format('grant %I to %I', pg_get_userbyid(v_owner), v_core);
    end if;
    if v_missing <> '{}' then
        perform chrononaut._refuse(target,
            format('the core''s owner %s lacks rights on %s', v_core, target),
            'Run: ' || array_to_string(v_missing, '; ') || ';',
            'VH006');
    end if;
end;
$$;

comment on function chrononaut._check_core_rights(regclass, boolean) is
    'Raises VH006 with the missing GRANTs unless the core''s owner may version the table.';


create or replace function chrononaut._meets_cascades(target regclass)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- All cascades of one statement share its transition tables: of a row that two of them
    -- change, the pairs and the order are lost. Two that only delete never meet.
    select count(*) > 1 and bool_or(k.confdeltype in ('n', 'd') or k.confupdtype in ('c', 'n', 'd'))
    from pg_constraint k
    where k.contype = 'f' and k.conrelid = target and k.conparentid = 0
        and (k.confdeltype in ('c', 'n', 'd') or k.confupdtype in ('c', 'n', 'd'))
$$;

comment on function chrononaut._meets_cascades(regclass) is
    'Whether two foreign keys of a table may act on one row of it, one of them by an update.';


create or replace function chrononaut._check_statement_granularity(target regclass)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case
        when c.relkind = 'p' or c.relispartition then
            'rows that move between partitions do not reach statement triggers'
        when exists (
            select from pg_inherits i where target in (i.inhparent, i.inhrelid)) then
            'statement triggers of a table do not see its relatives'' statements'
        when exists (
            select from pg_constraint k
            where k.contype = 'f' and k.conrelid = target and k.confrelid = target
                and (k.confdeltype in ('c', 'n', 'd') or k.confupdtype in ('c', 'n', 'd'))) then
            'a foreign key that references its own table cascades inside the statement'
        when chrononaut._meets_cascades(target) then
            'its foreign keys may change a row of it twice inside one statement'
        when exists (
            select from pg_trigger t
            where t.tgrelid = target and not t.tgisinternal and t.tgtype & 1 = 1
                and t.tgname !~ '^00_chrononaut_'
                and t.tgname <> 'zz_chrononaut_row_version') then
            'row triggers on it may change rows of it inside the statement'
    end
    from pg_class c
    where c.oid = target
$$;

comment on function chrononaut._check_statement_granularity(regclass) is
    'Why statement triggers would record the table wrongly; null if they would not.';
