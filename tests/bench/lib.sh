# shellcheck shell=bash disable=SC1010,SC1083,SC2034,SC2086,SC2093
# What the measuring scripts share; to be sourced. See README.md beside it.
#
#	bench_begin		a tidings to measure: that of the environment's settings, else a private one, ended with the script
#	load_start NAME …	wsload with these options, kept connected
#	load_go NAME		a run of it, its figures into figure[…]; load_end NAME
#	bare_start		bareloop on $bare_port, its process in $bare_pid
#	counters		the sidecar's counters into counter[…]
#	cpu_ms PID, rss_bytes PID, median, divide, line
#
# Everything runs on loopback and ends with the script; only what it started itself is ended.

set -euo pipefail

bench_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bench_build=${BENCH_BUILD:-$bench_top/build}
bench_programs=$bench_build/tests/bench
bench_rounds=${BENCH_ROUNDS:-3}
bench_folder=$(mktemp -d)
bench_children=()
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

bench_begin()
{
	local program

	if [ -n "${TIDINGS_PORT:-}" ] && [ -n "${TIDINGS_WS_PORT:-}" ] && [ -n "${TIDINGS_STATE:-}" ]; then
		echo "# the running tidings on port $TIDINGS_PORT"
	else
		echo "# a private tidings is started"
		start_private
	fi
	for program in wsload bareloop post; do
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

# For options of wsload: against tidings, against bareloop. Both post themselves, so both get the same load.
tidings_load=()
bare_load=()
load_options()
{
	tidings_load=(--port "$TIDINGS_WS_PORT" --token "$admin_token" --post-port "$TIDINGS_PORT"
		--post-token "$service_token")
	bare_load=(--port "$bare_port" --post-port "$bare_port")
}

# read_figures PID: lines `name value` on stdin, up to `done`, into figure[…], while PID lives. Another status than 200
# is no measurement.
read_figures()
{
	local name value more got

	figure=()
	while true; do
		got=0
		read -r -t 1 name value more || got=$?
		if [ "$got" -gt 128 ]; then
			kill -0 "$1" 2> /dev/null || return 1
			continue
		fi
		[ "$got" = 0 ] || return 1
		[ "$name" != done ] || return 0
		[ "$name" != status ] || [ "$value" = 200 ] || die "$more POSTs were answered $value"
		figure[$name]=$value
	done
}

load_start()
{
	local name=$1 in out answer=

	shift
	in=$bench_folder/$name.in
	out=$bench_folder/$name.out
	rm -f "$in" "$out"
	mkfifo "$in" "$out"
	exec {load_in[$name]}<> "$in" {load_out[$name]}<> "$out"
	$pin_clients "$bench_programs/wsload" --stay "$@" < "$in" > "$out" &
	load_pid[$name]=$!
	bench_children+=("$!")
	until [[ $answer = ready* ]]; do
		kill -0 "${load_pid[$name]}" 2> /dev/null || die "wsload ended"
		read -r -t 1 answer <&"${load_out[$name]}" || true
	done
}

load_go()
{
	echo go >&"${load_in[$1]}"
	read_figures "${load_pid[$1]}" <&"${load_out[$1]}" || die "wsload ended before the run did"
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

# wsload once, with these options, into figure[…].
load_once()
{
	$pin_clients "$bench_programs/wsload" "$@" < /dev/null > "$bench_folder/once" || die "wsload failed"
	read_figures $$ < "$bench_folder/once" || die "wsload gave no figures"
}

# CPU time of all threads of a process, user and system.
cpu_ms()
{
	sed 's/.*) //' "/proc/$1/stat" | awk -v hz="$(getconf CLK_TCK)" '{ printf "%d\n", ($12 + $13) * 1000 / hz }'
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
