-- The global feed: all changes of all versioned tables in one view.
--
-- One string-bodied function per history table keeps the view free of dependencies on its
-- columns; the functions inline, so that conditions on changed and transaction_id reach
-- the BRIN indexes. Rights are those of the reader. Safe to replay.

create or replace function chrononaut._write_changes_function(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_function text := format('chrononaut._changes_%s()', v.id);
begin
    execute format(
        'create or replace function %s returns table (change_id bigint, '
            'changed timestamptz, relation text, operation bpchar, key jsonb, '
            'transaction_id bigint, change_info jsonb) language sql stable as %L',
        v_function,
        format(
            'select h.%I, h.%I, %L, h.%I, pg_catalog.jsonb_build_object(%s), h.%I, h.%I from %s h',
            chrononaut._meta_name(v.meta, 'change_id'),
            chrononaut._meta_name(v.meta, 'changed'),
            format('%I.%I', v.schema_name, v.table_name),
            chrononaut._meta_name(v.meta, 'operation'),
            (select string_agg(format('%L, h.%I', d.history_name, d.history_name), ', '
                    order by d.in_key)
                from chrononaut._data_columns(v) d where d.in_key is not null),
            chrononaut._meta_name(v.meta, 'transaction_id'),
            chrononaut._meta_name(v.meta, 'change_info'),
            chrononaut._history_reference(v)));
    execute format('comment on function %s is %L', v_function,
        format('Changes of %I.%I in the shape of recent_changes.', v.schema_name, v.table_name));
    perform chrononaut._write_images_function(v);
end;
$$;

comment on function chrononaut._write_changes_function(chrononaut.versioning) is
    'Replaces the function through which recent_changes reads one history table.';


create or replace function chrononaut._drop_stale_images()
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_function text;
begin
    for v_function in
        select format('chrononaut.%I', p.proname)
        from pg_proc p
        where p.pronamespace = 'chrononaut'::regnamespace
            and p.proname ~ '^_images_[0-9]+$'
            and not exists (
                select from chrononaut.versioning v where p.proname = '_images_' || v.id)
    loop
        execute format('drop function %s(boolean)', v_function);
    end loop;
end;
$$;

comment on function chrononaut._drop_stale_images() is
    'Drops the functions behind changes_of of histories that are gone.';


create or replace function chrononaut._write_feed()
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_query text;
begin
    perform chrononaut._drop_stale_images();
    select string_agg(format('select c.* from chrononaut._changes_%s() c', v.id),
        ' union all ' order by v.id)
    into v_query
    from chrononaut.versioning v
    where to_regproc(format('chrononaut._changes_%s', v.id)) is not null;
    execute 'create or replace view chrononaut.recent_changes as ' || coalesce(v_query,
        'select null::bigint as change_id, null::timestamptz as changed, '
            'null::text as relation, null::bpchar as operation, null::jsonb as key, '
            'null::bigint as transaction_id, null::jsonb as change_info where false');
    comment on view chrononaut.recent_changes is
        'All changes of all versioned tables; filter by changed or transaction_id, order by change_id.';
    comment on column chrononaut.recent_changes.change_id is 'The order of the changes.';
    comment on column chrononaut.recent_changes.changed is 'When the change was recorded.';
    comment on column chrononaut.recent_changes.relation is 'The live table, as schema.table.';
    comment on column chrononaut.recent_changes.operation is 'I, U, D or T.';
    comment on column chrononaut.recent_changes.key is 'The key of the row.';
    comment on column chrononaut.recent_changes.transaction_id is 'chrononaut.transaction.id.';
    comment on column chrononaut.recent_changes.change_info is 'Who and why.';
    grant select on chrononaut.recent_changes to public;
end;
$$;

comment on function chrononaut._write_feed() is
    'Rebuilds the view recent_changes from what is versioned.';
