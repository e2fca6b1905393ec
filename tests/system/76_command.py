"""The command: what its verbs do, with which role, what they say to people and to programs, and with which exit status."""
import contextlib
import json
import os
import pathlib
import pty
import pwd
import re
import signal
import subprocess
import time

from harness import TOP, WAIT_S, Transaction, equal, test, wait_until

DONE, FAILED, WRONG, AWAY, NOT_FOUND = 0, 1, 2, 4, 6
NOBODY = "00000000-0000-0000-0000-000000000000"


def tidings(s, *args, stdin="", want=DONE, **settings):
    """What it printed, on stdout or, where it is not to succeed, on stderr."""
    done = subprocess.run([s.program("tidings"), *map(str, args)], capture_output=True, text=True, input=stdin, timeout=60,
                          env=s.environment(**settings))
    equal(done.returncode, want, f"exit status of tidings {' '.join(map(str, args))} ({done.stdout}{done.stderr})")
    return done.stdout if want == DONE else done.stderr


def migrator(s):
    """Settings of who migrates."""
    return {"TIDINGS_DATABASE": s.conninfo + " user=postgres"}


class Tail:
    """`tidings tail`, line by line."""

    def __init__(self, s, *args, **settings):
        self.child = subprocess.Popen([s.program("tidings"), "tail", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                      env=s.environment(**settings))
        self.s = s

    def lines(self, count):
        return [self.child.stdout.readline() for _n in range(count)]

    def reads(self, topics=1):
        """It has logged in, and has read what was there of each topic: one statement a topic, and those of the next round."""
        begun = set()

        def has_read():
            begun.update(row[0] for row in self.s.sql("select query_start from pg_stat_activity where application_name = 'tidings tail' and query like '%history%'"))
            return len(begun) > topics

        wait_until(has_read, "it to read")

    def end(self):
        self.child.send_signal(signal.SIGINT)
        out, err = self.child.communicate(timeout=WAIT_S)
        equal(self.child.returncode, DONE, f"exit status ({out}{err})")
        return err

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.communicate()


@test("tidings publish commits a message, or an array of them as a whole, that whoever listens gets, and says their seqs")
def _(s):
    d = s.diagnosis()
    topic = f"diagnosis/{d}"
    with s.connect(d) as client:
        equal(tidings(s, "publish", topic, "note", '{"a": 1}'), f"{topic}: seq 1, 1 clients\n", "what it says")
        message = client.next()
        equal((message["type"], message["seq"], message["data"]), ("note", 1, {"a": 1}), "the message")
        reply = json.loads(tidings(s, "publish", topic, "note", "-", "--array", "--json", stdin="[1, [2], null]"))
        equal(reply, {"status": "broadcasted", "results": [{"topic": topic, "seq": n, "clients_notified": 1} for n in (2, 3, 4)]}, "of an array")
        equal([client.next()["data"] for _n in range(3)], [1, [2], None], "its messages")
        for _n in range(2):
            said = tidings(s, "publish", topic, "note", "5", "--key", "k1")
        assert "was published before" in said, said
        tidings(s, "publish", topic, "note", "6", "--ephemeral", "--to-user", "456")
        equal([client.next()["data"] for _n in range(2)], [5, 6], "with a key twice, and ephemeral")
    said = tidings(s, "publish", topic, "note", "7", "--deliver-at", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400)))
    equal(said, f"{topic}: will be published in its time\n", "of one for tomorrow")


@test("what tidings publish cannot publish it refuses in a sentence, each kind with its exit status, and publishes nothing of it")
def _(s):
    d = s.diagnosis()
    topic = f"diagnosis/{d}"
    for args, stdin, status, word in (((topic, "note", "{"), "", FAILED, "not JSON"), ((topic, "note", "{}", "--array"), "", FAILED, "not an array"),
                                      ((topic, "", "{}"), "", FAILED, "type"), (("a b", "note", "{}"), "", FAILED, "topic"),
                                      ((topic, "note", "-", "--array"), "[]", FAILED, "1 to 500"), ((topic, "pong", "1"), "", FAILED, "type"),
                                      (("diagnosis/987654321", "note"), "", NOT_FOUND, "no such diagnosis"), ((topic,), "", WRONG, "TOPIC TYPE"),
                                      ((topic, "note", "1", "2"), "", WRONG, "TOPIC TYPE"), ((topic, "note", "--nothing"), "", WRONG, "nothing"),
                                      ((topic, "note", "--key", ""), "", WRONG, "--key")):
        said = tidings(s, "publish", *args, stdin=stdin, want=status)
        assert word in said, f"{args}: {said}"
    tidings(s, "publish", topic, "note", "1", "--key", "k2")
    assert "used for another" in tidings(s, "publish", topic, "note", "2", "--key", "k2", want=FAILED)
    nowhere = {"TIDINGS_DATABASE": f"host={s.folder}/nowhere dbname=tidings"}
    assert "nowhere" in tidings(s, "publish", topic, "note", "3", want=AWAY, **nowhere)
    said = tidings(s, "publish", topic, "note", "-", stdin=json.dumps("x" * 270000), want=FAILED)
    assert "TIDINGS_BODY_MAX is 262144" in said, said
    with Transaction(s, f"select from tidings.topic where name = '{topic}' for update"):
        tidings(s, "publish", topic, "note", "4", want=AWAY, TIDINGS_DATABASE_TIMEOUT=500)
    equal(s.last_seq(topic), 1, "the last seq")


@test("tidings tail prints what comes, from a cursor or from the newest, and where to go on from")
def _(s):
    d, other = s.diagnosis(), s.diagnosis()
    for n in range(3):
        s.recommend(d, reason=f"r{n}")
    with Tail(s, f"diagnosis/{d}", "--rewind", 2) as tail:
        for line, seq in zip(tail.lines(2), (2, 3)):
            topic, number, message = line.split(" ", 2)
            equal((topic, int(number), json.loads(message)["seq"]), (f"diagnosis/{d}", seq, seq), "topic and seqs")
        s.recommend(d, reason="live")
        assert '"reason":"live"' in tail.lines(1)[0].replace('": ', '":')
        cursor = re.search(r"go on with --since (\S+)", tail.end())[1]
    s.recommend(d, reason="away")
    with Tail(s, f"diagnosis/{d}", f"diagnosis/{other}", "--json") as tail:
        tail.reads(2)
        s.recommend(other, reason="only what is new")
        line = json.loads(tail.lines(1)[0])
        equal((line["topic"], line["seq"], line["message"]["data"]["reason"]), (f"diagnosis/{other}", 1, "only what is new"), "with neither")
        equal(json.loads(tidings(s, "topics", "--json", "--limit", 10000))[0].keys() >= {"topic", "lag"}, True, "members of a topic")
    with Tail(s, f"diagnosis/{d}", "--since", cursor, "--json") as tail:
        line = json.loads(tail.lines(1)[0])
        equal((line["seq"], line["message"]["data"]["reason"]), (5, "away"), "after a cursor")
        assert line["cursor"].endswith("-5"), line
    for args, word in ((("--since", "x"), "cursor"), (("--rewind", "0"), "1 to 100"), (("--rewind", "1", "--since", cursor), "not both")):
        assert word in tidings(s, "tail", f"diagnosis/{d}", *args, want=WRONG)
    assert "no such diagnosis" in tidings(s, "tail", "diagnosis/987654321", want=NOT_FOUND)


@test("whatever others have written, a terminal obeys none of it, and JSON is one line of UTF-8")
def _(s):
    d = s.diagnosis()
    topic, user = f"diagnosis/{d}", f"u{d}\u009b2J"
    s.sql(f"insert into tidings.diagnosis_grant values ({d}, '{user}')")
    text = "\u009b31m\x7f\u00a0\u00e4\U0001f426"
    s.api.post("/ws/publish", json.dumps({"topic": topic, "type": "t", "data": {"text": text}}, ensure_ascii=False), s.service()).want(200)

    def harmless(said):
        assert said.endswith("\n") and not re.search("[\0-\x09\x0b-\x1f\x7f-\x9f]", said), repr(said)
        return said.splitlines()

    for option in ((), ("--json",)):
        with Tail(s, topic, "--rewind", 1, *option) as tail:
            (line,) = harmless(tail.lines(1)[0])
            message = json.loads(line)["message"] if option else json.loads(line.split(" ", 2)[2])
            equal(message["data"]["text"], text, "the text")
    with s.connect(d, user=user), s.connect(d, user=user):
        wait_until(lambda: int(s.sql(f"select count(*) from tidings.connection where user_id = '{user}'")[0][0]) == 2, "both to be written down")
        (line,) = harmless(tidings(s, "connections", "--user", user, "--json"))
        equal({one["user_id"] for one in json.loads(line)}, {user}, "whose connections")
        equal(len(harmless(tidings(s, "connections", "--user", user))), 3, "lines of the table")
    equal(harmless(tidings(s, "token", "--verify", stdin=s.token(user)))[0].split(",")[0], f"good: user u{d}?2J", "a user id")
    folder = s.folder / s._name("spoilt-names")
    folder.mkdir()
    (pathlib.Path(os.fsdecode(bytes(folder) + b"/a\xff\x1b.HS256"))).touch()
    (line,) = harmless(tidings(s, "keys", "list", "--json", TIDINGS_JWT_KEYS=folder))
    equal(json.loads(line)[0]["kid"], "a\ufffd\x1b", "a name that is no UTF-8")
    assert "a??.HS256" in harmless(tidings(s, "keys", "check", want=FAILED, TIDINGS_JWT_KEYS=folder))[0]
    assert "a\ufffd?" in harmless(tidings(s, "keys", "list", TIDINGS_JWT_KEYS=folder))[1]


@test("tidings tail says in words what is no longer kept, and that a cursor is of another numbering")
def _(s):
    d = s.diagnosis()
    topic = f"diagnosis/{d}"
    s.recommend(d)
    first = json.loads(s.api.get(f"/ws/history/{d}", s.token()).body)["cursor"]
    for _n in range(4):
        s.recommend(d)
    s.sql(f"update tidings.topic set first_seq = 4 where name = '{topic}'")
    with Tail(s, topic, "--since", first) as tail:
        equal(tail.lines(1), [f"-- {topic}: messages 2 to 3 are no longer kept\n"], "of what is gone")
        equal([line.split(" ")[1] for line in tail.lines(2)], ["4", "5"], "what follows")
    with Tail(s, topic, "--since", first, "--json") as tail:
        equal(json.loads(tail.lines(1)[0]), {"topic": topic, "gap": {"from": 2, "to": 3}}, "the same in JSON")
    with Tail(s, topic, "--since", "0badcafe-3") as tail:
        assert "of another numbering" in tail.lines(1)[0]


@test("tidings tail waits for a database that is away, says so once, and misses nothing", allow="database|connection|away|server")
def _(s):
    d = s.diagnosis()
    with Tail(s, f"diagnosis/{d}") as tail:
        tail.reads()
        s.stop_postgres()
        try:
            said = tail.child.stderr.readline()
            assert said.endswith("; waiting for it\n"), said
        finally:
            s.start_postgres()
        s.wait_ready()
        s.recommend(d, reason="back")
        assert "back" in tail.lines(1)[0]
        equal(tail.child.stderr.readline(), "tidings: the database is back\n", "of its return")


@test("tidings status, topics and connections tell who is connected to what, for people and as JSON")
def _(s):
    d = s.diagnosis(owner="count-me")
    with s.connect(d, user="count-me") as client:
        s.wait_watchers(d, 1)
        for _n in range(3):
            s.recommend(d, token=s.token("count-me"))
        client.take(3)
        status = json.loads(tidings(s, "status", "--json"))
        equal((status["connections_by_diagnosis"][str(d)], status["outbox"]["failed"], len(status["nodes"])), (1, 0, 1), "of the status")
        text = tidings(s, "status")
        assert re.search(rf"^by diagnosis .*\b{d} 1\b", text, re.M) and status["nodes"][0]["id"] in text, text
        mine = [t for t in json.loads(tidings(s, "topics", "--by", "clients", "--limit", 10000, "--json")) if t["topic"] == f"diagnosis/{d}"]
        equal([(t["clients"], t["last_seq"], t["per_minute"]) for t in mine], [(1, 3, 3)], "of the topic")
        assert re.search(rf"^diagnosis/{d} +1 +3 ", tidings(s, "topics", "--limit", 10000), re.M)
        equal(len(json.loads(tidings(s, "topics", "--limit", 1, "--json"))), 1, "at most one")
        who = json.loads(tidings(s, "connections", "--user", "count-me", "--json"))
        equal([(c["connection_id"], c["user_id"], c["transport"], c["topics"]) for c in who],
              [(client.id, "count-me", "websocket", [f"diagnosis/{d}"])], "the connection")
        equal(json.loads(tidings(s, "connections", "--topic", f"diagnosis/{d}", "--json")), who, "by its topic")
        equal(tidings(s, "connections", "--user", "nobody at all"), "nobody is connected\n", "of who is not there")
        assert client.id in tidings(s, "connections")
    idle = s.diagnosis()
    s.recommend(idle)
    lag = json.loads(tidings(s, "topics", "--by", "lag", "--limit", 10000, "--json"))
    equal([t["lag"] for t in lag if t["topic"] == f"diagnosis/{idle}"], [1], "what nobody was sent")
    equal([t["lag"] for t in lag], sorted((t["lag"] for t in lag), reverse=True), "the order")


@test("tidings topics takes its time, where there are very many: longer than a program's statement may take")
def _(s):
    with Transaction(s, "lock table tidings.presence in access exclusive mode"):
        child = subprocess.Popen([s.program("tidings"), "topics"], stdout=subprocess.DEVNULL, env=s.environment(TIDINGS_DATABASE_TIMEOUT=100))
        wait_until(lambda: s.sql("""select 1 from pg_stat_activity where application_name = 'tidings topics' and wait_event_type = 'Lock'
            and clock_timestamp() - query_start > interval '300 milliseconds'"""), "it to have waited")
    equal(child.wait(WAIT_S), DONE, "exit status")


@test("tidings status --watch says it again and again, and outlives an outage of the database", allow="database|connection|away|server")
def _(s):
    child = subprocess.Popen([s.program("tidings"), "status", "--watch", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=s.environment())
    try:
        equal([set(json.loads(child.stdout.readline())) >= {"nodes", "outbox"} for _n in range(2)], [True, True], "lines")
        s.stop_postgres()
        try:
            assert child.stderr.readline().startswith("tidings: "), "nothing is said of the outage"
        finally:
            s.start_postgres()
        s.wait_ready()
        assert json.loads(child.stdout.readline())
    finally:
        child.terminate()
        child.communicate()


@test("tidings disconnect closes a connection and waits until it is gone; reconnect has a user come again; revoke ends subscriptions")
def _(s):
    d = s.diagnosis(owner="of-three")
    connect = lambda: s.connect(d, user="of-three")
    with connect() as client:
        s.wait_watchers(d, 1)
        assert client.id in tidings(s, "disconnect", client.id)
        equal(client.closed(), (1000, "disconnected by administrator"), "close of the first")
    assert "no such connection" in tidings(s, "disconnect", NOBODY, want=NOT_FOUND)
    assert "no such connection" in tidings(s, "disconnect", "x", want=NOT_FOUND)
    with connect() as client:
        s.wait_watchers(d, 1)
        equal(json.loads(tidings(s, "reconnect", "of-three", "--json")), [{"user_id": "of-three", "status": "reconnecting", "connections": 1}], "of the user")
        for nobody in ("", "a\x1bb", b"\xff"):
            assert "is not the name of a user" in tidings(s, "reconnect", os.fsdecode(nobody), want=NOT_FOUND), nobody
        equal(client.closed()[0], 1012, "close of the second")
    with connect() as client:
        s.wait_watchers(d, 1)
        tidings(s, "revoke", f"diagnosis/{d}", "of-three", **migrator(s))
        equal(client.closed()[0], 1008, "close of the third")
    with connect() as client:
        s.wait_watchers(d, 1)
        tidings(s, "revoke", f"diagnosis/{d}", "--everyone", **migrator(s))
        equal(client.closed()[0], 1012, "close of the fourth")
    for args in ((), ("of-three", "--everyone"), ("--everyone", "--anonymous")):
        assert "whose?" in tidings(s, "revoke", f"diagnosis/{d}", *args, want=WRONG)


@test("tidings outbox lists what waits and what was given up, without bodies, has it relayed, or drops it")
def _(s):
    d = s.diagnosis()
    s.sql(f"select tidings.publish('diagnosis/{d}', 'later', '\"a secret\"'::json, now() + interval '1 day')")
    s.sql(f"""insert into tidings.outbox (deliver_at, topic, body, attempts, last_error, failed_at)
        select now(), 'diagnosis/{d}', '{{"type":"given_up","topic":"diagnosis/{d}","timestamp":"2026-11-27T10:00:00.000Z","data":"a secret"}}', 10, 'P0001 why' || chr(27) || '[2J' || chr(155) || '2J', now() from generate_series(1, 3)""")
    mine = lambda *args: [m for m in json.loads(tidings(s, "outbox", "list", "--json", *args, **migrator(s))) if m["topic"] == f"diagnosis/{d}"]
    equal([(m["kind"], m["attempts"], bool(m["failed_at"])) for m in mine()], [("message", 10, True)] * 3 + [("message", 0, False)], "what is listed")
    text = tidings(s, "outbox", "list", "--failed", **migrator(s))
    assert "P0001 why?[2J?2J" in text and "secret" not in text + str(mine()), text
    first, second, third = [m["id"] for m in mine("--failed")]
    assert "what?" in tidings(s, "outbox", "retry", want=WRONG)
    with s.connect(d) as client:
        equal(tidings(s, "outbox", "retry", first, **migrator(s)), "relayed again: 1\n", "of one")
        equal(client.next()["type"], "given_up", "what comes")
        equal(json.loads(tidings(s, "outbox", "drop", second, "--json", **migrator(s))), {"dropped": 1}, "of another")
        assert "1 of these" in tidings(s, "outbox", "drop", second, want=NOT_FOUND, **migrator(s))
        # The usage has [ID...], and one alone was taken; and one that is named twice was not given up the second time.
        assert "2 of these" in tidings(s, "outbox", "drop", second, second, 987654321, want=NOT_FOUND, **migrator(s))
        s.sql(f"""insert into tidings.outbox (deliver_at, topic, body, failed_at)
            select now(), 'diagnosis/{d}', '{{}}', now() from generate_series(1, 2)""")
        others = [m["id"] for m in mine("--failed") if m["id"] != third]
        equal(tidings(s, "outbox", "drop", *others, *others, **migrator(s)), "dropped: 2\n", "of several, each twice")
        equal([m["id"] for m in mine("--failed")], [third], "what is left")
        tidings(s, "outbox", "retry", "--all", **migrator(s))
        equal(client.next()["type"], "given_up", "the last one")
        client.answers()
    s.sql(f"delete from tidings.outbox where topic = 'diagnosis/{d}'")


@test("a notification that was given up is sent when tidings outbox retries it, and stays to be read when it is dropped")
def _(s):
    note = s.sql("""insert into tidings.notification (user_id, type, title, message, push_at, failures, last_error, failed_at)
        values ('given-up', 'system', 't', 'm', null, 10, 'why', now()) returning id""")[0][0]
    tidings(s, "outbox", "retry", note, **migrator(s))
    wait_until(lambda: s.sql(f"select 1 from tidings.notification where id = '{note}' and sent_at is not null and failed_at is null"), "it to be sent")
    s.sql(f"update tidings.notification set failed_at = now(), push_at = null where id = '{note}'")
    tidings(s, "outbox", "drop", note, **migrator(s))
    equal(s.sql(f"select failed_at is null and push_at is null from tidings.notification where id = '{note}'"), [["t"]], "of the notification")


@test("tidings forget erases what is kept about a user, and says what that was; on a terminal it asks, elsewhere it takes --yes")
def _(s):
    d, other = s.diagnosis(owner="forget-me"), s.diagnosis(owner="forget-me-2")
    s.recommend(d, token=s.token("forget-me"))
    forgotten = lambda: s.sql("select count(*) = 0 from tidings.diagnosis where owner = 'forget-me'")[0][0] == "t"

    def on_terminal(answer):
        ours, its = pty.openpty()
        child = subprocess.Popen([s.program("tidings"), "forget", "forget-me"], stdin=its, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 env=s.environment(**migrator(s)))
        os.close(its)
        os.write(ours, answer)
        out, err = child.communicate(timeout=WAIT_S)
        os.close(ours)
        assert "about forget-me? It cannot be brought back. (yes/no) " in err, err
        return child.returncode, out

    assert "--yes?" in tidings(s, "forget", "forget-me", want=WRONG, **migrator(s))
    for answer in (b"\n", b"no\n", b"y\n", b"yes, but not this one\n", b"\x04"):
        equal((on_terminal(answer), forgotten()), ((FAILED, ""), False), f"of {answer}")
    with s.connect(d, user="forget-me") as client, s.connect(other, user="forget-me-2") as neighbour:
        s.wait_watchers(d, 1)
        status, said = on_terminal(b"yes\n")
        equal((status, re.findall(r"^(?:diagnoses|topics|connections) .*$", re.sub(" +", " ", said), re.M)),
              (DONE, ["diagnoses 1 0", "connections 1 0", "topics 1 0"]), "what it says")
        equal(client.closed(), (1000, "disconnected by administrator"), "close")
        s.recommend(other, token=s.token("forget-me-2"))
        equal(neighbour.next()["type"], "recommendation_update", "what another user gets")
    equal(forgotten(), True, "the diagnosis is gone")
    assert "nothing was kept about forget-me" in tidings(s, "forget", "forget-me", "--yes", want=NOT_FOUND, **migrator(s))
    said = json.loads(tidings(s, "forget", "--yes", "--json", "forget-me-2", **migrator(s)))
    equal([r for r in said if r["kind"] == "diagnoses"], [{"kind": "diagnoses", "deleted": 1, "anonymised": 0}], "in JSON")
    assert "not the id" in tidings(s, "forget", "x" * 129, "--yes", want=WRONG, **migrator(s))


@test("tidings keys makes keys that are their owner's alone, lists them by name, and tries them; a token is made with one, and verified")
def _(s):
    folder = s.folder / "new-keys"
    folder.mkdir(mode=0o700)
    mine = {"TIDINGS_JWT_KEYS": folder, "TIDINGS_JWT_ALGORITHMS": "HS256,RS256,ES256,EdDSA"}
    equal(tidings(s, "keys", "new", "default", **mine), f"{folder}/default.HS256\n", "the file")
    made = json.loads(tidings(s, "keys", "new", "2026-11", "--alg", "ES256", "--private", s.folder / "es.pem", "--json", **mine))
    equal((made["kid"], made["alg"]), ("2026-11", "ES256"), "of a pair")
    tidings(s, "keys", "new", "rsa", "--alg", "RS256", "--private", s.folder / "rs.pem", **mine)
    tidings(s, "keys", "new", "ed", "--alg", "EdDSA", "--private", s.folder / "ed.pem", **mine)
    for path in (folder / "default.HS256", folder / "2026-11.ES256", s.folder / "es.pem"):
        equal(path.stat().st_mode & 0o777, 0o600, f"mode of {path}")
    equal(sorted(p.name for p in folder.iterdir()), ["2026-11.ES256", "default.HS256", "ed.EdDSA", "rsa.RS256"], "the folder")
    folder.chmod(0o750)
    tidings(s, "keys", "new", "shared", **mine)
    equal((folder / "shared.HS256").stat().st_mode & 0o777, 0o640, "mode of one whose folder is its group's to read")
    (folder / "shared.HS256").unlink()
    listed = json.loads(tidings(s, "keys", "list", "--json", **mine))
    equal([(k["kid"], k["alg"]) for k in listed], [("2026-11", "ES256"), ("default", "HS256"), ("ed", "EdDSA"), ("rsa", "RS256")], "the list")
    equal(tidings(s, "keys", "check", **mine), "ok\n", "the check")
    for args in (("--user", "456"), ("--user", "456", "--kid", "2026-11", "--alg", "ES256", "--key", s.folder / "es.pem", "--role", "clinician"),
                 ("--user", "456", "--kid", "ed", "--alg", "EdDSA", "--key", s.folder / "ed.pem", "--role", "clinician")):
        token = tidings(s, "token", *args, **mine)
        said = json.loads(tidings(s, "token", "--verify", "--json", stdin=token, **mine))
        equal((said["user_id"], said["role"], 3590 <= said["expires_in"] <= 3600), (456, "clinician" if len(args) > 2 else "user", True), "of the token")
    assert "is refused: " in tidings(s, "token", "--verify", stdin=token, want=FAILED)
    assert "there already" in tidings(s, "keys", "new", "default", want=FAILED, **mine)
    for args, word in ((("a.b",), "name"), (("k", "--alg", "none"), "algorithm"), (("k", "--alg", "RS256"), "--private"), (("k", "--private", "x"), "secret")):
        assert word in tidings(s, "keys", "new", *args, want=WRONG, **mine)
    said = tidings(s, "keys", "new", "k", "--alg", "ES384", "--private", s.folder / "no.pem", want=WRONG, **mine)
    assert "TIDINGS_JWT_ALGORITHMS does not list ES384" in said, said
    # The private half of a pair whose public one found no place was left, and in the way of the next.
    tidings(s, "keys", "new", "k", "--alg", "ES256", "--private", s.folder / "no.pem", want=FAILED, **{**mine, "TIDINGS_JWT_KEYS": s.folder / "nowhere"})
    assert not (s.folder / "no.pem").exists(), "half a pair"
    (folder / "short.HS256").write_text("x")
    (folder / "short.HS256").chmod(0o600)
    assert "short.HS256 is too short" in tidings(s, "keys", "check", want=FAILED, **mine)
    secret = (folder / "default.HS256").read_text().strip()
    assert secret not in tidings(s, "keys", "list", **mine) + token, "a secret was printed"


@test("tidings migrate --dry-run does all of it and takes it back; what would fail fails")
def _(s):
    sql = s.folder / "dry-sql"
    subprocess.run(["cp", "-r", TOP / "sql", sql], check=True)
    s.sql("create database dry", database="postgres")
    where = {"TIDINGS_DATABASE": f"host={s.pg_folder} dbname=dry user=postgres"}
    try:
        said = tidings(s, "migrate", "--dry-run", "--dir", sql, **where)
        assert said.startswith("done, and taken back:\napplied tables/001_first.sql\n") and "loaded code\n" in said, said
        equal(s.sql("select count(*) from pg_proc where pronamespace = to_regnamespace('tidings')", database="dry"), [["0"]], "functions afterwards")
        tidings(s, "migrate", "--dir", sql, **where)
        equal(tidings(s, "migrate", "--dry-run", "--dir", sql, **where), "up to date\n", "when there is nothing to do")
        before = s.sql("select checksum, loaded_at from tidings.code", database="dry")
        last = len(list((sql / "tables").iterdir()))
        later = f"tables/{last + 1:03}_later.sql"
        (sql / later).write_text("create table tidings.later ();\n")
        with open(sql / "code" / "90_grants.sql", "a") as f:
            f.write("-- another\n")
        equal(json.loads(tidings(s, "migrate", "--dry-run", "--dir", sql, "--json", **where)), {"would_be_done": [f"applied {later}", "loaded code"]}, "in JSON")
        equal(json.loads(tidings(s, "migrate", "--status", "--dir", sql, "--json", **where)), {"missing": [later, "code"]}, "what is missing")
        equal(s.sql("select checksum, loaded_at from tidings.code", database="dry"), before, "the code")
        (sql / later).write_text("create table tidings.message ();\n")
        assert "already exists" in tidings(s, "migrate", "--dry-run", "--dir", sql, want=FAILED, **where)
        equal(s.sql("select max(version) from tidings.migration", database="dry"), [[str(last)]], "what is applied")
    finally:
        s.sql("drop database dry", database="postgres")


@contextlib.contextmanager
def only(s, role):
    """This user may log in as that role alone; and as postgres, for the test itself."""
    ident = s.pg_data / "pg_ident.conf"
    before = ident.read_text()
    me = pwd.getpwuid(os.geteuid()).pw_name

    def write(text, lets_in):
        # At once: a reload that is still on its way would find half of it.
        new = ident.with_suffix(".new")
        new.write_text(text)
        new.chmod(ident.stat().st_mode & 0o777)
        os.chown(new, ident.stat().st_uid, ident.stat().st_gid)
        new.rename(ident)
        s.sql("select pg_reload_conf()")
        other = "tidings_reader" if role != "tidings_reader" else "tidings_status"
        wait_until(lambda: (s.psql("select 1", user=other).returncode == 0) == lets_in, "the lines to count")

    write(f"tidings {me} {role}\ntidings {me} postgres\n", False)
    try:
        yield
    finally:
        write(before, True)


@test("each verb gets by with the one role that tidings(1) names, and may do no more than that role")
def _(s):
    d = s.diagnosis()
    manual = (TOP / "man" / "tidings.1.in").read_text()
    verbs = {"tidings_publisher": (("publish", f"diagnosis/{d}", "note"), ("connections",), ("reconnect", "nobody-here")),
             "tidings_reader": (), "tidings_status": (("status",), ("topics",))}
    for role, calls in verbs.items():
        row = re.search(rf"^\.B {role}\n(.*)$", manual, re.M)[1]
        with only(s, role):
            for call in calls:
                assert call[0] in row, f"{role}: {row}"
                tidings(s, *call)
            if role == "tidings_reader":
                assert "tail" in row, row
                with Tail(s, f"diagnosis/{d}", "--rewind", "1") as tail:
                    assert '"note"' in tail.lines(1)[0]
    for role in verbs:
        # Those of the operator's page are live.fcgi's, which asks who it is; by the command they are for who migrates.
        for call in (("outbox", "drop", "--all"), ("revoke", f"diagnosis/{d}", "--everyone")):
            if role != "tidings_publisher":
                assert "permission denied" in tidings(s, *call, want=FAILED, TIDINGS_DATABASE=f"{s.conninfo} user={role}")
        assert "permission denied" in tidings(s, "forget", "nobody-here", "--yes", want=FAILED, TIDINGS_DATABASE=f"{s.conninfo} user={role}")
    assert "permission denied" in tidings(s, "connections", want=FAILED, TIDINGS_DATABASE=s.conninfo + " user=tidings_reader")


def usages(s):
    """Each verb with its usage: of `tidings --help`, and of its own --help."""
    names = re.findall(r"^  (\w+(?: \w+)?)  +\w", tidings(s, "--help"), re.M)
    assert len(names) > 15, names
    return {name: tidings(s, *name.split(), "--help") for name in names}


@test("tidings(1) has the usage of every verb, every option and every exit status, and no other")
def _(s):
    done = subprocess.run(["groff", "-mandoc", "-Tutf8", "-P-cbou", "-rLL=1000n"], input=(TOP / "man" / "tidings.1.in").read_text().replace("@", ""), capture_output=True,
                          text=True, check=True)
    page = re.sub(r"[\u2010\u2212]", "-", done.stdout)
    synopsis = [" ".join(line.split()) for line in page.partition("SYNOPSIS")[2].partition("DESCRIPTION")[0].splitlines() if line.strip()]
    own = {" ".join(text.partition("\n")[0].split()[1:]) for text in usages(s).values()}
    equal({line for line in synopsis if "--check-config" not in line}, own, "the synopsis")
    words = set(page.partition("DESCRIPTION")[2].split())
    enum = (TOP / "src" / "cli" / "command.h").read_text().partition("EXIT_DONE,")[2].partition("}")[0]
    equal(re.findall(r"^ +([0-9]) ", page.partition("EXIT STATUS")[2], re.M), [str(n) for n in range(enum.count("EXIT_") + 1)], "exit statuses")
    for name, text in usages(s).items():
        for option in re.findall(r"^  (--[\w-]+)", text, re.M):
            assert option in page.partition("DESCRIPTION")[2], f"{option} of {name} is not described"
        assert set(name.split()) <= words, f"{name} is not described"


@test("bash completes verbs, their second words, options, and the words that an option or operand may be")
def _(s):
    program = s.program("tidings")

    def offered(*words):
        script = f"""source {TOP}/etc/bash-completion/tidings
            COMP_WORDS=({program} {' '.join(map(repr, words))}); COMP_CWORD={len(words)}
            _tidings {program}; printf '%s\\n' "${{COMPREPLY[@]}}" """
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split()

    equal(offered("pub"), ["publish"], "of a verb")
    equal(offered("outbox", ""), ["list", "retry", "drop"], "second words")
    equal(offered("token", "--role", ""), ["user", "clinician", "service", "admin"], "words of an option")
    equal(offered("token", "--role", "user", "--t"), ["--ttl"], "an option behind another's value")
    equal(offered("epoch", "timeline", ""), ["yes", "no"], "words of an operand")
    equal(offered("status", "--"), ["--watch", "--json", "--help"], "options")
    equal(offered("nothing", ""), [], "of what is no verb")
    equal(set(offered("")), {name.split()[0] for name in usages(s)} | {"--check-config", "--help", "--version"}, "all verbs")


@test("tidings that is called wrongly says how it is called, and does nothing")
def _(s):
    for args, word in (((), "usage:"), (("frobnicate",), "no verb frobnicate"), (("outbox",), "outbox retry"), (("outbox", "eat"), "usage: tidings outbox list"),
                       (("epoch", "timeline", "perhaps"), "yes or no"), (("token", "--role", "king", "--user", "1"), "user|clinician|service|admin"),
                       (("topics", "--limit", "x"), "whole number"), (("status", "x"), "no operands")):
        said = tidings(s, *args, want=WRONG)
        assert word in said, f"{args}: {said}"
    with open("/dev/full", "w") as full:
        done = subprocess.run([s.program("tidings"), "status"], stdout=full, stderr=subprocess.PIPE, text=True, env=s.environment())
    equal((done.returncode, done.stderr), (FAILED, "tidings: what was printed could not be written\n"), "on a full disk")
