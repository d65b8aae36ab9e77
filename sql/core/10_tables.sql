-- The core's own tables: what is versioned, and what happened.
--
-- Safe to replay: tables are created as they are now, and only where they are missing;
-- upgrades/ brings older ones to this shape.

create table if not exists chrononaut.versioning (
    id integer generated always as identity primary key,
    relid oid not null,
    schema_name name not null,
    table_name name not null,
    history_relid oid,
    history_schema name,
    history_name name,
    view_name name,
    key name[] not null default '{}',
    key_given boolean not null default false,
    hidden name[] not null default '{}',
    untracked name[] not null default '{}',
    granularity text not null default 'row'
        check (granularity in ('row', 'statement')),
    track_inserts boolean not null default true,
    require_change_info boolean not null default false,
    lockable boolean not null default false,
    row_version boolean not null default false,
    indexes name[] not null default '{}',
    always boolean not null default false,
    on_truncate text not null default 'record'
        check (on_truncate in ('record', 'forbid')),
    parent_id integer references chrononaut.versioning,
    meta jsonb not null default '{}',
    active boolean not null default true,
    registered_in text not null,
    created_at timestamptz not null default clock_timestamp()
);

create unique index if not exists versioning_relid
    on chrononaut.versioning (relid)
    where active;

comment on table chrononaut.versioning is
    'The registry: one row per table that is or was versioned. Read versioned_tables instead.';
comment on column chrononaut.versioning.id is
    'Names the table''s functions in schema chrononaut; kept across dump and restore.';
comment on column chrononaut.versioning.relid is
    'The live table''s oid, as a number; valid where registered_in says so.';
comment on column chrononaut.versioning.schema_name is
    'The live table''s schema when it was last synchronised.';
comment on column chrononaut.versioning.table_name is
    'The live table''s name when it was last synchronised.';
comment on column chrononaut.versioning.history_relid is
    'The history table''s oid, as a number; valid where registered_in says so.';
comment on column chrononaut.versioning.history_schema is
    'The history table''s schema when it was last synchronised.';
comment on column chrononaut.versioning.history_name is
    'The history table''s name when it was last synchronised.';
comment on column chrononaut.versioning.view_name is
    'Name of the versions view, in the history table''s schema.';
comment on column chrononaut.versioning.key is
    'Live columns that identify a row.';
comment on column chrononaut.versioning.key_given is
    'Whether the key was named by the caller; otherwise it follows the primary key.';
comment on column chrononaut.versioning.hidden is
    'Columns of which only the fact that they changed is recorded.';
comment on column chrononaut.versioning.untracked is
    'Columns that are ignored altogether.';
comment on column chrononaut.versioning.granularity is
    'row or statement: the kind of trigger that records changes.';
comment on column chrononaut.versioning.track_inserts is
    'Whether an insert leaves a change of operation I.';
comment on column chrononaut.versioning.require_change_info is
    'Whether a write without change info is refused (VH002).';
comment on column chrononaut.versioning.lockable is
    'Whether records can be locked: guarded by a trigger.';
comment on column chrononaut.versioning.row_version is
    'Whether every UPDATE raises the live column row_version.';
comment on column chrononaut.versioning.indexes is
    'History columns that have an index of their own.';
comment on column chrononaut.versioning.always is
    'Whether triggers fire in sessions with session_replication_role = replica too.';
comment on column chrononaut.versioning.on_truncate is
    'record: every row leaves a change of operation T; forbid: TRUNCATE is refused.';
comment on column chrononaut.versioning.parent_id is
    'The registry row of the parent table, for joined-table inheritance.';
comment on column chrononaut.versioning.meta is
    'Meta columns that had to take another name: {"changed": "chrononaut_changed"}.';
comment on column chrononaut.versioning.active is
    'False after drop_versioning kept the history, or the live table was dropped.';
comment on column chrononaut.versioning.registered_in is
    'Cluster and database in which the oids and attribute numbers hold.';
comment on column chrononaut.versioning.created_at is
    'When versioning was first created.';


create table if not exists chrononaut.versioned_column (
    id integer generated always as identity primary key,
    versioning_id integer not null references chrononaut.versioning on delete cascade,
    attnum smallint,
    live_name name not null,
    history_name name,
    state text not null check (state in ('tracked', 'hidden', 'untracked', 'retired')),
    unique (versioning_id, attnum),
    unique (versioning_id, history_name)
);

comment on table chrononaut.versioned_column is
    'Maps live columns to history columns by attribute number, so that renames are known.';
comment on column chrononaut.versioned_column.id is
    'Surrogate key.';
comment on column chrononaut.versioned_column.versioning_id is
    'The versioned table.';
comment on column chrononaut.versioned_column.attnum is
    'Attribute number in the live table; null once the column is retired.';
comment on column chrononaut.versioned_column.live_name is
    'Name in the live table when it was last synchronised.';
comment on column chrononaut.versioned_column.history_name is
    'Name in the history table; null if the column was never tracked.';
comment on column chrononaut.versioned_column.state is
    'tracked, hidden, untracked, or retired: dropped from the live table, kept in history.';


create table if not exists chrononaut.column_period (
    column_id integer not null references chrononaut.versioned_column on delete cascade,
    since bigint not null,
    until bigint,
    primary key (column_id, since)
);

comment on table chrononaut.column_period is
    'Which changes recorded a column: those between since and until. Null tells nothing elsewhere.';
comment on column chrononaut.column_period.column_id is
    'The column, as chrononaut.versioned_column.id.';
comment on column chrononaut.column_period.since is
    'Changes after this change_id recorded the column.';
comment on column chrononaut.column_period.until is
    'The last change_id that may have recorded it; null while it is recorded.';


create table if not exists chrononaut.key_period (
    versioning_id integer not null references chrononaut.versioning on delete cascade,
    until bigint not null,
    columns integer[] not null,
    primary key (versioning_id, until)
);

comment on table chrononaut.key_period is
    'Former keys: which columns identified a row in changes up to a number.';
comment on column chrononaut.key_period.versioning_id is
    'The table, as chrononaut.versioning.id.';
comment on column chrononaut.key_period.until is
    'The last change_id that may have been recorded under that key.';
comment on column chrononaut.key_period.columns is
    'The key''s columns, as chrononaut.versioned_column.id.';


create table if not exists chrononaut.incarnation (
    number integer primary key,
    system_identifier bigint not null unique,
    began_at timestamptz not null default clock_timestamp(),
    verified_start timestamptz
);

comment on table chrononaut.incarnation is
    'Clusters that this database has lived in: transaction ids start again in a new one.';
comment on column chrononaut.incarnation.number is
    'Upper 24 bits of chrononaut.transaction.id.';
comment on column chrononaut.incarnation.system_identifier is
    'The cluster, as pg_control_system() tells it.';
comment on column chrononaut.incarnation.began_at is
    'When the first write in this cluster was recorded.';
comment on column chrononaut.incarnation.verified_start is
    'Start of the server for which the cluster was verified: asking for it is slow.';


create table if not exists chrononaut.transaction (
    id bigint primary key,
    xid xid8 not null,
    snapshot pg_snapshot not null,
    began_at timestamptz not null,
    issued_at timestamptz not null,
    change_info jsonb not null,
    db_user name not null,
    application_name text,
    client_addr inet,
    suppressed text[]
);

comment on table chrononaut.transaction is
    'One row per transaction that changed at least one versioned row.';
comment on column chrononaut.transaction.id is
    'Top-level transaction id plus incarnation number shifted left by 40 bits.';
comment on column chrononaut.transaction.xid is
    'Top-level transaction id in its cluster.';
comment on column chrononaut.transaction.snapshot is
    'What was visible to the first recorded statement.';
comment on column chrononaut.transaction.began_at is
    'When the transaction began.';
comment on column chrononaut.transaction.issued_at is
    'When its first change was recorded.';
comment on column chrononaut.transaction.change_info is
    'Who and why, as the first recorded statement said; each change has its own as well.';
comment on column chrononaut.transaction.db_user is
    'The role that wrote: the one set by SET ROLE, else the session''s user.';
comment on column chrononaut.transaction.application_name is
    'application_name of the session.';
comment on column chrononaut.transaction.client_addr is
    'Address of the client; null on a Unix socket.';
comment on column chrononaut.transaction.suppressed is
    'Tables whose recording was suppressed in this transaction.';


create table if not exists chrononaut.mark (
    name text primary key,
    snapshot pg_snapshot not null,
    transaction_id bigint not null,
    change_id bigint not null,
    made_at timestamptz not null default clock_timestamp(),
    made_by name not null
);

comment on table chrononaut.mark is
    'Named moments, exact under concurrency: what was visible when chrononaut.mark() was called.';
comment on column chrononaut.mark.name is
    'How the moment is asked for: chrononaut.as_of(..., mark => name).';
comment on column chrononaut.mark.snapshot is
    'What was visible.';
comment on column chrononaut.mark.transaction_id is
    'The transaction that made the mark, as chrononaut.transaction.id.';
comment on column chrononaut.mark.change_id is
    'Of that transaction''s own changes, those with smaller numbers came before the mark.';
comment on column chrononaut.mark.made_at is
    'When it was made.';
comment on column chrononaut.mark.made_by is
    'The role that made it.';


create table if not exists chrononaut.record_lock (
    versioning_id integer not null,
    key jsonb not null,
    user_id text,
    db_user name not null,
    locked_at timestamptz not null default clock_timestamp(),
    rationale text,
    change_info jsonb,
    primary key (versioning_id, key)
);

comment on table chrononaut.record_lock is
    'Records that nobody may change, until they are unlocked. Read record_locks instead.';
comment on column chrononaut.record_lock.versioning_id is
    'The table, as chrononaut.versioning.id.';
comment on column chrononaut.record_lock.key is
    'Values of the key''s columns, in their order.';
comment on column chrononaut.record_lock.user_id is
    'Who locked it, as the change info said.';
comment on column chrononaut.record_lock.db_user is
    'The role that locked it.';
comment on column chrononaut.record_lock.locked_at is
    'When it was locked.';
comment on column chrononaut.record_lock.rationale is
    'Why.';
comment on column chrononaut.record_lock.change_info is
    'The change info of the lock.';


create table if not exists chrononaut.record_lock_event (
    id bigint generated always as identity primary key,
    event text not null check (event in ('lock', 'unlock')),
    versioning_id integer not null,
    schema_name name not null,
    table_name name not null,
    key jsonb not null,
    noted_at timestamptz not null default clock_timestamp(),
    user_id text,
    db_user name not null,
    rationale text,
    change_info jsonb not null
);

comment on table chrononaut.record_lock_event is
    'Every lock and unlock of a record that ever was; append-only.';
comment on column chrononaut.record_lock_event.id is
    'The order of the events of a record.';
comment on column chrononaut.record_lock_event.event is
    'lock or unlock.';
comment on column chrononaut.record_lock_event.versioning_id is
    'The table, as chrononaut.versioning.id.';
comment on column chrononaut.record_lock_event.schema_name is
    'The table''s schema at that time.';
comment on column chrononaut.record_lock_event.table_name is
    'The table''s name at that time.';
comment on column chrononaut.record_lock_event.key is
    'The key of the record at that time: {"id": 5}.';
comment on column chrononaut.record_lock_event.noted_at is
    'When it happened.';
comment on column chrononaut.record_lock_event.user_id is
    'Who did it, as the change info said.';
comment on column chrononaut.record_lock_event.db_user is
    'The role that did it.';
comment on column chrononaut.record_lock_event.rationale is
    'Why.';
comment on column chrononaut.record_lock_event.change_info is
    'The change info said then.';


create sequence if not exists chrononaut.change_id
    as bigint
    cache 1;

comment on sequence chrononaut.change_id is
    'Numbers all changes of all tables. Its cache must stay 1: the numbers give the order.';

create sequence if not exists chrononaut.remembered
    as bigint
    minvalue 0
    cache 1;

comment on sequence chrononaut.remembered is
    'What currval() says is each session''s own: the last transaction''s id and who wrote its row.';

-- Default privileges may have granted too much; later grants are the database owner's.
do $rights$
begin
    if current_setting('chrononaut.installed_version') = '0' then
        revoke all on
            chrononaut.versioning, chrononaut.versioned_column,
            chrononaut.incarnation, chrononaut.transaction, chrononaut.change_id
            from public;
    end if;
    if current_setting('chrononaut.installed_version')::integer < 3 then
        revoke all on
            chrononaut.column_period, chrononaut.key_period, chrononaut.mark,
            chrononaut.record_lock, chrononaut.record_lock_event, chrononaut.remembered
            from public;
    end if;
end
$rights$;
