create table first_accounts as select aid, abalance from pgbench_accounts;
create table first_tellers as select tid, tbalance from pgbench_tellers;
