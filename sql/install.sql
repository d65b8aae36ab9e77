-- Installs or upgrades the core: psql -f sql/install.sql
--
-- One transaction; safe to replay. Files of upgrades/ that lead to the installed version or
-- below are passed over. To follow DDL by event triggers as well, as a superuser:
-- select chrononaut.auto_sync();

\set ON_ERROR_STOP on
begin;
set local client_min_messages = warning;
\ir prelude.sql
select current_setting('chrononaut.installed_version')::integer = 1 as to_2 \gset
\if :to_2
\ir upgrades/0002_verified_start.sql
\endif
select current_setting('chrononaut.installed_version')::integer between 1 and 2 as to_3 \gset
\if :to_3
\ir upgrades/0003_locks_and_marks.sql
\endif
\ir core/00_version.sql
\ir core/10_tables.sql
\ir core/20_change_info.sql
\ir core/25_transaction.sql
\ir core/30_target.sql
\ir core/35_key.sql
\ir core/40_columns.sql
\ir core/45_history.sql
\ir core/46_types.sql
\ir core/50_capture.sql
\ir core/55_truncate.sql
\ir core/57_triggers.sql
\ir core/58_locks.sql
\ir core/59_row_version.sql
\ir core/60_views.sql
\ir core/62_inheritance.sql
\ir core/65_grants.sql
\ir core/66_images.sql
\ir core/67_feed.sql
\ir core/67_moments.sql
\ir core/68_as_of.sql
\ir core/68_related.sql
\ir core/69_past.sql
\ir core/70_registry.sql
\ir core/72_names.sql
\ir core/73_renames.sql
\ir core/75_apply.sql
\ir core/80_versioning.sql
\ir core/85_check.sql
\ir core/86_record_locks.sql
\ir core/87_append.sql
\ir core/88_record_changes.sql
\ir core/90_auto_sync.sql
\ir core/91_revert.sql
\ir core/92_undo.sql
\ir core/93_undo_plan.sql
\ir core/94_recorded_columns.sql
\ir core/94_undo_detours.sql
\ir core/94_undo_write.sql
\ir core/94_undo_writes_beside.sql
\ir core/95_install.sql
do $$ begin perform chrononaut._after_install(); end $$;
commit;
