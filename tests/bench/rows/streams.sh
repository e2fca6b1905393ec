# shellcheck shell=bash disable=SC2034,SC2154
# CPU of the server for a delivery by event stream and by long-poll, one message at a time. For a poll, a delivery is all of it: the
# reply, the next request, and what that costs until it is held again; so the CPU is read when the server has come to rest.
needs=(tidings nchan)

row()
{
	local clients name rate before database us=$bench_folder/us

	run_for 4
	for transport in sse poll; do
		same_bytes 100 nchan
		for clients in ${BENCH_CLIENTS:-1000 5000}; do
			rate=$((clients >= 5000 ? 10 : 40))
			rm -f "$us".*
			for name in "${needs[@]}"; do
				connect "$name" --clients "$clients" "${run_length[@]}" --rate "$rate" --one-at-a-time \
					--pad "${pad_of[$name]}"
			done
			for ((round = 1; round <= rounds; round++)); do
				for name in "${needs[@]}"; do
					server_of "$name"
					process_idle "$server"
					before=$(cpu_us "$server")
					database=$(database_cpu_us)
					load_go "$name"
					process_idle "$server"
					divide $(($(cpu_us "$server") - before)) "${figure[deliveries]}" 2 >> "$us.$name"
					[ "$name" != tidings ] ||
						divide $(($(database_cpu_us) - database)) "${figure[deliveries]}" 2 >> "$us.database"
				done
			done
			for name in "${needs[@]}"; do
				load_end "$name"
			done
			streams_result "$clients"
		done
	done
}

streams_result()
{
	local us=$bench_folder/us to_nchan names

	declare -A names=([sse]="event stream" [poll]=long-poll)
	to_nchan=$(ratio "$us.tidings" "$us.nchan")
	result "${names[$transport]}, one message at a time to $1: CPU a delivery" "≤ 1 × nchan" \
		"$(spread "$us.tidings") µs (and PostgreSQL $(median < "$us.database")); nchan $(spread "$us.nchan")" \
		"$to_nchan × nchan" "$(verdict "$to_nchan <= 1")"
}
