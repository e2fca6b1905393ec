# shellcheck shell=bash disable=SC2034,SC2154
# Resident memory for an idle WebSocket client. Of servers that were just started: what an earlier load left free inside the process
# would hide some.
needs=(tidings nchan)

row()
{
	local clients=${BENCH_CLIENTS:-10000} name before bytes=$bench_folder/bytes to_nchan

	rm -f "$bytes".*
	for ((round = 1; round <= rounds; round++)); do
		for name in "${needs[@]}"; do
			[ "$round" = 1 ] || renew "$name"
			server_of "$name"
			before=$(rss_bytes "$server")
			connect "$name" --clients "$clients"
			[ -n "$bench_smoke" ] || sleep 3 # what connecting needs for a moment is given back
			echo $((($(rss_bytes "$server") - before) / clients)) >> "$bytes.$name"
			load_end "$name"
		done
	done
	to_nchan=$(ratio "$bytes.tidings" "$bytes.nchan")
	result "memory of an idle WebSocket client at $clients" "≤ 3.5 KB, ≤ 0.4 × nchan" \
		"$(spread "$bytes.tidings") bytes; nchan $(spread "$bytes.nchan")" "$to_nchan × nchan" \
		"$(verdict "$(median < "$bytes.tidings") <= 3584" "$to_nchan <= 0.4")"
}
