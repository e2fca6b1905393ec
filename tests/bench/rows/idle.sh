# shellcheck shell=bash disable=SC2034,SC2154
# What 10,000 clients cost that are only there: each is sent a ping every 30 s, and answers.
needs=(tidings)

row()
{
	local clients=${BENCH_CLIENTS:-10000} seconds=${BENCH_SECONDS:-60} percent=$bench_folder/percent before database started elapsed

	rm -f "$percent"*
	connect tidings --clients "$clients"
	server_of tidings
	[ -n "$bench_smoke" ] || sleep 5
	for ((round = 1; round <= rounds; round++)); do
		before=$(cpu_us "$server")
		database=$(database_cpu_us)
		started=$(date +%s%3N)
		sleep "$seconds"
		elapsed=$(($(date +%s%3N) - started))
		divide $((($(cpu_us "$server") - before) / 10)) "$elapsed" 2 >> "$percent"
		divide $((($(database_cpu_us) - database) / 10)) "$elapsed" 2 >> "$percent.database"
	done
	clients_connected tidings "$clients"
	result "$clients idle connections, heartbeats on, $seconds s" "< 2 % of a core" \
		"$(spread "$percent") % (and PostgreSQL $(median < "$percent.database") %)" "" "$(verdict "$(median < "$percent") < 2")"
}
