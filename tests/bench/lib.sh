# shellcheck shell=bash disable=SC1010,SC1083,SC2034,SC2086,SC2093,SC2154
# What the rows share; sourced by tests/bench/run. See README.md beside it.
#
#	load_start NAME …	load with these options, kept connected; what it said when all were, in $load_ready_s
#	load_go NAME		a run of it, its figures into figure[…]; load_order NAME cut | resume; load_end NAME
#	post_once …		post with these options, its figures into figure[…]
#	cpu_us PID…, rss_bytes PID, process_idle PID
#	median, spread FILE, divide, ratio FILE FILE
#	result, verdict, note	what the tables are made of
#	die SENTENCE		ends a row: the sentence stands where its figure would
#
# Everything runs on loopback and ends with the script; only what it started itself is ended.

bench_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bench_build=${BENCH_BUILD:-$bench_top/build}
bench_programs=$bench_build/tests/bench
rounds=${BENCH_ROUNDS:-5}
pin_clients=
load_ready_s=
declare -A figure=() load_pid=() load_in=() load_out=()

say()
{
	echo "$*" >&2
}

die()
{
	say "$*"
	echo "$*" > "$bench_folder/sentence"
	exit 1
}

# ---- load

# read_line PID: a line of stdin into $line_read, while PID lives. What a timeout of read cuts off is the start of a line: on a busy
# machine it happens.
read_line()
{
	local part got

	line_read=
	while true; do
		got=0
		read -r -t 1 part || got=$?
		line_read+=$part
		[ "$got" -gt 128 ] || return "$got"
		kill -0 "$1" 2> /dev/null || return 1
	done
}

# read_figures PID: lines `name value` on stdin, up to `done`, into figure[…], while PID lives. Another status than
# 200 (nchan's are 201 and 202) is no measurement.
read_figures()
{
	local name value more

	figure=()
	while read_line "$1"; do
		read -r name value more <<< "$line_read"
		[ "$name" != done ] || return 0
		if [ "$name" = status ]; then
			[[ $value = 20[0-2] ]] || die "$more POSTs were answered $value"
			name=posts
			value=$((${figure[posts]:-0} + more))
		fi
		figure[$name]=$value
	done
	return 1
}

# load_died NAME: the sentence with which it ended
load_died()
{
	die "$1: $(tail -n 1 "$bench_folder/$1.err" 2> /dev/null | grep . || echo "load ended")"
}

load_start()
{
	local name=$1 in out

	shift
	in=$bench_folder/$name.in
	out=$bench_folder/$name.out
	rm -f "$in" "$out"
	mkfifo "$in" "$out"
	exec {load_in[$name]}<> "$in" {load_out[$name]}<> "$out"
	$pin_clients "$bench_programs/load" --stay --timeout 60 "$@" < "$in" > "$out" 2> "$bench_folder/$name.err" &
	load_pid[$name]=$!
	read_line "${load_pid[$name]}" <&"${load_out[$name]}" && [[ $line_read = ready* ]] || load_died "$name"
	load_ready_s=${line_read##* }
}

load_order()
{
	echo "$2" >&"${load_in[$1]}"
	read_figures "${load_pid[$1]}" <&"${load_out[$1]}" || load_died "$1"
}

load_go()
{
	load_order "$1" go
}

load_end()
{
	kill "${load_pid[$1]}" 2> /dev/null || true
	wait "${load_pid[$1]}" 2> /dev/null || true
	exec {load_in[$1]}>&- {load_out[$1]}<&-
}

post_once()
{
	"$bench_programs/post" "$@" < /dev/null > "$bench_folder/once" 2> "$bench_folder/once.err" || load_died once
	echo 'done' >> "$bench_folder/once"
	read_figures $$ < "$bench_folder/once"
}

# ---- /proc

# CPU time of all threads of these processes together, user and system: what the scheduler counted, in ns. (utime and stime of
# /proc/PID/stat are the same in steps of 10 ms.)
cpu_us()
{
	local pid

	for pid in "$@"; do
		cat "/proc/$pid/task"/*/schedstat
	done | awk '{ ns += $1 } END { printf "%.0f\n", ns / 1000 }'
}

rss_bytes()
{
	awk '/^VmRSS:/ { print $2 * 1024 }' "/proc/$1/status"
}

# Until it does next to nothing any more: what clients did before is no part of a figure.
process_idle()
{
	local before=0 now

	while now=$(cpu_us "$1") && [ $((now - before)) -gt 2000 ]; do
		before=$now
		sleep 0.2
	done
}

# ---- numbers

# Of the numbers on stdin, one a line.
median()
{
	sort -g | awk '{ v[NR] = $1 } 
		END { printf "%.10g\n", NR % 2 ? v[(NR + 1) / 2] : sprintf("%.3f", (v[NR / 2] + v[NR / 2 + 1]) / 2) }'
}

# The median of a file's numbers, with the least and the most.
spread()
{
	local lines

	lines=$(wc -l < "$1")
	if [ "$lines" -le 1 ]; then
		median < "$1"
	else
		printf '%s (%s–%s)' "$(median < "$1")" "$(sort -g "$1" | head -n 1)" "$(sort -g "$1" | tail -n 1)"
	fi
}

# Whole numbers in a text on stdin with commas; three decimals at most are left as they are.
grouped()
{
	sed ':again; s/\B[0-9]\{3\}\>/,&/; t again'
}

# divide A B DIGITS
divide()
{
	awk -v a="$1" -v b="$2" -v d="$3" 'BEGIN { printf "%.*f\n", d, b ? a / b : 0 }'
}

# Median of the rounds' ratios of two files' numbers.
ratio()
{
	paste "$1" "$2" | awk '{ print $2 ? $1 / $2 : 0 }' | median | awk '{ printf "%.2f\n", $1 }'
}

# ---- tables

# result WORK WANTED REACHED RATIOS VERDICT: a line of the table
result()
{
	say "$1: ${3:+$3${4:+; $4}: }$5"
	printf '| %s | %s | %s | %s | %s |\n' "$@" | grouped >> "$bench_folder/table"
}

# verdict "A <= B"…: reached, when all of it holds
verdict()
{
	local condition

	[ -z "$bench_smoke" ] || { echo "smoke"; return; }
	for condition; do
		awk "BEGIN { exit !($condition) }" || { echo "**not reached**"; return; }
	done
	echo reached
}

# A line of what is told below the table.
note()
{
	say "$*"
	echo "$*" | grouped >> "$bench_folder/notes"
}
