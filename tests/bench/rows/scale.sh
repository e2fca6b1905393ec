# shellcheck shell=bash disable=SC2034,SC2154
# What PostgreSQL takes for publishing, the sweep, /ws/status, the heartbeat, retention and forget() with BENCH_SCALE_TOPICS topics (1,000,000) and
# BENCH_SCALE_READINGS readings (10,000,000): about 4 GB on disk. Not in the table: tests/bench/run scale.
needs=(tidings)
pinned=no

row()
{
	local topics=${BENCH_SCALE_TOPICS:-1000000} readings=${BENCH_SCALE_READINGS:-10000000} line

	if [ -n "$bench_smoke" ]; then
		topics=1000
		readings=1000
	fi
	sql -v topics="$topics" -v readings="$readings" -f "$bench_top/tests/bench/scale.sql" > "$bench_folder/scale" 2>&1 || die "$(tail -n 1 "$bench_folder/scale")"
	result "with $topics topics and $readings readings" "" "the figures below" "" ""
	note ""
	while read -r line; do
		note "- ${line#*INFO:  }"
	done < "$bench_folder/scale"
}
