# shellcheck shell=bash disable=SC2034,SC2154
# permessage-deflate: CPU of the sidecar for a delivery of a message of 1 KB, to clients that take it compressed and to clients that
# do not, in turns.
needs=(tidings)
tidings_settings=TIDINGS_DEFLATE=yes

row()
{
	local clients=${BENCH_CLIENTS:-1000} how before us=$bench_folder/us to_plain options

	run_for 4
	rm -f "$us".*
	for ((round = 1; round <= rounds; round++)); do
		for how in plain deflate; do
			options=()
			[ "$how" = plain ] || options=(--deflate)
			nobody_connected tidings
			connect tidings --clients "$clients" "${run_length[@]}" --rate 40 --one-at-a-time --pad 800 "${options[@]}"
			server_of tidings
			process_idle "$server"
			before=$(cpu_us "$server")
			load_go tidings
			divide $(($(cpu_us "$server") - before)) "${figure[deliveries]}" 2 >> "$us.$how"
			echo "${figure[frame_bytes]}" >> "$us.$how.bytes"
			load_end tidings
		done
	done
	to_plain=$(ratio "$us.deflate" "$us.plain")
	result "permessage-deflate: CPU a delivery of a 1 KB message to $clients clients" "≤ 1.3 × uncompressed" \
		"$(spread "$us.deflate") µs, $(median < "$us.deflate.bytes") bytes; uncompressed $(spread "$us.plain"), $(
			median < "$us.plain.bytes") bytes" "$to_plain × uncompressed" "$(verdict "$to_plain <= 1.3")"
}
