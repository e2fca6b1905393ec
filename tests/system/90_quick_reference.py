"""
The original quick reference, word for word: its commands with YOUR_JWT_TOKEN and the port replaced, and nothing else. The snippets
below are copies of that document.
"""
import asyncio
import json
import os
import shutil
import subprocess
import threading

import websockets

from harness import Skip, equal, test, wait_until

STATUS = "curl http://localhost:8000/ws/status"

JAVASCRIPT = """\
const ws = new WebSocket('ws://localhost:8000/ws/123?token=YOUR_JWT_TOKEN');

ws.onopen = () => {
    console.log('Connected to real-time updates');
};

ws.onmessage = (event) => {
    const message = JSON.parse(event.data);
    console.log('Received:', message.type, message.data);
};

ws.onerror = (error) => {
    console.error('WebSocket error:', error);
};

ws.onclose = () => {
    console.log('Disconnected, will queue messages');
};
"""

RECOMMENDATION = """\
{
    "diagnosis_id": 123,
    "old_data": {
        "herb": "Ginger",
        "dosage": "1g",
        "frequency": "2x daily"
    },
    "new_data": {
        "herb": "Turmeric",
        "dosage": "2g",
        "frequency": "3x daily"
    },
    "reason": "User feedback indicated better results"
}
"""

EFFECTIVENESS = """\
{
    "diagnosis_id": 123,
    "recommendation_id": 789,
    "new_effectiveness": 0.85,
    "confidence": 0.92,
    "sample_size": 150
}
"""

FEEDBACK = """\
{
    "diagnosis_id": 123,
    "feedback_id": 999,
    "rating": 5,
    "effectiveness": 0.95
}
"""

WSCAT = "wscat -c ws://localhost:8000/ws/1?token=YOUR_JWT_TOKEN"

MANUAL = """\
curl -X POST http://localhost:8000/ws/broadcast-recommendation-update \\
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{
    "diagnosis_id": 1,
    "old_data": {"herb": "old"},
    "new_data": {"herb": "new"},
    "reason": "Testing"
  }'
"""

HEALTH = "curl http://localhost:8000/health"
DOCS = "curl http://localhost:8000/docs"

VERIFICATION = """\
curl -X POST http://localhost:8000/ws/broadcast-recommendation-update \\
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{
    "diagnosis_id": 1,
    "old_data": {"herb": "ginger"},
    "new_data": {"herb": "turmeric"},
    "reason": "Test broadcast"
  }'
"""


def here(s, text):
    return text.replace("localhost:8000", f"localhost:{s.web1.port}").replace("YOUR_JWT_TOKEN", s.token("456"))


def shell(s, command):
    done = subprocess.run(["sh", "-c", here(s, command)], capture_output=True, text=True, timeout=30)
    equal(done.returncode, 0, f"exit status ({done.stderr})")
    return done.stdout


def quiet(s):
    """Nobody is connected to the documents' diagnoses, and nothing waits for them."""
    for d in (1, 123):
        s.wait_watchers(d, 0)
        s.connect(d).close()
        s.wait_watchers(d, 0)


@test("quick reference: the status check")
def _(s):
    got = json.loads(shell(s, STATUS))
    assert {"total_diagnoses", "total_connections", "connections_by_diagnosis", "queued_messages_by_diagnosis"} <= set(got), got


@test("quick reference: system verification")
def _(s):
    quiet(s)
    equal(json.loads(shell(s, HEALTH))["status"], "healthy", "health")
    assert "/ws/{diagnosis_id} (WebSocket)" in shell(s, DOCS), "docs"
    assert {"total_diagnoses", "total_connections"} <= set(json.loads(shell(s, STATUS)))
    got = json.loads(shell(s, VERIFICATION))
    equal({k: got[k] for k in ("status", "diagnosis_id", "clients_notified")},
          {"status": "broadcasted", "diagnosis_id": 1, "clients_notified": 0}, "broadcast")


@test("quick reference: the three broadcasts, their replies and what clients receive")
def _(s):
    quiet(s)
    with s.connect(123, server=s.web1) as client:
        for name, body, data in (
                ("recommendation", RECOMMENDATION, {
                    "old_recommendation": json.loads(RECOMMENDATION)["old_data"],
                    "new_recommendation": json.loads(RECOMMENDATION)["new_data"],
                    "reason": "User feedback indicated better results", "changed_fields": ["herb", "dosage", "frequency"]}),
                ("effectiveness", EFFECTIVENESS, {k: v for k, v in json.loads(EFFECTIVENESS).items() if k != "diagnosis_id"}),
                ("feedback", FEEDBACK, {k: v for k, v in json.loads(FEEDBACK).items() if k != "diagnosis_id"})):
            reply = s.api.post(f"/ws/broadcast-{name}-update", body, s.token()).want(200)
            equal({k: reply[k] for k in ("status", "diagnosis_id", "clients_notified")},
                  {"status": "broadcasted", "diagnosis_id": 123, "clients_notified": 1}, f"reply to {name}")
            got = client.next()
            equal((got["type"], got["diagnosis_id"]), (f"{name}_update", 123), "message")
            equal({k: got["data"][k] for k in data}, data, f"data of {name}")


def node_command():
    node = shutil.which("node") or shutil.which("nodejs")
    if not node:
        raise Skip("no node here")
    if os.path.exists("/usr/share/nodejs/ws/package.json"):
        return [node, "-e"], "globalThis.WebSocket = require('/usr/share/nodejs/ws');\n"
    if subprocess.run([node, "-e", "process.exit(globalThis.WebSocket ? 0 : 1)"]).returncode == 0:
        return [node, "-e"], ""
    if subprocess.run([node, "--experimental-websocket", "-e", "new WebSocket('ws://127.0.0.1:1').onerror = () => process.exit(0)"],
                      capture_output=True).returncode == 0:
        return [node, "--experimental-websocket", "-e"], ""
    raise Skip("no WebSocket for node here (package node-ws)")


class Lines:
    """A child's output, line by line."""

    def __init__(self, args, **more):
        self.child = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
        self.text = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.child.stdout:
            self.text += line

    def wait(self, what):
        wait_until(lambda: what in self.text, f"{what!r} in what it says", 60)


@test("quick reference: the JavaScript client")
def _(s):
    quiet(s)
    command, before = node_command()
    client = Lines([*command, before + here(s, JAVASCRIPT)])
    try:
        client.wait("Connected to real-time updates")
        client.wait("Received: connect")
        s.api.post("/ws/broadcast-recommendation-update", RECOMMENDATION, s.token()).want(200)
        client.wait("Received: recommendation_update")
        client.wait("Turmeric")
        equal("WebSocket error" in client.text, False, f"an error: {client.text}")
    finally:
        client.child.kill()
        client.child.wait()


@test("quick reference: the JavaScript client in a browser")
def _(s):
    browser = shutil.which("chromium")
    if not browser:
        raise Skip("no chromium here")
    quiet(s)
    page = s.folder / "page.html"
    page.write_text("<script>\nconst log = console.log;\nconsole.log = (...a) => log(...a.map(x => typeof x == 'string' ? x : JSON.stringify(x)));\n"
                    + here(s, JAVASCRIPT) + "</script>")
    client = Lines([browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--remote-debugging-port=0",
                    f"--user-data-dir={s.folder}/browser/profile", f"file://{page}"], env=s.browser_environment())
    try:
        client.wait("Received: connect")
        s.api.post("/ws/broadcast-recommendation-update", RECOMMENDATION, s.token()).want(200)
        client.wait("Received: recommendation_update")
    finally:
        client.child.terminate()
        client.child.wait()


@test("quick reference: the manual test with two terminals")
def _(s):
    if not shutil.which("wscat"):
        raise Skip("no wscat here")
    quiet(s)
    client = Lines(["sh", "-c", "exec " + here(s, WSCAT)], stdin=subprocess.PIPE)
    try:
        client.wait('"connect"')
        got = json.loads(shell(s, MANUAL))
        equal(got["clients_notified"], 1, "clients_notified")
        client.wait("Testing")
    finally:
        client.child.kill()
        client.child.wait()


@test("quick reference: the manual test with two terminals, the first being Debian's own `python3 -m websockets`")
def _(s):
    quiet(s)
    url = WSCAT.split()[-1]
    master, slave = os.openpty()
    client = Lines(["/usr/bin/python3", "-u", "-m", "websockets", here(s, url)], stdin=slave)
    try:
        client.wait('"connect"')
        got = json.loads(shell(s, MANUAL))
        equal({k: got[k] for k in ("status", "diagnosis_id", "clients_notified")},
              {"status": "broadcasted", "diagnosis_id": 1, "clients_notified": 1}, "broadcast")
        client.wait("Testing")
    finally:
        client.child.kill()
        client.child.wait()
        os.close(master)
        os.close(slave)


@test("quick reference: what is sent while disconnected waits, and comes as reconnect_messages")
def _(s):
    quiet(s)
    for name, body in (("recommendation", RECOMMENDATION), ("effectiveness", EFFECTIVENESS), ("feedback", FEEDBACK)):
        s.api.post(f"/ws/broadcast-{name}-update", body, s.token()).want(200)
    equal(s.status()["queued_messages_by_diagnosis"].get("123"), 3, "queued")

    async def client():
        async with websockets.connect(here(s, "ws://localhost:8000/ws/123?token=YOUR_JWT_TOKEN")) as ws:
            return [json.loads(await asyncio.wait_for(ws.recv(), 20)) for _ in range(2)]

    connect, waited = asyncio.run(client())
    equal((connect["type"], connect["data"]["message"]), ("connect", "Successfully connected to diagnosis updates"), "first")
    equal((waited["type"], [m["type"] for m in waited["data"]["messages"]]),
          ("reconnect_messages", ["recommendation_update", "effectiveness_update", "feedback_update"]), "second")


@test("quick reference: closing codes 1000 and 1008")
def _(s):
    equal(s.connect(123, server=s.web1).close(1000), 1000, "normal close")
    for how in ({"diagnosis": 2}, {"diagnosis": 99999999}, {"diagnosis": 123, "token": "eyJh..."}):
        equal(s.refused(how["diagnosis"], token=how.get("token"), server=s.web1)[0], 1008, f"{how}")


@test("quick reference: rating 1 to 5 and effectiveness 0 to 1 are checked")
def _(s):
    for rating, effectiveness, status in ((1, 0, 200), (5, 1, 200), (0, 0.5, 422), (6, 0.5, 422), (3, -0.1, 422), (3, 1.1, 422)):
        s.api.post("/ws/broadcast-feedback-update", {"diagnosis_id": 123, "feedback_id": 999, "rating": rating, "effectiveness": effectiveness},
                   s.token()).want(status)
