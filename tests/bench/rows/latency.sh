# shellcheck shell=bash disable=SC2034,SC2154
# From the start of a POST to lighttpd until a client has the message, and until the last of 100 has it, they too through lighttpd.
needs=(tidings)
pinned=no

row()
{
	local clients=${BENCH_CLIENTS:-100} rate=${BENCH_RATE:-500} ms=$bench_folder/ms

	run_for 10
	check_durable
	rm -f "$ms".*
	use tidings
	load_start tidings "${load[@]}" --port "${port_of[tidings]}" --clients "$clients" "${run_length[@]}" --rate "$rate" \
		--connections 32 --pad 100
	for ((round = 0; round <= rounds; round++)); do
		load_go tidings
		[ "$round" -gt 0 ] || continue # to get warm
		echo "${figure[each_p50_ms]}" >> "$ms.p50"
		echo "${figure[each_p99_ms]}" >> "$ms.p99"
		echo "${figure[p50_ms]}" >> "$ms.last.p50"
		echo "${figure[p99_ms]}" >> "$ms.last.p99"
		echo "${figure[max_ms]}" >> "$ms.max"
	done
	result "POST → client at $rate broadcasts a second, $clients clients, through lighttpd both ways, committed with fsync" \
		"p50 ≤ 2 ms, p99 ≤ 10 ms" \
		"p50 $(spread "$ms.p50") ms, p99 $(spread "$ms.p99") ms; the last of the $clients: p50 $(spread "$ms.last.p50") ms, p99 $(
			spread "$ms.last.p99") ms, the slowest $(spread "$ms.max") ms" "" \
		"$(verdict "$(median < "$ms.p50") <= 2" "$(median < "$ms.p99") <= 10")"
}
