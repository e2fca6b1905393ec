# shellcheck shell=bash disable=SC2034,SC2154
# 64 publishers, each as fast as it is answered, and 1,000 clients on one topic.
needs=(tidings nchan fastapi)

row()
{
	local clients=${BENCH_CLIENTS:-1000} name rate=$bench_folder/rate before to_nchan to_fastapi

	run_for 5
	same_bytes 100 nchan fastapi
	rm -f "$rate".*
	for name in "${needs[@]}"; do
		connect "$name" --clients "$clients" "${run_length[@]}" --rate 0 --connections 64 --pad "${pad_of[$name]}"
	done
	for ((round = 1; round <= rounds; round++)); do
		for name in "${needs[@]}"; do
			server_of "$name"
			before=$(cpu_us "$server")
			load_go "$name"
			divide "${figure[deliveries]}" "${figure[elapsed_s]}" 0 >> "$rate.$name"
			say "# $name: $(tail -n 1 "$rate.$name") deliveries a second, $(divide $(($(cpu_us "$server") - before)) "${figure[deliveries]}" 1) µs" \
				"of the server each; p50 ${figure[p50_ms]} ms, p99 ${figure[p99_ms]} ms"
		done
	done
	to_nchan=$(ratio "$rate.tidings" "$rate.nchan")
	to_fastapi=$(ratio "$rate.tidings" "$rate.fastapi")
	result "64 publishers as fast as replies come, $clients clients on one topic: deliveries a second" "≥ 3 × nchan, ≥ 10 × FastAPI" \
		"$(spread "$rate.tidings"); nchan $(spread "$rate.nchan"), FastAPI $(spread "$rate.fastapi")" \
		"$to_nchan × nchan, $to_fastapi × FastAPI" "$(verdict "$to_nchan >= 3" "$to_fastapi >= 10")"
}
