\copy pgbench_accounts (aid, bid, abalance, filler) from pstdin
