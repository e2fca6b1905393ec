# shellcheck shell=bash disable=SC2034,SC2154
# Who is on a topic: what it costs where nobody watches that, one client does, and a hundred do, while thousands of users come to the topic
# and go; and what a watcher is told meanwhile.
needs=(tidings)

row()
{
	local clients=${BENCH_CLIENTS:-10000} watchers kind cost=$bench_folder/cost before

	rm -f "$cost".*
	sql -c "insert into tidings.diagnosis_grant (diagnosis_id, user_id) select 1, 'bench' || g from generate_series(1, $clients) g
		on conflict do nothing" -c 'analyze tidings.diagnosis_grant'
	use tidings
	server_of tidings
	for ((round = 1; round <= rounds; round++)); do
		for watchers in 0 1 100; do
			[ "$watchers" = 0 ] || watch "$watchers"
			/usr/bin/python3 "$here/tokens.py" "$state/jwt/default.HS256" "$clients" > "$bench_folder/tokens"
			before=$(both_cpu_us)
			load_start tidings "${load[@]}" --tokens "$bench_folder/tokens" --clients "$clients" --messages 1 --pad 100
			divide $(($(both_cpu_us) - before)) "$clients" 1 >> "$cost.$watchers.come"
			before=$(both_cpu_us)
			load_end tidings
			[ "$watchers" != 0 ] || nobody_connected tidings
			[ "$watchers" = 0 ] || clients_connected tidings "$watchers"
			# The departures end, too.
			[ -n "$bench_smoke" ] || sleep 20
			divide $(($(both_cpu_us) - before)) "$clients" 1 >> "$cost.$watchers.go"
			[ "$watchers" = 0 ] || unwatch "$watchers"
		done
	done
	result "sidecar and PostgreSQL for each of $clients users on one topic, coming / going: nobody watches who is there" "" \
		"$(spread "$cost.0.come") / $(spread "$cost.0.go") µs" "" ""
	for watchers in 1 100; do
		result "the same, $watchers of them watching" "" "$(spread "$cost.$watchers.come") / $(spread "$cost.$watchers.go") µs" \
			"$(ratio "$cost.$watchers.come" "$cost.0.come") / $(ratio "$cost.$watchers.go" "$cost.0.go")" ""
		result "what each of these $watchers was told meanwhile" "≤ 300 messages, ≤ 64 KB" \
			"$(spread "$cost.$watchers.messages") messages, $(spread "$cost.$watchers.bytes") bytes" "" \
			"$(verdict "$(median < "$cost.$watchers.messages") <= 300" "$(median < "$cost.$watchers.bytes") <= 65536")"
	done
}

both_cpu_us()
{
	echo $(($(cpu_us "$server") + $(database_cpu_us)))
}

# watch N: so many watch from now on; unwatch N: they end, and what they were told is written down
watch()
{
	coproc watching { exec /usr/bin/python3 "$here/watchers.py" "${port_of[sidecar]}" "$1" "$(token user)"; }
	read_line "$watching_PID" <&"${watching[0]}" || die "the watchers ended"
}

unwatch()
{
	echo >&"${watching[1]}"
	read_figures "$watching_PID" <&"${watching[0]}" || die "the watchers ended"
	echo "${figure[messages]}" >> "$cost.$1.messages"
	echo "${figure[bytes]}" >> "$cost.$1.bytes"
	wait "$watching_PID" || true
}
