-- Who and why: the change info of the current transaction.
--
-- The setting chrononaut.change_info holds a JSON object as text, for one transaction.
-- Triggers and these functions read it alike. Safe to replay.

create or replace function chrononaut._caller()
    returns name
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
-- Not in SQL: that would be planned anew in every transaction.
begin
    return coalesce(nullif(current_setting('role'), 'none'), session_user)::name;
end;
$$;

comment on function chrononaut._caller() is
    'The role that acts: right inside definer functions and cascades, unlike current_user.';


create or replace function chrononaut._check_change_info(said text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    v_reason text := 'it is not a JSON object';
begin
    begin
        if said is null or jsonb_typeof(said::jsonb) = 'object' then
            return;
        end if;
    exception when data_exception then
        v_reason := sqlerrm;
    end;
    raise exception 'the setting chrononaut.change_info cannot be read: %', v_reason
        using errcode = 'VH001',
              detail = 'The setting holds: ' || left(said, 200),
              hint = 'Use chrononaut.set_change_info(...), or set it to the text of a JSON object.';
end;
$$;

comment on function chrononaut._check_change_info(text) is
    'Raises VH001 unless the text is null or a JSON object.';


create or replace function chrononaut._compose_change_info(said text)
    returns jsonb
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    v_info jsonb;
begin
    if said is not null then
        v_info := said::jsonb;
        if jsonb_typeof(v_info) <> 'object' then
            perform chrononaut._check_change_info(said);
        end if;
    end if;
    -- What is said of some tables only says nothing of the others.
    if v_info is null or v_info ? 'tables' and v_info - 'tables' = '{}' then
        return jsonb_build_object(
            'user_id', null,
            'remote_addr', null,
            'db_user', coalesce(nullif(current_setting('role'), 'none'), session_user),
            'application_name', current_setting('application_name'))
            || coalesce(v_info, '{}');
    end if;
    return '{"user_id": null, "remote_addr": null}'::jsonb || v_info;
end;
$$;

comment on function chrononaut._compose_change_info(text) is
    'Change info as it is recorded, from the text of the setting; the key tables is kept.';


create or replace function chrononaut._says_nothing(said text, table_name text)
    returns boolean
    language plpgsql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if said is null or position('"tables"' in said) = 0 then
        return said is null;
    end if;
    begin
        return said::jsonb - 'tables' = '{}'
            and said::jsonb #> array['tables', table_name] is null;
    exception when data_exception then
        -- Text that is no object is refused elsewhere.
        return false;
    end;
end;
$$;

comment on function chrononaut._says_nothing(text, text) is
    'Whether change info is missing: none is said, or only of other tables.';


create or replace function chrononaut.change_info()
    returns jsonb
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    v_said text := nullif(current_setting('chrononaut.change_info', true), '');
begin
    perform chrononaut._check_change_info(v_said);
    return chrononaut._compose_change_info(v_said) - 'tables';
end;
$$;

comment on function chrononaut.change_info() is
    'Who and why, as a change made now would record it.';


create or replace function chrononaut.set_change_info(
    user_id text default null,
    remote_addr text default null,
    rationale text default null,
    extra jsonb default null)
    returns jsonb
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_extra jsonb := coalesce(extra, '{}');
    v_info jsonb := jsonb_build_object('user_id', user_id, 'remote_addr', remote_addr);
begin
    if jsonb_typeof(v_extra) <> 'object' then
        raise exception 'extra must be a JSON object, not %', jsonb_typeof(v_extra)
            using errcode = 'VH001',
                  hint = 'Pass something like ''{"ticket": 1732}''.';
    end if;
    if rationale is not null then
        v_extra := v_extra || jsonb_build_object('rationale', rationale);
    end if;
    if v_extra <> '{}' then
        v_info := v_info || jsonb_build_object('extra', v_extra);
    end if;
    if now() = statement_timestamp()
        and current_query() ~* '^[[:space:]]*select[[:space:]][^;]*set_change_info[^;]*;?[[:space:]]*$' then
        raise warning 'change info was set outside a transaction block and has no effect'
            using hint = 'Begin a transaction first: begin; select chrononaut.set_change_info(...); ...';
    end if;
    perform set_config('chrononaut.change_info', v_info::text, true);
    return v_info;
end;
$$;

comment on function chrononaut.set_change_info(text, text, text, jsonb) is
    'Says who and why for the rest of this transaction; replaces what was said before.';
