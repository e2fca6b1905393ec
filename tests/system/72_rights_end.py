"""Rights end everywhere at once: each way to withdraw one against each way to use it."""
import contextlib
import http.client

from harness import WAIT_S, Client, Closed, equal, test, wait_until
from live import person

SEND = {"type": "set_threshold", "data": {"metric": "pulse", "high": 100}}


class Ways:
    """A socket, a held poll and an event stream on one diagnosis. `token` None: anonymous."""

    def __init__(self, s, node, web, d, token):
        self.s, self.node, self.web, self.d, self.token = s, node, web, d, token
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.socket = Client(f"ws://127.0.0.1:{node.port}{s.ws_path(d, token)}")
        self.stream = self.ask(f"/sse/{d}")
        self.stream_reply = self.stream.getresponse()
        while not self.stream_reply.readline().startswith(b"event: connect"):
            pass
        self.poll = self.ask(f"/poll/{d}?timeout=55&cursor={self.socket.cursor}")
        s.wait_watchers(d, 3)

    def ask(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.node.port, timeout=WAIT_S)
        connection.request("GET", path, headers=self.headers)
        return connection

    def refused(self):
        if self.token:
            return self.s.refused(self.d, token=self.token, server=self.node)[0]
        return Client(f"ws://127.0.0.1:{self.node.port}/ws/{self.d}", hello=False).closed()[0]

    def broadcast(self):
        body = {"diagnosis_id": self.d, "old_data": {}, "new_data": {}, "reason": "mine"}
        return self.web.api.post("/ws/broadcast-recommendation-update", body, self.token).status

    def check_used(self):
        equal(self.web.api.get(f"/ws/history/{self.d}", self.token).status, 200, "history before")
        if self.token:
            equal(self.broadcast(), 200, "a broadcast before")
            equal(self.socket.next()["seq"], 1, "seq")
            equal(self.web.api.post("/ws/send", SEND, self.token).status, 200, "send before")

    def check_ended(self, account):
        """Nothing that is published now arrives, and nothing may be asked for."""
        s, d = self.s, self.d
        s.api.post("/ws/publish", {"topic": f"diagnosis/{d}", "type": "after", "data": {}}, s.service()).want(200)
        said = []
        with contextlib.suppress(Closed):
            while True:
                said.append(self.socket.text())
        assert not any('"after"' in m for m in said), f"by socket: {said}"
        assert self.socket.ws.close_code in (1008, 1012), f"closed with {self.socket.ws.close_code}"
        assert b'"after"' not in self.poll.getresponse().read(), "by poll"
        assert b'"after"' not in self.stream_reply.read(), "by event stream"
        # The order that all of a user have to come again may meet the one who has done so.
        equal(wait_until(lambda: (code := self.refused()) != 1012 and code, "a socket to be refused for good"), 1008, "a socket afterwards")
        refused = (403,) if self.token else (401, 403)
        for path in (f"/poll/{d}?timeout=0", f"/sse/{d}"):
            assert self.node.api.get(path, self.token).status in refused, path
        assert self.web.api.get(f"/ws/history/{d}", self.token).status in refused, "history"
        if self.token:
            equal(self.broadcast(), 403, "a broadcast")
        if account:
            equal(self.web.api.post("/ws/send", SEND, self.token).status, 401, "send")

    def close(self):
        self.socket.close()
        self.stream.close()
        self.poll.close()


@contextlib.contextmanager
def kept(s, *tables):
    """What TRUNCATE took from them is there again afterwards."""
    for t in tables:
        s.sql(f"create table public.kept_{t} as table tidings.{t}")
    try:
        yield
    finally:
        for t in tables:
            s.sql(f"insert into tidings.{t} select * from public.kept_{t} on conflict do nothing; drop table public.kept_{t}")


WITHDRAWALS = (
    ("a grant", False, "delete from tidings.diagnosis_grant where diagnosis_id = {d}"),
    ("public", False, "update tidings.diagnosis set public = false where id = {d}"),
    ("public, by making the diagnosis anew", False, "delete from tidings.diagnosis where id = {d}; insert into tidings.diagnosis values ({d}, '789')"),
    ("an account that is switched off", True, "update tidings.app_user set active = false where id = '{user}'"),
    ("an account that is deleted", True, "delete from tidings.app_user where id = '{user}'"),
    ("TRUNCATE of the grants", False, "truncate tidings.diagnosis_grant"),
    ("TRUNCATE of the accounts", True, "truncate tidings.app_user"),
)


@test("whatever gave a right (a grant, public, an account), when it goes, by TRUNCATE too, nothing more comes by socket, poll or event stream, nor may one read, publish or send")
def _(s):
    # What went wrong: anonymous watchers stayed when `public` went; TRUNCATE ended nothing; history and broadcasts never asked for the account.
    settings = {"TIDINGS_ANONYMOUS": "public", "TIDINGS_REQUIRE_USER": "yes"}
    with s.node(**settings) as node, s.web(node, **settings) as web, kept(s, "diagnosis_grant", "app_user"):
        s.sql("insert into tidings.app_user values ('456'), ('789') on conflict do nothing")
        for what, account, statement in WITHDRAWALS:
            user = person(s)
            d = s.diagnosis(owner="789", granted=[user])
            s.sql(f"insert into tidings.app_user values ('{user}')")
            anonymous = what.startswith("public")
            if anonymous:
                s.sql(f"update tidings.diagnosis set public = true where id = {d}")
            ways = Ways(s, node, web, d, None if anonymous else s.token(user))
            try:
                ways.check_used()
                # The poll was answered: it is held once more.
                if not anonymous:
                    ways.poll.getresponse().read()
                    ways.poll = ways.ask(f"/poll/{d}?timeout=55&cursor={ways.socket.cursor[:-2]}-1")
                    s.wait_watchers(d, 3)
                s.sql(statement.format(d=d, user=user))
                ways.check_ended(account)
            except AssertionError as e:
                raise AssertionError(f"{what}: {e}") from e
            finally:
                ways.close()


@test("tidings.revoke(null, topic) has everybody come again: who may is let in and goes on from the cursor, who may not is refused")
def _(s):
    with s.node(TIDINGS_ANONYMOUS="public") as node:
        d = s.diagnosis(owner="456")
        s.sql(f"update tidings.diagnosis set public = true where id = {d}")
        with s.connect(d, server=node) as owner, Client(f"ws://127.0.0.1:{node.port}/ws/{d}") as stranger:
            s.wait_watchers(d, 2)
            # As where the tables are the operator's own: nothing tells of it by itself.
            s.sql("set session_replication_role = replica; "
                  f"update tidings.diagnosis set public = false where id = {d}; select tidings.revoke(null, 'diagnosis/{d}')")
            if s.sql("select count(*) from tidings.withdrawal") != [["0"]]:
                s.sql("select tidings.notify('outbox', '')")
            equal((owner.closed()[0], stranger.closed()[0]), (1012, 1008), "the closes")
        with s.connect(d, server=node, cursor=owner.cursor) as again:
            equal((again.first["data"]["recovered"], s.recommend(d)["seq"]), (True, 2), "recovered, and the seq of the next")
            equal(again.seqs_up_to(2), [2], "seq")
        equal(Client(f"ws://127.0.0.1:{node.port}/ws/{d}", hello=False).closed()[0], 1008, "the stranger")
