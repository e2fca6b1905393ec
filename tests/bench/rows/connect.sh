# shellcheck shell=bash disable=SC2034,SC2154
# WebSockets that connect, each with a token and a user of its own; then all are cut, and come back at once with their cursors to
# messages that they have missed.
needs=(tidings)

row()
{
	local clients=${BENCH_CLIENTS:-10000} missed=${BENCH_MESSAGES:-10} rate=$bench_folder/rate live=$bench_folder/live

	rm -f "$rate" "$live"*
	sql -c "insert into tidings.diagnosis_grant (diagnosis_id, user_id) select 1, 'bench' || g from generate_series(1, $clients) g
		on conflict do nothing" -c 'analyze tidings.diagnosis_grant'
	use tidings
	for ((round = 1; round <= rounds; round++)); do
		# Tokens that it has not seen yet.
		/usr/bin/python3 "$here/tokens.py" "$state/jwt/default.HS256" "$clients" > "$bench_folder/tokens"
		nobody_connected tidings
		load_start tidings "${load[@]}" --tokens "$bench_folder/tokens" --clients "$clients" --messages "$missed" --pad 100
		divide "$clients" "$load_ready_s" 0 >> "$rate"
		load_order tidings cut
		nobody_connected tidings
		load_order tidings resume
		echo "${figure[live_s]}" >> "$live"
		echo "${figure[refused]}" >> "$live.refused"
		load_end tidings
	done
	result "authenticated WebSocket connects a second, $clients users" "≥ 3,000" "$(spread "$rate")" "" \
		"$(verdict "$(median < "$rate") >= 3000")"
	result "$clients clients that were cut reconnect at once with cursors, $missed messages missed: all live" "≤ 5 s" \
		"$(spread "$live") s; refused on the way $(spread "$live.refused")" "" "$(verdict "$(median < "$live") <= 5")"
}
