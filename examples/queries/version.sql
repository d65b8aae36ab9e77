select chrononaut.create_versioning('pgbench_accounts');
select chrononaut.create_versioning('pgbench_tellers');
select chrononaut.create_versioning('pgbench_branches');
