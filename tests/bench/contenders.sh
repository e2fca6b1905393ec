# shellcheck shell=bash disable=SC2034,SC2086,SC2154
# The servers that are put beside each other; sourced by tests/bench/run after lib.sh.
#
#	tidings		etc/quickstart, in a folder of its own: sidecar, lighttpd, FastCGI programs, PostgreSQL
#	nchan		nginx, one process, with Debian's module nchan: in memory, no token
#	fastapi		uvicorn, one process, with fastapi/app.py
#	bare		bareloop: epoll and send(2)
#
#	missing NAME		why it cannot be started here; nothing: it can
#	start NAME…		unless it runs; stop NAME…; stop_all; renew NAME…: started anew, so as nobody has used it
#	pin yes | no		server and clients on a CPU each, or everything where it likes
#	server_of NAME		the process that serves clients, into $server
#	use NAME		its options for load into ${load[@]}; of $transport: websocket (as when it is not set), sse or poll
#	run_for S, connect NAME OPTION…, same_bytes PAD NAME…, nobody_connected NAME, clients_connected NAME N
#
# Each has a folder $bench_folder/NAME, and its process's number in `pid` there, so that whoever stops it need not have started it.

base_port=${BENCH_PORT:-18100}
declare -A port_of=([tidings]=$base_port [sidecar]=$((base_port + 1)) [nchan]=$((base_port + 2)) [fastapi]=$((base_port + 3))
	[bare]=$((base_port + 4)))
nchan_module=/usr/lib/nginx/modules/ngx_nchan_module.so
diagnoses=10000

missing()
{
	case $1 in
	tidings) command -v ss > /dev/null || echo "ss (iproute2) is not installed" ;;
	nchan) [ -r $nchan_module ] && [ -x /usr/sbin/nginx ] || echo "nginx's nchan is not installed" ;;
	fastapi) /usr/bin/python3 -c 'import fastapi, uvicorn, uvloop, httptools, websockets, jwt' 2> /dev/null ||
		echo "FastAPI and uvicorn are not installed" ;;
	esac
}

alive()
{
	local state

	state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2> /dev/null) && [ "$state" != Z ]
}

# until_ready NAME PID COMMAND…: until that succeeds; its log is told when it ends first
until_ready()
{
	local name=$1 pid=$2 i

	shift 2
	for ((i = 0; i < 6000; i++)); do
		! "$@" > /dev/null 2>&1 || return 0
		alive "$pid" || { tail -n 5 "$bench_folder/$name/log" >&2; die "$name did not start: $(grep -v '^ *$' "$bench_folder/$name/log" | tail -n 1)"; }
		sleep 0.1
	done
	die "$name was not ready in ten minutes"
}

running()
{
	[ -r "$bench_folder/$1/pid" ] && alive "$(cat "$bench_folder/$1/pid")"
}

start()
{
	local name

	for name; do
		if ! running "$name"; then
			say "# starting $name"
			rm -rf "${bench_folder:?}/$name"
			mkdir "$bench_folder/$name"
			"start_$name"
		fi
	done
}

stop()
{
	local name pid

	for name; do
		if running "$name"; then
			pid=$(cat "$bench_folder/$name/pid")
			kill "$pid" 2> /dev/null || true
			while alive "$pid"; do sleep 0.05; done
		fi
		rm -rf "${bench_folder:?}/$name"
	done
}

stop_all()
{
	stop tidings nchan fastapi bare
}

renew()
{
	[ -z "$bench_smoke" ] || return 0
	stop "$@"
	start "$@"
	pin "$pinned"
}

# remember NAME PID
remember()
{
	echo "$2" > "$bench_folder/$1/pid"
	disown "$2" # how it ends is nobody's news
}

# ---- tidings

state=$bench_folder/tidings

start_tidings()
{
	local pid build=()

	# In its settings what was set here is handed on, TIDINGS_DEFLATE for one.
	[ -z "${BENCH_BUILD:-}" ] || build=("TIDINGS_BUILD=$BENCH_BUILD")
	env "${build[@]}" TIDINGS_STATE="$state" TIDINGS_PORT="${port_of[tidings]}" TIDINGS_WS_PORT="${port_of[sidecar]}" \
		TIDINGS_CONNECTIONS_MAX=16000 TIDINGS_CONNECT_RATE=0 ${tidings_settings:-} \
		"$bench_top/etc/quickstart" > "$state/log.quickstart" 2>&1 < /dev/null &
	pid=$!
	remember tidings "$pid"
	ln -sf log.quickstart "$state/quickstart.log"
	for ((i = 0; i < 6000; i++)); do
		! grep -q '^tidings is ready' "$state/log.quickstart" || break
		alive "$pid" || { cat "$state/log.quickstart" >&2; die "tidings did not start: $(tail -n 1 "$state/log.quickstart")"; }
		sleep 0.1
	done
	[ -r "$state/tidings.env" ] || die "tidings was not ready in ten minutes"
	make -s -C "$bench_build" tests/bench/load tests/bench/bareloop tests/bench/post >&2 || die "the load programs were not built"
	# Whoever listens owns what they listen to.
	sql -c "insert into tidings.diagnosis (id, owner, public) select g, 'bench', false from generate_series(1, $diagnoses) g
		on conflict (id) do update set owner = 'bench', public = false" -c "analyze tidings.diagnosis"
}

# fsync is what a publish is measured with.
check_durable()
{
	local setting value

	for setting in fsync synchronous_commit; do
		value=$(sql -c "show $setting")
		[ "$value" = on ] || die "$setting is $value: this would measure nothing durable"
	done
}

sql()
{
	PGOPTIONS='-c client_min_messages=warning' psql -qXAt -v ON_ERROR_STOP=1 "host=$state/run dbname=tidings" "$@"
}

# token ROLE
token()
{
	TIDINGS_JWT_KEYS=$state/jwt "$bench_build/tidings" token --user bench --role "$1" --ttl 86400
}

# Its parts, once it runs.
find_parts()
{
	local pid

	sidecar_pid=$(listener "${port_of[sidecar]}")
	web_pid=$(listener "${port_of[tidings]}")
	for pid in $(cat "/proc/$web_pid/task/$web_pid/children"); do
		[ "$(cat "/proc/$pid/comm")" != broadcast.fcgi ] || broadcast_pid=$pid
	done
}

listener()
{
	local pid

	pid=$(ss -Hltnp "sport = :$1" | sed -n 's/.*pid=\([0-9]*\).*/\1/p' | head -n 1)
	[ -r "/proc/${pid:-none}/stat" ] || die "nobody listens on port $1"
	echo "$pid"
}

# CPU time of PostgreSQL, all its processes together.
database_cpu_us()
{
	# Those of its processes that have ended are in the first one's sums; others may end while this reads.
	{ cat /proc/[0-9]*/stat 2> /dev/null || true; } |
		awk -v first="$(head -n 1 "$state/postgres/data/postmaster.pid")" -v hz="$(getconf CLK_TCK)" '
		{ pid = $1; sub(/.*\) /, "") }
		pid == first { ticks += $12 + $13 + $14 + $15 }
		$2 == first { ticks += $12 + $13 }
		END { printf "%.0f\n", ticks * 1000000 / hz }'
}

# path_cpu ARRAY NAME: CPU of each part on the way from the POST to the client, and of all
path_cpu()
{
	local -n into=$1

	server_of "$2"
	into=()
	if [ "$2" = tidings ]; then
		into=([sidecar]=$(cpu_us "$sidecar_pid") [lighttpd]=$(cpu_us "$web_pid") [broadcast.fcgi]=$(cpu_us "$broadcast_pid")
			[PostgreSQL]=$(database_cpu_us))
		into[all]=$((into[sidecar] + into[lighttpd] + into[broadcast.fcgi] + into[PostgreSQL]))
	else
		into[all]=$(cpu_us "$server")
	fi
}

# ---- the others

# One process, as the sidecar is one.
start_nchan()
{
	cat > "$bench_folder/nchan/nginx.conf" << END
load_module $nchan_module;
daemon off;
master_process off;
pid $bench_folder/nchan/nginx.pid;
error_log $bench_folder/nchan/log;
worker_rlimit_nofile 20000;
events { worker_connections 19000; multi_accept on; }
http {
	access_log off;
	keepalive_requests 1000000;
	keepalive_timeout 120s;
	client_body_buffer_size 64k;
	client_body_temp_path $bench_folder/nchan/body;
	proxy_temp_path $bench_folder/nchan/proxy;
	fastcgi_temp_path $bench_folder/nchan/fastcgi;
	uwsgi_temp_path $bench_folder/nchan/uwsgi;
	scgi_temp_path $bench_folder/nchan/scgi;
	nchan_shared_memory_size 1g;
	server {
		listen 127.0.0.1:${port_of[nchan]} backlog=4096;
		nchan_message_buffer_length 10000;
		nchan_message_timeout 10s; # else a long run fills its memory, and it answers 500
		nchan_subscriber_first_message newest;
		location ~ ^/publish/(.+) { nchan_publisher; nchan_channel_id \$1; }
		location ~ ^/ws/(.+) { nchan_subscriber websocket; nchan_channel_id \$1; }
		location ~ ^/sse/(.+) { nchan_subscriber eventsource; nchan_channel_id \$1; }
		location ~ ^/poll/(.+) { nchan_subscriber longpoll; nchan_channel_id \$1; }
		location = /status { nchan_stub_status; }
	}
}
END
	/usr/sbin/nginx -c "$bench_folder/nchan/nginx.conf" > "$bench_folder/nchan/log" 2>&1 &
	remember nchan $!
	until_ready nchan $! clients_are nchan 0
}

start_fastapi()
{
	local folder=$bench_top/tests/bench/fastapi

	# Its key is that of tidings: the same tokens are good for both.
	start tidings
	(cd "$folder" && BENCH_JWT_KEY=$state/jwt/default.HS256 BENCH_OWNER=bench PYTHONDONTWRITEBYTECODE=1 \
		exec /usr/bin/python3 -m uvicorn app:app --port "${port_of[fastapi]}" --backlog 4096 --loop uvloop --http httptools --ws websockets \
		--no-access-log --log-level warning > "$bench_folder/fastapi/log" 2>&1 < /dev/null) &
	remember fastapi $!
	until_ready fastapi $! clients_are fastapi 0
}

start_bare()
{
	# Its end of stdin would be its own end.
	mkfifo "$bench_folder/bare/in"
	"$bench_programs/bareloop" --port "${port_of[bare]}" <> "$bench_folder/bare/in" > "$bench_folder/bare/log" 2>&1 &
	remember bare $!
	until_ready bare $! grep -q ready "$bench_folder/bare/log"
}

# ---- what rows need of them

pin()
{
	local name cpus

	pinned=$1
	cpus=0-$(($(nproc) - 1))
	pin_clients=
	if [ "$pinned" = yes ] && [ -z "$bench_smoke" ]; then
		[ "$(nproc)" -ge 2 ] || die "two CPUs are needed: one for the server, one for the clients"
		cpus=0
		pin_clients="taskset -c 1"
	fi
	for name in tidings nchan fastapi bare; do
		running "$name" || continue
		server_of "$name"
		taskset -apc "$cpus" "$server" > /dev/null
	done
}

# The process that serves its clients, into $server.
server_of()
{
	server=$(cat "$bench_folder/$1/pid")
	[ "$1" != tidings ] || { find_parts && server=$sidecar_pid; }
}

use()
{
	server_of "$1"
	case $1 in
	tidings) load=(--port "${port_of[sidecar]}" --token "$(token admin)" --post-port "${port_of[tidings]}"
		--post-token "$(token service)" --transport "${transport:-websocket}") ;;
	fastapi) load=(--port "${port_of[fastapi]}" --token "$(token admin)" --post-port "${port_of[fastapi]}"
		--post-token "$(token service)" --transport fastapi) ;;
	nchan) load=(--port "${port_of[nchan]}" --post-port "${port_of[nchan]}" --to nchan
		--transport "nchan-${transport:-websocket}") ;;
	bare) load=(--port "${port_of[bare]}" --post-port "${port_of[bare]}") ;;
	esac
}

# Whether it has so many clients.
clients_are()
{
	case $1 in
	tidings) curl -fsS "http://127.0.0.1:${port_of[tidings]}/ws/status" | grep -q "\"total_connections\" *: *$2," ;;
	nchan) curl -fsS "http://127.0.0.1:${port_of[nchan]}/status" | grep -qx "subscribers: $2" ;;
	fastapi) curl -fsS "http://127.0.0.1:${port_of[fastapi]}/ws/status" | grep -q "\"total_connections\":$2}" ;;
	bare) ;;
	esac
}

clients_connected()
{
	local i

	for ((i = 0; i < 300; i++)); do
		! clients_are "$@" 2> /dev/null || return 0
		sleep 0.1
	done
	die "$1 does not come to serve $2 clients"
}

nobody_connected()
{
	clients_connected "$1" 0
}

# run_for S: into ${run_length[@]} the options of load for a run of so many seconds, or of $BENCH_SECONDS
run_for()
{
	run_length=(--seconds "${BENCH_SECONDS:-$1}")
	[ -z "$bench_smoke" ] || run_length=(--messages 3)
}

# connect NAME OPTION…: load of that name, all its clients there, with these options more than those that `use` gave
connect()
{
	use "$1"
	load_start "$1" "${load[@]}" "${@:2}"
	case $1 in
	nchan) clients_connected nchan "$(clients_among "$@")" ;;
	esac
}

# The value of --clients in OPTION…
clients_among()
{
	while [ "$1" != --clients ]; do shift; done
	echo "$2"
}

# same_bytes PAD NAME…: into ${pad_of[NAME]} the pad with which all have messages as long as those of tidings with PAD
declare -A pad_of=()
same_bytes()
{
	local pad=$1 name bytes=

	shift
	for name in tidings "$@"; do
		nobody_connected "$name"
		connect "$name" --clients 1 --messages 1 --pad "$pad"
		load_go "$name"
		load_end "$name"
		bytes=${bytes:-${figure[frame_bytes]}}
		pad_of[$name]=$((pad + bytes - figure[frame_bytes]))
	done
	say "# a delivery: $bytes bytes; pads: $(for name in tidings "$@"; do printf '%s %s ' "$name" "${pad_of[$name]}"; done)"
	nobody_connected tidings
}
