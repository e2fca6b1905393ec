"""What must not be seen or touched: tokens in logs, sockets, tables."""
import contextlib
import http.client
import os
import signal
import stat
import threading

from harness import Client, equal, test, wait_until


@test("no log holds a token, or what was in a message")
def _(s):
    d = s.diagnosis()
    with s.connect(d, server=s.web1) as client, s.connect(d) as direct:
        Client(f"ws://127.0.0.1:{s.web1.port}/ws/{d}", subprotocols=[f"bearer.{s.token()}"]).close()
        client.send('{"type":"authenticate","token":"%s"}' % s.token())
        s.recommend(d, "very-secret-reason")
        s.api.get(f"/ws/history/{d}?token={s.token()}")
        s.api.get(f"/ws/history/{d}?token={s.token(ttl=-5)}")
        s.api.get(f"/ws/nope?token={s.token()}")
        s.api.post(f"/ws/broadcast-recommendation-update?token={s.token()}", "very-secret-reason", headers={"Referer": f"http://x/?token={s.token()}"})
        s.node1.api.get(f"/ws/{d}?token={s.token()}")
        direct.close()
    logs = s.log_files()
    assert any("access" in p.name for p in logs), f"no access log among {logs}"
    for path in logs:
        text = path.read_text(errors="replace")
        for what in ("eyJ", "very-secret-reason"):
            assert what not in text, f"{what} is in {path.name}: " + next(line for line in text.splitlines() if what in line)[:300]
    # lighttpd writes it in blocks.
    wait_until(lambda: any(f"/ws/{d}" in p.read_text() for p in logs if "access" in p.name), "the requests to be in the access log")
    assert not any("eyJ" in p.read_text() for p in logs if "access" in p.name), "a token is in the access log"


def queued(web, name):
    """Connections to the socket of that program, also those that it has not accepted."""
    return sum(str(web.folder) in line and name.removesuffix(".fcgi") in line for line in open("/proc/net/unix"))


@test("a sidecar or a FastCGI program that is killed under a request leaves no token in a log", allow="lighttpd|mod_|gw_|fastcgi|proxy")
def _(s):
    d = s.diagnosis()

    def ask(web, path):
        with contextlib.suppress(OSError, http.client.HTTPException):
            web.api.get(f"{path}{'&' if '?' in path else '?'}token={s.token()}")

    def read_stream(web):
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(http.client.HTTPConnection("127.0.0.1", web.port)) as connection:
            connection.request("GET", f"/sse/{d}?token={s.token()}")
            connection.getresponse().read()

    node = s.start_node()
    with s.web(node) as web:
        cursor = node.api.get(f"/poll/{d}", s.token()).want(200)["cursor"]
        asking = [threading.Thread(target=ask, args=(web, f"/poll/{d}?cursor={cursor}&timeout=55")), threading.Thread(target=read_stream, args=(web,))]
        for t in asking:
            t.start()
        client = s.connect(d, server=web)
        s.wait_watchers(d, 3)
        node.signal(signal.SIGKILL)
        node.wait()
        s.forget(node)
        for t in asking:
            t.join()
        client.closed()
        ask(web, f"/poll/{d}")
        ask(web, f"/ws/{d}")
        for name, path in (("history.fcgi", f"/ws/history/{d}"), ("status.fcgi", "/ws/status"), ("broadcast.fcgi", "/ws/publish")):
            (program,) = web.programs(name)
            os.kill(program, signal.SIGSTOP)
            t = threading.Thread(target=ask, args=(web, path))
            before = queued(web, name)
            t.start()
            # It is in the program's queue: lighttpd writes it down when the program dies under it.
            wait_until(lambda: queued(web, name) > before, f"the request to be given to {name}")
            os.kill(program, signal.SIGKILL)
            t.join()
        web.api.get("/health")

        def told():
            return [p for p in s.log_files() if p.name.startswith(web.name) or web.folder in p.parents]

        wait_until(lambda: sum(p.read_text(errors="replace").count("response not received") for p in told()) >= 3,
                   "lighttpd to have written it down")
    for log in s.log_files():
        text = log.read_text(errors="replace")
        assert "eyJ" not in text, f"a token is in {log.name}: " + next(line for line in text.splitlines() if "eyJ" in line)[:300]


@test("a token in the query serves HTTP requests, too")
def _(s):
    d = s.diagnosis()
    s.api.get(f"/ws/history/{d}?token={s.token()}").want(200)
    s.api.get(f"/ws/history/{d}?token={s.token(ttl=-5)}").want(401)


@test("the programs' sockets are not open to the world")
def _(s):
    sockets = [p for p in s.folder.rglob("*") if p.is_socket() and s.pg_folder not in p.parents]
    assert sockets, "no FastCGI socket was found"
    for path in sockets:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert not mode & 0o002, f"{path.name} has mode {mode:o}: anyone may connect"


@test("the programs listen on this machine only, and nowhere else than configured")
def _(s):
    ports = {}
    for line in open("/proc/net/tcp").readlines()[1:] + open("/proc/net/tcp6").readlines()[1:]:
        fields = line.split()
        if fields[3] == "0A":
            address, port = fields[1].split(":")
            ports.setdefault(int(port, 16), set()).add(address)
    equal(ports[s.node1.port], {"0100007F"}, "the sidecar's addresses")
    assert s.web1.port in ports


@test("no role of ours reads or writes a table")
def _(s):
    tables = [r[0] for r in s.sql("select tablename from pg_tables where schemaname = 'tidings'")]
    assert "message" in tables and "topic" in tables, tables
    for user in ("tidings_publisher", "tidings_reader", "tidings_status", "tidings_sidecar"):
        equal(s.sql(f"select relname from pg_class where relnamespace = 'tidings'::regnamespace and relkind in ('r', 'p', 'v', 'S') and "
                    f"has_table_privilege('{user}', oid, 'select,insert,update,delete,truncate,references,trigger')"), [], f"tables of {user}")
        for query in ("select from tidings.message", "delete from tidings.topic"):
            done = s.psql(query, user)
            assert done.returncode != 0 and "permission denied" in done.stderr, f"{user}: {query}: {done.stdout}{done.stderr}"
        for query in ("create table tidings.x ()", "create table public.x ()", "create schema x", "set role tidings_owner", "set role postgres"):
            assert s.psql(query, user).returncode != 0, f"{user} may {query}"


@test("each role calls its own functions only, and the world none")
def _(s):
    def may(user, function):
        return s.sql(f"select bool_or(has_function_privilege('{user}', p.oid, 'execute')) from pg_proc p "
                     f"join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'tidings' and p.proname = '{function}'")[0][0]

    equal([may(u, "publish_batch") for u in ("tidings_publisher", "tidings_reader", "tidings_sidecar")], ["t", "f", "f"], "publish_batch")
    equal([may(u, "history") for u in ("tidings_publisher", "tidings_reader", "tidings_sidecar")], ["f", "t", "f"], "history")
    equal([may(u, "flush") for u in ("tidings_publisher", "tidings_reader", "tidings_sidecar")], ["f", "f", "t"], "flush")
    equal(s.sql("select count(*) from pg_proc p join pg_namespace n on n.oid = p.pronamespace, "
                "lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a "
                "where n.nspname = 'tidings' and a.grantee = 0"), [["0"]], "functions that anyone may call")
    equal(s.sql("select count(*) from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'tidings' "
                "and p.prosecdef and not coalesce(array_to_string(p.proconfig, ' '), '') like '%search_path%'"), [["0"]],
          "security definer functions without a search_path")
