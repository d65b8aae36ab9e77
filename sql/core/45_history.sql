-- The history table: made, and kept in line with the map of columns.
--
-- Everything here converges: what is already right is left alone. Safe to replay.

create or replace function chrononaut._meta_name(meta jsonb, name text)
    returns name
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(meta ->> name, name)::name
$$;

comment on function chrononaut._meta_name(jsonb, text) is
    'The name that a meta column has for one table.';


create or replace function chrononaut._settle_meta(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_meta jsonb := '{}';
    v_name text;
    v_wanted name;
    v_current name;
begin
    foreach v_name in array array[
        'change_id', 'changed', 'operation', 'transaction_id', 'change_info', 'tuple',
        'version', 'valid_from', 'valid_to', 'created_change_id', 'created_operation',
        'created_transaction_id', 'created_change_info'
    ] loop
        v_wanted := v_name;
        v_current := chrononaut._meta_name(v.meta, v_name);
        while chrononaut._is_column_name(v.id, v_wanted) loop
            v_wanted := chrononaut._clip('chrononaut_' || v_wanted, '');
        end loop;
        if v_wanted <> v_name then
            v_meta := v_meta || jsonb_build_object(v_name, v_wanted);
        end if;
        if v_current <> v_wanted and exists (
            select from pg_attribute a
            where a.attrelid = v.history_relid and a.attname = v_current
                and not a.attisdropped and not chrononaut._is_history_name(v.id, v_current)) then
            execute format('alter table %s rename column %I to %I',
                v.history_relid::regclass, v_current, v_wanted);
        end if;
    end loop;
    update chrononaut.versioning r set meta = v_meta where r.id = v.id;
end;
$$;

comment on function chrononaut._settle_meta(chrononaut.versioning) is
    'Gives way to live columns that have a meta column''s name: they win, it is prefixed.';


create or replace function chrononaut._is_history_name(versioning_id integer, name name)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select exists (
        select from chrononaut.versioned_column m
        where m.versioning_id = _is_history_name.versioning_id
            and m.history_name = _is_history_name.name)
$$;

comment on function chrononaut._is_history_name(integer, name) is
    'Whether the history table has a data column of that name.';


create or replace function chrononaut._is_column_name(versioning_id integer, name name)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    with recursive chain as (
        select v.id, v.parent_id
        from chrononaut.versioning v
        where v.id = _is_column_name.versioning_id
        union all
        select p.id, p.parent_id
        from chrononaut.versioning p
        join chain c on c.parent_id = p.id
    )
    select exists (
        select from chrononaut.versioned_column m
        join chain c on c.id = m.versioning_id
        where _is_column_name.name in (
            m.history_name, case when m.state <> 'retired' then m.live_name end))
$$;

comment on function chrononaut._is_column_name(integer, name) is
    'Whether a live or history column of the table, or of its parents, has that name.';


create or replace function chrononaut._create_history(v chrononaut.versioning)
    returns regclass
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_history regclass;
    v_columns text;
    v_meta text := format(
        '%I bigint not null, %I timestamptz not null, %I bigint not null, '
            '%I char(1) not null, %I jsonb not null, %I tid',
        chrononaut._meta_name(v.meta, 'change_id'),
        chrononaut._meta_name(v.meta, 'changed'),
        chrononaut._meta_name(v.meta, 'transaction_id'),
        chrononaut._meta_name(v.meta, 'operation'),
        chrononaut._meta_name(v.meta, 'change_info'),
        chrononaut._meta_name(v.meta, 'tuple'));
begin
    select string_agg(
        format('%I %s', i.history_name, i.type) || coalesce(' collate ' || i.collation_name, ''),
        ', ' order by i.attnum)
    into v_columns
    from chrononaut._image(v.id) i
    where i.state = 'tracked';
    execute format('create table %I.%I (%s, %s)',
        v.history_schema, v.history_name, v_columns, v_meta);
    v_history := format('%I.%I', v.history_schema, v.history_name)::regclass;
    execute format('revoke all on %s from public', v_history);
    update chrononaut.versioning r set history_relid = v_history where r.id = v.id;
    return v_history;
end;
$$;

comment on function chrononaut._create_history(chrononaut.versioning) is
    'Creates the bare history table.';


create or replace function chrononaut._align_history(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_column record;
    v_using text;
begin
    for v_column in
        select i.history_name, i.type, i.collation_name, a.attnum as present,
            a.atttypid, format_type(a.atttypid, -1) as current_type, m.id
        from chrononaut._image(v.id) i
        join chrononaut.versioned_column m
            on m.versioning_id = v.id and m.attnum = i.attnum
        left join pg_attribute a
            on a.attrelid = v.history_relid and a.attname = i.history_name
            and not a.attisdropped
        where i.state = 'tracked'
            and (a.attnum is null or format_type(a.atttypid, -1) <> i.type)
        order by i.attnum
    loop
        if v_column.present is not null then
            v_using := chrononaut._converted(v, v_column.history_name, v_column.atttypid,
                v_column.type::regtype);
            if v_using is not null then
                perform chrononaut._drop_views(v.id);
                execute format('alter table %s alter column %I type %s using %s',
                    v.history_relid::regclass, v_column.history_name, v_column.type, v_using);
                continue;
            end if;
            perform chrononaut._set_aside(v, v_column.id);
        end if;
        execute format('alter table %s add column %I %s%s',
            v.history_relid::regclass, v_column.history_name, v_column.type,
            coalesce(' collate ' || v_column.collation_name, ''));
    end loop;
end;
$$;

comment on function chrononaut._align_history(chrononaut.versioning) is
    'Adds missing history columns, widens types, sets aside what cannot be converted.';


create or replace function chrononaut._drop_history_key(v chrononaut.versioning)
    returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_constraint name := (
        select c.conname from pg_constraint c
        where c.conrelid = v.history_relid and c.contype = 'p');
begin
    if v_constraint is not null then
        execute format('alter table %s drop constraint %I',
            v.history_relid::regclass, v_constraint);
    end if;
    return v_constraint is not null;
end;
$$;

comment on function chrononaut._drop_history_key(chrononaut.versioning) is
    'Drops the primary key of a history table; whether there was one.';


create or replace function chrononaut._set_aside(v chrononaut.versioning, column_id integer)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_column chrononaut.versioned_column;
begin
    select m.* into strict v_column
    from chrononaut.versioned_column m where m.id = column_id;
    if v_column.live_name = any (v.key) then
        perform chrononaut._drop_history_key(v);
        execute format('alter table %s alter column %I drop not null',
            v.history_relid::regclass, v_column.history_name);
    end if;
    perform chrononaut._rename_history_column(v, column_id,
        chrononaut._free_name(v.id, v_column.history_name));
    update chrononaut.versioned_column m
    set state = 'retired', attnum = null
    where m.id = column_id;
    insert into chrononaut.versioned_column (
        versioning_id, attnum, live_name, history_name, state)
    values (v.id, v_column.attnum, v_column.live_name, v_column.history_name, 'tracked');
end;
$$;

comment on function chrononaut._set_aside(chrononaut.versioning, integer) is
    'Keeps old values under a new name, where the column''s new type cannot hold them.';


create or replace function chrononaut._widens(old_type oid, new_type oid)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Conversions run with the rights of the core's owner: none that others have made.
    select not exists (
            select from pg_cast c
            where c.castsource = old_type and c.casttarget = new_type
                and c.castmethod <> 'b' and c.oid >= 16384
                and not pg_has_role((
                    select coalesce(min(p.proowner), 0) from pg_proc p where p.oid = c.castfunc
                ), chrononaut._owner(), 'member'))
        and (new_type in ('text'::regtype, 'varchar'::regtype)
                and old_type not in ('bytea'::regtype)
                and (select t.typcategory not in ('D', 'T') from pg_type t where t.oid = old_type)
            or exists (
                select from pg_cast c
                where c.castsource = old_type and c.casttarget = new_type
                    and (c.castcontext = 'i' or c.castmethod = 'b')
                    and not (new_type in ('float4'::regtype, 'float8'::regtype)
                        and old_type in ('int8'::regtype, 'numeric'::regtype))))
$$;

comment on function chrononaut._widens(oid, oid) is
    'Whether every value of the old type can be held by the new one without loss.';


create or replace function chrononaut._index_history(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_key text;
    v_change_id name := chrononaut._meta_name(v.meta, 'change_id');
    v_columns name[];
    v_current name[];
begin
    select array_agg(m.history_name order by k.position) || v_change_id,
        string_agg(quote_ident(m.history_name), ', ' order by k.position)
    into v_columns, v_key
    from unnest(v.key) with ordinality k(name, position)
    join chrononaut.versioned_column m
        on m.versioning_id = v.id and m.live_name = k.name and m.attnum is not null;
    select u.key into v_current
    from chrononaut._unique_keys(v.history_relid) u where u.is_primary;
    if v_current is distinct from v_columns then
        if chrononaut._drop_history_key(v) then
            perform chrononaut._loosen(v, v_current, v_columns);
        end if;
        perform chrononaut._add_history_key(v, v_key, v_change_id);
    end if;
    if not exists (
        select from pg_index i join pg_class c on c.oid = i.indexrelid
        join pg_am a on a.oid = c.relam
        where i.indrelid = v.history_relid and a.amname = 'brin') then
        execute format('create index on %s using brin (%I, %I)',
            v.history_relid::regclass,
            chrononaut._meta_name(v.meta, 'changed'),
            chrononaut._meta_name(v.meta, 'transaction_id'));
    end if;
    perform chrononaut._index_wanted(v);
    perform chrononaut._index_former_keys(v);
end;
$$;

comment on function chrononaut._index_history(chrononaut.versioning) is
    'Gives the history table its primary key, its BRIN index and the indexes asked for.';


create or replace function chrononaut._loosen(
    v chrononaut.versioning,
    old_key name[],
    new_key name[])
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_name name;
begin
    for v_name in
        select n.name from unnest(old_key) n(name) where n.name <> all (new_key)
    loop
        execute format('alter table %s alter column %I drop not null',
            v.history_relid::regclass, v_name);
    end loop;
end;
$$;

comment on function chrononaut._loosen(chrononaut.versioning, name[], name[]) is
    'Lets history columns that left the key be null again: a primary key leaves them not null.';


create or replace function chrononaut._add_history_key(
    v chrononaut.versioning,
    key text,
    change_id name)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_incomplete boolean;
begin
    execute format('select exists (select from %s h where row(%s) is not null is not true)',
        v.history_relid::regclass, key)
    into v_incomplete;
    if v_incomplete and not exists (
        select from pg_index i
        where i.indrelid = v.history_relid
            and pg_get_indexdef(i.indexrelid) like format('%% USING btree (%s, %I)', key, change_id)) then
        execute format('create index on %s (%s, %I)', v.history_relid::regclass, key, change_id);
    elsif not v_incomplete then
        execute format('alter table %s add primary key (%s, %I)',
            v.history_relid::regclass, key, change_id);
    end if;
end;
$$;

comment on function chrononaut._add_history_key(chrononaut.versioning, text, name) is
    'Adds the primary key; a plain index where old rows lack a column that joined the key.';


create or replace function chrononaut._index_former_keys(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_columns text;
begin
    -- Where a key shares no column with a former one, as_of() looks old changes up by that.
    for v_columns in
        select string_agg(format('%I', m.history_name), ', ' order by n.position)
        from chrononaut.key_period p
        cross join unnest(p.columns) with ordinality n(id, position)
        join chrononaut.versioned_column m on m.id = n.id and m.state = 'tracked'
        where p.versioning_id = v.id
        group by p.until
        having not bool_or(exists (
            select from pg_index i
            join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
            where i.indrelid = v.history_relid and a.attname = m.history_name))
    loop
        execute format('create index on %s (%s, %I)', v.history_relid::regclass, v_columns,
            chrononaut._meta_name(v.meta, 'change_id'));
    end loop;
end;
$$;

comment on function chrononaut._index_former_keys(chrononaut.versioning) is
    'Indexes the history by former keys that nothing indexes.';


create or replace function chrononaut._index_wanted(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_name name;
begin
    foreach v_name in array v.indexes loop
        v_name := coalesce(
            (select m.history_name from chrononaut.versioned_column m
                where m.versioning_id = v.id and m.live_name = v_name and m.attnum is not null),
            v.meta ->> v_name, v_name);
        if not exists (
            select from pg_index i
            join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
            where i.indrelid = v.history_relid and a.attname = v_name
                and i.indnatts = 1 and not i.indisprimary) then
            execute format('create index on %s (%I)', v.history_relid::regclass, v_name);
        end if;
    end loop;
end;
$$;

comment on function chrononaut._index_wanted(chrononaut.versioning) is
    'Creates the indexes that were asked for and are missing.';


create or replace function chrononaut._guard_history()
    returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'UPDATE'
        and current_setting('chrononaut.amending', true) = 'on'
        and current_user = chrononaut._owner() then
        return null;
    end if;
    raise exception '% of %.% refused: history is append-only',
        tg_op, quote_ident(tg_table_schema), quote_ident(tg_table_name)
        using errcode = 'VH008',
              schema = tg_table_schema,
              table = tg_table_name,
              hint = case when tg_table_schema = 'chrononaut'
                  then 'What was locked and unlocked is kept for good.'
                  else 'History is removed by chrononaut.drop_versioning(..., drop_history => true).' end;
end;
$$;

comment on function chrononaut._guard_history() is
    'Trigger of every history table: refuses UPDATE, DELETE and TRUNCATE with VH008.';


create or replace function chrononaut._guard(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if not exists (
        select from pg_trigger t
        where t.tgrelid = v.history_relid and t.tgname = '00_chrononaut_guard'
            and t.tgfoid = 'chrononaut._guard_history'::regproc
            and t.tgargs = convert_to(v.id::text, 'UTF8') || decode('00', 'hex')
            and t.tgenabled = 'A') then
        execute format(
            'create or replace trigger "00_chrononaut_guard" '
                'before update or delete or truncate on %s '
                'for each statement execute function chrononaut._guard_history(%L)',
            v.history_relid::regclass, v.id);
        execute format('alter table %s enable always trigger "00_chrononaut_guard"',
            v.history_relid::regclass);
    end if;
end;
$$;

comment on function chrononaut._guard(chrononaut.versioning) is
    'Puts the append-only guard on the history table.';
