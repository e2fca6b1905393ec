# shellcheck shell=bash disable=SC2034,SC2154
# The burst over 1,000 topics with one client each: nothing is shared between deliveries. What counts is the CPU of everything on the
# way, and which process took it.
needs=(tidings nchan)

row()
{
	local clients=${BENCH_CLIENTS:-1000} name part rate=$bench_folder/rate us=$bench_folder/us to_nchan
	local -A before=() after=()

	run_for 5
	same_bytes 100 nchan
	rm -f "$rate".* "$us".*
	for name in "${needs[@]}"; do
		connect "$name" --clients "$clients" --topics "$clients" "${run_length[@]}" --rate 0 --connections 64 \
			--pad "${pad_of[$name]}"
	done
	for ((round = 1; round <= rounds; round++)); do
		for name in "${needs[@]}"; do
			path_cpu before "$name"
			load_go "$name"
			process_idle "$server"
			path_cpu after "$name"
			for part in "${!after[@]}"; do
				divide $((after[$part] - before[$part])) "${figure[deliveries]}" 1 >> "$us.$name.$part"
			done
			divide $((figure[deliveries] * 1000000)) $((after[all] - before[all])) 0 >> "$rate.$name"
			divide "${figure[deliveries]}" "${figure[elapsed_s]}" 0 >> "$rate.$name.second"
		done
	done
	to_nchan=$(ratio "$rate.tidings" "$rate.nchan")
	result "the same over $clients topics with one client each: deliveries per CPU second of everything on the path" "≥ 1 × nchan" \
		"$(spread "$rate.tidings"); nchan $(spread "$rate.nchan")" "$to_nchan × nchan" "$(verdict "$to_nchan >= 1")"
	note "Where the time goes, $clients topics with one client each: $(spread "$rate.tidings.second") deliveries a second" \
		"(nchan $(spread "$rate.nchan.second")), all of them durable. CPU a delivery:"
	note ""
	note "| | µs |"
	note "| --- | --- |"
	for part in sidecar lighttpd broadcast.fcgi PostgreSQL all; do
		note "| tidings: $part | $(spread "$us.tidings.$part") |"
	done
	note "| nchan: nginx | $(spread "$us.nchan.all") |"
	note ""
}
