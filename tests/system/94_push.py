"""The example that wakes phones (etc/examples/push), with a service of our own in the place of Firebase Cloud Messaging: what it is sent, and how often, whatever happens."""
import http.server
import importlib
import json
import secrets
import signal
import subprocess
import sys
import threading
import urllib.parse

import jwt

from harness import TOP, Client, Process, equal, free_port, test, wait_until
from live import Live, ahead, notify, person

live = importlib.import_module("22_live_http")

FOLDER = TOP / "etc" / "examples" / "push"
UNREGISTERED = {"error": {"code": 404, "status": "NOT_FOUND", "message": "Requested entity was not found.",
                          "details": [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "UNREGISTERED"}]}}
INVALID = {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "The registration token is not a valid FCM registration token",
                     "details": [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "INVALID_ARGUMENT"}]}}
QUIET = {"start": "00:00", "end": "23:59", "time_zone": "UTC"}


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *who):
        # Who asked was killed.
        if not issubclass(sys.exc_info()[0], ConnectionError):
            super().handle_error(*who)


class Fcm:
    """The service. `taken`: the messages that it has said 200 to; `asked`: all that it was sent; `bearers`: the access tokens that it takes. refuse() says what it answers first; hold() that nothing is."""

    def __init__(self, public_key):
        self.public_key, self.port = public_key, free_port()
        self.taken, self.asked, self.bearers, self.refusals = [], [], [], {}
        self.free = threading.Event()
        self.free.set()
        self.server = Server(("127.0.0.1", self.port), self._handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def refuse(self, token, *answers):
        """That phone's next messages: (status, body, headers) each."""
        self.refusals[token] = list(answers)

    def hold(self):
        self.free.clear()

    def of(self, *phones):
        """(phone, notification) of the messages that were taken, in their order."""
        return [(m["token"], m["data"]["notification_id"]) for m in self.taken if m["token"] in phones]

    def bearer(self, form):
        claims = jwt.decode(form["assertion"][0], self.public_key, algorithms=["RS256"], audience=f"{self.url}/token")
        equal((claims["iss"], claims["scope"]), ("push@project", "https://www.googleapis.com/auth/firebase.messaging"), "claims")
        self.bearers.append(secrets.token_hex())
        return {"access_token": self.bearers[-1], "expires_in": 3600, "token_type": "Bearer"}

    def answer(self, bearer, message):
        self.asked.append(message)
        self.free.wait()
        if bearer.removeprefix("Bearer ") not in self.bearers:
            return 401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}}, {}
        if self.refusals.get(message["token"]):
            return self.refusals[message["token"]].pop(0)
        self.taken.append(message)
        return 200, {"name": f"projects/project/messages/{len(self.taken)}"}, {}

    def _handler(fcm):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                if self.path == "/token":
                    status, answer, headers = 200, fcm.bearer(urllib.parse.parse_qs(body)), {}
                else:
                    equal(self.path, "/v1/projects/project/messages:send", "path")
                    status, answer, headers = fcm.answer(self.headers["Authorization"], json.loads(body)["message"])
                told = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": len(told), **headers}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_):
                pass

        return Handler


class Push:
    """Its tables, the service, and the program, which start() starts."""

    def __init__(self, s):
        self.s = s
        key = s.private / "rsa.pem"
        self.fcm = Fcm(subprocess.run(["openssl", "pkey", "-in", key, "-pubout"], check=True, capture_output=True, text=True).stdout)
        self.account = s.private / "push.json"
        self.account.write_text(json.dumps({"project_id": "project", "client_email": "push@project", "private_key": key.read_text(), "token_uri": f"{self.fcm.url}/token"}))
        self.processes, self.phones = [], 0

    def start(self):
        env = self.s.environment(PUSH_DATABASE=f"{self.s.conninfo} user=postgres options=-crole=push_sender application_name=push", PUSH_ACCOUNT_FILE=self.account,
                                 PUSH_FCM_URL=self.fcm.url)
        process = Process(self.s._name("push"), ["/usr/bin/python3", FOLDER / "push.py"], env, self.s.logs)
        self.processes.append(process)
        return process

    def kill(self):
        for process in self.processes:
            process.signal(signal.SIGKILL)
            process.wait()

    def phone(self, user):
        self.phones += 1
        token = f"phone{self.phones}-of-{user}"
        self.s.sql(f"insert into push.device (user_id, token) values ('{user}', '{token}')")
        return token

    def wait(self, how="clock_timestamp()"):
        """From now on the app has until then to get a notification by itself."""
        self.s.sql(f"alter table push.waiting alter next_at set default {how}")

    def due(self):
        self.s.sql("update push.waiting set next_at = clock_timestamp(); notify push")

    def wait_taken(self, *phones, of):
        wait_until(lambda: all(p.alive() for p in self.processes) and len(self.fcm.of(*phones)) >= of, f"{of} pushes to {phones}; {self.log()[-1000:]}")
        return self.fcm.of(*phones)

    def wait_empty(self):
        wait_until(lambda: self.waiting() == [], "nothing to wait")

    def waiting(self, what="notification_id"):
        return self.s.sql(f"select {what} from push.waiting")

    def log(self):
        return "".join(p.log.read_text() for p in self.processes)

    def __enter__(self):
        self.s.sql("drop schema if exists push cascade; drop role if exists push_sender")
        done = subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-f", FOLDER / "schema.sql"], capture_output=True, text=True, env=self.s.psql_env("postgres", "tidings"))
        equal((done.returncode, done.stderr), (0, ""), "schema.sql")
        self.wait()
        return self

    def __exit__(self, *_):
        self.fcm.free.set()
        for process in self.processes:
            if process.child.poll() is None:
                process.signal(signal.SIGKILL)
                process.wait()
        self.fcm.server.shutdown()
        self.fcm.server.server_close()
        self.s.sql("drop schema push cascade; drop role push_sender")


@test("what is due is pushed once to each phone of its user and to nobody else's, and says nothing of what the notification says")
def _(s):
    with Push(s) as push:
        user, other, without = person(s), person(s), person(s)
        first, second, others = push.phone(user), push.phone(user), push.phone(other)
        push.start()
        notes = [notify(s, user, type="health_alert", title="Pulse 140", message="bpm over your limit")["id"] for _n in range(2)]
        notify(s, without)
        last = notify(s, other)["id"]
        equal(push.wait_taken(others, of=1), [(others, last)], "what another user gets")
        equal((push.fcm.of(first), push.fcm.of(second)), ([(first, n) for n in notes], [(second, n) for n in notes]), "what each phone gets")
        push.wait_empty()
        equal(push.fcm.asked[0], {"token": first, "notification": {"title": "You have a new notification"}, "data": {"notification_id": notes[0]},
                                  "android": {"priority": "HIGH", "collapse_key": "tidings", "notification": {"tag": "tidings"}},
                                  "apns": {"headers": {"apns-priority": "10", "apns-collapse-id": "tidings"}}}, "a message")
        equal(len(push.fcm.bearers), 1, "access tokens")
        for secret in (first, second, others, push.fcm.bearers[0], "PRIVATE", "Pulse"):
            assert secret not in push.log(), push.log()
        for query in ("select title from tidings.notification", "select body from tidings.message", "insert into push.device (user_id, token) values ('a', 'b')"):
            assert "permission denied" in s.psql(f"set role push_sender; {query}").stderr, query


@test("what was acked, read or confirmed by an app that is open is not pushed; a critical one is, until it is acked")
def _(s):
    with Push(s) as push:
        push.wait("clock_timestamp() + interval '1 hour'")
        user, other = person(s), person(s)
        mine, others = push.phone(user), push.phone(other)
        push.start()
        acked, read, critical, critical_acked = [notify(s, user, priority=p)["id"] for p in ("normal", "normal", "critical", "critical")]
        live.say(s, "ack", {"id": acked}, user)
        live.say(s, "mark_read", {"id": read}, user)
        live.say(s, "ack", {"id": critical_acked}, user)
        equal(s.sql(f"select push.seen('{acked}'), push.seen('{read}'), push.seen('{critical}'), push.seen('{critical_acked}')"), [["t", "t", "f", "t"]], "seen")
        named = f"ws://127.0.0.1:{s.node1.port}/ws?topics=notifications/{other}&device=phone&token={s.token(other)}"
        for opened in (lambda: Live(s, s.node1, "notifications", other), lambda: Client(named)):
            with opened() as app:
                shown = notify(s, other)["id"]
                equal(app.next()["notification"]["id"], shown, "what the app shows")
                wait_until(lambda: s.sql(f"select push.seen('{shown}')") == [["t"]], "its pong to be written down")
        missed = notify(s, other)["id"]
        equal(push.fcm.asked, [], "what was pushed before its time")
        push.due()
        equal((push.wait_taken(mine, of=1), push.wait_taken(others, of=1)), ([(mine, critical)], [(others, missed)]), "pushes")
        push.wait_empty()


@test("what waits for its time or for the end of quiet hours is pushed when tidings sends it, and what is switched off is not")
def _(s):
    with Push(s) as push:
        user = person(s)
        phone = push.phone(user)
        push.start()
        live.say(s, "set_preferences", {"types": {"system": False}, "quiet_hours": QUIET}, user)
        notify(s, user)
        held = notify(s, user, type="medication_reminder")["id"]
        equal(push.waiting(), [], "what waits of one that is switched off and one in quiet hours")
        loud = notify(s, user, priority="critical")["id"]
        equal(push.wait_taken(phone, of=1), [(phone, loud)], "in quiet hours")
        live.say(s, "set_preferences", {"quiet_hours": None}, user)
        equal(push.wait_taken(phone, of=2)[1], (phone, held), "after them")
        later, reminder = [notify(s, user, type="appointment_reminder", deliver_at=ahead(t))["id"] for t in (3600, 1.5)]
        equal(push.wait_taken(phone, of=3)[2], (phone, reminder), "a reminder")
        equal(s.sql(f"select sent_at >= due_at from tidings.notification where id = '{reminder}'"), [["t"]], "pushed not before its time")
        equal(s.sql(f"select push.seen('{later}')"), [["f"]], "the later one")
        push.wait_empty()


@test("a service that is busy or away is asked again, no sooner than it says; an access token that it takes no more is replaced")
def _(s):
    with Push(s) as push:
        user = person(s)
        phone = push.phone(user)
        push.start()
        push.fcm.refuse(phone, (503, {}, {}), (429, {}, {"Retry-After": "1"}))
        first = notify(s, user)["id"]
        equal((push.wait_taken(phone, of=1), len(push.fcm.asked)), ([(phone, first)], 3), "pushes, after two refusals")
        push.fcm.bearers.clear()
        second = notify(s, user)["id"]
        equal(push.wait_taken(phone, of=2)[1], (phone, second), "with a new access token")
        push.wait_empty()
        push.fcm.refuse(phone, (503, {}, {"Retry-After": "3600"}))
        third = notify(s, user)["id"]
        wait_until(lambda: push.waiting("attempts, next_at > now() + interval '50 minutes'") == [["1", "t"]], "it to wait for as long as the service says")
        push.kill()
        push.processes.clear()
        push.due()
        push.start()
        equal(push.wait_taken(phone, of=3)[2], (phone, third), "by the next one")


@test("a phone that the service knows no more is forgotten, and one whose message it does not take is tried again later: others get theirs")
def _(s):
    with Push(s) as push:
        user = person(s)
        gone, odd, good = [push.phone(user) for _n in range(3)]
        push.fcm.refuse(gone, (404, UNREGISTERED, {}))
        push.fcm.refuse(odd, (400, INVALID, {}), (404, {"error": {"status": "NOT_FOUND"}}, {}))
        push.start()
        note = notify(s, user)["id"]
        equal(push.wait_taken(good, odd, of=2), [(good, note), (odd, note)], "pushes")
        push.wait_empty()
        equal(s.sql(f"select token from push.device where user_id = '{user}' order by id"), [[odd], [good]], "phones")
        again = notify(s, user)["id"]
        push.wait_taken(good, odd, of=4)
        equal([m["token"] for m in push.fcm.asked if m["data"]["notification_id"] == again], [odd, good], "phones that were asked the next time")


@test("killed while the service has not answered yet, it loses none, and sends none of those again that were taken")
def _(s):
    with Push(s) as push:
        user = person(s)
        phone = push.phone(user)
        push.start()
        before = notify(s, user)["id"]
        push.wait_taken(phone, of=1)
        push.wait_empty()
        push.fcm.hold()
        notes = [notify(s, user)["id"] for _n in range(3)]
        wait_until(lambda: len(push.fcm.asked) == 2, "the service to be asked")
        push.kill()
        push.processes.clear()
        push.fcm.free.set()
        push.start()
        push.wait_empty()
        got = [n for _p, n in push.fcm.of(phone)]
        equal((got.count(before), got.count(notes[1]), got.count(notes[2])), (1, 1, 1), "of those that it was not at")
        equal(got.count(notes[0]), 2, "of that which it was at: the service has taken it, and nobody knew")


@test("two of it share the work, and go on when the database has thrown them out")
def _(s):
    with Push(s) as push:
        users = [person(s) for _n in range(10)]
        phones = [push.phone(u) for u in users]
        push.start()
        push.start()
        for _turn in range(2):
            wait_until(lambda: s.sql("select count(*) from pg_stat_activity where application_name = 'push'") == [["2"]], "both to be connected")
            notes = [notify(s, u)["id"] for u in users]
            push.wait_empty()
            equal(sorted(x for x in push.fcm.of(*phones) if x[1] in notes), sorted(zip(phones, notes)), "pushes")
            s.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'push'")


@test("without a service account's key it ends with one sentence, which has nothing of the file in it")
def _(s):
    with Push(s) as push:
        for text in ("", "[]", '{"private_key": "secret"}'):
            push.account.write_text(text)
            process = push.start()
            equal(process.wait(), 1, "exit status")
            equal(process.log.read_text().count("\n"), 1, "sentences")
            assert f"PUSH_ACCOUNT_FILE: {push.account} is no service account's key" in process.log.read_text(), process.log.read_text()
