# shellcheck shell=bash disable=SC2034,SC2154
# What it costs that clients confirm what they get: by the name of a device each, which a ping with the place follows, beside clients that
# have nothing, and beside those with cursors, which are asked nothing. 100 messages a second to 1,000 topics.
needs=(tidings)

row()
{
	local clients=${BENCH_CLIENTS:-10000} topics=1000 how us=$bench_folder/us before database
	local -A who=([cursor]="with a cursor" [queue]="with nothing" [device]="that are devices")

	run_for 20
	[ "$clients" -ge "$topics" ] || topics=$clients
	rm -f "$us".*
	sql -c "insert into tidings.diagnosis_grant (diagnosis_id, user_id) select 1 + (g - 1) % $topics, 'bench' || g
		from generate_series(1, $clients) g on conflict do nothing" -c 'analyze tidings.diagnosis_grant'
	use tidings
	python3 "$here/tokens.py" "$state/jwt/default.HS256" "$clients" > "$bench_folder/tokens"
	for ((round = 1; round <= rounds; round++)); do
		for how in cursor queue device; do
			nobody_connected tidings
			load_start tidings "${load[@]}" --tokens "$bench_folder/tokens" --clients "$clients" --topics "$topics" --pad 100 \
				"${run_length[@]}" --rate 100 $([ "$how" != device ] || echo --device)
			if [ "$how" = cursor ]; then
				load_order tidings cut
				nobody_connected tidings
				load_order tidings resume
			fi
			server_of tidings
			before=$(cpu_us "$server")
			database=$(database_cpu_us)
			load_go tidings
			divide $((($(cpu_us "$server") - before) / 10)) "${figure[elapsed_s]/./}" 2 >> "$us.$how"
			divide $((($(database_cpu_us) - database) / 10)) "${figure[elapsed_s]/./}" 2 >> "$us.$how.database"
			load_end tidings
		done
	done
	for how in cursor queue device; do
		result "$clients clients ${who[$how]}, 100 messages a second to $topics topics: the sidecar" "" \
			"$(spread "$us.$how") % of a core (and PostgreSQL $(median < "$us.$how.database") %)" "$(ratio "$us.$how" "$us.cursor") × with cursors" ""
	done
}
