-- Values: from JSON, or from a column of another type, to what history stores.
--
-- Snapshots of Chrononaut 0.3 and later hold the str() of whatever JSON has no type for:
-- dictionaries and lists as Python writes them, enums as Class.NAME. Safe to replay.

create or replace function chrononaut._from_python(literal text)
    returns jsonb
    language sql
    immutable
    strict
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(case
            when t.token[1] like '''%' then '"' || replace(replace(replace(
                substr(t.token[1], 2, length(t.token[1]) - 2), '\''', ''''), '"', '\"'),
                '\x', '\u00') || '"'
            when t.token[1] like '"%' then replace(t.token[1], '\x', '\u00')
            else regexp_replace(regexp_replace(regexp_replace(translate(t.token[1], '()', '[]'),
                '\mNone\M', 'null', 'g'), '\mTrue\M', 'true', 'g'), '\mFalse\M', 'false', 'g')
        end, '' order by t.position)::jsonb
    from regexp_matches(literal,
        '''(?:[^''\\]|\\.)*''|"(?:[^"\\]|\\.)*"|[^''"]+', 'g') with ordinality t(token, position)
$$;

comment on function chrononaut._from_python(text) is
    'The JSON of a dictionary or list as Python prints it.';


create or replace function chrononaut._structured(value jsonb)
    returns jsonb
    language plpgsql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
declare
    v_text text := value #>> '{}';
begin
    if jsonb_typeof(value) <> 'string' or left(v_text, 1) not in ('{', '[', '(') then
        return nullif(value, 'null');
    end if;
    return chrononaut._from_python(v_text);
exception when data_exception then
    return value;
end;
$$;

comment on function chrononaut._structured(jsonb) is
    'A JSON or array value, taken out of the string that Python made of it.';


create or replace function chrononaut._value_expression(type text, value text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case
        when t.oid = 'jsonb'::regtype then format('chrononaut._structured(%s)', value)
        when t.oid = 'json'::regtype then format('chrononaut._structured(%s)::json', value)
        when t.typcategory = 'A' or t.typtype = 'c' then format(
            '(select x.v from jsonb_to_record(jsonb_build_object(''v'', '
                'chrononaut._structured(%s))) x(v %s))', value, type)
        when t.typtype = 'e' then format(
            'regexp_replace(%s #>> ''{}'', ''^\w+\.(?=\w+$)'', '''')::%s', value, type)
        when t.oid = 'bytea'::regtype then format(
            'regexp_replace(%s #>> ''{}'', ''^b(''''|")'', ''\\not hexadecimal'')::%s', value, type)
        else format('(%s #>> ''{}'')::%s', value, type) end
    from pg_type t
    where t.oid = type::regtype
$$;

comment on function chrononaut._value_expression(text, text) is
    'The expression that makes a value of a type from one that yields jsonb.';


create or replace function chrononaut._castable(value jsonb, type text)
    returns jsonb
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_fits boolean;
begin
    execute format('select (%s) is not null', chrononaut._value_expression(type, '$1'))
    into v_fits
    using value;
    return case when v_fits then value end;
exception when data_exception then
    return null;
end;
$$;

comment on function chrononaut._castable(jsonb, text) is
    'The value if it can be one of the type, else null.';


create or replace function chrononaut._as_object(value jsonb)
    returns jsonb
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select case coalesce(jsonb_typeof(value), 'null')
        when 'object' then value
        when 'null' then '{}'
        else jsonb_build_object('value', value) end
$$;

comment on function chrononaut._as_object(jsonb) is
    'Change info of the source, made an object if it is none.';


create or replace function chrononaut._info(
    user_id text,
    remote_addr text,
    extra jsonb,
    hidden jsonb default null)
    returns jsonb
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object('user_id', user_id, 'remote_addr', remote_addr)
        || case when coalesce(extra, '{}') = '{}' then '{}'
            else jsonb_build_object('extra', extra) end
        || case when hidden is null then '{}'
            else jsonb_build_object('hidden_cols_changed', hidden) end
$$;

comment on function chrononaut._info(text, text, jsonb, jsonb) is
    'Change info in the layout of history.';
