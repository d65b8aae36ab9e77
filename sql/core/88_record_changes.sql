-- Rows that carry their own last change: two columns, kept by one trigger.
--
-- For tables that need no history but the answer to "who touched this last, and when".
-- Safe to replay.

create or replace function chrononaut._record_change()
    returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
-- Runs with the rights of who writes: a cast to JSON may be a function of somebody's own.
declare
    v_new record := new;
begin
    if tg_op = 'UPDATE' then
        -- Before the write new generated columns are still null; only there are they asked for.
        if tg_nargs > 0 then
            v_new := jsonb_populate_record(new, (
                select jsonb_object_agg(a.attname, to_jsonb(old) -> a.attname::text)
                from pg_attribute a
                where a.attrelid = tg_relid and a.attgenerated <> '' and not a.attisdropped));
        end if;
        if not old operator(pg_catalog.*<>) v_new then
            return new;
        end if;
    end if;
    new.changed := clock_timestamp();
    new.change_info := chrononaut._for_table(
        chrononaut._compose_change_info(
            nullif(current_setting('chrononaut.change_info', true), '')),
        tg_table_schema || '.' || tg_table_name);
    return new;
end;
$$;

comment on function chrononaut._record_change() is
    'Trigger: keeps the columns changed and change_info of a row that is written.';


create or replace function chrononaut.record_changes(target regclass)
    returns void
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_generated boolean := exists (
        select from pg_attribute a
        where a.attrelid = target and a.attgenerated <> '' and not a.attisdropped);
begin
    perform chrononaut._check_caller(target);
    perform chrononaut._check_columns(target, '{change_info,changed}', 'record_changes');
    if not exists (
        select from pg_trigger t
        where t.tgrelid = target and t.tgname = '99_chrononaut_record'
            and t.tgfoid = 'chrononaut._record_change'::regproc and t.tgenabled = 'O'
            and t.tgnargs = v_generated::integer) then
        execute format(
            'create or replace trigger "99_chrononaut_record" before insert or update on %s '
                'for each row execute function chrononaut._record_change(%s)',
            target, case when v_generated then '''generated''' end);
    end if;
end;
$$;

comment on function chrononaut.record_changes(regclass) is
    'Keeps the columns change_info and changed of a table up to date with who wrote each row last.';


create or replace function chrononaut.drop_record_changes(target regclass)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if exists (
        select from pg_trigger t
        where t.tgrelid = target and t.tgname = '99_chrononaut_record') then
        execute format('drop trigger "99_chrononaut_record" on %s', target);
    end if;
end;
$$;

comment on function chrononaut.drop_record_changes(regclass) is
    'Stops keeping the columns change_info and changed of a table; needed before they are dropped.';
