-- What is to be undone, and what an undo has to know of each table.
--
-- A scope is a jsonb object that describes the changes of one table: its columns, its key
-- and the condition that finds the changes. The functions that make scopes read the
-- registry for the caller and hand out nothing of tables whose history he may not read;
-- all the rest of an undo runs with the caller's own rights. Safe to replay.

create or replace function chrononaut._note_periods(v chrononaut.versioning)
    returns void
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    update chrononaut.column_period p
    set until = (select s.last_value from chrononaut.change_id s)
    from chrononaut.versioned_column m
    where m.versioning_id = v.id and p.column_id = m.id
        and m.state <> 'tracked' and p.until is null;
    insert into chrononaut.column_period (column_id, since)
    select m.id, case
        when not exists (
            select from chrononaut.column_period o
            join chrononaut.versioned_column c on c.id = o.column_id
            where c.versioning_id = v.id) then 0
        else (select case when s.is_called then s.last_value else 0 end
            from chrononaut.change_id s) end
    from chrononaut.versioned_column m
    where m.versioning_id = v.id and m.state = 'tracked'
        and not exists (
            select from chrononaut.column_period p
            where p.column_id = m.id and p.until is null)
    on conflict (column_id, since) do update set until = null;  -- no change in between
$$;

comment on function chrononaut._note_periods(chrononaut.versioning) is
    'Notes from which change on each column has been recorded, and up to which.';


create or replace function chrononaut._recorded(column_id integer, low bigint, high bigint)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select not exists (
            select from chrononaut.column_period p where p.column_id = _recorded.column_id)
        or exists (
            select from chrononaut.column_period p
            where p.column_id = _recorded.column_id
                and p.since < low and (p.until is null or p.until >= high))
$$;

comment on function chrononaut._recorded(integer, bigint, bigint) is
    'Whether a column was recorded by all changes between two, both included.';


create or replace function chrononaut._live_reference(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case c.relkind when 'p' then '' else 'only ' end
        || format('%I.%I', n.nspname, c.relname)
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where c.oid = v.relid
$$;

comment on function chrononaut._live_reference(chrononaut.versioning) is
    'The live table as a statement names it, without tables that inherit from it.';


create or replace function chrononaut._scope_columns(
    v chrononaut.versioning,
    low bigint,
    high bigint)
    returns jsonb
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Of these types, values that are not distinct are the same bytes: cheaper to compare.
    select coalesce(jsonb_agg(jsonb_build_object(
            'name', i.live_name,
            'history', i.history_name,
            'value', chrononaut._column_value(v.relid, i.attnum, 'l'),
            'cast', format_type(a.atttypid, -1),
            'always', a.attidentity = 'a',
            'simple', i.type in ('boolean', 'smallint', 'integer', 'bigint', 'oid', 'date',
                    'uuid', 'bytea', 'timestamp without time zone', 'timestamp with time zone')
                or i.type in ('text', 'character varying') and l.collisdeterministic)
        order by i.attnum), '[]')
    from chrononaut._image(v.id) i
    join pg_attribute a on a.attrelid = v.relid and a.attnum = i.attnum
    join chrononaut.versioned_column m on m.versioning_id = v.id and m.attnum = i.attnum
    left join pg_collation l on l.oid = a.attcollation
    where i.state = 'tracked' and a.attgenerated = ''
        and chrononaut._recorded(m.id, low, high)
$$;

comment on function chrononaut._scope_columns(chrononaut.versioning, bigint, bigint) is
    'The columns whose values are known throughout a range of changes and can be written.';


create or replace function chrononaut._scope_skipped(
    v chrononaut.versioning,
    low bigint,
    high bigint)
    returns jsonb
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_object_agg(m.live_name, case m.state
            when 'retired' then 'no longer exists'
            else 'was not recorded at the time' end
        order by m.id), '{}')
    from chrononaut.versioned_column m
    where m.versioning_id = v.id and (
        m.state = 'retired' and chrononaut._recorded(m.id, low, high)
            and not exists (
                select from chrononaut.versioned_column o
                where o.versioning_id = v.id and o.state <> 'retired'
                    and o.live_name = m.live_name)
        or m.state = 'tracked' and not chrononaut._recorded(m.id, low, high))
$$;

comment on function chrononaut._scope_skipped(chrononaut.versioning, bigint, bigint) is
    'Columns that cannot be put back as they were in a range of changes, with the reason.';


create or replace function chrononaut._scope_key(v chrononaut.versioning)
    returns jsonb
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select jsonb_agg(jsonb_build_object(
            'live', k.name,
            'history', m.history_name,
            'type', i.type,
            'operator', chrononaut._key_operator(v.relid, k.name))
        order by k.position)
    from unnest(v.key) with ordinality k(name, position)
    join chrononaut.versioned_column m
        on m.versioning_id = v.id and m.live_name = k.name and m.attnum is not null
    join chrononaut._image(v.id) i on i.attnum = m.attnum
$$;

comment on function chrononaut._scope_key(chrononaut.versioning) is
    'The key columns in the live table and in history, and how they are compared.';


create or replace function chrononaut._scope(
    v chrononaut.versioning,
    condition text,
    low bigint,
    high bigint)
    returns jsonb
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'id', v.id,
        'oid', v.relid::bigint,
        'schema', n.nspname,
        'table', c.relname,
        'relation', format('%I.%I', n.nspname, c.relname),
        'live', chrononaut._live_reference(v),
        'history', chrononaut._history_reference(v),
        'condition', condition,
        'change_id', quote_ident(chrononaut._meta_name(v.meta, 'change_id')),
        'operation', quote_ident(chrononaut._meta_name(v.meta, 'operation')),
        'transaction_id', quote_ident(chrononaut._meta_name(v.meta, 'transaction_id')),
        'change_info', quote_ident(chrononaut._meta_name(v.meta, 'change_info')),
        'columns', chrononaut._scope_columns(v, low, high),
        'skipped', chrononaut._scope_skipped(v, low, high),
        'key', chrononaut._scope_key(v),
        'hidden', to_jsonb(v.hidden),
        'strict', v.require_change_info,
        'lockable', v.lockable,
        'pairs', false)
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where c.oid = v.relid
$$;

comment on function chrononaut._scope(chrononaut.versioning, text, bigint, bigint) is
    'Describes changes of one table: all of a range that meet a condition on history h.';


create or replace function chrononaut._is_overtaken(v chrononaut.versioning)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Queries of catalogs show them as of the snapshot, functions on oids as they are now.
    -- What rewrites a table leaves it empty in older snapshots.
    select (
            select position(p.prosrc in pg_get_functiondef(p.oid)) > 0
            from pg_proc p where p.oid = to_regproc(format('chrononaut._capture_%s', v.id))
        ) is not true
        or (
            select bool_and(pg_relation_filenode(c.oid) is not distinct from nullif(c.relfilenode, 0))
            from pg_class c where c.oid in (v.relid, v.history_relid)
        ) is not true
        or exists (
            select from pg_attribute a
            join pg_class c on c.oid = a.attrelid
            join pg_namespace n on n.oid = c.relnamespace
            cross join pg_identify_object('pg_class'::regclass, a.attrelid, a.attnum) i
            where a.attrelid in (v.relid, v.history_relid) and a.attnum > 0 and not a.attisdropped
                and i.identity is distinct from
                    format('%I.%I.%I', n.nspname, c.relname, a.attname))
$$;

comment on function chrononaut._is_overtaken(chrononaut.versioning) is
    'Whether a versioned table was altered since the snapshot, which shows it as it was before.';


create or replace function chrononaut._hold(v chrononaut.versioning)
    returns chrononaut.versioning
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    -- Migrations have the live table when they come to the history: read in their order.
    if v.active and has_table_privilege(v.relid, 'select') then
        execute format('lock table only %s in access share mode', v.relid::regclass);
    end if;
    if v.active and current_setting('transaction_isolation') in ('repeatable read', 'serializable')
        and chrononaut._is_overtaken(v) then
        raise exception '%.% was altered after the snapshot of this transaction was taken',
            quote_ident(v.schema_name), quote_ident(v.table_name)
            using errcode = 'serialization_failure',
                  schema = v.schema_name,
                  table = v.table_name,
                  hint = 'Nothing was done. Begin a new transaction and run it again.';
    end if;
    return chrononaut._entry(v.id);
end;
$$;

comment on function chrononaut._hold(chrononaut.versioning) is
    'Keeps a live table from being altered; the entry as it is after that wait, 40001 if that is not seen.';


create or replace function chrononaut._may_undo(v chrononaut.versioning)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- By number: a schema that was renamed is in the way of no other table's undo.
    select coalesce(bool_and(has_table_privilege(chrononaut._caller(), c.oid, 'select')
        and has_schema_privilege(chrononaut._caller(), c.relnamespace, 'usage')), false)
    from pg_class c
    where c.oid = v.history_relid
$$;

comment on function chrononaut._may_undo(chrononaut.versioning) is
    'Whether the caller may read the history of a table, which an undo has to.';


create or replace function chrononaut._check_may_undo(v chrononaut.versioning, what text)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if not chrononaut._may_undo(v) then
        perform chrononaut._refuse(v.relid,
            format('role %s may not undo %s: it may not read the history of %I.%I',
                chrononaut._caller(), what, v.schema_name, v.table_name),
            'Who may select from all columns of the live table, free of policies, may read its history; '
            'sync_versioning copies grants that are newer than it.',
            'VH006');
    end if;
end;
$$;

comment on function chrononaut._check_may_undo(chrononaut.versioning, text) is
    'Raises VH006 unless the caller may read the history of a table.';


create or replace function chrononaut._transaction_fate(transaction_id bigint)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    return case pg_xact_status((transaction_id & (1::bigint << 40) - 1)::text::xid8)
            when 'in progress' then 'is still running'
            when 'aborted' then 'was rolled back'
        end
    from chrononaut.incarnation i
    where i.verified_start = pg_postmaster_start_time()
        and i.number = transaction_id >> 40 and transaction_id > 0;
exception when invalid_parameter_value then
    return null;  -- one of the future
end;
$$;

comment on function chrononaut._transaction_fate(bigint) is
    'Why a transaction of this cluster has no row, if that is known: is still running, was rolled back.';


create or replace function chrononaut._find_transaction(transaction_id bigint, force boolean)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_transaction chrononaut.transaction;
begin
    select t.* into v_transaction from chrononaut.transaction t where t.id = transaction_id;
    if not found then
        raise exception '%', coalesce(
                format('transaction %s ', transaction_id)
                    || chrononaut._transaction_fate(transaction_id),
                format('there is no transaction %s', coalesce(transaction_id::text, 'null')))
            using errcode = 'no_data_found',
                  hint = 'Ids of transactions that changed versioned rows are in chrononaut.transaction.';
    elsif v_transaction.xid = pg_current_xact_id_if_assigned() then
        raise exception 'transaction % is the one that is running', transaction_id
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'Roll it back instead, or undo its changes one by one.';
    elsif v_transaction.suppressed is not null and not force then
        raise exception 'transaction % cannot be undone: recording of % was suppressed in it',
            transaction_id, array_to_string(v_transaction.suppressed, ', ')
            using errcode = 'VH007',
                  hint = 'Pass force => true to undo what was recorded.';
    end if;
end;
$$;

comment on function chrononaut._find_transaction(bigint, boolean) is
    'Raises unless a transaction is known, has ended and was recorded in full.';


create or replace function chrononaut._undo_range(
    v chrononaut.versioning,
    condition text,
    out low bigint,
    out high bigint,
    out total bigint,
    out inserts bigint,
    out deletes bigint,
    out hidden text[])
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    execute format(
        'select min(h.%1$I), max(h.%1$I), count(*), count(*) filter (where h.%2$I = ''I''), '
            'count(*) filter (where h.%2$I in (''D'', ''T'')) from %3$s h where %4$s',
        chrononaut._meta_name(v.meta, 'change_id'),
        chrononaut._meta_name(v.meta, 'operation'),
        v.history_relid::regclass, condition)
    into low, high, total, inserts, deletes;
    if low is not null and v.hidden <> '{}' then
        execute format(
            'select array_agg(distinct c.name) from %1$s h '
                'cross join jsonb_array_elements_text(h.%2$I -> ''hidden_cols_changed'') c(name) '
                'where %3$s and h.%2$I ? ''hidden_cols_changed''',
            v.history_relid::regclass,
            chrononaut._meta_name(v.meta, 'change_info'), condition)
        into hidden;
    end if;
end;
$$;

comment on function chrononaut._undo_range(chrononaut.versioning, text) is
    'First and last change that meet a condition, and what is to be known of them.';


create or replace function chrononaut._check_known_keys(
    v chrononaut.versioning,
    condition text,
    what text)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_unknown boolean := false;
begin
    if exists (select from chrononaut.key_period p where p.versioning_id = v.id) then
        execute format('select exists (select from %s h where %s and num_nulls(%s) > 0)',
            chrononaut._history_reference(v), condition, (
                select string_agg(format('h.%I', k ->> 'history'), ', ')
                from jsonb_array_elements(chrononaut._scope_key(v)) k))
        into v_unknown;
    end if;
    if v_unknown then
        perform chrononaut._refuse(v.relid,
            format('%s cannot be undone: the key of %I.%I has got more columns since',
                what, v.schema_name, v.table_name),
            'Which rows it made is not known by the present key; revert or delete them one by one.',
            'VH003');
    end if;
end;
$$;

comment on function chrononaut._check_known_keys(chrononaut.versioning, text, text) is
    'Raises VH003 if changes to be undone do not tell the key that the table has now.';


create or replace function chrononaut._undo_scope(
    v chrononaut.versioning,
    condition text,
    what text,
    force boolean)
    returns jsonb
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_range record;
    v_scope jsonb;
begin
    select r.* into strict v_range from chrononaut._undo_range(v, condition) r;
    if v_range.low is null then
        return null;
    end if;
    perform chrononaut._check_may_undo(v, what);
    if not v.active then
        if not force then
            perform chrononaut._refuse(v.relid,
                format('%s cannot be undone: %I.%I is no longer versioned',
                    what, v.schema_name, v.table_name),
                'Version it again, or pass force => true to leave it out.');
        end if;
        return null;
    end if;
    perform chrononaut._check_drift(v.id);
    perform chrononaut._check_known_keys(v, condition, what);
    v_scope := chrononaut._scope(v, condition, v_range.low, v_range.high);
    return v_scope || jsonb_build_object(
        'unknown', case when v_range.deletes > 0 then to_jsonb(v.hidden)
            else coalesce(to_jsonb(v_range.hidden), '[]') end,
        'fresh', v_range.inserts = v_range.total,
        'gone', v_range.deletes = v_range.total,
        'newest', false,
        'total', v_range.total,
        'pairs', v.granularity = 'row' and v_range.inserts > 0 and v_range.deletes > 0
            and jsonb_array_length(v_scope -> 'columns') > cardinality(v.key)
            and not exists (  -- No UPDATE can set such a key back.
                select from jsonb_array_elements(v_scope -> 'columns') c
                join jsonb_array_elements(v_scope -> 'key') k on k -> 'live' = c -> 'name'
                where (c ->> 'always')::boolean));
end;
$$;

comment on function chrononaut._undo_scope(chrononaut.versioning, text, text, boolean) is
    'The scope of the changes of one table that meet a condition; null if there is none.';


create or replace function chrononaut._is_newest(
    v chrononaut.versioning,
    transaction_id bigint)
    returns boolean
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_newer boolean;
begin
    -- Whatever had ended before the transaction's snapshot cannot have come after it.
    execute format(
        'select exists (select from %1$s h where h.%2$I <> $1 and h.%2$I >= $2)',
        chrononaut._history_reference(v),
        chrononaut._meta_name(v.meta, 'transaction_id'))
    into v_newer
    using transaction_id, (
        select (t.id >> 40 << 40) + pg_snapshot_xmin(t.snapshot)::text::bigint
        from chrononaut.transaction t where t.id = transaction_id);
    return not v_newer;
end;
$$;

comment on function chrononaut._is_newest(chrononaut.versioning, bigint) is
    'Whether no change of a table can be later than those of a transaction.';


create or replace function chrononaut._transaction_scopes(transaction_id bigint, force boolean)
    returns jsonb
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning;
    v_scope jsonb;
    v_scopes jsonb := '[]';
begin
    perform chrononaut._find_transaction(transaction_id, force);
    perform chrononaut._relocate();
    for v in
        select r.* from chrononaut.versioning r
        where exists (select from pg_class c where c.oid = r.history_relid)
        order by r.id
    loop
        v := chrononaut._hold(v);
        v_scope := chrononaut._undo_scope(v,
            format('h.%I = %s', chrononaut._meta_name(v.meta, 'transaction_id'), transaction_id),
            format('transaction %s', transaction_id), force);
        continue when v_scope is null;
        v_scopes := v_scopes || (v_scope || jsonb_build_object(
            'newest', chrononaut._is_newest(v, transaction_id)));
    end loop;
    return v_scopes;
end;
$$;

comment on function chrononaut._transaction_scopes(bigint, boolean) is
    'The scopes of all tables that a transaction changed; VH006 if the caller may not read one.';


create or replace function chrononaut._has_change(v chrononaut.versioning, change_id bigint)
    returns boolean
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_found boolean;
begin
    -- As the table is called now: one that was moved is in the way of no other table's undo.
    execute format('select exists (select from %s h where h.%I = $1)',
        v.history_relid::regclass, chrononaut._meta_name(v.meta, 'change_id'))
    into v_found
    using change_id;
    return v_found;
end;
$$;

comment on function chrononaut._has_change(chrononaut.versioning, bigint) is
    'Whether the history of a table has a change.';


create or replace function chrononaut._change_condition(
    v chrononaut.versioning,
    change_id bigint)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    set extra_float_digits = 1
    set datestyle = 'ISO, YMD'
    set intervalstyle = 'postgres'
as $$
#variable_conflict use_variable
declare
    v_key text;
begin
    -- With the key in it, the condition is served by the primary key ever after. It is read
    -- with the settings of the session, so it is written in a way that all of them understand.
    execute (
        select format('select format(%L, %s) from %s h where h.%I = $1',
            string_agg(replace(format('h.%I %s ', k.value ->> 'history', k.value ->> 'operator'),
                '%', '%%') || '%L::' || replace(k.value ->> 'type', '%', '%%'),
                ' and ' order by k.ordinality),
            string_agg(format('h.%I', k.value ->> 'history'), ', ' order by k.ordinality),
            chrononaut._history_reference(v),
            chrononaut._meta_name(v.meta, 'change_id'))
        from jsonb_array_elements(chrononaut._scope_key(v)) with ordinality k)
    into v_key
    using change_id;
    return v_key || format(' and h.%I = %s', chrononaut._meta_name(v.meta, 'change_id'), change_id);
end;
$$;

comment on function chrononaut._change_condition(chrononaut.versioning, bigint) is
    'A condition that finds one change by key and number.';


create or replace function chrononaut._change_scopes(change_id bigint, target regclass)
    returns jsonb
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning;
    v_condition text;
begin
    perform chrononaut._relocate();
    if target is not null then
        perform chrononaut._check_may_undo(chrononaut._require(target),
            format('change %s', change_id));
    end if;
    for v in
        select r.* from chrononaut.versioning r
        where r.active and (target is null or r.relid = target) and chrononaut._may_undo(r)
        order by r.id
    loop
        v := chrononaut._hold(v);
        if chrononaut._has_change(v, change_id) then
            perform chrononaut._check_drift(v.id);
            v_condition := chrononaut._change_condition(v, change_id);
            return jsonb_build_array(chrononaut._undo_scope(v, v_condition,
                format('change %s', change_id), false));
        end if;
    end loop;
    raise exception 'there is no change %', coalesce(change_id::text, 'null')
        || coalesce(' of ' || target, '')
        using errcode = 'no_data_found',
              hint = 'Numbers of changes are the change_id of history tables and of recent_changes.';
end;
$$;

comment on function chrononaut._change_scopes(bigint, regclass) is
    'The scope of one change, looked for where the caller may read history.';


create or replace function chrononaut._own_transaction()
    returns bigint
    language sql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
    select chrononaut._transaction_id()
$$;

comment on function chrononaut._own_transaction() is
    'Id of the current transaction, for functions that run as the caller.';
