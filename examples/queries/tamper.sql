alter table pgbench_accounts_history disable trigger all;
delete from pgbench_accounts_history
where change_id = (
    select max(change_id) from pgbench_accounts_history where aid = :aid);
alter table pgbench_accounts_history enable trigger all;
