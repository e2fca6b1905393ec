# shellcheck shell=bash disable=SC2034,SC2154
# What PostgreSQL takes for feedback's scores with BENCH_FEEDBACK pieces of feedback (10,000,000) on BENCH_TREATMENTS treatments (50,000): about 6 GB on
# disk. Not in the table: tests/bench/run analytics.
needs=(tidings)
pinned=no

row()
{
	local feedback=${BENCH_FEEDBACK:-10000000} treatments=${BENCH_TREATMENTS:-50000} line

	if [ -n "$bench_smoke" ]; then
		feedback=2000
		treatments=100
	fi
	sql -v feedback="$feedback" -v treatments="$treatments" -f "$bench_top/tests/bench/analytics.sql" > "$bench_folder/analytics" 2>&1 ||
		die "$(tail -n 1 "$bench_folder/analytics")"
	result "with $feedback pieces of feedback on $treatments treatments" "" "the figures below" "" ""
	note ""
	while read -r line; do
		note "- ${line#*INFO:  }"
	done < "$bench_folder/analytics"
}
