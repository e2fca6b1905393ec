# check.sh - what the scripts among the tests say, and how: a line a test, as TAP has it.
#
#	check_ok "sentence"			it holds
#	check_not_ok "sentence" "why…"		it does not; the reason goes below, indented
#	check_empty "sentence" "$findings"	it holds when nothing was found
#	check_skip "sentence" "why"
#	check_done				the plan; status 1 when one failed

check_count=0
check_failed=0

check_ok() {
	check_count=$((check_count + 1))
	printf 'ok %d - %s\n' "$check_count" "$1"
}

check_not_ok() {
	check_count=$((check_count + 1))
	check_failed=$((check_failed + 1))
	printf 'not ok %d - %s\n' "$check_count" "$1"
	printf '%s\n' "$2" | sed 's/^/#	/'
}

check_empty() {
	if [ -z "$2" ]; then check_ok "$1"; else check_not_ok "$1" "$2"; fi
}

check_skip() {
	check_count=$((check_count + 1))
	printf 'ok %d - %s # SKIP %s\n' "$check_count" "$1" "$2"
}

check_done() {
	printf '1..%d\n' "$check_count"
	[ "$check_failed" -eq 0 ]
}
