"""The audit trail of live health: what happened, all of it, in one form; and never a token or what was said."""
import collections
import fcntl
import json
import os
import re
import signal
import subprocess
import threading
import uuid

from harness import RawClient, equal, free_port, port_open, test, wait_until
from live import TALKATIVE, Live, combined, conversation, person

LINE = re.compile(r"\S+Z [\w.-]+\[\d+\] notice: audit event=(?P<event>\w+)(?P<rest>( \w+=(\"([^\"\\]|\\.)*\"|[A-Za-z0-9_.:/@+-]+))*)$")


def lines_of(s):
    found = []
    for path in s.log_files():
        for line in path.read_text(errors="replace").splitlines():
            if " audit " in line or "audit event" in line:
                m = LINE.match(line)
                assert m, f"{path.name}: not in form: {line}"
                pairs = re.findall(r' (\w+)=("(?:[^"\\]|\\.)*"|\S+)', m["rest"])
                equal(len({k for k, _ in pairs}), len(pairs), f"keys of {line}")
                found.append({"event": m["event"], **{k: v.strip('"') for k, v in pairs}})
    return found


def of_connection(s, *ids):
    return [line for line in lines_of(s) if line.get("connection") in ids]


def story(lines):
    """What a connection did, in order: event, and what it was about."""
    return [(line["event"], line.get("topic") or line.get("type") or "", line["outcome"]) for line in lines]


@test("the audit trail of a live connection: each step once, in order, with who, where and how it ended")
def _(s):
    user, other, secret = person(s), person(s), f"s3cr3t-{uuid.uuid4().hex}"
    theirs = f"diagnosis/{s.diagnosis(owner=other)}"
    first, second, bad = s.token(user), s.token(user, ttl=3000), s.token(user, ttl=-5)
    with s.node(**TALKATIVE) as node:
        live = Live(s, node, "chat", token=first)
        id = live.id
        c = conversation(live, other)
        live.ask("chat_message", {"conversation_id": c, "message": secret}, "chat_message_sent")
        live.refused("chat_message", {"conversation_id": str(uuid.uuid4()), "message": secret})
        live.ask("health_update", {"metric": secret, "value": 1.25, "unit": secret}, "health_update_stored")
        live.ask("subscribe", want="subscribed", subscription="notifications")
        live.refused("subscribe", subscription=theirs)
        live.ask("unsubscribe", want="unsubscribed", subscription="notifications")
        live.ask("refresh_token", want="token_refreshed", token=second)
        live.refused("refresh_token", token=bad)
        live.client.send(json.dumps({"type": "typing", "data": {"conversation_id": secret, "is_typing": True}, "correlation_id": secret}))
        equal(live.next()["data"]["code"], "invalid_message", "answer")
        s.api.post("/ws/broadcast-notification", {"user_id": user, "type": "system", "title": secret, "message": secret}, s.service()).want(200)
        live.close()
        wait_until(lambda: any(x["event"] == "disconnect" for x in of_connection(s, id)), "the disconnect")
        lines = of_connection(s, id)
        equal(story(lines), [
            ("connect", "", "ok"), ("authenticate", "", "ok"), ("subscribe", f"chats/{user}", "ok"), ("publish", "create_conversation", "ok"),
            ("publish", "chat_message", "ok"), ("publish", "chat_message", "not_found"), ("publish", "health_update", "ok"),
            ("subscribe", f"notifications/{user}", "ok"), ("subscribe", theirs, "forbidden"), ("unsubscribe", f"notifications/{user}", "ok"),
            ("authenticate", "", "refreshed"), ("authenticate", "", "refresh refused"), ("disconnect", "", "ok")], "the story")
        for line in lines:
            equal((line["transport"], line.get("user"), line.get("role")), ("websocket", None, None) if line["event"] == "connect" else ("websocket", user, "user"), f"{line}")
    everything = "".join(p.read_text(errors="replace") for p in s.log_files()) + (s.pg_folder / "log").read_text(errors="replace")
    for text in (secret, first, second, bad, first.split(".")[2], second.split(".")[1], bad.split(".")[2]):
        assert text not in everything, f"{text[:20]} is in a log"


@test("the audit trail says why somebody was not let in, and why somebody was sent away")
def _(s):
    user = person(s)
    s.sql(f"insert into tidings.app_user values ('{user}')")

    def how_it_went(node, do, **how):
        live = Live(s, node, authenticate=False, **how)
        do(live)
        live.client.closed()
        wait_until(lambda: any(x["event"] == "disconnect" for x in of_connection(s, live.id)), "the disconnect")
        return story(of_connection(s, live.id))

    def says(token):
        return lambda live: live.send("authenticate", token=token)

    connect = ("connect", "", "ok")
    with s.node(TIDINGS_AUTHENTICATE_TIMEOUT=1) as node:
        equal(how_it_went(node, lambda live: None), [connect, ("disconnect", "", "authenticate not sent in time")], "silence")
    with s.node(TIDINGS_REQUIRE_USER="yes", TIDINGS_LIVE_CONNECTIONS_MAX=1, **TALKATIVE) as node:
        for token, why in (("nonsense", "authentication failed"), (s.token(user) + "x", "authentication failed"), (s.token(user, ttl=-1), "token expired")):
            equal(how_it_went(node, says(token)), [connect, ("authenticate", "", why), ("disconnect", "", why)], "a bad token")
        equal(how_it_went(node, says(s.token(person(s)))), [connect, ("authenticate", "", "no such user"), ("disconnect", "", "no active account")], "no such user")
        with Live(s, node, user=user) as live:
            for _ in range(2):
                equal(how_it_went(node, says(s.token(user))), [connect, ("authenticate", "", "too many connections"), ("disconnect", "", "too many connections")], "one too many")
            s.api.request("DELETE", f"/ws/connection/{live.id}", token=s.token(user)).want(200)
            wait_until(lambda: story(of_connection(s, live.id))[-1] == ("disconnect", "", "disconnected by administrator"), "the end")
            managed = [x for x in lines_of(s) if x["event"].startswith("manage") and live.id in x.values()]
            equal([(x["event"], x["user"], x["outcome"]) for x in managed], [("manage_disconnect", user, "ok")], "the management act")


@test("the audit trail counts: of many connections, acts and subscriptions on two nodes each has its line, revocations too")
def _(s):
    user, other = person(s), person(s)
    d = s.diagnosis(owner=other, granted=[user])
    ids = []
    with s.node(TIDINGS_LIVE_CONNECTIONS_MAX=100, TIDINGS_LOG_LEVEL="error", **TALKATIVE) as a, s.node(TIDINGS_LIVE_CONNECTIONS_MAX=100, **TALKATIVE) as b:
        for n in range(20):
            live = combined(s, (a, b)[n % 2], user, f"diagnosis/{d}", "chat")
            ids.append(live)
            for _ in range(5):
                live.ask("health_update", {"metric": "m", "value": n}, "health_update_stored")
        s.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {d}")
        for live in ids:
            live.until("unsubscribed")
            live.close()
        ids = [live.id for live in ids]
        wait_until(lambda: sum(x["event"] == "disconnect" for x in of_connection(s, *ids)) == 20, "the disconnects")
        counted = collections.Counter((x["event"], x["outcome"]) for x in of_connection(s, *ids))
        equal(counted, {("connect", "ok"): 20, ("authenticate", "ok"): 20, ("subscribe", "ok"): 40, ("publish", "ok"): 100, ("unsubscribe", "revoked"): 20,
                        ("disconnect", "ok"): 20}, "lines")


@test("odd names cannot break a line of the audit trail")
def _(s):
    with s.node(**TALKATIVE) as node:
        for user in ("a b", 'x" outcome=ok user="root', "ü\u2028\u0085", "back\\slash", "%s%n", "' or 1", "x" * 128, "\U0001f4a9" * 32):
            live = Live(s, node, "combined", user=user)
            live.ask("unsubscribe", want="error", subscription='x" outcome="ok')
            live.ask("subscribe", want="error", subscription=f"diagnosis/{s.ids + 5000}")
            live.close()
            wait_until(lambda: any(x["event"] == "disconnect" for x in of_connection(s, live.id)), "the disconnect")
            equal([(x["event"], x["outcome"]) for x in of_connection(s, live.id)],
                  [("connect", "ok"), ("authenticate", "ok"), ("subscribe", "not_found"), ("disconnect", "ok")], f"lines of {user!r}")


@test("a sidecar whose log nobody reads serves its clients all the same; what it had to say comes when somebody reads, in order")
def _(s):
    d, port = s.diagnosis(), free_port()
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    node = subprocess.Popen([s.program("tidings-ws")], stderr=theirs, env=s.environment(TIDINGS_WS_PORT=port, TIDINGS_DRAIN_TIME=0))
    os.close(theirs)
    try:
        wait_until(lambda: port_open(port), "it to listen")
        ids = []
        for _n in range(60):
            client = RawClient(port, s.ws_path(d, s.token()))
            ids.append(client.next()["data"]["connection_id"])
            client.close()
        node.send_signal(signal.SIGTERM)
        with os.fdopen(ours, "r") as log:
            lines = log.read().splitlines()
        equal(node.wait(), 0, "exit status")
    finally:
        node.kill()
        node.wait()
    connects = [re.search(r"connection=(\S+)", line)[1] for line in lines if " audit event=connect " in line]
    equal([id for id in connects if id in ids], ids, "connections in the audit trail")
    assert lines[-1].endswith("notice: stopped"), lines[-1]


@test("programs behind the web server whose log nobody takes publish all the same, and their audit trail is whole afterwards")
def _(s):
    user = person(s)
    d, wanted = s.diagnosis(owner=user), 800
    # Their stderr is the web server's.
    fifo = s.logs / f"lighttpd{s.names['lighttpd'] + 1}.log"
    os.mkfifo(fifo)
    ours = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(ours, True)
        with s.web() as web:
            equal(web.log, fifo, "the log")
            for _n in range(wanted):
                s.recommend(d, token=s.token(user), api=web.api)
            text, at_end = "", f" seq={wanted}"
            while at_end not in text:
                text += os.read(ours, 65536).decode()
            seqs = re.findall(rf"audit event=publish user={user} .* seq=(\d+)", text)
            equal([int(n) for n in seqs], list(range(1, wanted + 1)), "seqs in the audit trail")
            reader = threading.Thread(target=lambda: os.read(ours, 1 << 20))
            reader.start()
        reader.join()
    finally:
        os.close(ours)
        fifo.unlink()
