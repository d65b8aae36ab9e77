-- The map from live columns to history columns.
--
-- Columns are known by attribute number, so that a rename is told from a drop and an add;
-- where the numbers do not hold (a restored database), names decide. Safe to replay.

create or replace function chrononaut._history_type(type oid)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_type pg_type;
begin
    if type = 0 then
        return null;  -- of a column that was dropped
    end if;
    loop
        select t.* into strict v_type from pg_type t where t.oid = type;
        exit when v_type.typtype <> 'd';
        type := v_type.typbasetype;
    end loop;
    -- An array of a domain stays what it is: a cast between array types may be its owner's
    -- function, and captures would run it with the rights of the core's owner.
    return format_type(type, -1);
end;
$$;

comment on function chrononaut._history_type(oid) is
    'The type that history stores: without length limits, domains as their base type; null for 0.';


create or replace function chrononaut._member(prefix text, name name)
    returns text
    language sql
    stable
as $$
    -- %I leaves bare what is reserved in PL/pgSQL alone: old.if is no column there.
    -- No search_path of its own, so that it is inlined.
    select pg_catalog.format(case
        when name operator(pg_catalog.=) any
                ('{begin,by,declare,execute,foreach,if,loop,strict,while}'::pg_catalog.name[])
            then '%s."%s"'
        else '%s.%I' end, prefix, name)
$$;

comment on function chrononaut._member(text, name) is
    'A column of a row, as SQL and PL/pgSQL alike understand it.';


create or replace function chrononaut._without_variables(expression text, names name[])
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- Words only: no texts, quoted names, types, fields or functions.
    select string_agg(case
            when t.word = any (names) and (t.word in ('old', 'new', 'found') or t.word ~ '^(v|tg)_')
                and t.behind is distinct from '.' and t.behind is distinct from ':'
                and t.ahead is distinct from '('
            then 's.' || t.word else t.word end, '' order by t.n)
    from (
        select m.word[1] as word, m.n, lag(m.word[1]) over w as behind, lead(m.word[1]) over w as ahead
        from regexp_matches(expression,
            $r$('(?:[^']|'')*'|"(?:[^"]|"")*"|[[:alpha:]_][[:alnum:]_$]*|.)$r$, 'g')
            with ordinality m(word, n)
        window w as (order by m.n)) t
$$;

comment on function chrononaut._without_variables(text, name[]) is
    'An expression on columns of s, whose names could be variables of PL/pgSQL: written s.name.';


create or replace function chrononaut._column_value(
    target regclass,
    attnum smallint,
    prefix text)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_column pg_attribute;
    v_expression text;
    v_stored text;
begin
    select a.* into strict v_column
    from pg_attribute a where a.attrelid = target and a.attnum = attnum;
    if v_column.attgenerated = 'v' then
        select pg_get_expr(d.adbin, d.adrelid) into strict v_expression
        from pg_attrdef d where d.adrelid = target and d.adnum = attnum;
        select string_agg(
            format('%s as %I', chrononaut._member(prefix, a.attname), a.attname), ', ')
        into v_stored
        from pg_attribute a
        where a.attrelid = target and a.attnum > 0
            and not a.attisdropped and a.attgenerated <> 'v';
        if v_expression ~ '[[:<:]]tableoid[[:>:]]' then
            -- Transition tables have no system columns.
            v_stored := v_stored || ', ' || case when prefix in ('o', 'n')
                then format('%s::oid as tableoid', target::oid)
                else prefix || '.tableoid' end;
        end if;
        return format('(select %s from (select %s) s)',
            chrononaut._without_variables(v_expression, array(
                select a.attname from pg_attribute a where a.attrelid = target and a.attnum > 0)),
            v_stored);
    end if;
    return chrononaut._member(prefix, v_column.attname) || case
        when chrononaut._history_type(v_column.atttypid) <> format_type(v_column.atttypid, -1)
            then '::' || chrononaut._history_type(v_column.atttypid)
        else ''
    end;
end;
$$;

comment on function chrononaut._column_value(regclass, smallint, text) is
    'The expression that reads a live column as history stores it; virtual ones are computed.';


create or replace function chrononaut._image(versioning_id integer)
    returns table (
        live_name name,
        history_name name,
        state text,
        attnum smallint,
        type text,
        collation_name text,
        computed boolean)
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    return query select
        m.live_name,
        m.history_name,
        m.state,
        m.attnum,
        chrononaut._history_type(a.atttypid),
        case when a.attcollation <> 0 and a.attcollation <> t.typcollation
            then format('%I.%I', n.nspname, l.collname) end,
        a.attgenerated = 'v'
    from chrononaut.versioned_column m
    join chrononaut.versioning v on v.id = m.versioning_id
    join pg_attribute a on a.attrelid = v.relid and a.attnum = m.attnum
    join pg_type t on t.oid = a.atttypid
    left join pg_collation l on l.oid = a.attcollation
    left join pg_namespace n on n.oid = l.collnamespace
    where m.versioning_id = _image.versioning_id
        and not a.attisdropped
    order by m.attnum;
end;
$$;

comment on function chrononaut._image(integer) is
    'The live columns of a versioned table with what history does with each.';


create or replace function chrononaut._free_name(versioning_id integer, wanted name)
    returns name
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_name name;
    v_number integer := 0;
begin
    loop
        v_number := v_number + 1;
        v_name := chrononaut._clip(wanted, '__' || v_number);
        exit when not exists (
            select from chrononaut.versioned_column m
            where m.versioning_id = versioning_id
                and v_name in (m.history_name, m.live_name));
    end loop;
    return v_name;
end;
$$;

comment on function chrononaut._free_name(integer, name) is
    'A name for a retired history column that makes room for a live one.';


create or replace function chrononaut._clip(base text, suffix text)
    returns name
    language plpgsql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_room integer := 63 - octet_length(suffix);
begin
    if octet_length(base) <= v_room then
        return (base || suffix)::name;
    end if;
    suffix := '_' || left(md5(base), 8) || suffix;
    while octet_length(base || suffix) > 63 loop
        base := left(base, -1);
    end loop;
    return (base || suffix)::name;
end;
$$;

comment on function chrononaut._clip(text, text) is
    'base || suffix in 63 bytes; a hash stands for what had to be cut.';


create or replace function chrononaut._relocate_columns(v chrononaut.versioning)
    returns void
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    update chrononaut.versioned_column m
    set attnum = null
    where m.versioning_id = v.id;
    update chrononaut.versioned_column m
    set attnum = a.attnum
    from pg_attribute a
    where m.versioning_id = v.id
        and m.state <> 'retired'
        and a.attrelid = v.relid
        and a.attname = m.live_name
        and a.attnum > 0
        and not a.attisdropped;
$$;

comment on function chrononaut._relocate_columns(chrononaut.versioning) is
    'Takes attribute numbers anew, by name: after a restore, or for a table made again.';


create or replace function chrononaut._follow_columns(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_renamed record;
begin
    delete from chrononaut.versioned_column m
    where m.versioning_id = v.id
        and m.history_name is null
        and not exists (
            select from pg_attribute a
            where a.attrelid = v.relid and a.attnum = m.attnum and not a.attisdropped);
    update chrononaut.versioned_column m
    set state = 'retired', attnum = null
    where m.versioning_id = v.id
        and m.state <> 'retired'
        and not exists (
            select from pg_attribute a
            where a.attrelid = v.relid and a.attnum = m.attnum and not a.attisdropped);
    update chrononaut.versioning r
    set key = chrononaut._renamed(r.id, r.relid, r.key),
        hidden = chrononaut._renamed(r.id, r.relid, r.hidden),
        untracked = chrononaut._renamed(r.id, r.relid, r.untracked),
        indexes = chrononaut._renamed(r.id, r.relid, r.indexes)
    where r.id = v.id;
    update chrononaut.versioned_column m
    set live_name = a.attname
    from pg_attribute a
    where m.versioning_id = v.id
        and a.attrelid = v.relid and a.attnum = m.attnum and m.live_name <> a.attname;
    insert into chrononaut.versioned_column (versioning_id, attnum, live_name, state)
    select v.id, a.attnum, a.attname, 'untracked'
    from pg_attribute a
    where a.attrelid = v.relid and a.attnum > 0 and not a.attisdropped
        and not exists (
            select from chrononaut.versioned_column m
            where m.versioning_id = v.id and m.attnum = a.attnum)
    order by a.attnum;
end;
$$;

comment on function chrononaut._follow_columns(chrononaut.versioning) is
    'Brings the map into line with the live table: renamed, dropped and added columns.';


create or replace function chrononaut._renamed(versioning_id integer, relid oid, names name[])
    returns name[]
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(array_agg(coalesce(a.attname, n.name) order by n.position), '{}')
    from unnest(names) with ordinality n(name, position)
    left join chrononaut.versioned_column m
        on m.versioning_id = _renamed.versioning_id and m.live_name = n.name
        and m.attnum is not null
    left join pg_attribute a
        on a.attrelid = relid and a.attnum = m.attnum and not a.attisdropped
    where a.attname is not null
        or exists (
            select from pg_attribute b
            where b.attrelid = relid and b.attname = n.name and not b.attisdropped)
$$;

comment on function chrononaut._renamed(integer, oid, name[]) is
    'A list of live columns after renames, without those that were dropped.';


create or replace function chrononaut._assign_states(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_column record;
begin
    update chrononaut.versioned_column m
    set state = case
        when m.live_name = any (v.hidden) then 'hidden'
        when m.live_name = any (v.untracked) then 'untracked'
        when v.row_version and m.live_name = 'row_version' then 'untracked'
        else 'tracked' end
    where m.versioning_id = v.id and m.state <> 'retired';
    for v_column in
        select o.id, o.history_name
        from chrononaut.versioned_column m
        join chrononaut.versioned_column o
            on o.versioning_id = m.versioning_id
            and o.history_name = m.live_name and o.id <> m.id
        where m.versioning_id = v.id and m.state = 'tracked'
            and m.history_name is distinct from m.live_name
            and (o.state <> 'tracked' or o.history_name = o.live_name)
    loop
        perform chrononaut._rename_history_column(v, v_column.id,
            chrononaut._free_name(v.id, v_column.history_name));
    end loop;
    perform chrononaut._rename_history_columns(v);
    update chrononaut.versioned_column m
    set history_name = m.live_name
    where m.versioning_id = v.id and m.state = 'tracked' and m.history_name is null;
end;
$$;

comment on function chrononaut._assign_states(chrononaut.versioning) is
    'Decides what is tracked, and renames history columns so that live names win.';


create or replace function chrononaut._rename_history_column(
    v chrononaut.versioning,
    column_id integer,
    wanted name)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_old name;
begin
    select m.history_name into strict v_old
    from chrononaut.versioned_column m where m.id = column_id;
    if exists (
        select from pg_attribute a
        where a.attrelid = v.history_relid and a.attname = v_old and not a.attisdropped) then
        execute format('alter table %s rename column %I to %I',
            v.history_relid::regclass, v_old, wanted);
    end if;
    update chrononaut.versioned_column m set history_name = wanted where m.id = column_id;
end;
$$;

comment on function chrononaut._rename_history_column(chrononaut.versioning, integer, name) is
    'Renames one history column, in the table and in the map.';


create or replace function chrononaut._rename_history_columns(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_pending integer[];
    v_id integer;
begin
    select coalesce(array_agg(m.id), '{}') into v_pending
    from chrononaut.versioned_column m
    where m.versioning_id = v.id and m.state = 'tracked'
        and m.history_name <> m.live_name;
    foreach v_id in array v_pending loop
        perform chrononaut._rename_history_column(v, v_id, ('_chrononaut_' || v_id)::name);
    end loop;
    foreach v_id in array v_pending loop
        perform chrononaut._rename_history_column(v, v_id, (
            select m.live_name from chrononaut.versioned_column m where m.id = v_id));
    end loop;
end;
$$;

comment on function chrononaut._rename_history_columns(chrononaut.versioning) is
    'Lets history columns follow renamed live columns, in two steps so that swaps work.';
