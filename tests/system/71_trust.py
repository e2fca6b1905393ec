"""What comes by NOTIFY is believed: so nobody but tidings' own functions can say anything that way, or hear it."""
import subprocess

from harness import equal, test, wait_until

STRANGER = "set session authorization outsider; "
CHANNELS = ("tidings", "tidings_ephemeral", "tidings_control", "tidings_outbox", "messages", "ephemeral", "control", "outbox")


def ephemeral(s, diagnosis):
    s.api.post("/ws/publish", {"topic": f"diagnosis/{diagnosis}", "type": "passing", "data": {}, "ephemeral": True}, s.service()).want(200)


@test("a role that may only connect can neither forge a message, nor read an ephemeral one, nor close what is another's, nor revoke it")
def _(s):
    # What went wrong: the channels were called what everybody could guess, and PostgreSQL asks no right of who listens or notifies.
    s.sql("create role outsider")
    d = s.diagnosis()
    try:
        with s.connect(d) as client:
            id = s.sql(f"select id from tidings.topic where name = 'diagnosis/{d}'")[0][0]
            ear = subprocess.Popen(["psql", "-qXAt"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=s.psql_env("postgres", "tidings"))
            ear.stdin.write(STRANGER + "".join(f"listen {c};\n" for c in CHANNELS) + f"notify {CHANNELS[0]}, '{id}';\n")
            ear.stdin.flush()
            equal(ear.stdout.readline().split()[:3], ["Asynchronous", "notification", f'"{CHANNELS[0]}"'], "what the stranger hears")
            for payload in (f"disconnect {client.id}", "reconnect 456", f"revoke {id} 999 456", f'{id} - 0  {{"type":"forged","data":{{}}}}'):
                s.sql(STRANGER + "".join(f"notify {c}, '{payload}';" for c in CHANNELS))
            ephemeral(s, d)
            equal(client.next()["type"], "passing", "the first that comes")
            equal(s.recommend(d)["seq"], 1, "seq")
            equal(client.next()["seq"], 1, "seq of the next")
            client.answers()
            heard, _ = ear.communicate("select 'end';\nselect 'all';\n")
            assert "forged" in heard and "passing" not in heard, f"overheard: {heard}"
    finally:
        s.sql("drop role outsider")


@test("channels that have other names after a restore are listened to as soon as a heartbeat finds the node unknown")
def _(s):
    d = s.diagnosis()
    names = s.sql("select purpose, name from tidings.channel")
    with s.connect(d) as client:
        s.sql("update tidings.channel set name = name || '0'; delete from tidings.node")
        try:

            def comes():
                ephemeral(s, d)
                try:
                    return client.next(0.2)["type"] == "passing"
                except AssertionError:
                    return False

            wait_until(comes, "an ephemeral message")
        finally:
            s.sql("".join(f"update tidings.channel set name = '{name}' where purpose = '{purpose}';" for purpose, name in names) +
                  "delete from tidings.node")
        wait_until(comes, "an ephemeral message by the first names")


@test("notifications that are damaged are passed over, whatever is in them, and what comes behind them is heard")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        id = s.sql(f"select id from tidings.topic where name = 'diagnosis/{d}'")[0][0]
        uuid = "00000000-0000-4000-8000-000000000000"
        damaged = {
            "messages": ("", ",", "x", f"{id}x", "-5", ",".join(["9" * 30] * 3), f" {id} , {id}", f"{id},,"),
            "ephemeral": ("", "x", id, f"{id} ", f"{id} -", f"{id} - ", f"{id} - 0", f"{id} - 0 ", f"{id} - 1 a", f"{id} - 200 {'a' * 200} {{}}",
                          f"{id} - -1  {{}}", f"{id} - 99999999999 456 {{}}", f"{id} - x  {{}}", f"{id} {uuid}", f"{id} {uuid} ", f"{id} {uuid[:-1]} 0  {{}}",
                          f"{id} {uuid} 5 456", f"-{id} - 0  {{}}", "99999999999999999999999 - 0  {}"),
            "outbox": ("", "x"),
            "control": ("", "x", "disconnect", "disconnect ", f"disconnect {client.id}x", "disconnect x", "reconnect", "report x", "revoke", "revoke ", f"revoke {id}",
                        f"revoke {id} ", f"revoke {id} 0 456", f"revoke {id} 999", f"revoke {id} x 456", f"revoke_all {id} 999 456", "revoke_all", f"revoke_all {id}"),
        }
        for purpose, payloads in damaged.items():
            for payload in payloads:
                s.sql(f"select tidings.notify('{purpose}', '{payload}')")
        ephemeral(s, d)
        equal(client.next()["type"], "passing", "the first that comes")
        s.recommend(d)
        equal(client.next()["seq"], 1, "the next")
        client.answers()


@test("a LISTEN that is refused is told, and made up for: messages come all the same, and what only notifications bring as soon as it is not any more",
      allow="terminat")
def _(s):
    d = s.diagnosis()
    with s.node(TIDINGS_DATABASE_TIMEOUT=1000) as node, s.connect(d, server=node) as client:
        s.sql("revoke execute on function tidings.listen() from tidings_sidecar")
        try:
            listener = s.sql("select pid from pg_stat_activity where application_name = 'tidings-ws listener' order by backend_start desc limit 1")[0][0]
            s.sql(f"select pg_terminate_backend({listener})")
            wait_until(lambda: "no notifications: tidings.listen() failed" in node.log.read_text(), "it to be told")
            s.recommend(d)
            equal(client.next()["seq"], 1, "message")
        finally:
            s.sql("grant execute on function tidings.listen() to tidings_sidecar")

        def comes():
            ephemeral(s, d)
            try:
                return client.next(0.2)["type"] == "passing"
            except AssertionError:
                return False

        wait_until(comes, "an ephemeral message")
