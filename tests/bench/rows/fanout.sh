# shellcheck shell=bash disable=SC2034,SC2154
# CPU of the server for a delivery, one message at a time to all of many WebSocket clients.
needs=(tidings bare nchan)

row()
{
	local clients name rate before server

	run_for 4
	same_bytes 100 bare nchan
	for clients in ${BENCH_CLIENTS:-1000 5000 15000}; do
		# 40,000 to 60,000 deliveries a second, for all the same.
		rate=$((clients >= 15000 ? 4 : clients >= 5000 ? 10 : 40))
		rm -f "$bench_folder"/us.*
		for name in "${needs[@]}"; do
			connect "$name" --clients "$clients" "${run_length[@]}" --rate "$rate" --one-at-a-time --pad "${pad_of[$name]}"
		done
		for ((round = 1; round <= rounds; round++)); do
			for name in "${needs[@]}"; do
				server_of "$name"
				before=$(cpu_us "$server")
				load_go "$name"
				divide $(($(cpu_us "$server") - before)) "${figure[deliveries]}" 2 >> "$bench_folder/us.$name"
			done
		done
		for name in "${needs[@]}"; do
			load_end "$name"
		done
		fanout_result "$clients"
	done
}

fanout_result()
{
	local us=$bench_folder/us bare nchan

	bare=$(ratio "$us.tidings" "$us.bare")
	nchan=$(ratio "$us.tidings" "$us.nchan")
	result "one message at a time to $1 WebSocket clients: CPU a delivery" "≤ 1.25 × bare loop, ≤ 0.9 × nchan" \
		"$(spread "$us.tidings") µs; bare loop $(spread "$us.bare"), nchan $(spread "$us.nchan")" \
		"$bare × bare loop, $nchan × nchan" "$(verdict "$bare <= 1.25" "$nchan <= 0.9")"
}
