# shellcheck shell=bash disable=SC2034,SC2154
# What a long snapshot costs: pg_dump, a report, a transaction that somebody forgot. BENCH_SNAPSHOT_S seconds (600) of publishing to one
# topic at 200 a second, one client listening, beside a REPEATABLE READ transaction that has its snapshot and does nothing: p99 of a POST
# in the first and in the last tenth. Not in the table: tests/bench/run snapshot.
needs=(tidings)
pinned=no

row()
{
	local all=${BENCH_SNAPSHOT_S:-600} tenth first first_p50 last growth snapshot

	[ -z "$bench_smoke" ] || all=${BENCH_SNAPSHOT_S:-10}
	tenth=$((all / 10))
	check_durable
	load_start listener --port "${port_of[tidings]}" --token "$(token admin)" --clients 1 --messages 1
	# It ends with this shell, which holds its standard input.
	exec {snapshot}> >(sql > "$bench_folder/snapshot")
	echo "begin isolation level repeatable read; select 'open';" >&"$snapshot"
	until grep -q open "$bench_folder/snapshot"; do sleep 0.1; done
	snapshot_post "$tenth"
	first=${figure[p99_ms]}
	first_p50=${figure[p50_ms]}
	[ "$((all - 2 * tenth))" -le 0 ] || snapshot_post "$((all - 2 * tenth))"
	snapshot_post "$tenth"
	last=${figure[p99_ms]}
	growth=$(divide "$last" "$first" 2)
	note "dead rows at the end of \`snapshot\`: $(sql -c "select coalesce(string_agg(relname || ' ' || n_dead_tup, ', '
		order by n_dead_tup desc), 'none') from pg_stat_user_tables where schemaname = 'tidings' and n_dead_tup > 100")"
	result "p99 of a POST, 200 a second to one topic, beside a snapshot open for $all s: first and last $tenth s" "≤ 1.5 ×" \
		"$first ms, $last ms (p50 $first_p50 ms, ${figure[p50_ms]} ms)" "$growth ×" "$(verdict "$growth <= 1.5")"
	exec {snapshot}>&-
	load_end listener
}

snapshot_post()
{
	post_once --port "${port_of[tidings]}" --token "$(token service)" --connections 8 --rate 200 --seconds "$1" --topics 1 --pad 100
}
