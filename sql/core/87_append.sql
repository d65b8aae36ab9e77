-- Extras for single objects, added after their change was recorded.
--
-- Safe to replay.

create or replace function chrononaut.append_change_info(
    target regclass,
    keys jsonb,
    extras jsonb)
    returns bigint
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_caller name := chrononaut._caller();
    v_id integer;
    v_count bigint;
begin
    if jsonb_typeof(keys) <> 'array' or jsonb_typeof(extras) not in ('array', 'object') then
        perform chrononaut._refuse(target, 'keys must be a JSON array, extras an array or an object',
            'As in: append_change_info(''app.user'', ''[[1], [2]]'', ''[{"a": 1}, {"b": 2}]'').',
            'VH001');
    end if;
    select v.id into v_id from chrononaut.versioning v where v.relid = target and v.active;
    if not found then
        perform chrononaut._require(target);
    elsif not has_table_privilege(v_caller, target, 'insert, update, delete')
        and not has_any_column_privilege(v_caller, target, 'insert, update') then
        perform chrononaut._refuse(target,
            format('role %s may not write to %s', v_caller, target),
            'Only who may change the table may amend what it recorded.', 'VH006');
    end if;
    perform set_config('chrononaut.amending', 'on', true);
    execute format('select chrononaut._append_%s($1, $2, $3)', v_id)
    into v_count
    using keys, extras, chrononaut._transaction_id();
    perform set_config('chrononaut.amending', '', true);
    return v_count;
end;
$$;

comment on function chrononaut.append_change_info(regclass, jsonb, jsonb) is
    'Merges extras into the newest change that this transaction made to each key.';


create or replace function chrononaut._append_statement(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- The newest change is found from the end of its key's history: the case lets the planner
    -- expect it there, however long that is, and keeps it off the coarse index of transactions.
    select format(
        'with wanted as ('
            'select %1$s, case jsonb_typeof($2) when ''object'' then $2 '
                'else $2 -> (e.position - 1)::integer end as extra '
            'from jsonb_array_elements($1) with ordinality e(key, position)'
        '), newest as ('
            'select w.extra, %6$s, (select max(h.%2$I) from %3$s h '
                'where %4$s and case h.%5$I when $3 then true end) as change_id '
            'from wanted w'
        ') update %3$s h set %7$I = h.%7$I || jsonb_build_object(''extra'', '
            'coalesce(h.%7$I -> ''extra'', ''{}'') || n.extra) '
        'from newest n where %8$s and h.%2$I = n.change_id and jsonb_typeof(n.extra) = ''object''',
        string_agg(format(
            '(case jsonb_typeof(e.key) when ''object'' then e.key ->> %1$L '
                'when ''array'' then e.key ->> %2$s else e.key #>> ''{}'' end)::%3$s as k%4$s',
            d.live_name, d.in_key - 1, d.type, d.in_key), ', ' order by d.in_key),
        chrononaut._meta_name(v.meta, 'change_id'),
        chrononaut._history_reference(v),
        string_agg(format('h.%I = w.k%s', d.history_name, d.in_key), ' and ' order by d.in_key),
        chrononaut._meta_name(v.meta, 'transaction_id'),
        string_agg('w.k' || d.in_key, ', ' order by d.in_key),
        chrononaut._meta_name(v.meta, 'change_info'),
        string_agg(format('h.%I = n.k%s', d.history_name, d.in_key), ' and ' order by d.in_key))
    from chrononaut._data_columns(v) d
    where d.in_key is not null
$$;

comment on function chrononaut._append_statement(chrononaut.versioning) is
    'The statement of append_change_info for one table.';


create or replace function chrononaut._write_append(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    -- A function, so that it is planned once per session: by keys, however few rows there are
    -- at that time.
    execute format(
        'create or replace function chrononaut._append_%s(keys jsonb, extras jsonb, by_transaction bigint) '
            'returns bigint language plpgsql set search_path = pg_catalog, pg_temp '
            'set plan_cache_mode = force_generic_plan set enable_seqscan = off as %L',
        v.id,
        format('declare v_count bigint; begin %s; get diagnostics v_count = row_count; '
            'return v_count; end', chrononaut._append_statement(v)));
    execute format('comment on function chrononaut._append_%s(jsonb, jsonb, bigint) is %L',
        v.id, format('What append_change_info() does for %I.%I.', v.schema_name, v.table_name));
end;
$$;

comment on function chrononaut._write_append(chrononaut.versioning) is
    'Replaces the function that append_change_info() calls for a table.';
