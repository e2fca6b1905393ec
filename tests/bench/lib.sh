# shellcheck shell=bash disable=SC1010,SC1083,SC2034,SC2086,SC2093
# What the measuring scripts share; to be sourced. See README.md beside it.
#
#	bench_begin		a tidings to measure: that of the environment's settings, else a private one, ended with the script
#	load_start NAME …	load with these options, kept connected
#	load_go NAME		a run of it, its figures into figure[…]; load_order NAME cut | resume; load_end NAME
#	bare_start		bareloop on $bare_port, its process in $bare_pid
#	counters		the sidecar's counters into counter[…]
#	find_web_server		lighttpd's process into $web_pid
#	nobody_connected	waits until the sidecar serves nobody; process_idle PID, until that does nothing
#	private_end		ends a private tidings: the next bench_begin makes a new one
#	cpu_ms PID, database_cpu_ms, rss_bytes PID, median, spread, divide, line
#
# Everything runs on loopback and ends with the script; only what it started itself is ended.

set -euo pipefail

bench_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bench_build=${BENCH_BUILD:-$bench_top/build}
bench_programs=$bench_build/tests/bench
bench_rounds=${BENCH_ROUNDS:-3}
bench_folder=$(mktemp -d)
bench_children=()
private_pid=
sidecar_pid=
sidecar_cpus=
declare -A figure=() counter=() load_pid=() load_in=() load_out=()

die()
{
	echo "$(basename "$0"): $*" >&2
	exit 1
}

bench_end()
{
	local pid

	[ -z "$sidecar_cpus" ] || taskset -apc "$sidecar_cpus" "$sidecar_pid" > /dev/null 2>&1 || true
	for pid in "${bench_children[@]}"; do
		kill "$pid" 2> /dev/null || true
		wait "$pid" 2> /dev/null || true
	done
	rm -rf "$bench_folder"
}
trap bench_end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The sidecar of the settings: by its pid file, else by its port.
find_sidecar()
{
	local file=$TIDINGS_STATE/run/tidings-ws.pid

	if [ -r "$file" ]; then
		sidecar_pid=$(cat "$file")
	else
		sidecar_pid=$(ss -Hltnp "sport = :$TIDINGS_WS_PORT" | sed -n 's/.*pid=\([0-9]*\).*/\1/p' | head -n 1)
	fi
	[ -r "/proc/${sidecar_pid:-none}/stat" ] || die "no sidecar is found on port $TIDINGS_WS_PORT"
}

find_web_server()
{
	web_pid=$(ss -Hltnp "sport = :$TIDINGS_PORT" | sed -n 's/.*"lighttpd",pid=\([0-9]*\).*/\1/p' | head -n 1)
	[ -r "/proc/${web_pid:-none}/stat" ] || die "no lighttpd is found on port $TIDINGS_PORT"
}

# As etc/quickstart does it, on ports and in a folder of its own.
start_private()
{
	local state=$bench_folder/state log=$bench_folder/quickstart.log pid

	# PostgreSQL runs as another user when this is root.
	chmod 755 "$bench_folder"
	mkdir "$state"
	TIDINGS_STATE=$state TIDINGS_PORT=${BENCH_PORT:-18100} TIDINGS_WS_PORT=${BENCH_WS_PORT:-18101} \
		"$bench_top/etc/quickstart" > "$log" 2>&1 < /dev/null &
	pid=$!
	bench_children+=("$pid")
	private_pid=$pid
	for ((i = 0; i < 6000; i++)); do
		! grep -q '^tidings is ready' "$log" || break
		kill -0 "$pid" 2> /dev/null || { cat "$log" >&2; die "etc/quickstart ended"; }
		sleep 0.1
	done
	[ -r "$state/tidings.env" ] || die "etc/quickstart was not ready in ten minutes"
	set -a
	# shellcheck disable=SC1091
	. "$state/tidings.env"
	TIDINGS_STATE=$state
	set +a
}

private_end()
{
	[ -n "$private_pid" ] || return 0
	kill "$private_pid"
	wait "$private_pid" || true
	rm -rf "$bench_folder/state" "$bench_folder/quickstart.log"
	unset TIDINGS_PORT TIDINGS_WS_PORT TIDINGS_STATE TIDINGS_DATABASE
	private_pid=
}

bench_begin()
{
	local program

	if [ -n "${TIDINGS_PORT:-}" ] && [ -n "${TIDINGS_WS_PORT:-}" ] && [ -n "${TIDINGS_STATE:-}" ]; then
		echo "# the running tidings on port $TIDINGS_PORT"
	else
		echo "# a private tidings is started"
		start_private
	fi
	for program in load bareloop post; do
		[ -x "$bench_programs/$program" ] || make -s -C "$bench_build" "tests/bench/$program"
	done
	find_sidecar
	admin_token=$("$bench_build/tidings" token --user bench --role admin)
	service_token=$("$bench_build/tidings" token --user bench --role service)
	bare_port=${BENCH_BARE_PORT:-18110}
	echo "# $(nproc) CPUs, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), Linux $(uname -r)"
}

# The sidecar and bareloop on one CPU, the clients on another; what else there is goes where it likes.
pin_begin()
{
	[ "$(nproc)" -ge 2 ] || die "two CPUs are needed: one for the server, one for the clients"
	sidecar_cpus=$(taskset -cp "$sidecar_pid" | sed 's/.*: //')
	taskset -apc 0 "$sidecar_pid" > /dev/null
	pin_server="taskset -c 0"
	pin_clients="taskset -c 1"
}
pin_server=
pin_clients=

# For options of load: against tidings, against bareloop. Both post themselves, so both get the same load.
tidings_load=()
bare_load=()
load_options()
{
	tidings_load=(--port "$TIDINGS_WS_PORT" --token "$admin_token" --post-port "$TIDINGS_PORT"
		--post-token "$service_token")
	bare_load=(--port "$bare_port" --post-port "$bare_port")
}

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
		[ "$name" != status ] || [[ $value = 20[0-2] ]] || die "$more POSTs were answered $value"
		figure[$name]=$value
	done
	return 1
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
	$pin_clients "$bench_programs/load" --stay "$@" < "$in" > "$out" &
	load_pid[$name]=$!
	bench_children+=("$!")
	read_line "${load_pid[$name]}" <&"${load_out[$name]}" && [[ $line_read = ready* ]] || die "load ended"
}

load_order()
{
	echo "$2" >&"${load_in[$1]}"
	read_figures "${load_pid[$1]}" <&"${load_out[$1]}" || die "load ended before the run did"
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

bare_start()
{
	local fifo=$bench_folder/bare

	mkfifo "$fifo"
	exec {bare_in}<> "$fifo"
	$pin_server "$bench_programs/bareloop" --port "$bare_port" < "$fifo" > "$bench_folder/bare.out" &
	bare_pid=$!
	bench_children+=("$bare_pid")
	until grep -q ready "$bench_folder/bare.out"; do
		kill -0 "$bare_pid" 2> /dev/null || die "bareloop ended"
		sleep 0.05
	done
}

# load once, with these options, into figure[…].
load_once()
{
	$pin_clients "$bench_programs/load" "$@" < /dev/null > "$bench_folder/once" || die "load failed"
	read_figures $$ < "$bench_folder/once" || die "load gave no figures"
}

# CPU time of all threads of a process, user and system.
cpu_ms()
{
	sed 's/.*) //' "/proc/$1/stat" | awk -v hz="$(getconf CLK_TCK)" '{ printf "%d\n", ($12 + $13) * 1000 / hz }'
}

# CPU time of quickstart's PostgreSQL, all its processes together; 0 where the database is another.
database_cpu_ms()
{
	local file=$TIDINGS_STATE/postgres/data/postmaster.pid

	if [ ! -r "$file" ]; then
		echo 0
		return
	fi
	# Those of its processes that have ended are in the first one's sums; others may end while this reads.
	{ cat /proc/[0-9]*/stat 2> /dev/null || true; } | awk -v first="$(head -n 1 "$file")" -v hz="$(getconf CLK_TCK)" '
		{ pid = $1; sub(/.*\) /, "") }
		pid == first { ticks += $12 + $13 + $14 + $15 }
		$2 == first { ticks += $12 + $13 }
		END { printf "%d\n", ticks * 1000 / hz }'
}

# Who was there before is no part of a figure.
nobody_connected()
{
	for ((i = 0; i < 1200; i++)); do
		! curl -fsS "http://127.0.0.1:$TIDINGS_PORT/ws/status" | grep -q '"total_connections" *: *0,' || return 0
		sleep 0.1
	done
	die "somebody else is connected"
}

process_idle()
{
	local before=

	until [ "$before" = "$(cpu_ms "$1")" ]; do
		before=$(cpu_ms "$1")
		sleep 0.2
	done
}

rss_bytes()
{
	awk '/^VmRSS:/ { print $2 * 1024 }' "/proc/$1/status"
}

# SIGUSR1 makes the sidecar log `counters name=value …`; its log is where its stderr goes.
counters()
{
	local log before pair last=

	log=$(readlink "/proc/$sidecar_pid/fd/2")
	[ -f "$log" ] || die "the sidecar's log is no file ($log): its counters cannot be read"
	before=$(grep -c ' counters ' "$log" || true)
	kill -USR1 "$sidecar_pid"
	for ((i = 0; i < 100; i++)); do
		[ "$(grep -c ' counters ' "$log" || true)" -le "$before" ] || break
		sleep 0.05
	done
	[ "$(grep -c ' counters ' "$log" || true)" -gt "$before" ] || die "the sidecar logged no counters"
	last=$(grep ' counters ' "$log" | tail -n 1)
	counter=()
	for pair in $last; do
		[[ $pair != *=* ]] || counter[${pair%%=*}]=${pair#*=}
	done
}

# Of the numbers on stdin, one a line.
median()
{
	sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# The median of a file's numbers, with the least and the most.
spread()
{
	printf '%s (%s to %s)' "$(median < "$1")" "$(sort -g "$1" | head -n 1)" "$(sort -g "$1" | tail -n 1)"
}

# divide A B DIGITS
divide()
{
	awk -v a="$1" -v b="$2" -v d="$3" 'BEGIN { printf "%.*f\n", d, b ? a / b : 0 }'
}

# One figure: line "what" value unit
line()
{
	printf '%-58s %12s %s\n' "$1" "$2" "${3:-}"
}
