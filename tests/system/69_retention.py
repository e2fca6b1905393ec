"""What is kept and for how long, as clients and operators see it: policies, retention by the sidecars, forget()."""
import contextlib
import signal

from harness import Closed, edited, equal, test, wait_until
from live import Live, combined, conversation, person

OLD = 20000


def publish(s, web, topic, count):
    for _ in range(count):
        web.api.post("/ws/publish", [{"topic": topic, "type": "t", "data": {}} for _ in range(10)], s.service()).want(200)


@test("the policy of a topic is what its clients see: without a cursor the newest that it keeps; from a cursor before these, which are missing")
def _(s):
    d = s.diagnosis()
    topic = f"diagnosis/{d}"
    settings = {"TIDINGS_QUEUE_MIN_AGE": 0, "TIDINGS_QUEUE_MAX": 1000}
    with s.node(**settings) as node, s.web(node, **settings) as web:
        s.sql(f"insert into tidings.policy values ('{topic}', 5)")
        try:
            with s.connect(d, server=node) as client:
                cursor = client.cursor
            publish(s, web, topic, 10)
            first = int(s.sql(f"select first_seq from tidings.topic where name = '{topic}'")[0][0])
            assert 33 <= first <= 96, first
            with s.connect(d, server=node, cursor=cursor) as client:
                equal((client.first["data"]["recovered"], client.first["data"]["missed"]), (False, {"from": 1, "to": first - 1}), "recovered, missed")
                equal([m["seq"] for m in client.next()["data"]["messages"]], list(range(first, 101)), "what comes")
        finally:
            s.sql("delete from tidings.policy")
    # Another one, whose memory has none of it; what the first has written down of its clients is forgotten.
    s.sql(f"delete from tidings.delivered where topic_id = (select id from tidings.topic where name = '{topic}')")
    with s.node(**settings) as node:
        s.sql(f"insert into tidings.policy values ('{topic}', 5)")
        try:
            with s.connect(d, server=node) as client:
                equal([m["seq"] for m in client.next()["data"]["messages"]], list(range(96, 101)), "without a cursor")
        finally:
            s.sql("delete from tidings.policy")


@test("sidecars delete what is older than it is kept, in steps; when they are killed half way others go on; what is young stays, and publishing goes on meanwhile")
def _(s):
    user, d = person(s), s.diagnosis()
    s.sql("create table public.steps (at timestamptz, count int8); grant all on public.steps to tidings_owner; "
          "create function public.step() returns trigger language plpgsql as $$ begin "
          "insert into public.steps select now(), count(*) from gone having count(*) > 0; return null; end $$; "
          "create trigger step after delete on tidings.health_reading referencing old table as gone for each statement execute function public.step()")
    s.sql(f"insert into tidings.health_reading (user_id, metric, value, pushed) select '{user}', 'pulse', 1, true from generate_series(1, {OLD}) n; "
          f"update tidings.health_reading set received_at = received_at - interval '3 days' where user_id = '{user}'; "
          f"insert into tidings.health_reading (user_id, metric, value, pushed) select '{user}', 'pulse', 2, true from generate_series(1, 10) n")
    left = lambda: int(s.sql(f"select count(*) from tidings.health_reading where user_id = '{user}'")[0][0])
    settings = {"TIDINGS_KEEP_READINGS": 2}
    # Of many nodes one begins each minute: here, of those that have these settings.
    with edited(s, "retain", "p_begins and random() * live_nodes() > 1", "false"):
        try:
            nodes = [s.start_node(**settings) for _ in range(2)]
            wait_until(lambda: left() < OLD, "a sidecar to begin", 200)
            for node in nodes:
                s.forget(node)
                node.signal(signal.SIGKILL)
                node.wait()
            half = left()
            assert half > 10, "they were done before they were killed"
            with s.node(**settings), s.node(**settings):
                s.recommend(d)
                wait_until(lambda: left() == 10, "the others to go on to the end", 300)
            equal(s.sql(f"select count(*), min(value) from tidings.health_reading where user_id = '{user}'"), [["10", "2"]], "what is young")
            steps = [int(r[0]) for r in s.sql("select sum(count) from public.steps group by at order by at")]
            assert sum(steps) == OLD and max(steps) <= 1000 and len(steps) >= OLD / 1000, steps
        finally:
            s.sql("drop trigger if exists step on tidings.health_reading; drop function public.step; drop table public.steps")


@test("forget() ends all connections of a user on every node, and of others to what was theirs; what comes again is told that the numbering is another")
def _(s):
    user, clinician, friend = person(s), person(s), person(s)
    topic = f"health/{user}"
    s.sql(f"insert into tidings.health_grant values ('{user}', '{clinician}')")
    with s.node() as node2, combined(s, s.node1, user, "health_updates") as live, combined(s, node2, friend, "chat") as other, \
            combined(s, node2, clinician, topic, role="clinician") as watcher:
        d = s.diagnosis(owner=user)
        talk = conversation(other, user)
        live.ask("chat_message", {"conversation_id": talk, "message": "hello"}, "chat_message_sent")
        equal(other.until("chat_message")["data"]["message"], "hello", "what the friend reads")
        with s.connect(d, user=user, server=node2) as socket:
            update = live.ask("health_update", {"metric": "pulse", "value": 60}, "health_update_stored")
            equal(watcher.until("health_update")["data"]["value"], 60, "what the clinician reads")
            cursor = s.sql(f"select epoch || tidings.cluster_tag() || '-' || {update['seq']} from tidings.topic where name = '{topic}'")[0][0]
            s.wait_watchers(d, 1)
            erased = dict((r[0], r[1:]) for r in s.sql(f"select * from tidings.forget('{user}')"))
            equal((erased["readings"], erased["chat_messages"], erased["connections"]), (["1", "0"], ["0", "1"], ["2", "0"]), "what was erased")
            equal((socket.closed(), live.client.closed()), ((1000, "disconnected by administrator"),) * 2, "the closes")
        with contextlib.suppress(Closed):
            while watcher.next()["type"] != "revoked":
                pass
        assert watcher.client.is_closed or watcher.refused("subscribe", subscription=topic) == "forbidden"
        equal(s.refused(d, user=user)[0], 1008, "the diagnosis")
        with Live(s, s.node1, "combined", user) as again:
            subscribed = again.ask("subscribe", None, "subscribed", subscription="health_updates", cursor=cursor)
            equal(subscribed["recovered"], False, "recovered")
            equal(again.ask("get_health", {}, "health_history")["readings"], [], "readings")
        said = other.ask("get_history", {"conversation_id": talk}, "chat_history")["messages"]
        equal([m["message"] for m in said], ["hello"], "what the friend can still read")
        assert said[0]["sender"].startswith("forgotten-"), said
