"""Live health (section 6): the four endpoints, what is said on them, and who may."""
from harness import Closed, Lock, equal, test, wait_until
from live import Live, person


def doors(s):
    return (s.node1, s.web1)


@test("connection_established, then authenticate by message, request or subprotocol: authenticated, and subscribed to the endpoint's own stream")
def _(s):
    for server in doors(s):
        for endpoint, stream in (("health", "health_updates"), ("chat", "chat"), ("notifications", "notifications"), ("combined", None)):
            for how in ("message", "query", "protocol"):
                with Live(s, server, endpoint, how=how) as live:
                    data = live.welcome["data"]
                    equal((data["state"], data["heartbeat_interval"]), ("connected", 30), "established")
                    equal(live.auth["data"]["user_id"], 456, "user_id")
                    equal(live.auth["data"]["subscriptions"], [stream] if stream else [], "subscriptions")
                    if stream:
                        equal(live.subscribed["data"]["subscription"], stream, "subscribed to")


@test("a bad token is answered with authentication_failed and 1008; none in time closes too")
def _(s):
    for server in doors(s):
        for token in ("nonsense", s.token(ttl=-10)):
            with Live(s, server, authenticate=False) as live:
                live.send("authenticate", token=token)
                error = live.next()
                equal((error["type"], error["data"]["code"]), ("error", "authentication_failed"), "the error")
                equal(live.client.closed()[0], 1008, "the close")
    with s.node(TIDINGS_AUTHENTICATE_TIMEOUT=1) as node, Live(s, node, authenticate=False) as live:
        equal(live.client.closed(), (1008, "authenticate not sent in time"), "the close")


@test("what comes before authenticated is said waits, and is answered then; before authenticate it is refused")
def _(s):
    with Live(s, s.node1, authenticate=False) as live:
        live.send("subscribe", subscription="chat")
        equal(live.next()["data"]["code"], "not_authenticated", "before it")
        live.send("authenticate", token=s.token())
        live.send("subscribe", subscription="chat", correlation="a")
        live.send("ping", correlation="b")
        live.until("authenticated")
        equal({live.until("subscribed", "pong").get("correlation_id") for _ in range(3)}, {None, "a", "b"}, "answers")


@test("subscribe and unsubscribe, idempotent, to streams and topics that one may read; refusals are named")
def _(s):
    d, theirs = s.diagnosis(), s.diagnosis(owner="789")
    with Live(s, s.node1, "combined") as live:
        place = live.ask("subscribe", want="subscribed", subscription=f"diagnosis/{d}")
        equal((place["topic"], place["recovered"]), (f"diagnosis/{d}", True), "subscribed")
        equal(live.ask("subscribe", want="subscribed", subscription=f"diagnosis/{d}")["cursor"], place["cursor"], "again")
        equal(s.recommend(d)["clients_notified"], 1, "clients_notified")
        m = live.next()
        equal((m["type"], m["topic"], m["seq"]), ("recommendation_update", f"diagnosis/{d}", 1), "a diagnosis on a live connection")
        live.ask("unsubscribe", want="unsubscribed", subscription=f"diagnosis/{d}")
        live.ask("unsubscribe", want="unsubscribed", subscription=f"diagnosis/{d}")
        wait_until(lambda: s.recommend(d)["clients_notified"] == 0, "nobody to be subscribed")
        back = live.ask("subscribe", want="subscribed", subscription=f"diagnosis/{d}", cursor=place["cursor"])
        equal(back["recovered"], True, "recovered")
        equal([live.next()["seq"] for _ in range(2)], [1, 2], "what was missed, and no other message between")
        equal(live.refused("subscribe", subscription=f"diagnosis/{theirs}"), "forbidden", "somebody else's")
        equal(live.refused("subscribe", subscription="diagnosis/987654321"), "forbidden", "one that is not there")
        equal(live.refused("subscribe", subscription="no such thing"), "unknown_subscription", "no name of a topic")
        equal(live.refused("subscribe", subscription="health/789"), "forbidden", "another's health")
        live.ask("ping", want="pong")


@test("a reading is stored, acknowledged to its sender and pushed to the user's other connections, on another node too")
def _(s):
    with s.node() as node2, Live(s, s.node1, user="900") as one, Live(s, node2, user="900") as two:
        stored = one.ask("health_update", {"metric": "pulse", "value": 72, "unit": "bpm"}, "health_update_stored")
        m = two.until("health_update")
        equal((m["data"]["metric"], m["data"]["value"], m["topic"], m["seq"]), ("pulse", 72, "health/900", stored["seq"]), "at the other")
        history = two.ask("get_health", {"metric": "pulse"}, "health_history")
        equal([r["value"] for r in history["readings"]], [72], "history")


@test("a threshold that is crossed makes one alert on the health stream and one notification")
def _(s):
    with Live(s, s.node1, "combined", user="901") as live:
        for name in ("health_updates", "notifications"):
            live.ask("subscribe", want="subscribed", subscription=name)
        live.ask("set_threshold", {"metric": "pulse", "low": 50, "high": 100, "severity": "high"}, "threshold_set")
        for value in (80, 120, 130):
            live.send("health_update", {"metric": "pulse", "value": value})
        seen = [live.until("health_alert", "notification") for _ in range(2)]
        equal(sorted(m["type"] for m in seen), ["health_alert", "notification"], "an alert and a notification")
        note = next(m for m in seen if m["type"] == "notification")
        equal(note["notification"]["type"], "health_alert", "type of the notification")
        equal(len(live.ask("get_notifications", {}, "notifications")["notifications"]), 1, "notifications")


@test("chat: a conversation, its participants, messages to all of them, typing to the others, history")
def _(s):
    with Live(s, s.node1, "chat", user="902") as ann, Live(s, s.web1, "chat", user="903") as bob:
        made = ann.ask("create_conversation", {"participants": ["902", "903"]}, "conversation_created")
        c = made["conversation_id"]
        ann.send("typing", {"conversation_id": c, "is_typing": True})
        equal(bob.until("typing")["data"]["is_typing"], True, "typing")
        sent = ann.ask("chat_message", {"conversation_id": c, "message": "Hello"}, "chat_message_sent")
        m = bob.until("chat_message")
        equal((m["data"]["message"], m["data"]["conversation_id"], m["data"]["message_id"]), ("Hello", c, sent["message_id"]), "at the other")
        history = bob.ask("get_history", {"conversation_id": c}, "chat_history")
        equal([x["message"] for x in history["messages"]], ["Hello"], "history")
        with Live(s, s.node1, "chat", user="904") as eve:
            assert eve.refused("chat_message", {"conversation_id": c, "message": "let me in"}) in ("forbidden", "not_found")
            assert eve.refused("get_history", {"conversation_id": c}) in ("forbidden", "not_found")


@test("five connections of a user on the live endpoints, over all nodes; the sixth is refused, and let in when one is gone")
def _(s):
    with s.node() as node2:
        lives = [Live(s, (s.node1, node2)[n % 2], ("health", "chat", "notifications", "combined")[n % 4], user="905") for n in range(5)]
        for server in (s.node1, node2):
            with Live(s, server, user="905", authenticate=False) as sixth:
                sixth.send("authenticate", token=s.token("905"))
                equal(sixth.until("error")["data"]["code"] if False else sixth.next()["data"]["code"], "too_many_connections", "the error")
                equal(sixth.client.closed(), (1008, "too many connections"), "the close")
        with s.connect(s.diagnosis(owner="905"), user="905"):
            pass
        lives.pop().close()

        def let_in():
            try:
                with Live(s, node2, user="905"):
                    return True
            except (AssertionError, Closed):
                return False

        wait_until(let_in, "the sixth to be let in")
        for live in lives:
            live.close()


@test("a right that is withdrawn ends the subscription at that point: nothing sequenced after it is delivered")
def _(s):
    d = s.diagnosis(granted=["906"])
    with s.node() as node2, Live(s, node2, "combined", user="906") as live, s.connect(d, user="906") as watcher, s.connect(d) as owner:
        live.ask("subscribe", want="subscribed", subscription=f"diagnosis/{d}")
        s.recommend(d, "before")
        equal(live.next()["data"]["reason"], "before", "before it")
        equal(watcher.next()["data"]["reason"], "before", "before it")
        s.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {d}; ")
        s.recommend(d, "after")
        ended = live.next()
        equal((ended["type"], ended["data"]["topic"], ended["data"]["reason"]), ("unsubscribed", f"diagnosis/{d}", "revoked"), "the end")
        live.ask("ping", want="pong")
        equal(watcher.closed(), (1008, "not allowed"), "who watches that diagnosis alone")
        seqs = [owner.next()["data"]["reason"] for _ in range(2)]
        equal(seqs, ["before", "after"], "the owner's")


@test("a token is refreshed, its end is told a minute ahead, and at its end 1008")
def _(s):
    with Live(s, s.node1, "combined", token=s.token("907", ttl=30)) as live:
        assert live.until("token_expiring")["data"]["expires_in"] <= 30
        data = live.ask("refresh_token", want="token_refreshed", token=s.token("907"))
        assert data["expires_at"]
        equal(live.refused("refresh_token", token=s.token("908")), "authentication_failed", "another user's token")
        live.ask("ping", want="pong")
    with Live(s, s.node1, "combined", token=s.token("907", ttl=5)) as live:
        equal(live.client.closed(), (1008, "token expired"), "the close")


@test("what comes before authenticated is said has a limit: beyond it 1008")
def _(s):
    user = person(s)
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, Lock(s, "tidings.connection"):
        live = Live(s, node, "combined", user=user, authenticate=False)
        live.send("authenticate", token=s.token(user))
        for n in range(5):
            live.send("ping", pad="x" * 60000)
        equal(live.client.closed(), (1008, "too many messages before it is let in"), "the close")
