-- The transaction row, and time that is exact.
--
-- The first recorded statement of a transaction inserts its row. That it is there, the
-- session remembers as currval() of a sequence: only the core's functions can set that, and
-- only for their own session, so later statements take its word. The row is written again
-- only to note a suppression. Safe to replay.

create or replace function chrononaut._system_identifier()
    returns bigint
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select c.system_identifier from pg_control_system() c
$$;

comment on function chrononaut._system_identifier() is
    'Identifies the cluster; a restored database finds itself in another one.';


create or replace function chrononaut._here()
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('%s/%s', chrononaut._system_identifier(), d.oid)
    from pg_database d
    where d.datname = current_database()
$$;

comment on function chrononaut._here() is
    'Cluster and database: where the registry''s oids and attribute numbers hold.';


create or replace function chrononaut._register_incarnation(number integer, system bigint)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    insert into chrononaut.incarnation as i (number, system_identifier)
    values (number, system)
    on conflict (system_identifier) do update
    set number = excluded.number, began_at = clock_timestamp(), verified_start = null
    where i.number <> excluded.number;
exception when serialization_failure then
    -- Somebody registered it since this transaction took its snapshot.
    null;
end;
$$;

comment on function chrononaut._register_incarnation(integer, bigint) is
    'Notes a cluster under its number, the newest one if it had one before.';


create or replace function chrononaut._has_later_ids(number integer)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select (select max(t.id) from chrononaut.transaction t)
            >= (number::bigint << 40) + greatest(
                pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
                pg_current_xact_id_if_assigned()::text::bigint + 1)
        or exists (
            select from chrononaut.mark m
            where m.transaction_id >> 40 >= number
                and pg_snapshot_xmax(m.snapshot) > pg_snapshot_xmax(pg_current_snapshot()))
$$;

comment on function chrononaut._has_later_ids(integer) is
    'Whether there are transactions that cannot have been yet: they came from a twin of the cluster.';


create or replace function chrononaut._verify_incarnation()
    returns integer
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    v_system bigint := chrononaut._system_identifier();
    v_known integer;
    v_last integer;
    v_number integer;
begin
    select max(i.number) filter (where i.system_identifier = v_system), max(i.number)
    into v_known, v_last
    from chrononaut.incarnation i;
    -- Sessions agree on the number before one of them has registered it: all rows of other
    -- clusters came with the restore. Who comes back from one begins anew: what happened
    -- there has higher ids than what is written here under the old number.
    v_number := case when v_known = v_last then v_known else coalesce(v_last + 1, 0) end;
    -- A clone keeps the system identifier, and goes on where the other one was then. SERIALIZABLE
    -- leaves that to others: to look for the newest row is to conflict with whoever adds one.
    if v_number = v_known and current_setting('transaction_isolation') <> 'serializable'
        and chrononaut._has_later_ids(v_number) then
        v_number := v_number + 1;
    end if;
    -- Whoever comes first registers the cluster and notes the server start. Nobody waits
    -- for him: a wait would be one that the application does not know, and could deadlock.
    if pg_try_advisory_xact_lock(hashtextextended('chrononaut.incarnation', 0)) then
        if v_number is distinct from v_known then
            perform chrononaut._register_incarnation(v_number, v_system);
        end if;
        if current_setting('transaction_isolation') = 'read committed' then
            update chrononaut.incarnation i
            set verified_start = case
                when i.number = v_number then pg_postmaster_start_time() end
            where i.verified_start is distinct from case
                when i.number = v_number then pg_postmaster_start_time() end;
        end if;
    end if;
    return v_number;
end;
$$;

comment on function chrononaut._verify_incarnation() is
    'Number of the incarnation, from the control file; registers a cluster seen first.';


create or replace function chrononaut._transaction_id()
    returns bigint
    language plpgsql
    volatile
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_incarnation bigint;
begin
    select i.number into v_incarnation
    from chrononaut.incarnation i
    where i.verified_start = pg_postmaster_start_time();
    if not found then
        v_incarnation := chrononaut._verify_incarnation();
    end if;
    return (v_incarnation << 40) + pg_current_xact_id()::text::bigint;
end;
$$;

comment on function chrononaut._transaction_id() is
    'Id of the current transaction: incarnation << 40 plus the top-level transaction id.';


create or replace function chrononaut._remembered()
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select 'currval(''chrononaut.remembered''::regclass)'::text
$$;

comment on function chrononaut._remembered() is
    'An expression: the last transaction in which the session recorded something, as its id, but '
        'with the number of the subtransaction that wrote its row.';


create or replace function chrononaut._remembers(comparison text)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- A row that was written at the top level cannot go before its transaction does. Who
    -- wrote in an earlier transaction has written nothing in this one, of the same cluster.
    -- The old name of pg_current_xact_id() gives the same number as a bigint: a cast by way
    -- of text takes five times as long.
    select format('v_transaction & %s %s txid_current()',
        (1::bigint << 40) - 1, comparison)
$$;

comment on function chrononaut._remembers(text) is
    'An expression: whether what v_transaction remembers was written by this transaction (=), by '
        'an earlier one (<) or by a subtransaction (>).';


create or replace function chrononaut._remembers_writer()
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- What a subtransaction wrote is there as long as that was not rolled back.
    select format('txid_status(v_transaction & %s) = ''in progress''',
        (1::bigint << 40) - 1)
$$;

comment on function chrononaut._remembers_writer() is
    'An expression: whether the subtransaction that v_transaction remembers goes on.';


create or replace function chrononaut._id_from_remembered()
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select '(v_transaction >> 40 << 40) + txid_current()'::text
$$;

comment on function chrononaut._id_from_remembered() is
    'An expression: the id of this transaction, from what v_transaction remembers.';


create or replace function chrononaut._record_transaction(info jsonb)
    returns bigint
    language plpgsql
as $$
-- Only called by definer functions, in whose name and on whose pinned path it runs.
#variable_conflict use_variable
declare
    v_id bigint := chrononaut._transaction_id();
    v_writer xid;
begin
    insert into chrononaut.transaction (
        id, xid, snapshot, began_at, issued_at, change_info,
        db_user, application_name, client_addr)
    values (
        v_id, pg_current_xact_id(), pg_current_snapshot(), now(), clock_timestamp(), info,
        coalesce(nullif(current_setting('role'), 'none'), session_user),
        current_setting('application_name'), inet_client_addr())
    on conflict (id) do nothing
    returning transaction.xmin into v_writer;
    if v_writer is null then
        select t.xmin into strict v_writer
        from chrononaut.transaction t
        where t.id = v_id;
    end if;
    -- The writer is the transaction or one of its subtransactions, which began later.
    perform setval('chrononaut.remembered'::regclass,
        v_id + ((v_writer::text::bigint - v_id) & ((1::bigint << 32) - 1)));
    return v_id;
end;
$$;

comment on function chrononaut._record_transaction(jsonb) is
    'Makes sure that the transaction has its row, lets the session remember it, returns its id.';


create or replace function chrononaut._suppressed(versioning_id integer)
    returns boolean
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_name text;
    v_transaction bigint;
begin
    if not pg_has_role(chrononaut._caller(), chrononaut._owner(), 'member') then
        return false;
    end if;
    select format('%I.%I', v.schema_name, v.table_name) into strict v_name
    from chrononaut.versioning v
    where v.id = versioning_id;
    v_transaction := chrononaut._record_transaction(chrononaut.change_info());
    update chrononaut.transaction t
    set suppressed = t.suppressed || v_name
    where t.id = v_transaction
        and (t.suppressed is null or v_name <> all (t.suppressed));
    return true;
end;
$$;

comment on function chrononaut._suppressed(integer) is
    'Whether recording is off: only for members of the history''s owner, who leave a trace.';
