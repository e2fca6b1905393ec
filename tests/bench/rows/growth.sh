# shellcheck shell=bash disable=SC2034,SC2154
# How CPU a delivery grows with clients, topics and bytes, one message at a time; beside it the bare loop, as far as it knows what that
# is: a step that it has too is the machine's.
needs=(tidings bare)

row()
{
	local clients topics pad

	run_for 2
	growth=$bench_folder/growth
	growth_table "clients, on one topic" "clients"
	for clients in ${BENCH_CLIENTS:-1000 2000 5000 10000 15000}; do
		growth_point "$clients" "tidings bare" --clients "$clients" --rate $((clients >= 15000 ? 4 : clients >= 5000 ? 10 : 40)) --pad 100
	done
	clients=${BENCH_CLIENTS:-10000}
	clients=${clients##* }
	growth_table "topics, $clients clients spread over them" "topics"
	for topics in ${BENCH_TOPICS:-1 10 100 1000 10000}; do
		growth_point "$topics" tidings --clients "$clients" --topics "$topics" --rate 0 --pad 100
	done
	clients=${BENCH_CLIENTS:-1000}
	clients=${clients%% *}
	growth_table "bytes a message, to $clients clients on one topic" "bytes of text"
	for pad in ${BENCH_BYTES:-100 400 1600 6400 16000}; do
		growth_point "$pad" "tidings bare" --clients "$clients" --rate 20 --pad "$pad" --to publish
	done
	result "growth: CPU a delivery from 1,000 to 15,000 clients, from 1 to 10,000 topics, from 100 B to 16 KB" \
		"a curve, with no step that is not explained" "the curves below" "" ""
}

# growth_table TITLE COLUMN
growth_table()
{
	note ""
	note "Growth with $1; µs of CPU:"
	note ""
	note "| $2 | a delivery | bare loop | ratio | a message | messages a second |"
	note "| --- | --- | --- | --- | --- | --- |"
}

# growth_point WHAT NAMES OPTION…
growth_point()
{
	local what=$1 name before us bare='' to_bare=''

	rm -f "$growth".*
	for name in $2; do
		[ "$name" = bare ] || nobody_connected "$name"
		connect "$name" "${@:3}" "${run_length[@]}" --one-at-a-time
	done
	for ((round = 1; round <= rounds; round++)); do
		for name in $2; do
			server_of "$name"
			process_idle "$server"
			before=$(cpu_us "$server")
			load_go "$name"
			us=$(($(cpu_us "$server") - before))
			divide "$us" "${figure[deliveries]}" 2 >> "$growth.$name"
			divide "$us" "${figure[posts]}" 0 >> "$growth.$name.message"
			divide "${figure[posts]}" "${figure[elapsed_s]}" 0 >> "$growth.$name.rate"
		done
	done
	for name in $2; do
		load_end "$name"
	done
	if [ -r "$growth.bare" ]; then
		bare=$(spread "$growth.bare")
		to_bare=$(ratio "$growth.tidings" "$growth.bare")
	fi
	note "| $what | $(spread "$growth.tidings") | $bare | $to_bare | $(median < "$growth.tidings.message") | $(
		median < "$growth.tidings.rate") |"
}
