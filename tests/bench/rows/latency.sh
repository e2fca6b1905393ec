# shellcheck shell=bash disable=SC2034,SC2154
# From the start of a POST to lighttpd until a client has the message, and until the last of 100 has it, they too through lighttpd.
needs=(tidings)
pinned=no

row()
{
	local clients=${BENCH_CLIENTS:-100} rate=${BENCH_RATE:-500} ms=$bench_folder/ms us=$bench_folder/us part
	local -A before=() after=()

	run_for 10
	check_durable
	rm -f "$ms".* "$us".*
	use tidings
	load_start tidings "${load[@]}" --port "${port_of[tidings]}" --clients "$clients" "${run_length[@]}" --rate "$rate" \
		--connections 32 --pad 100
	for ((round = 0; round <= rounds; round++)); do
		path_cpu before tidings
		load_go tidings
		path_cpu after tidings
		[ "$round" -gt 0 ] || continue # to get warm
		echo "${figure[each_p50_ms]}" >> "$ms.p50"
		echo "${figure[each_p99_ms]}" >> "$ms.p99"
		echo "${figure[p50_ms]}" >> "$ms.last.p50"
		echo "${figure[p99_ms]}" >> "$ms.last.p99"
		echo "${figure[max_ms]}" >> "$ms.max"
		for part in sidecar lighttpd; do
			divide $((after[$part] - before[$part])) "${figure[deliveries]}" 1 >> "$us.$part"
		done
	done
	result "POST → client at $rate broadcasts a second, $clients clients, through lighttpd both ways, committed with fsync" \
		"p50 ≤ 2 ms, p99 ≤ 10 ms" \
		"p50 $(spread "$ms.p50") ms, p99 $(spread "$ms.p99") ms; the last of the $clients: p50 $(spread "$ms.last.p50") ms, p99 $(
			spread "$ms.last.p99") ms, the slowest $(spread "$ms.max") ms" "" \
		"$(verdict "$(median < "$ms.p50") <= 2" "$(median < "$ms.p99") <= 10")"
	note "From the POST to the client, CPU a delivery, with its part of the publish: sidecar $(spread "$us.sidecar") µs, lighttpd $(spread "$us.lighttpd") µs."
}
