"""
live - what the tests of live health have in common.

	Talk		what is said and answered on a WebSocket
	Live		a client of one of the four endpoints; combined(): one of /ws/combined with its subscriptions
	person()	a user whom nobody has ever heard of
"""
import datetime

from harness import Client, equal

# A node that lets a test talk as fast as it can, and be refused as often as it needs to.
TALKATIVE = {"TIDINGS_CLIENT_RATE": 100000, "TIDINGS_CLIENT_BURST": 100000, "TIDINGS_BAD_MESSAGES_MAX": 100000}


class Talk:
    def __init__(self, client):
        self.client, self.count = client, 0

    def next(self):
        return self.client.next()

    def send(self, type, data=None, correlation=None, **members):
        m = {"type": type, **members}
        if data is not None:
            m["data"] = data
        if correlation:
            m["correlation_id"] = correlation
        self.client.send(m)

    def say(self, type, data=None, **members):
        """The correlation_id of the answer that it will have."""
        self.count += 1
        self.send(type, data, f"c{self.count}", **members)
        return f"c{self.count}"

    def answer(self, correlation, *types):
        """Heartbeats and what is pushed meanwhile goes by."""
        while True:
            m = self.next()
            if m.get("correlation_id") == correlation and m["type"] in types:
                return m

    def ask(self, type, data=None, want=None, **members):
        """Says it and gives the data of the answer."""
        m = self.answer(self.say(type, data, **members), want, "error")
        equal(m["type"], want, f"answer to {type}: {m}")
        return m["data"]

    def refused(self, type, data=None, **members):
        """The code of the error that it is answered with."""
        return self.ask(type, data, "error", **members)["code"]

    def close(self):
        self.client.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()


class Live(Talk):
    """A live-health connection. `welcome` is connection_established, `auth` the answer to authenticate."""

    def __init__(self, s, server, endpoint="health", user="456", token=None, authenticate=True, how="message", role=None):
        token = token or s.token(user, role=role)
        url = f"ws://127.0.0.1:{server.port}/ws/{endpoint}"
        protocols = None
        if how == "query":
            url += f"?token={token}"
        elif how == "protocol":
            protocols = ["tidings", f"bearer.{token}"]
        super().__init__(Client(url, hello=False, subprotocols=protocols))
        self.welcome = self.next()
        equal(self.welcome["type"], "connection_established", "the first message")
        self.auth = None
        if authenticate:
            if how == "message":
                self.client.send({"type": "authenticate", "token": token})
            self.auth = self.until("authenticated")
            # Its own stream's place.
            if endpoint != "combined" and self.auth["data"]["subscriptions"]:
                self.subscribed = self.until("subscribed")

    @property
    def id(self):
        return self.welcome["data"]["connection_id"]

    def until(self, *types):
        while True:
            m = self.next()
            if m["type"] in types:
                return m
            assert m["type"] != "error", m


def person(s):
    """A user whom nobody has ever heard of."""
    s.ids += 1
    return f"w{s.ids}"


def count(s, table, where):
    return int(s.sql(f"select count(*) from tidings.{table} where {where}")[0][0])


def combined(s, server, user, *names, role=None, **more):
    """A connection with these subscriptions. What waits for it comes after `subscribed`."""
    live = Live(s, server, "combined", user=user, role=role, **more)
    for name in names:
        live.ask("subscribe", want="subscribed", subscription=name)
    return live


def conversation(live, *users):
    return live.ask("create_conversation", {"participants": list(users)}, "conversation_created")["conversation_id"]


def notify(s, user, token=None, **more):
    body = {"user_id": user, "type": "system", "title": "t", "message": "m", **more}
    return s.api.post("/ws/broadcast-notification", body, token or s.service()).want(200)


def ahead(seconds):
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
