-- The past as schemas of views: an unmodified SELECT reads it through search_path.
--
-- Beside each schema with versioned tables stands one of views that have the tables' names
-- and read them as they were at the moment that the setting chrononaut.past names. The
-- views stand on string-bodied functions, so that they never block the application's DDL.
-- Safe to replay.

create or replace function chrononaut._past_schema(schema_name name)
    returns name
    language plpgsql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_name text := 'chrononaut_past_' || schema_name;
begin
    return case when octet_length(v_name) > 63 then chrononaut._clip(v_name, '') else v_name end;
end;
$$;

comment on function chrononaut._past_schema(name) is
    'The schema in which the past of a schema''s tables is read.';


create or replace function chrononaut._has_past_schema(schema_name name)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Whoever may create schemas could else put tables of his own before everybody's.
    select exists (
        select from pg_namespace n
        where n.nspname = chrononaut._past_schema(schema_name)
            and pg_get_userbyid(n.nspowner) = chrononaut._owner())
$$;

comment on function chrononaut._has_past_schema(name) is
    'Whether a schema''s past can be read, in a schema of the core''s owner.';


create or replace function chrononaut._make_past_schema(schema_name name)
    returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_schema name := chrononaut._past_schema(schema_name);
begin
    if chrononaut._has_past_schema(schema_name) then
        return true;
    elsif to_regnamespace(quote_ident(v_schema)) is not null
        or not has_database_privilege(chrononaut._owner(), current_database(), 'create') then
        return false;
    end if;
    execute format('create schema %I', v_schema);
    execute format('comment on schema %I is %L', v_schema,
        format('The tables of %I as they were; see chrononaut.open_past().', schema_name));
    execute format('grant usage on schema %I to public', v_schema);
    return true;
end;
$$;

comment on function chrononaut._make_past_schema(name) is
    'Makes the schema for a schema''s past, where the owner may; whether there is one.';


create or replace function chrononaut._past_function(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('chrononaut._past_%s_%s', v.id, left(md5(string_agg(
        format('%s %s', a.attname, format_type(a.atttypid, -1)), ',' order by a.attnum)), 8))
    from pg_attribute a
    where a.attrelid = v.relid and a.attnum > 0 and not a.attisdropped
$$;

comment on function chrononaut._past_function(chrononaut.versioning) is
    'Name of the function that a view of the past reads; another shape has another name.';


create or replace function chrononaut._open_moment()
    returns table (
        first bigint,
        running bigint[],
        own bigint,
        upto bigint,
        since timestamptz,
        keyed boolean,
        settled bigint)
    language plpgsql
    stable
    rows 1
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_said jsonb := nullif(current_setting('chrononaut.past', true), '')::jsonb;
begin
    if v_said is null then
        raise exception 'no moment of the past is open'
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'Open one: select chrononaut.open_past(''2026-03-01 12:00'');';
    end if;
    return query
        select p.first, coalesce(p.running, '{}'), p.own, p.upto, p.since, p.keyed, p.settled
        from jsonb_to_record(v_said) p(first bigint, running bigint[], own bigint,
            upto bigint, since timestamptz, keyed boolean, settled bigint);
end;
$$;

comment on function chrononaut._open_moment() is
    'The moment that the setting chrononaut.past holds.';


create or replace function chrononaut._write_past(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_schema name := chrononaut._past_schema(v.schema_name);
    v_function text := chrononaut._past_function(v);
begin
    if not chrononaut._make_past_schema(v.schema_name) then
        return;
    end if;
    if chrononaut._make_room(v_function, array(
        select a.atttypid from pg_attribute a
        where a.attrelid = v.relid and a.attnum > 0 and not a.attisdropped
        order by a.attnum)) then
        perform chrononaut._drop_past_views(v);
    end if;
    execute format('create or replace function %s() returns table (%s) language sql stable as %L',
        v_function,
        (select string_agg(format('%I %s', a.attname, format_type(a.atttypid, -1)), ', '
                order by a.attnum)
            from pg_attribute a
            where a.attrelid = v.relid and a.attnum > 0 and not a.attisdropped),
        chrononaut._past_query(v, 'chrononaut._open_moment()'));
    execute format('comment on function %s() is %L', v_function,
        format('%I.%I at the moment that is open.', v.schema_name, v.table_name));
    perform chrononaut._write_past_view(v, v_schema, v_function);
end;
$$;

comment on function chrononaut._write_past(chrononaut.versioning) is
    'Makes the view through which a versioned table is read as it was.';


create or replace function chrononaut._write_past_view(
    v chrononaut.versioning,
    past_schema name,
    function text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_view text := format('%I.%I', past_schema, v.table_name);
    v_reads text := format('Reads %s()', function);
begin
    if obj_description(to_regclass(v_view), 'pg_class') = v_reads then
        perform chrononaut._drop_past_functions(v, function);
        return;
    end if;
    perform chrononaut._drop_past_views(v);
    perform chrononaut._drop_past_view(to_regclass(v_view));
    execute format('create view %s %s as select p.* from %s() p', v_view,
        case when current_setting('server_version_num')::integer >= 150000
            then 'with (security_invoker = true)' else '' end,
        function);
    execute format('comment on view %s is %L', v_view, v_reads);
    execute format('grant select on %s to public', v_view);
    perform chrononaut._drop_past_functions(v, function);
end;
$$;

comment on function chrononaut._write_past_view(chrononaut.versioning, name, text) is
    'Makes a view of the past anew, unless it stands as it should.';


create or replace function chrononaut._reader_problems(v chrononaut.versioning)
    returns table (problem text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select 'the versions view is missing'
    where to_regclass(format('%I.%I', v.history_schema, v.view_name)) is null
    union all
    select n.problem
    from (
        select 'as_of() is not the generated one' as problem
        where not exists (
            select from pg_proc p
            join pg_type t on t.oid = p.proargtypes[0]
            where p.pronamespace = 'chrononaut'::regnamespace and p.proname = 'as_of'
                and t.typrelid = v.relid
                -- A subquery, to be asked once, not for the as_of() of every table.
                and p.prosrc = (select chrononaut._past_query(v, chrononaut._asked_moment())))
        union all
        select 'what reads its related rows is not the generated one'
        where chrononaut._is_related_body(v, (
            select p.prosrc
            from pg_proc p
            join pg_type t on t.oid = p.proargtypes[0]
            where p.pronamespace = 'chrononaut'::regnamespace and p.proname = '_related'
                and t.typrelid = v.relid)) is not true
        union all
        select 'the view of its past is not the generated one'
        where (chrononaut._has_past_schema(v.schema_name)
                or has_database_privilege(chrononaut._owner(), current_database(), 'create')
                    and to_regnamespace(
                        quote_ident(chrononaut._past_schema(v.schema_name))) is null)
            and not exists (
                select from pg_proc p
                where p.oid = to_regproc(chrononaut._past_function(v))
                    and p.prosrc = chrononaut._past_query(v, 'chrononaut._open_moment()')
                    and obj_description(to_regclass(format('%I.%I',
                        chrononaut._past_schema(v.schema_name), v.table_name)), 'pg_class')
                        = format('Reads %s()', chrononaut._past_function(v)))
    ) n
    where not exists (select from chrononaut._drift(v))
        and exists (select from pg_class c where c.oid = v.history_relid)
$$;

comment on function chrononaut._reader_problems(chrononaut.versioning) is
    'Whether what reads history is there, and is what would be generated now.';


create or replace function chrononaut._drop_past_view(view regclass)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_name name := (select c.relname from pg_class c where c.oid = view);
    v_aside name := chrononaut._clip(v_name::text, '_was_' || view::oid);
begin
    if view is null then
        return;
    end if;
    execute format('drop view %s', view);
exception when dependent_objects_still_exist then
    -- DDL must not fail for a view of the application's: it keeps what it stands on.
    if v_name !~ ('_was_' || view::oid || '$') then
        execute format('alter view %s rename to %I', view, v_aside);
        raise warning 'other objects stand on the past of % as its columns were', v_name
            using hint = format('Make them anew: they read %s now, which may fail.', view);
    end if;
end;
$$;

comment on function chrononaut._drop_past_view(regclass) is
    'Drops a view of the past; sets it aside if the application''s objects stand on it.';


create or replace function chrononaut._drop_past_views(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_view oid;
begin
    for v_view in
        select distinct c.oid
        from pg_proc p
        join pg_depend d on d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid
        join pg_rewrite w on w.oid = d.objid and d.classid = 'pg_rewrite'::regclass
        join pg_class c on c.oid = w.ev_class
        join pg_namespace n on n.oid = c.relnamespace
        where p.pronamespace = 'chrononaut'::regnamespace
            and p.proname ~ format('^_past_%s_', v.id)
            and n.nspname ~ '^chrononaut_past_'
    loop
        perform chrononaut._drop_past_view(v_view);
    end loop;
end;
$$;

comment on function chrononaut._drop_past_views(chrononaut.versioning) is
    'Drops the views of a table''s past, under whatever names they stand.';


create or replace function chrononaut._drop_past_functions(
    v chrononaut.versioning,
    present text default null)
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
            and p.proname ~ format('^_past_%s_', v.id)
            and format('chrononaut.%s', p.proname) is distinct from present
            and not exists (
                select from pg_depend d
                where d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid)
    loop
        execute format('drop function %s()', v_function);
    end loop;
end;
$$;

comment on function chrononaut._drop_past_functions(chrononaut.versioning, text) is
    'Drops functions that views of the past have left.';


create or replace view chrononaut.past_tables as
select v.schema_name, v.table_name, chrononaut._past_schema(v.schema_name) as past_schema
from chrononaut.versioning v
where v.active;

comment on view chrononaut.past_tables is
    'Which tables can be read as they were, and in which schema their past is read.';
comment on column chrononaut.past_tables.schema_name is 'The live table''s schema.';
comment on column chrononaut.past_tables.table_name is 'The live table, and the view of its past.';
comment on column chrononaut.past_tables.past_schema is 'The schema of the view.';

grant select on chrononaut.past_tables to public;


create or replace view chrononaut._moved_tables as
select v.schema_name, v.table_name
from chrononaut.versioning v
cross join lateral (
    -- to_regclass() is quicker, and raises where the reader may not look into the schema.
    select case
        when has_schema_privilege(to_regnamespace(quote_ident(v.schema_name))::oid, 'usage')
            then to_regclass(format('%I.%I', v.schema_name, v.table_name))::oid
        else (
            select c.oid
            from pg_class c
            join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = v.schema_name and c.relname = v.table_name) end as found) f
where v.active
    and (f.found is null
        or f.found <> v.relid and v.registered_in = (select chrononaut._here())
            -- After a restore over the same database, triggers stand on the new table.
            and not exists (
                select from pg_trigger t
                where t.tgrelid = f.found
                    and t.tgfoid = to_regproc(format('chrononaut._capture_%s', v.id))));

comment on view chrononaut._moved_tables is
    'Versioned tables that are not under their names of the last synchronisation.';
comment on column chrononaut._moved_tables.schema_name is 'The schema that it was in.';
comment on column chrononaut._moved_tables.table_name is
    'The name that it had; by now it may be another table''s.';

grant select on chrononaut._moved_tables to public;


create or replace function chrononaut._moment_text(
    at timestamptz default null,
    transaction_id bigint default null,
    mark text default null,
    before boolean default false)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    return to_jsonb(chrononaut._moment(at, transaction_id, mark, before))::text;
end;
$$;

comment on function chrononaut._moment_text(timestamptz, bigint, text, boolean) is
    'A moment as text, for the setting chrononaut.past.';


create or replace function chrononaut._enter_past(
    at timestamptz,
    transaction_id bigint,
    mark text,
    before boolean,
    strict boolean,
    by_name boolean)
    returns jsonb
    language plpgsql
as $$
-- No search_path of its own: it changes the transaction's.
#variable_conflict use_variable
declare
    v_live text := pg_catalog.current_setting('search_path');
    v_past text := case when not by_name
        then chrononaut._path_past_first(pg_catalog.current_schemas(false), v_live) end;
    v_moment text;
    v_tables jsonb := (
        select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
            p.schema_name, p.table_name, p.past_schema, (
                select pg_catalog.pg_table_is_visible(c.oid)
                from pg_catalog.pg_class c
                where c.relname operator(pg_catalog.=) p.table_name
                    and c.relnamespace operator(pg_catalog.=) (
                        select n.oid from pg_catalog.pg_namespace n
                        where n.nspname operator(pg_catalog.=) p.schema_name)))
            order by p.schema_name, p.table_name)
        from chrononaut.past_tables p);
    v_live_only jsonb := case when strict then chrononaut._live_only() end;
begin
    begin
        v_moment := chrononaut._moment_text(at, transaction_id, mark, before);
    exception when no_data_found then
        -- The client's transaction is to survive that.
        return pg_catalog.jsonb_build_object('unknown', sqlerrm);
    end;
    perform pg_catalog.set_config('chrononaut.past', v_moment, true);
    if not by_name then
        perform pg_catalog.set_config('search_path', v_past, true);
    end if;
    return pg_catalog.jsonb_build_object(
        'moment', v_moment, 'path', v_past, 'live_path', v_live,
        'tables', v_tables, 'live_only', v_live_only,
        'provisional', transaction_id operator(pg_catalog.&) 1099511627775
            operator(pg_catalog.=) pg_catalog.pg_current_xact_id_if_assigned()::text::bigint);
end;
$$;

comment on function chrononaut._enter_past(
    timestamptz, bigint, text, boolean, boolean, boolean) is
    'Opens a moment for this transaction; returns what a client needs to read it.';


create or replace function chrononaut._live_only()
    returns jsonb
    language plpgsql
    stable
as $$
-- No search_path of its own: it says which tables the session's finds.
begin
    return (
        select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
            n.nspname, c.relname, pg_catalog.pg_table_is_visible(c.oid)))
        from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) c.relnamespace
        where c.relkind operator(pg_catalog.=) any ('{r,p,v,m,f}'::"char"[])
            and n.nspname operator(pg_catalog.!~) '^(pg_|information_schema$|chrononaut)'
            and not exists (
                select from chrononaut.versioned_tables v
                where c.oid operator(pg_catalog.=) any (
                    array[v.relation, v.history_table, v.versions_view]::pg_catalog.oid[])));
end;
$$;

comment on function chrononaut._live_only() is
    'Tables and views that have no past.';


create or replace function chrononaut._may_lack_past(schemas name[])
    returns boolean
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
-- Not an SQL function: before PostgreSQL 18 that would be planned in each transaction.
begin
    return exists (select from chrononaut._moved_tables)
        or exists (
            select from chrononaut.past_tables p
            where p.schema_name = any (schemas)
                and not exists (
                    select from pg_class c
                    where c.relnamespace = to_regnamespace(quote_ident(p.past_schema))
                        and c.relname = p.table_name))
        or exists (
            select from (
                select distinct p.schema_name from chrononaut.past_tables p
                where p.schema_name = any (schemas)) s
            where not chrononaut._has_past_schema(s.schema_name));
end;
$$;

comment on function chrononaut._may_lack_past(name[]) is
    'Whether a table could lack a view of its past; quicker than to say which.';


create or replace function chrononaut._check_past(schemas name[])
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_gap record;
begin
    if not chrononaut._may_lack_past(schemas) then
        return;
    end if;
    -- What has no view would be read live, without a word.
    select t.relation, n.nspname, chrononaut._has_past_schema(n.nspname) as has_schema,
        chrononaut._past_schema(n.nspname) as past_schema
    into v_gap
    from chrononaut.versioned_tables t
    join pg_class c on c.oid = t.relation
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = any (schemas) and not (
        chrononaut._has_past_schema(n.nspname)
        -- Under a name that changed since stands the past of another table, if any.
        and t.schema_name = n.nspname
        and t.table_name = c.relname
        and exists (
            select from pg_class o
            where o.relname = c.relname and o.relnamespace =
                to_regnamespace(quote_ident(chrononaut._past_schema(n.nspname)))))
    limit 1;
    if found then
        perform chrononaut._refuse(v_gap.relation,
            format('the past of %s cannot be read: schema %I has no view of it',
                v_gap.relation, v_gap.past_schema),
            format('Run: %sselect chrononaut.sync_versioning(%L);', case
                when v_gap.has_schema then ''
                when to_regnamespace(quote_ident(v_gap.past_schema)) is not null
                    then format('alter schema %I owner to %I; ',
                        v_gap.past_schema, chrononaut._owner())
                else format('grant create on database %I to %I; ',
                    current_database(), chrononaut._owner()) end, v_gap.relation),
            case when v_gap.has_schema then 'VH005' else 'VH006' end);
    end if;
end;
$$;

comment on function chrononaut._check_past(name[]) is
    'Raises unless the past of every versioned table of these schemas can be read.';


create or replace function chrononaut._past_path(schemas name[])
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform chrononaut._check_past(schemas);
    return (
        select coalesce(string_agg(quote_ident(chrononaut._past_schema(s.name)), ', '
            order by s.position), '')
        from unnest(schemas) with ordinality s(name, position)
        where chrononaut._has_past_schema(s.name));
end;
$$;

comment on function chrononaut._past_path(name[]) is
    'The schemas in which the past of these schemas is read, as a search_path.';


create or replace function chrononaut._path_past_first(schemas name[], live text)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    perform chrononaut._check_past(schemas);
    -- Schema by schema: what one that comes first leaves in the present stays in front.
    return (
        select concat_ws(', ',
            string_agg(concat_ws(', ',
                case when chrononaut._has_past_schema(s.name)
                    then quote_ident(chrononaut._past_schema(s.name)) end,
                quote_ident(s.name)), ', ' order by s.position),
            nullif(live, ''))
        from unnest(schemas) with ordinality s(name, position));
end;
$$;

comment on function chrononaut._path_past_first(name[], text) is
    'A search_path that finds in each schema the past of what has one, else what is there.';


create or replace function chrononaut._check_hidden_past(schemas name[])
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_front record;
begin
    select n.nspname, c.relname, p.schema_name
    into v_front
    from unnest(schemas) with ordinality f(name, position)
    join pg_namespace n on n.nspname = f.name
    join pg_class c on c.relnamespace = n.oid
    join chrononaut.past_tables p on p.table_name = c.relname
    join unnest(schemas) with ordinality b(name, position)
        on b.name = p.schema_name and b.position > f.position
    where not exists (
        select from chrononaut.past_tables o
        where o.schema_name = n.nspname and o.table_name = c.relname)
    order by f.position, c.relname
    limit 1;
    if found then
        raise exception '%.% has no past, and hides %.% that has one',
            quote_ident(v_front.nspname), quote_ident(v_front.relname),
            quote_ident(v_front.schema_name), quote_ident(v_front.relname)
            using errcode = 'VH003',
                  schema = v_front.nspname,
                  table = v_front.relname,
                  hint = 'Take its schema out of the search_path, or open the past without strict.';
    end if;
end;
$$;

comment on function chrononaut._check_hidden_past(name[]) is
    'Raises if a name on this path would mean another table once live ones are out of sight.';


create or replace function chrononaut.open_past(
    at timestamptz default null,
    transaction_id bigint default null,
    mark text default null,
    before boolean default false,
    strict boolean default false)
    returns text
    language plpgsql
as $$
-- No search_path of its own: it changes the session's.
#variable_conflict use_variable
declare
    v_schemas name[];
    v_past text;
    v_live text;
begin
    perform chrononaut.close_past();
    v_live := pg_catalog.current_setting('search_path');
    v_schemas := pg_catalog.current_schemas(false);
    v_past := chrononaut._past_path(v_schemas);
    if not exists (
        select from chrononaut.past_tables p
        where p.schema_name operator(pg_catalog.=) any (v_schemas)) then
        raise exception 'no schema of the search_path has versioned tables: %', v_live
            using errcode = 'VH003',
                  hint = 'chrononaut.past_tables lists them; set search_path to their schema first.';
    elsif strict then
        perform chrononaut._check_hidden_past(v_schemas);
    else
        v_past := chrononaut._path_past_first(v_schemas, v_live);
    end if;
    perform pg_catalog.set_config('chrononaut.past',
        chrononaut._moment_text(at, transaction_id, mark, before), false);
    perform pg_catalog.set_config('chrononaut.live_path', v_live, false);
    perform pg_catalog.set_config('search_path', v_past, false);
    return v_past;
end;
$$;

comment on function chrononaut.open_past(timestamptz, bigint, text, boolean, boolean) is
    'Lets this session read versioned tables as they were; returns the search_path that does it.';


create or replace function chrononaut.close_past()
    returns void
    language plpgsql
as $$
-- No search_path of its own: it changes the session's.
begin
    if pg_catalog.current_setting('chrononaut.live_path', true) operator(pg_catalog.<>) '' then
        perform pg_catalog.set_config('search_path',
            pg_catalog.current_setting('chrononaut.live_path'), false);
    end if;
    perform pg_catalog.set_config('chrononaut.live_path', '', false);
    perform pg_catalog.set_config('chrononaut.past', '', false);
end;
$$;

comment on function chrononaut.close_past() is
    'Back to the present: restores the search_path that open_past() found.';
