-- The registry: finding a table's entry, and setting its options.
--
-- The registry knows tables by oid. In a restored database oids differ; then the triggers
-- tell which table is which. Safe to replay.

create or replace function chrononaut._locate(v chrononaut.versioning)
    returns oid
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(
        (select c.oid from pg_class c
            where c.oid = v.relid and v.registered_in = chrononaut._here()),
        (select t.tgrelid from pg_trigger t
            where t.tgfoid = to_regproc(format('chrononaut._capture_%s', v.id))
                and t.tgparentid = 0
            limit 1),
        case when v.registered_in <> chrononaut._here()
            then (select c.oid from pg_class c
                join pg_namespace n on n.oid = c.relnamespace
                where n.nspname = v.schema_name and c.relname = v.table_name) end)
$$;

comment on function chrononaut._locate(chrononaut.versioning) is
    'The live table''s oid here and now; null if it is gone.';


create or replace function chrononaut._locate_history(v chrononaut.versioning)
    returns oid
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(
        (select c.oid from pg_class c
            where c.oid = v.history_relid and v.registered_in = chrononaut._here()),
        (select t.tgrelid from pg_trigger t
            where t.tgfoid = to_regproc('chrononaut._guard_history')
                and t.tgargs = convert_to(v.id::text, 'UTF8') || decode('00', 'hex')
            limit 1))
$$;

comment on function chrononaut._locate_history(chrononaut.versioning) is
    'The history table''s oid here and now; null if it is gone.';


create or replace function chrononaut._moved(v chrononaut.versioning, here text)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- A restore over the same database makes tables anew as well: triggers tell where.
    select v.registered_in <> here
        or v.active
            and not exists (select from pg_class c where c.oid = v.relid)
            and chrononaut._locate(v) is not null
        or v.history_relid is not null
            and not exists (select from pg_class c where c.oid = v.history_relid)
            and chrononaut._locate_history(v) is not null
$$;

comment on function chrononaut._moved(chrononaut.versioning, text) is
    'Whether the entry was restored: its oids and attribute numbers do not hold.';


create or replace function chrononaut._relocate()
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning;
    v_here text := chrononaut._here();
begin
    for v in
        select r.* from chrononaut.versioning r where chrononaut._moved(r, v_here)
    loop
        update chrononaut.versioning r
        set relid = coalesce(chrononaut._locate(v), 0),
            history_relid = chrononaut._locate_history(v),
            active = v.active and chrononaut._locate(v) is not null,
            registered_in = v_here
        where r.id = v.id
        returning r.* into v;
        perform chrononaut._relocate_columns(v);
    end loop;
end;
$$;

comment on function chrononaut._relocate() is
    'Takes oids and attribute numbers anew, in a restored database.';


create or replace function chrononaut._clear_lost()
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning;
    v_children integer[];
begin
    for v in
        select r.* from chrononaut.versioning r
        where r.relid = 0 and not r.active
            and to_regclass(format('%I.%I', r.history_schema, r.view_name)) is not null
    loop
        select coalesce(array_agg(c.id), '{}') into v_children
        from chrononaut.versioning c where c.parent_id = v.id and c.active;
        perform chrononaut._retire(v.id);
        perform chrononaut._apply(c) from unnest(v_children) c;
    end loop;
end;
$$;

comment on function chrononaut._clear_lost() is
    'Drops what a restored database has of tables that were not restored; their history stays.';


create or replace function chrononaut._find(target regclass)
    returns chrononaut.versioning
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select v from chrononaut.versioning v where v.relid = target and v.active
$$;

comment on function chrononaut._find(regclass) is
    'The registry entry of a versioned table; null if it is not versioned.';


create or replace function chrononaut._find_former(target regclass)
    returns chrononaut.versioning
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select v
    from chrononaut.versioning v
    join pg_class c on c.oid = target
    join pg_namespace n on n.oid = c.relnamespace
    join pg_class h on h.oid = v.history_relid
    where not v.active
        and (v.relid = target
            or v.schema_name = n.nspname and v.table_name = c.relname
                and not exists (select from pg_class o where o.oid = v.relid))
    order by v.relid = target desc, v.id desc
    limit 1
$$;

comment on function chrononaut._find_former(regclass) is
    'The entry of a table that was versioned before and left its history.';


create or replace function chrononaut._require(target regclass)
    returns chrononaut.versioning
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning := chrononaut._find(target);
begin
    if v.id is null then
        perform chrononaut._refuse(target,
            format('%s is not versioned', coalesce(target::text, 'null')),
            format('Run: select chrononaut.create_versioning(%L);', target));
    end if;
    return v;
end;
$$;

comment on function chrononaut._require(regclass) is
    'The registry entry of a versioned table; VH003 if it is not versioned.';


create or replace function chrononaut._limit_waits()
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('lock_timeout') = '0' then
        perform set_config('lock_timeout', '5s', true);
    end if;
end;
$$;

comment on function chrononaut._limit_waits() is
    'Lets locks be waited for 5 seconds, unless lock_timeout says how long.';


create or replace function chrononaut._give_up(relation text, timeout text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    raise exception 'could not lock % within %: other sessions are using it',
        relation, case timeout when '0' then '5s' else timeout end
        using errcode = 'lock_not_available',
              hint = 'Nothing was changed. Retry, or set lock_timeout to wait longer.';
end;
$$;

comment on function chrononaut._give_up(text, text) is
    'Raises the error of maintenance that had to wait too long; timeout is the caller''s.';


create or replace function chrononaut._enter(target regclass)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_timeout text := current_setting('lock_timeout');
begin
    if target is null then
        raise exception 'no table was named'
            using errcode = 'VH003', hint = 'Pass the table, as in ''app.user''.';
    end if;
    perform chrononaut._check_caller(target);
    perform chrononaut._limit_waits();
    lock table chrononaut.versioning in share row exclusive mode;
    perform set_config('lock_timeout', v_timeout, true);
    perform chrononaut._relocate();
    perform chrononaut._clear_lost();
exception when lock_not_available then
    perform chrononaut._give_up('chrononaut.versioning', v_timeout);
end;
$$;

comment on function chrononaut._enter(regclass) is
    'What each maintenance function does first: checks the caller, takes turns with others.';


create or replace function chrononaut._check_columns(
    target regclass,
    names name[],
    purpose text)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_name name;
begin
    select coalesce(n.name, 'null') into v_name
    from unnest(names) n(name)
    where not exists (
        select from pg_attribute a
        where a.attrelid = target and a.attname = n.name
            and a.attnum > 0 and not a.attisdropped)
    limit 1;
    if found then
        perform chrononaut._refuse(target,
            format('%s has no column %I, named in %s', target, v_name, purpose),
            'Check the spelling; names are taken literally, without folding case.',
            'VH003', v_name);
    end if;
end;
$$;

comment on function chrononaut._check_columns(regclass, name[], text) is
    'Raises VH003 unless all the columns exist.';


create or replace function chrononaut._check_pairing(v chrononaut.versioning)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    -- Nothing is read: whether it can be planned is the question.
    execute format('select from %1$s o full join %1$s n on %2$s limit 0',
        v.relid::regclass, chrononaut._same_key(v, 'o', 'n'));
    return null;
exception when feature_not_supported then
    return 'the equality of its key can neither be hashed nor merged';
end;
$$;

comment on function chrononaut._check_pairing(chrononaut.versioning) is
    'Why old and new rows cannot be paired by their key; null if they can.';


create or replace function chrononaut._check_granularity(v chrononaut.versioning)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_reason text;
begin
    if v.granularity = 'statement' then
        v_reason := coalesce(
            chrononaut._check_statement_granularity(v.relid), chrononaut._check_pairing(v));
    end if;
    if v_reason is not null then
        perform chrononaut._refuse(v.relid,
            format('cannot version %s by statement: %s', v.relid::regclass, v_reason),
            'Use granularity => ''row''.');
    end if;
end;
$$;

comment on function chrononaut._check_granularity(chrononaut.versioning) is
    'Raises VH003 where statement triggers would record the table wrongly.';


create or replace function chrononaut._check_options(v chrononaut.versioning)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_name name;
begin
    perform chrononaut._check_columns(v.relid, v.hidden, 'hidden');
    perform chrononaut._check_columns(v.relid, v.untracked, 'untracked');
    perform chrononaut._check_columns(v.relid, v.key, 'key');
    select n.name into v_name
    from unnest(v.hidden) n(name)
    where n.name = any (v.untracked);
    if found then
        perform chrononaut._refuse(v.relid,
            format('column %I is both hidden and untracked', v_name),
            'Hidden: that it changed is recorded. Untracked: ignored. Choose one.',
            'VH003', v_name);
    end if;
    select n.name into v_name
    from unnest(v.key) n(name)
    where n.name = any (v.hidden || v.untracked);
    if found then
        perform chrononaut._refuse(v.relid,
            format('column %I is part of the key and must be tracked', v_name),
            'Take it out of hidden and untracked.', 'VH003', v_name);
    end if;
    select coalesce(n.name, 'null') into v_name
    from unnest(v.indexes) n(name)
    where n.name is null or n.name = any (v.hidden || v.untracked)
        or n.name <> all ('{change_id,changed,operation,transaction_id,change_info}')
            and not exists (
                select from pg_attribute a
                where a.attrelid = v.relid and a.attname = n.name
                    and a.attnum > 0 and not a.attisdropped);
    if found then
        perform chrononaut._refuse(v.relid,
            format('cannot index %I: the history has no such column', v_name),
            'Name tracked columns or meta columns.', 'VH003', v_name);
    end if;
    perform chrononaut._check_granularity(v), chrononaut._check_guards(v);
end;
$$;

comment on function chrononaut._check_options(chrononaut.versioning) is
    'Raises VH003 where options contradict the table or each other.';


create or replace function chrononaut._check_words(
    target regclass,
    granularity text,
    on_truncate text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if granularity not in ('row', 'statement') then
        perform chrononaut._refuse(target,
            format('granularity cannot be %L', granularity), 'Use ''row'' or ''statement''.');
    end if;
    if on_truncate not in ('record', 'forbid') then
        perform chrononaut._refuse(target,
            format('on_truncate cannot be %L', on_truncate), 'Use ''record'' or ''forbid''.');
    end if;
end;
$$;

comment on function chrononaut._check_words(regclass, text, text) is
    'Raises unless the options have values that exist.';


create or replace function chrononaut._set_parent(v chrononaut.versioning, parent regclass)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_parent chrononaut.versioning := chrononaut._find(parent);
begin
    if parent is null then
        return;
    end if;
    if v_parent.id is null then
        perform chrononaut._refuse(v.relid,
            format('the parent %s is not versioned', parent),
            format('Run first: select chrononaut.create_versioning(%L);', parent));
    end if;
    if cardinality(v_parent.key) <> cardinality(v.key) then
        perform chrononaut._refuse(v.relid,
            format('the keys of %s and its parent %s differ in length', v.relid::regclass, parent),
            'A joined child has its parent''s key, column by column.');
    end if;
    if exists (select from chrononaut._lineage(v_parent) l where (l.ancestor).id = v.id) then
        perform chrononaut._refuse(v.relid,
            format('%s cannot descend from itself', v.relid::regclass),
            'Name the table that it extends as its parent.');
    end if;
    update chrononaut.versioning r set parent_id = v_parent.id where r.id = v.id;
end;
$$;

comment on function chrononaut._set_parent(chrononaut.versioning, regclass) is
    'Ties a child table to its parent, for joined-table inheritance.';
