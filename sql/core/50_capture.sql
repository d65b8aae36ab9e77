-- The trigger function of each table, written out for its columns.
--
-- A capture function is static: no dynamic SQL, no catalog look-ups and, but for the
-- history of a row whose changes came out of order, no table read. The text is a pure
-- function of the registry, so that check_versioning() can compare. Safe to replay.

create or replace function chrononaut._probe(
    versioning_id integer,
    prefix text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- The branch that is never taken costs nothing but fixes the type: a column of another
    -- type is not mistaken for the old one, nor its values rounded. Only what fits or fails
    -- goes on until a sync: integers (which alone have this &) and text. Arrays need equal
    -- types, where CASE takes what can be cast.
    with part as (
        select string_agg(m.name || case
                -- A type of the application's may be renamed: its name does not stand here.
                when i.type::regtype::oid >= 16384 and i.state = 'tracked' then format(
                    ', case when false then %1$s else (null::%2$I.%3$I).%4$I end',
                    m.name, v.history_schema, v.history_name, i.history_name)
                when i.type::regtype::oid < 16384 and t.typtype = 'd'
                    or a.atttypid in ('text'::regtype, 'varchar'::regtype) then format(
                    ', case when false then %1$s else null::%2$s end', m.name, i.type)
                when a.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then
                    format(', case when false then %1$s & 1::int8 end', m.name)
                when i.type::regtype::oid < 16384 and format_type(a.atttypid, -1) = i.type then format(
                    ', case when false then arrayoverlap(array[%1$s], null::%2$s[]) end',
                    m.name, i.type)
                else '' end,
            ', ' order by i.attnum) as columns
        from chrononaut._image(versioning_id) i
        cross join chrononaut._member(prefix, i.live_name) m(name)
        join chrononaut.versioning v on v.id = versioning_id
        join pg_attribute a on a.attrelid = v.relid and a.attnum = i.attnum
        join pg_type t on t.oid = a.atttypid
        where i.state in ('tracked', 'hidden') and not i.computed
        group by (i.attnum - 1) / 45
    )
    select string_agg(format('num_nulls(%s)', p.columns), ' + ') from part p
$$;

comment on function chrononaut._probe(integer, text) is
    'An expression that touches every recorded column, so that drift is found before a write.';


create or replace function chrononaut._row_of(
    versioning_id integer,
    prefix text,
    states text[])
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('row(%s)::record',
        string_agg(chrononaut._member(prefix, i.live_name), ', ' order by i.attnum))
    from chrononaut._image(versioning_id) i
    where i.state = any (states) and not i.computed
$$;

comment on function chrononaut._row_of(integer, text, text[]) is
    'A row of the stored columns in the given states, to compare as an image.';


create or replace function chrononaut._differ(
    v chrononaut.versioning,
    left_prefix text,
    right_prefix text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Images are compared. Where equal values have equal images, values are: that is faster.
    -- Text is compared by its bytes, whatever collation the column is given some day. It goes
    -- after what is short, since it may be long and stored apart; keys go last, since they match.
    select concat_ws(' or ',
        string_agg(format('%1$s%3$s is distinct from %2$s%3$s',
                c.left_value, c.right_value, c.as_bytes), ' or '
                order by c.in_key, c.attlen < 0, c.attnum)
            filter (where c.is_plain),
        'row(' || string_agg(c.left_value, ', ' order by c.attnum)
                filter (where not c.is_plain)
            || ')::record operator(pg_catalog.*<>) row('
            || string_agg(c.right_value, ', ' order by c.attnum)
                filter (where not c.is_plain)
            || ')::record')
    from (
        select i.attnum, a.attlen, i.live_name = any (v.key) as in_key,
            chrononaut._member(left_prefix, i.live_name) as left_value,
            chrononaut._member(right_prefix, i.live_name) as right_value,
            a.atttypid = any (E'{bool,"\\"char\\"",int2,int4,int8,oid,date,'
                'time,timestamp,timestamptz,uuid,bytea,text,varchar}'::regtype[]) as is_plain,
            case when a.atttypid in ('text'::regtype, 'varchar'::regtype)
                then '::text collate "C"' else '' end as as_bytes
        from chrononaut._image(v.id) i
        join pg_attribute a on a.attrelid = v.relid and a.attnum = i.attnum
        where i.state in ('tracked', 'hidden') and not i.computed
    ) c
$$;

comment on function chrononaut._differ(chrononaut.versioning, text, text) is
    'The condition that two live rows differ in what is recorded.';


create or replace function chrononaut._same_key(
    v chrononaut.versioning,
    left_prefix text,
    right_prefix text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(
        concat_ws(' ', chrononaut._member(left_prefix, k.name),
            chrononaut._key_operator(v.relid, k.name), chrononaut._member(right_prefix, k.name)),
        ' and ' order by k.position)
    from unnest(v.key) with ordinality k(name, position)
$$;

comment on function chrononaut._same_key(chrononaut.versioning, text, text) is
    'The condition that two live rows have the same key.';


create or replace function chrononaut._insert_columns(v chrononaut.versioning, wanted text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(quote_ident(i.history_name), ', ' order by i.attnum)
        || format(', %I, %I, %I, %I, %I, %I',
            chrononaut._meta_name(v.meta, 'change_id'),
            chrononaut._meta_name(v.meta, 'changed'),
            chrononaut._meta_name(v.meta, 'transaction_id'),
            chrononaut._meta_name(v.meta, 'operation'),
            chrononaut._meta_name(v.meta, 'change_info'),
            chrononaut._meta_name(v.meta, 'tuple'))
    from chrononaut._image(v.id) i
    where i.state = 'tracked' and (wanted = 'image' or i.live_name = any (v.key))
$$;

comment on function chrononaut._insert_columns(chrononaut.versioning, text) is
    'The columns of an insert into history: image for all of them, key for those of the key.';


create or replace function chrononaut._insert_values(
    v chrononaut.versioning,
    prefix text,
    wanted text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(
        chrononaut._column_value(v.relid, i.attnum, prefix), ', ' order by i.attnum)
    from chrononaut._image(v.id) i
    where i.state = 'tracked' and (wanted = 'image' or i.live_name = any (v.key))
$$;

comment on function chrononaut._insert_values(chrononaut.versioning, text, text) is
    'The data values of an insert into history, in the order of _insert_columns.';


create or replace function chrononaut._hidden_changes(
    v chrononaut.versioning,
    old_prefix text,
    new_prefix text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        ' || case when row(%1$s)::record operator(pg_catalog.*<>) row(%2$s)::record '
            'then jsonb_build_object(''hidden_cols_changed'', array_remove(array[%3$s], null)) '
            'else ''{}'' end',
        string_agg(o.value, ', ' order by i.attnum),
        string_agg(n.value, ', ' order by i.attnum),
        string_agg(format('case when row(%s)::record operator(pg_catalog.*<>) '
                'row(%s)::record then %L::text end', o.value, n.value, i.live_name),
            ', ' order by i.attnum))
    from chrononaut._image(v.id) i
    cross join chrononaut._member(old_prefix, i.live_name) o(value)
    cross join chrononaut._member(new_prefix, i.live_name) n(value)
    where i.state = 'hidden' and not i.computed
    having count(*) > 0
$$;

comment on function chrononaut._hidden_changes(chrononaut.versioning, text, text) is
    'Adds to change info which hidden columns changed; null if there are none.';


create or replace function chrononaut._for_table(info jsonb, name text)
    returns jsonb
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select (info - 'tables') || o.override || case
        when jsonb_typeof(info -> 'extra') = 'object' and jsonb_typeof(o.override -> 'extra') = 'object'
            then jsonb_build_object('extra', (info -> 'extra') || (o.override -> 'extra'))
        else '{}' end
    from (
        select case when jsonb_typeof(info #> array['tables', name]) = 'object'
            then info #> array['tables', name] else '{}' end as override
    ) o
$$;

comment on function chrononaut._for_table(jsonb, text) is
    'Merges what change info says for one table, and strips the reserved key tables.';


create or replace function chrononaut._explain_capture(versioning_id integer, said text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform chrononaut._check_change_info(said);
    perform chrononaut._check_drift(versioning_id);
end;
$$;

comment on function chrononaut._explain_capture(integer, text) is
    'Raises what kept a capture function from reading the row or the change info.';


create or replace function chrononaut._capture_head(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select $body$
-- Generated by chrononaut, replaced by chrononaut.sync_versioning(); do not edit.
#variable_conflict use_variable
declare
    v_said text;
    v_info jsonb;
    v_shared jsonb;
    v_probe bigint;
    v_transaction bigint;
    v_operation char(1);
    v_tuple tid;
    v_own bigint;
    v_first bigint;
    v_ended bigint;
    v_moved bigint;
    v_followed boolean;
    v_nothing boolean;
    v_memory text;
begin$body$
$$;

comment on function chrononaut._capture_head(chrononaut.versioning) is
    'Start of a capture function: its declarations.';


create or replace function chrononaut._refuse_silence(
    v chrononaut.versioning,
    condition text default 'true')
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case when v.require_change_info then format($body$
    if %3$s and chrononaut._says_nothing(
            nullif(current_setting('chrononaut.change_info', true), ''), %2$L) then
        perform chrononaut._refuse(%1$s,
            format('a write to %%s needs change info', %1$s::regclass),
            'Begin with: select chrononaut.set_change_info(user_id => ..., rationale => ...);',
            'VH002');
    end if;$body$, v.relid, v.schema_name || '.' || v.table_name, condition) else '' end
$$;

comment on function chrononaut._refuse_silence(chrononaut.versioning, text) is
    'The part of a capture function that requires change info, where it is required.';


create or replace function chrononaut._capture_info(
    v chrononaut.versioning,
    probe text,
    condition text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- The first row of a transaction pays for every step of every expression once more, and
    -- every row for those inside of its insert: so they are few, and outside of it. Returning
    -- a variable, v_nothing, takes none. That the history's name leads to it is a constant to
    -- the planner, which looks once per session, and again when names change.
    select format($body$
    begin
        %1$sv_info := coalesce(
            nullif(current_setting('chrononaut.change_info', true), '')::jsonb,
            jsonb_object(
                '{user_id,remote_addr,db_user,application_name}',
                array[null, null,
                    coalesce(nullif(current_setting('role'), 'none'), session_user),
                    current_setting('application_name')]));
        v_transaction := case when %2$s
            and chrononaut._records(%4$s, %5$L::regclass)
            and v_info -> 'user_id' is not null and v_info ? 'remote_addr' and not v_info ? 'tables'
            and current_setting('chrononaut.suppressed', true) is distinct from 'on'
            then %3$s end;
    exception
        when object_not_in_prerequisite_state then
            null;  -- the session's first
        when data_exception or undefined_column or undefined_function or datatype_mismatch
                or undefined_table or invalid_schema_name then
            perform chrononaut._explain_capture(
                %4$s, nullif(current_setting('chrononaut.change_info', true), ''));
    end;$body$,
        probe,
        condition,
        chrononaut._remembered(),
        v.id,
        chrononaut._history_reference(v))
$$;

comment on function chrononaut._capture_info(chrononaut.versioning, text, text) is
    'Middle of a capture function: who and why, and the check that no column is missing. Leaves '
        'v_transaction null unless all is as usual.';


create or replace function chrononaut._capture_exceptions(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format($body$
        v_said := nullif(current_setting('chrononaut.change_info', true), '');
        v_info := chrononaut._compose_change_info(v_said);
        if v_info ? 'tables' then
            v_shared := v_info - 'tables';
            v_info := chrononaut._for_table(v_info, %2$s);
        end if;
        if current_setting('chrononaut.suppressed', true) = 'on' then
            if chrononaut._suppressed(%1$s) then
                return null;
            end if;
        end if;
        begin
            v_transaction := %3$s;
        exception when object_not_in_prerequisite_state then
            null;
        end;$body$,
        v.id,
        case (select c.relkind from pg_class c where c.oid = v.relid)
            when 'p' then quote_literal(v.schema_name || '.' || v.table_name)
            else 'tg_table_schema || ''.'' || tg_table_name' end,
        chrononaut._remembered())
$$;

comment on function chrononaut._capture_exceptions(chrononaut.versioning) is
    'What is rare: suppression, change info that lacks a key or is no object, overrides for '
        'this table.';


create or replace function chrononaut._capture_open()
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select format($body$
        if %1$s then
            insert into chrononaut.transaction (
                id, xid, snapshot, began_at, issued_at, change_info,
                db_user, application_name, client_addr)
            values (
                %2$s, pg_current_xact_id(), pg_current_snapshot(), now(),
                clock_timestamp(), coalesce(v_shared, v_info),
                coalesce(nullif(current_setting('role'), 'none'), session_user),
                current_setting('application_name'), inet_client_addr())
            returning setval('chrononaut.remembered'::regclass, transaction.id
                + ((transaction.xmin::text::bigint - transaction.id) & 4294967295))
            into v_transaction;
        elsif %3$s then
            v_transaction := case when %4$s then %2$s
                else chrononaut._record_transaction(coalesce(v_shared, v_info)) end;$body$,
        chrononaut._remembers('<'),
        chrononaut._id_from_remembered(),
        chrononaut._remembers('>'),
        chrononaut._remembers_writer())
$$;

comment on function chrononaut._capture_open() is
    'Makes the transaction''s row: as _record_transaction, in place where there is surely none.';


create or replace function chrononaut._row_insert(
    v chrononaut.versioning,
    prefix text,
    state text,
    operation text,
    info text,
    tuple text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format($body$
        insert into %1$s (%2$s)
        values (%3$s, nextval('chrononaut.change_id'::regclass), clock_timestamp(),
            v_transaction, %4$s, %5$s, %6$s);$body$,
        chrononaut._history_reference(v),
        chrononaut._insert_columns(v, state),
        chrononaut._insert_values(v, prefix, state),
        operation,
        info,
        tuple)
$$;

comment on function chrononaut._row_insert(
    chrononaut.versioning, text, text, text, text, text) is
    'One insert into history by a row trigger.';


create or replace function chrononaut._history_reference(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('%I.%I', v.history_schema, v.history_name)
$$;

comment on function chrononaut._history_reference(chrononaut.versioning) is
    'The history table''s qualified name.';


create or replace function chrononaut._history_key(
    v chrononaut.versioning,
    history_alias text,
    prefix text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(
        concat_ws(' ', chrononaut._member(history_alias, m.history_name),
            chrononaut._key_operator(v.relid, k.name), chrononaut._member(prefix, k.name)),
        ' and ' order by k.position)
    from unnest(v.key) with ordinality k(name, position)
    join chrononaut.versioned_column m
        on m.versioning_id = v.id and m.live_name = k.name and m.attnum is not null
$$;

comment on function chrononaut._history_key(chrononaut.versioning, text, text) is
    'The condition that a history row belongs to a live row.';


create or replace function chrononaut._row_followers(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- What followed a version that is older than the transaction: all that it did with the
    -- key. Else what ended the new version, and all since. A row that moved, under a key that
    -- leaves out the partition columns, has an end before its beginning: it stays there.
    select format($body$
        v_first := (
            select min(h.%4$I) from %1$s h
            where %2$s and h.%3$I = v_transaction and h.%4$I < v_own
                and (h.%5$I = new.ctid or exists (
                    select from %1$s b
                    where %7$s and b.%4$I = v_own and b.%6$I = 'U' and b.%5$I is null))
                and h.%4$I > coalesce((
                    select max(b.%4$I) from %1$s b
                    where %7$s and b.%3$I <> v_transaction), 0));
        v_ended := case when tg_op = 'INSERT' and (
            select h.%6$I in ('I', 'U') from %1$s h
            where %2$s and h.%3$I = v_transaction and h.%4$I < v_first
            order by h.%4$I desc limit 1)
            then (
                select max(h.%4$I) from %1$s h
                where %2$s and h.%3$I = v_transaction and h.%6$I = 'D'
                    and h.%4$I >= v_first and h.%4$I < v_own) end;$body$,
        chrononaut._history_reference(v),
        chrononaut._history_key(v, 'h', 'new'),
        chrononaut._meta_name(v.meta, 'transaction_id'),
        chrononaut._meta_name(v.meta, 'change_id'),
        chrononaut._meta_name(v.meta, 'tuple'),
        chrononaut._meta_name(v.meta, 'operation'),
        chrononaut._history_key(v, 'b', 'new'))
$$;

comment on function chrononaut._row_followers(chrononaut.versioning) is
    'Finds where the changes begin that followed a version whose beginning comes only now.';


create or replace function chrononaut._row_reorder(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- A nested statement may have ended this version before its own beginning was recorded.
    -- A BEFORE trigger of the application leaves an xmax as well: then there is none before.
    select format($body$
    if new.xmax <> '0'::xid then
        v_own := currval('chrononaut.change_id'::regclass);
        v_followed := exists (
            select from %1$s h where %2$s and h.%3$I = v_transaction and h.%4$I < v_own);
    end if;
    if v_followed then%5$s
        for v_moved in
            select h.%4$I from %1$s h
            where %2$s and h.%3$I = v_transaction and h.%4$I >= v_first and h.%4$I < v_own
                and (h.%6$I is not null or h.%7$I = 'I')
                and h.%4$I is distinct from v_ended
            order by h.%4$I
        loop
            perform set_config('chrononaut.amending', 'on', true);
            update %1$s h
            set %4$I = nextval('chrononaut.change_id'::regclass)
            where %2$s and h.%4$I = v_moved;
            perform set_config('chrononaut.amending', '', true);
        end loop;
    end if;$body$,
        chrononaut._history_reference(v),
        chrononaut._history_key(v, 'h', 'new'),
        chrononaut._meta_name(v.meta, 'transaction_id'),
        chrononaut._meta_name(v.meta, 'change_id'),
        chrononaut._row_followers(v),
        chrononaut._meta_name(v.meta, 'tuple'),
        chrononaut._meta_name(v.meta, 'operation'))
$$;

comment on function chrononaut._row_reorder(chrononaut.versioning) is
    'Puts changes behind the one that they followed, when a nested statement came first.';


create or replace function chrononaut._row_usual(v chrononaut.versioning, changes text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- The transaction has its row and did not write this one before, nothing nested came
    -- first, and an update kept the key. An old row that there is not has null for its xmin.
    -- Age counts from this transaction, or from what was next when it was first asked for.
    select format($body$
        if %1$s
            and (age(old.xmin) > 0) is not false
            and (new.xmax <> '0'::xid) is not true
            and (%2$s or tg_op <> 'UPDATE') then
            if tg_op = 'UPDATE' then%3$s
            elsif tg_op = 'DELETE' then%4$s
            else%5$s
            end if;
            return v_nothing;
        end if;$body$,
        chrononaut._remembers('='),
        chrononaut._same_key(v, 'old', 'new'),
        chrononaut._row_insert(
            v, 'old', 'image', '''U''', 'v_info' || coalesce(changes, ''), 'null'),
        chrononaut._row_insert(v, 'old', 'image', '''D''', 'v_info', 'null'),
        chrononaut._row_insert(v, 'new', 'key', '''I''', 'v_info', 'null'))
$$;

comment on function chrononaut._row_usual(chrononaut.versioning, text) is
    'Records what nearly every row is, with as few expressions as possible.';


create or replace function chrononaut._row_unusual(v chrononaut.versioning, changes text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format($body$
    if tg_op <> 'INSERT' then
        v_operation := case when tg_op = 'UPDATE' and %2$s
            then 'U'::char(1) else 'D'::char(1) end;
        v_tuple := case when age(old.xmin) <= age(pg_current_xact_id()::xid) then old.ctid end;%1$s
        if tg_op = 'DELETE' or v_operation = 'U' and new.xmax = '0'::xid then
            return v_nothing;
        end if;
    end if;
    if tg_op = 'INSERT' or v_operation = 'D' then%3$s
    end if;%4$s
    return null;$body$,
        chrononaut._row_insert(v, 'old', 'image', 'v_operation', 'v_info' || case
                when changes is null then ''
                else format(' || case when tg_op = ''UPDATE'' then ''{}''::jsonb%s else ''{}'' end',
                    changes) end,
            'v_tuple'),
        chrononaut._same_key(v, 'old', 'new'),
        chrononaut._row_insert(v, 'new', 'key', '''I''', 'v_info', 'null'),
        chrononaut._row_reorder(v))
$$;

comment on function chrononaut._row_unusual(chrononaut.versioning, text) is
    'Records a change of the key, and changes that may have to be put in order.';


create or replace function chrononaut._capture_rows(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- The transaction's first row goes round: its condition is the same as that of the others.
    select chrononaut._capture_head(v)
        || chrononaut._capture_info(v,
            chrononaut._skip_same(v), chrononaut._probe(v.id, 'old') || ' is not null')
        || chrononaut._refuse_silence(v, 'v_transaction is not null')
        || format($body$
    loop%1$s%2$s
        elsif v_transaction is null then%3$s%5$s
            v_transaction := coalesce(v_transaction,
                chrononaut._record_transaction(coalesce(v_shared, v_info)));
        else
            exit;
        end if;
    end loop;%4$s
end;
$body$,
            chrononaut._row_usual(v, h.changes),
            chrononaut._capture_open(),
            chrononaut._capture_exceptions(v),
            chrononaut._row_unusual(v, h.changes),
            chrononaut._refuse_silence(v))
    from (select chrononaut._hidden_changes(v, 'old', 'new') as changes) h
$$;

comment on function chrononaut._capture_rows(chrononaut.versioning) is
    'Body of the capture function for row triggers.';


create or replace function chrononaut._skip_same(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- The trigger's WHEN compares whole rows; only where columns are left out is there more
    -- to compare.
    select case when not exists (
            select from chrononaut._image(v.id) i where i.state in ('hidden', 'untracked'))
        then ''
        else format($body$if tg_op = 'UPDATE' and %s operator(pg_catalog.*=) %s then
            return null;
        end if;
        $body$,
            chrononaut._row_of(v.id, 'old', '{tracked,hidden}'),
            chrononaut._row_of(v.id, 'new', '{tracked,hidden}'))
        end
$$;

comment on function chrononaut._skip_same(chrononaut.versioning) is
    'Leaves the capture function when only untracked columns changed.';



create or replace function chrononaut._capture_statement(v chrononaut.versioning)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_hidden text := chrononaut._hidden_changes(v, 'o', 'n');
begin
    return chrononaut._capture_head(v)
        || chrononaut._capture_info(v, chrononaut._statement_probe(v), 'true')
        || format($body$
    if v_transaction is null then%6$s
    end if;
    v_own := coalesce(%7$s, chrononaut._transaction_id());
    if tg_op = 'UPDATE' then%1$s
    elsif tg_op = 'DELETE' then%2$s
    else%3$s
    end if;
    get diagnostics v_moved = row_count;
    if v_memory is not null then
        perform set_config('work_mem', v_memory, true);
    end if;
    if v_moved = 0 then
        return null;
    end if;%4$s%5$s
        elsif v_transaction is null then
            v_transaction := chrononaut._record_transaction(coalesce(v_shared, v_info));
        end if;
    return null;
end;
$body$,
        chrononaut._statement_update(v, 'v_info' || case
            when v_hidden is null then ''
            else format(' || case when o.%1$I is distinct from null and n.%1$I is distinct from null '
                'then ''{}''::jsonb%2$s else ''{}'' end',
                v.key[1], v_hidden) end),
        chrononaut._statement_insert(v, 'chrononaut_old o', 'o', 'image', 'D'),
        chrononaut._statement_insert(v, 'chrononaut_new n', 'n', 'key', 'I'),
        chrononaut._refuse_silence(v),
        chrononaut._capture_open(),
        chrononaut._capture_exceptions(v),
        chrononaut._id_from_remembered());
end;
$$;

comment on function chrononaut._capture_statement(chrononaut.versioning) is
    'Body of the capture function for statement triggers.';


create or replace function chrononaut._statement_probe(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format($body$if tg_op = 'INSERT' then
            v_probe := (select %s from chrononaut_new n limit 1);
        else
            v_probe := (select %s from chrononaut_old o limit 1);
        end if;
        if v_probe is null then
            return null;
        end if;
        $body$, chrononaut._probe(v.id, 'n'), chrononaut._probe(v.id, 'o'))
$$;

comment on function chrononaut._statement_probe(chrononaut.versioning) is
    'Touches every recorded column once per statement, and leaves if there is no row.';


create or replace function chrononaut._statement_insert(
    v chrononaut.versioning,
    source text,
    prefix text,
    state text,
    operation text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format($body$
        insert into %1$s (%2$s)
        select %3$s, nextval('chrononaut.change_id'::regclass), clock_timestamp(),
            v_own, %4$L, v_info, null
        from %5$s;$body$,
        chrononaut._history_reference(v),
        chrononaut._insert_columns(v, state),
        chrononaut._insert_values(v, prefix, state),
        operation,
        source)
$$;

comment on function chrononaut._statement_insert(chrononaut.versioning, text, text, text, text) is
    'The insert into history for a statement that only adds or only removes rows.';


create or replace function chrononaut._statement_update(v chrononaut.versioning, info text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Rows are paired by key: only old means that the key was changed away, only new that
    -- it appeared. A full join cannot be planned as a nested loop, however wrong the estimate.
    -- It sorts both sides: with the usual 4 MB, tens of thousands of rows went to disk for it.
    -- A key that is a row of nulls is itself not null: "is null" would take it for one.
    select format($body$
        if pg_size_bytes(current_setting('work_mem')) < 16777216 then
            v_memory := current_setting('work_mem');
            perform set_config('work_mem', '16MB', true);
        end if;
        insert into %1$s (%2$s)
        select %3$s, nextval('chrononaut.change_id'::regclass), clock_timestamp(),
            v_own,
            case
                when o.%4$I is not distinct from null then 'I'::char(1)
                when n.%4$I is not distinct from null then 'D'::char(1)
                else 'U'::char(1) end,
            %5$s, null
        from chrononaut_old o
        full join chrononaut_new n on %6$s
        where o.%4$I is not distinct from null or n.%4$I is not distinct from null
            or %7$s;$body$,
        chrononaut._history_reference(v),
        chrononaut._insert_columns(v, 'image'),
        (select string_agg(
            case when i.live_name = any (v.key) then format('coalesce(%s, %s)',
                    chrononaut._column_value(v.relid, i.attnum, 'o'),
                    chrononaut._column_value(v.relid, i.attnum, 'n'))
                when i.computed then format('case when o.%I is distinct from null then %s end',
                    v.key[1], chrononaut._column_value(v.relid, i.attnum, 'o'))
                else chrononaut._column_value(v.relid, i.attnum, 'o') end,
            ', ' order by i.attnum)
            from chrononaut._image(v.id) i where i.state = 'tracked'),
        v.key[1],
        info,
        chrononaut._same_key(v, 'o', 'n'),
        chrononaut._differ(v, 'o', 'n'))
$$;

comment on function chrononaut._statement_update(chrononaut.versioning, text) is
    'The insert into history for an UPDATE seen as a whole.';


create or replace function chrononaut._capture_body(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case v.granularity
        when 'row' then chrononaut._capture_rows(v)
        else chrononaut._capture_statement(v) end
$$;

comment on function chrononaut._capture_body(chrononaut.versioning) is
    'Body of the table''s capture function.';


create or replace function chrononaut._capture_settings(v chrononaut.versioning)
    returns text[]
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- The planner cannot know how many rows of two transition tables match and guesses far
    -- too many: to compile for so many takes longer than to join those that there are.
    select array['search_path=pg_catalog, pg_temp'] || case v.granularity
        when 'statement' then '{jit=off}'::text[]
        else '{}' end
$$;

comment on function chrononaut._capture_settings(chrononaut.versioning) is
    'The settings of a table''s capture function.';


create or replace function chrononaut._write_capture(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_function text := format('chrononaut._capture_%s()', v.id);
begin
    execute format(
        'create or replace function %s returns trigger language plpgsql security definer %s as %L',
        v_function,
        (select string_agg('set ' || s, ' ') from unnest(chrononaut._capture_settings(v)) s),
        chrononaut._capture_body(v));
    execute format('revoke all on function %s from public', v_function);
    execute format('comment on function %s is %L', v_function,
        format('Records changes of %I.%I.', v.schema_name, v.table_name));
    execute format('alter table %s set (fillfactor = 100)', v.history_relid::regclass);
end;
$$;

comment on function chrononaut._write_capture(chrononaut.versioning) is
    'Replaces the capture function, and makes sessions forget plans on the history table.';
