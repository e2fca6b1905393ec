# shellcheck shell=bash disable=SC2034,SC2154
# What committing together gains: durable publishes through lighttpd with 64 connections, beside one transaction with NOTIFY for each
# on the same server. Not in the table: tests/bench/run commit.
#
# The other side does what a publish does for one message, and nothing else: the counter of its topic, the row of the queue, the NOTIFY;
# by pgbench over the unix socket: no HTTP, no token, no JSON, no trimming, and no two connections share a counter.
#
# NOTIFY lets no two commit at once, so its rate hangs on how long the disk takes to flush (pg_test_fsync tells). A virtual disk with a
# cache of its own flushes in 0.1 ms, one that waits for its medium or for a second data centre in 1 to 5 ms. So both sides are measured
# on this disk as it is, and again with PostgreSQL sleeping 2 ms before each flush (commit_delay = 2000, commit_siblings = 0).
needs=(tidings)
pinned=no

row()
{
	local delay disk rate=$bench_folder/rate seconds=${BENCH_SECONDS:-8} gain

	check_durable
	commit_schema
	for delay in 0 2000; do
		disk="this disk"
		[ "$delay" = 0 ] || disk="a flush made to wait $((delay / 1000)) ms"
		flush_delay "$delay"
		rm -f "$rate".*
		for ((round = 1; round <= rounds; round++)); do
			post_once --port "${port_of[tidings]}" --token "$(token service)" --connections 64 --seconds "$seconds" --topics 64 --pad 100
			echo "${figure[rate_per_s]}" >> "$rate.together"
			transactions "$seconds" >> "$rate.each"
		done
		gain=$(ratio "$rate.together" "$rate.each")
		result "durable publishes a second, 64 connections, $disk, beside a transaction with NOTIFY each" "≥ 10 × one each" \
			"$(spread "$rate.together"); one each $(spread "$rate.each")" "$gain × one each" "$(verdict "$gain >= 10")"
	done
	flush_delay 0
}

commit_schema()
{
	local text body

	sql << 'END'
drop schema if exists tidings_bench cascade;
create schema tidings_bench;
create table tidings_bench.counter(topic bigint primary key, last_seq bigint not null) with (fillfactor = 50);
create table tidings_bench.message(topic bigint, seq bigint, created_at timestamptz not null, body text not null,
	primary key (topic, seq));
insert into tidings_bench.counter select g, 0 from generate_series(0, 63) g;
END
	text=$(printf '%0100d' 0)
	body='{"type":"bench","topic":"bench/1","timestamp":"2026-01-01T00:00:00.000Z","data":{"number":12345,"text":"'$text'"}}'
	cat > "$bench_folder/transaction.sql" << END
begin;
update tidings_bench.counter set last_seq = last_seq + 1 where topic = :client_id returning last_seq \\gset
insert into tidings_bench.message values (:client_id, :last_seq, now(), '$body');
select pg_notify('tidings_bench', :client_id || '-' || :last_seq);
commit;
END
}

# transactions SECONDS: how many a second
transactions()
{
	pgbench -n -M prepared -c 64 -j 2 -T "$1" -f "$bench_folder/transaction.sql" "host=$state/run dbname=tidings" \
		> "$bench_folder/pgbench" 2>&1 || die "pgbench: $(tail -n 1 "$bench_folder/pgbench")"
	sed -n 's/^tps = \([0-9]*\).*/\1/p' "$bench_folder/pgbench" | grep . || die "pgbench told no rate"
}

# flush_delay US: a flush waits so long first
flush_delay()
{
	sql -c "alter system set commit_delay = $1" -c "alter system set commit_siblings = $(($1 > 0 ? 0 : 5))" -c 'select pg_reload_conf()' \
		> /dev/null
	until [ "$(sql -c 'show commit_delay')" = "$1" ]; do :; done
}
