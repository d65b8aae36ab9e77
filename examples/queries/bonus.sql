update pgbench_accounts set abalance = abalance + 100 where aid % 50 = 0;
