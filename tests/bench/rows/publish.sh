# shellcheck shell=bash disable=SC2034,SC2154
# Publishes a second with 64 connections and nobody listening, everything on all CPUs: through lighttpd and committed; beside FastAPI,
# which keeps them in memory.
needs=(tidings fastapi)
pinned=no

row()
{
	local name rate=$bench_folder/rate to_fastapi

	check_durable
	rm -f "$rate".*
	for ((round = 1; round <= rounds; round++)); do
		for name in "${needs[@]}"; do
			post_once --port "${port_of[$name]}" --token "$(token service)" --connections 64 --seconds "${BENCH_SECONDS:-8}" --topics 64 \
				--pad 100
			echo "${figure[rate_per_s]}" >> "$rate.$name"
			echo "${figure[p50_ms]}" >> "$rate.$name.p50"
			echo "${figure[p99_ms]}" >> "$rate.$name.p99"
		done
	done
	to_fastapi=$(ratio "$rate.tidings" "$rate.fastapi")
	result "durable publishes a second through lighttpd, 64 connections, no clients" "≥ 8,000, ≥ 5 × FastAPI's undurable rate" \
		"$(spread "$rate.tidings") (p50 $(median < "$rate.tidings.p50") ms, p99 $(median < "$rate.tidings.p99") ms); FastAPI $(
			spread "$rate.fastapi")" \
		"$to_fastapi × FastAPI" "$(verdict "$(median < "$rate.tidings") >= 8000" "$to_fastapi >= 5")"
}
