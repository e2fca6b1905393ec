"""A state with its place in the topic (section 7), loaded and followed by many clients at once, while everything is written and nodes die."""
import contextlib
import html
import http.client
import http.server
import importlib
import itertools
import json
import re
import subprocess
import threading

import websockets.exceptions

from harness import TOP, Closed, Skip, equal, test, wait_until

selected = importlib.import_module("55_selected")
web_client = importlib.import_module("92_client")

TOPIC = "state/thing"
ROWS = 12
CLIENTS = 50
IN_NODE = 12  # of web/tidings.js
END_S = 60


def load(s):
    """A state, versions by id, and the topic's cursor, in one snapshot."""
    (state, place), = s.sql("begin transaction isolation level repeatable read, read only; "
                            f"select coalesce(json_object_agg(id, version), '{{}}'), tidings.cursor('{TOPIC}') from public.thing; commit")
    return {int(k): v for k, v in json.loads(state).items()}, place


class Model:
    """What a client shows: versions by id. `wrong`: where it went back."""

    def __init__(self, s):
        self.s, self.rows, self.gone, self.wrong, self.loads, self.cursor = s, {}, {}, [], 0, None
        self.load()

    def known(self, id):
        return max(self.rows.get(id, -1), self.gone.get(id, -1))

    def load(self):
        rows, place = load(self.s)
        self.wrong += [f"loaded: {id} went from {self.known(id)} to {version}" for id, version in rows.items() if version < self.known(id)]
        if self.cursor and self.cursor.split("-")[0] == place.split("-")[0] and int(place.split("-")[1]) < int(self.cursor.split("-")[1]):
            self.wrong.append(f"the place went from {self.cursor} to {place}")
        for id, version in self.rows.items():
            if id not in rows:
                self.gone[id] = max(version, self.gone.get(id, -1))
        self.rows, self.cursor, self.loads = rows, place, self.loads + 1

    def take(self, m):
        """A message may tell what the state has already: only what is newer counts."""
        if m["type"] == "thing" and m["data"]["op"] == "delete":
            id, version = m["data"]["old"]["id"], m["data"]["old"]["version"]
            if self.rows.get(id, version + 1) <= version:
                del self.rows[id]
            self.gone[id] = max(version, self.gone.get(id, -1))
        elif m["type"] == "thing":
            id, version = m["data"]["new"]["id"], m["data"]["new"]["version"]
            if version > self.known(id):
                self.rows[id] = version


class Follower(threading.Thread):
    """Loads the state, follows it from its place until it has the row 0, and goes from server to server with each break. `reload`: after so many
    messages it loads the state anew; 0: only after a gap."""

    def __init__(self, s, transport, servers, reload):
        super().__init__(daemon=True)
        # One user may have five connections of live health.
        self.token = s.token(f"root-{id(self)}", role="admin")
        self.s, self.transport, self.servers, self.reload, self.gaps = s, transport, servers, reload, 0
        self.model = Model(s)
        self.start()

    @property
    def over(self):
        return 0 in self.model.rows

    def run(self):
        for server in itertools.cycle(self.servers):
            # What ends a link is the network's way, or the node's; the next one goes on.
            with contextlib.suppress(OSError, AssertionError, Closed, EOFError, StopIteration, http.client.HTTPException, websockets.exceptions.WebSocketException):
                self._follow(server)
            if self.over or self.model.wrong:
                return

    def _follow(self, server):
        model = self.model
        with selected.Watcher(self.s, server, self.transport, [TOPIC], token=self.token, cursor=model.cursor) as w:
            if not w.place["recovered"]:
                self.gaps += 1
                return model.load()
            epoch, at = w.place["cursor"].split("-")[0], int(model.cursor.split("-")[1])
            for n in itertools.count():
                w.messages(n + 1)
                if not w.place["recovered"]:  # a poll is told so in its reply; the others are closed, and told when they come again
                    self.gaps += 1
                    return model.load()
                m, at = w.got[n], at + 1
                if m["seq"] != at:
                    model.wrong.append(f"{m['seq']} instead of {at}")
                    return
                model.cursor = f"{epoch}-{at}"
                model.take(m)
                if self.over:
                    return
                if self.reload and (n + 1) % self.reload == 0:
                    return model.load()


class InNode:
    """Clients of web/tidings.js, whose option `state` asks this for the state. Skips itself where there is no Node."""

    def __init__(self, s, webs):
        (node, drive, _), _ = web_client.command("node")

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                state, place = load(s)
                body = json.dumps({"state": state, "cursor": place}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.errors = open(s.logs / "follow.txt", "a+")
        self.child = subprocess.Popen([node, drive.parent / "follow.mjs", f"http://127.0.0.1:{self.server.server_port}/", TOPIC], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.clients = [{"url": f"http://127.0.0.1:{webs[n % len(webs)].port}", "transport": web_client.BEST[n % 3], "token": s.token(f"js-{n}", role="admin"),
                         "reload": 60 if n % 4 == 0 else 0} for n in range(IN_NODE)]
        self.child.stdin.write(json.dumps(self.clients))
        self.child.stdin.close()
        self.child.stdin = None

    def stop(self):
        self.child.kill()
        self.child.wait()
        self.server.shutdown()
        self.server.server_close()

    def results(self):
        out, _ = self.child.communicate(timeout=END_S)
        self.errors.seek(0)
        assert out, self.errors.read()[-2000:]
        return json.loads(out)


class Writers:
    """Those who write the table, and who publish, each as many turns as have been granted, as fast as it can: so there is an end to what all clients get."""

    def __init__(self, s, api):
        self.s, self.api, self.granted, self.ending, self.done, self.failures = s, api, 0, False, [0] * 4, []
        self.more = threading.Condition()
        self.threads = [threading.Thread(target=self._run, args=(n, self._write if n < 3 else self._publish), daemon=True) for n in range(4)]
        for t in self.threads:
            t.start()

    def _run(self, n, do):
        try:
            while True:
                with self.more:
                    self.more.wait_for(lambda: self.ending or self.done[n] < self.granted)
                if self.ending:
                    return
                do(n)
                self.done[n] += 1
        except Exception as e:
            self.failures.append(e)

    def _write(self, n):
        self.s.sql(f"""do $$ declare v int; begin
            for turn in 1 .. 4 loop
                update public.thing set version = version + 1 where id % 3 = {n} and id % 4 <> turn % 4;
                if turn = 2 then rollback; else commit; end if;
            end loop;
            delete from public.thing where id = {n + 3} returning version into v;
            commit;
            insert into public.thing values ({n + 3}, v + 1);
        end $$""")

    def _publish(self, _):
        # To others' topics a hundred times as many as to this.
        items = [{"topic": f"state/other-{n % 20}" if n else TOPIC, "type": "note", "data": n} for n in range(100)]
        self.api.post("/ws/publish", items, self.s.service()).want(200)

    def grant(self, turns):
        with self.more:
            self.granted += turns
            self.more.notify_all()

    def settle(self):
        """Until all is done that was granted."""
        wait_until(lambda: self.failures or min(self.done) == self.granted, "what is written", END_S)
        equal(self.failures, [], "what went wrong with writing")

    def end(self):
        with self.more:
            self.ending = True
            self.more.notify_all()
        for t in self.threads:
            t.join()


@test("50 clients that load a state with its cursor and follow it, by each transport and by the client's `state`, end with what the table has, and none goes back, "
      "while it is written and published at full rate, nodes are killed and the numbering changes", allow="connection|terminat|node|connect|backend|unexpected")
def _(s):
    s.sql("create table public.thing (id int primary key, version int not null); create trigger tell after insert or update or delete on public.thing "
          f"for each row execute function tidings.row_changed('{TOPIC}', 'thing'); insert into public.thing select n, 0 from generate_series(1, {ROWS}) n")
    with contextlib.ExitStack() as places:
        nodes = [places.enter_context(s.node()) for _ in range(2)]
        webs = [places.enter_context(s.web(node)) for node in nodes]
        writers = Writers(s, s.web1.api)
        places.callback(writers.end)
        writers.grant(4)
        try:
            in_node = InNode(s, webs)
            places.callback(in_node.stop)
        except Skip:
            in_node = None
        servers = [nodes[0], webs[1], nodes[1], webs[0]]
        followers = [Follower(s, selected.TRANSPORTS[n % 4], servers[n % 3:] + servers[:n % 3], 60 if n % 5 == 0 else 0) for n in range(CLIENTS - (IN_NODE if in_node else 0))]
        for n, node in enumerate(nodes):
            writers.settle()
            writers.grant(5)
            node.child.kill()
            node.wait()
            if n == 0:
                s.sql("select tidings.renew_epochs()")  # so that who comes again is told that it may have missed something
            node.begin()
            node.wait_listening()
        writers.settle()
        writers.grant(2)
        writers.settle()
        s.sql("insert into public.thing values (0, 0)")
        table = load(s)[0]
        for f in followers:
            f.join(END_S)
        all_of = [(f.transport, f.model.wrong, not f.over, f.gaps, f.model.loads, f.model.rows) for f in followers]
        if in_node:
            all_of += [(c["transport"], r["wrong"], False, r["gaps"], r["loads"], {int(k): v for k, v in r["model"].items()}) for c, r in zip(in_node.clients, in_node.results())]
        equal(len(all_of), CLIENTS, "clients")
        wrong = [of for of in all_of if of[1] or of[2] or of[5] != table]
        equal(wrong, [], f"clients (transport, what was wrong, whether it goes on, gaps, loads, model) that do not end with {table}")
        equal({t for t, _, _, gaps, _, _ in all_of if gaps}, set(selected.TRANSPORTS), "transports whose clients were told of a gap, and loaded anew")
    s.sql("drop table public.thing")


@test("the SQL that /docs shows does what it says there: by who was granted it, a message in one's own transaction, and the rows that change")
def _(s):
    section = html.unescape(re.search(r'id="sql">.*?</section>', (TOP / "web" / "docs.html").read_text(), re.S)[0])
    published, trigger = re.findall(r"<pre tabindex=\"0\"><code>(.*?)</code></pre>", section, re.S)
    grants = " ".join(re.search(r"<code>(GRANT .*?)</code>", section, re.S)[1].split())
    s.sql(f"create role you login; {grants} create schema yours authorization you")
    try:
        with s.connect(123, cursor=s.sql("select tidings.cursor('diagnosis/123')")[0][0]) as client:
            as_you = "set role you; set search_path = yours; "
            s.sql(as_you + "create table recommendation (id int, diagnosis_id bigint, herb text, dosage text, note text); " + trigger)
            s.sql(as_you + "insert into recommendation values (789, 123, 'Ginger', '1g', '')")
            s.sql(as_you + published)
            s.sql(as_you + "update recommendation set note = 'told to nobody'; delete from recommendation")
            got = [client.next() for _ in range(4)]
            by = {m["type"] if m["type"] == "note" else m["data"]["op"]: m["data"] for m in got}
            equal(sorted(by), ["delete", "insert", "note", "update"], "what came")
            equal((sorted(by["insert"]), sorted(by["delete"]), by["update"]["changed_fields"]), (["new", "op"], ["old", "op"], ["herb"]), "members")
            place = s.sql(as_you + "begin isolation level repeatable read; select tidings.cursor('diagnosis/123'); commit")[0][0]
            with s.connect(123, cursor=place) as later:
                equal((later.first["data"]["recovered"], later.first["data"]["cursor"]), (True, place), "the place of the state")
    finally:
        s.sql("drop schema yours cascade; drop owned by you; drop role you")
