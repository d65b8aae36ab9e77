-- Sources: which table of which tool holds the old history of a versioned table.
--
-- Safe to replay.

create or replace function chrononaut._tool_column(names jsonb, usual text)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce((select n.key from jsonb_each_text(names) n where n.value = 'tool.' || usual), usual)
$$;

comment on function chrononaut._tool_column(jsonb, text) is
    'What a source calls a column of the tool''s own.';


drop function if exists chrononaut._conversion_format(regclass, chrononaut.versioning);

create or replace function chrononaut._conversion_format(
    relation regclass,
    v chrononaut.versioning,
    names jsonb)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select f.format
    from (values
        (1, 'activity', '{table_name,changed,version,key,data,user_info,extra_info}'::text[]),
        (2, 'audit', '{table_name,verb,issued_at,native_transaction_id,old_data,changed_data}'),
        (3, 'continuum', v.key::text[] || chrononaut._tool_column(names, 'transaction_id')
            || chrononaut._tool_column(names, 'operation_type')),
        (4, 'history', v.key::text[] || '{version,changed,change_info}')
    ) f(rank, format, columns)
    where relation <> v.history_relid
        and f.columns <@ (
            select array_agg(a.attname::text) from pg_attribute a
            where a.attrelid = relation and a.attnum > 0 and not a.attisdropped)
    order by f.rank
    limit 1
$$;

comment on function chrononaut._conversion_format(regclass, chrononaut.versioning, jsonb) is
    'The format of a table by its columns; null if it is none that is known.';


create or replace function chrononaut._has_part(relation regclass, part text)
    returns boolean
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_found boolean;
begin
    execute format('select exists (select from %s s where s.table_name = $1)', relation)
    into v_found
    using part;
    return v_found;
end;
$$;

comment on function chrononaut._has_part(regclass, text) is
    'Whether a table that serves many has rows of one.';


drop function if exists chrononaut._find_source(
    chrononaut.versioning, text, regclass, text, text);

create or replace function chrononaut._find_source(
    v chrononaut.versioning,
    wanted_format text,
    wanted_source regclass,
    activity_part text,
    audit_part text,
    names jsonb)
    returns table (format text, relation regclass)
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_format text;
begin
    for format, relation in
        select c.format, r.relation
        from (values
            (1, 'activity', 'chrononaut_activity', coalesce(activity_part, v.table_name)),
            (2, 'history', v.table_name || '_history_old', null),
            (3, 'history', v.table_name || '_history', null),
            (4, 'continuum', v.table_name || '_version', null),
            (5, 'audit', 'activity', coalesce(audit_part, v.table_name))
        ) c(rank, format, name, part)
        cross join unnest(array[v.schema_name::text, 'public']) with ordinality s(name, rank)
        cross join lateral (select to_regclass(pg_catalog.format('%I.%I', s.name, c.name))) r(relation)
        where wanted_source is null and r.relation is not null
            and coalesce(wanted_format, c.format) = c.format
            and chrononaut._conversion_format(r.relation, v, names) = c.format
            and (c.part is null or chrononaut._has_part(r.relation, c.part))
        union all
        select coalesce(wanted_format, chrononaut._conversion_format(wanted_source, v, names)),
            wanted_source
        where wanted_source is not null
    loop
        v_format := chrononaut._conversion_format(relation, v, names);
        if v_format is distinct from format then
            perform chrononaut._refuse(relation,
                pg_catalog.format('%s is not a table of format %s', relation,
                    coalesce(format, 'activity, history, continuum or audit')),
                'Name the table that holds the old history, and its format.');
        end if;
        return next;
        return;
    end loop;
end;
$$;

comment on function chrononaut._find_source(
    chrononaut.versioning, text, regclass, text, text, jsonb) is
    'The first table that holds old history of a versioned one, or the one that was named.';


create or replace function chrononaut._transactions_of(relation regclass, format text)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_schema name := (
        select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.oid = relation);
    v_found regclass := coalesce(
        to_regclass(format('%I.transaction', v_schema)), to_regclass('public.transaction'));
begin
    if format = 'history' then
        return '';
    elsif format = 'activity' then
        return chrononaut._qualified(relation);
    elsif v_found is null then
        perform chrononaut._refuse(relation,
            format('beside %s there is no table transaction', relation),
            'Both tables are needed: who and when is in the other.');
    end if;
    return chrononaut._qualified(v_found);
end;
$$;

comment on function chrononaut._transactions_of(regclass, text) is
    'The table that numbers a source''s transactions; empty if they have no numbers.';


create or replace function chrononaut._qualified(relation regclass)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('%I.%I', n.nspname, c.relname)
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where c.oid = relation
$$;

comment on function chrononaut._qualified(regclass) is
    'A relation''s name with its schema, whatever the search path.';


create or replace function chrononaut._follow_source(relation regclass)
    returns void
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    update chrononaut.conversion_source s
    set relation = chrononaut._qualified(_follow_source.relation)
    where s.relid = _follow_source.relation
        and to_regclass(s.relation) is null
$$;

comment on function chrononaut._follow_source(regclass) is
    'Knows a source again that was renamed since it was converted.';


create or replace function chrononaut.conversion_source(
    target regclass,
    format text default null,
    source regclass default null,
    activity_part text default null,
    audit_part text default null,
    names jsonb default '{}')
    returns integer
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning := chrononaut._require(target);
    v_found record;
    v_transactions text;
    v_id integer;
begin
    perform pg_advisory_xact_lock(hashtextextended('chrononaut.convert', 0));
    select f.format, f.relation into v_found from 
        chrononaut._find_source(v, format, source, activity_part, audit_part, names) f;
    if v_found.relation is null then
        perform chrononaut._refuse(target,
            pg_catalog.format('no table of another tool holds the history of %s', target),
            'Name it: source=..., and perhaps source_format=...');
    end if;
    perform chrononaut._follow_source(v_found.relation);
    v_transactions := chrononaut._transactions_of(v_found.relation, v_found.format);
    insert into chrononaut.conversion_source (
        versioning_id, format, relation, relid, part, transactions, transaction_base, names)
    values (v.id, v_found.format, chrononaut._qualified(v_found.relation), v_found.relation,
        case v_found.format
            when 'activity' then coalesce(activity_part, v.table_name)
            when 'audit' then coalesce(audit_part, v.table_name) else '' end,
        v_transactions,
        coalesce(
            (select max(s.transaction_base) from chrononaut.conversion_source s
                where s.transactions = v_transactions),
            (select coalesce(max(s.transaction_base), -4503599627370496) + (1::bigint << 40)
                from chrononaut.conversion_source s)),
        names)
    on conflict on constraint conversion_source_once
        do update set names = excluded.names, relid = excluded.relid
    returning id into v_id;
    return v_id;
end;
$$;

comment on function chrononaut.conversion_source(
    regclass, text, regclass, text, text, jsonb) is
    'Finds or takes the table to convert from, registers it, and returns its number.';


create or replace function chrononaut._source_columns(s chrononaut.conversion_source)
    returns table (name name, type text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select a.attname, chrononaut._history_type(a.atttypid)
    from pg_attribute a
    where a.attrelid = s.relation::regclass and a.attnum > 0 and not a.attisdropped
$$;

comment on function chrononaut._source_columns(chrononaut.conversion_source) is
    'The columns of a source with the types that history would give them.';


create or replace function chrononaut._known_names(s chrononaut.conversion_source)
    returns text[]
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select array_agg(k.name)
    from (
        select m.live_name::text as name from chrononaut.versioned_column m
        where m.versioning_id in (select f.id from chrononaut._family(s.versioning_id) f)
        union
        select m.history_name from chrononaut.versioned_column m
        where m.versioning_id = s.versioning_id and m.history_name is not null
        union
        select n.key from jsonb_each(s.names) n
        union
        select unnest(case s.format
            when 'activity' then '{version,changed,change_info}'::text[]
            when 'history' then '{version,changed,change_info}'
            when 'continuum' then '{transaction_id,end_transaction_id,operation_type}'
            else '{}' end)
        union
        select a.attname || '_mod' from pg_attribute a
        where s.format = 'continuum' and a.attrelid = s.relation::regclass and a.attnum > 0
    ) k
$$;

comment on function chrononaut._known_names(chrononaut.conversion_source) is
    'Names in a source that need no report: columns, even if hidden, and the tool''s own.';


create or replace function chrononaut._family(versioning_id integer)
    returns table (id integer)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    with recursive root as (
        select v.id, v.parent_id from chrononaut.versioning v where v.id = versioning_id
        union all
        select p.id, p.parent_id from chrononaut.versioning p join root r on r.parent_id = p.id
    ), member as (
        select r.id from root r where r.parent_id is null
        union all
        select c.id from chrononaut.versioning c join member m on c.parent_id = m.id
    )
    select m.id from member m
$$;

comment on function chrononaut._family(integer) is
    'All tables of a joined-table inheritance, or the one table.';
