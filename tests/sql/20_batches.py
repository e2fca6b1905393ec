"""publish_batch(): refusals, keys, effectiveness, what is not stored or not yet."""
import json
import uuid

from database import Item, Request, batch_sql
from harness import equal, test


def outcomes(results):
    return [(r.outcome, r.seq) for r in results]


@test("a refused request is refused whole, and its neighbours in the batch go through")
def refusals(db):
    mine, other = db.topic("456"), db.topic("789")
    got = db.batch([
        Request([Item(mine)], "456", "user"),
        Request([Item(other)], "456", "user"),
        Request([Item("diagnosis/999999999")], "456", "user"),
        Request([Item("diagnosis/999999999")]),
        Request([Item(mine), Item(other)], "456", "user"),
        Request([Item(mine), Item(other), Item(mine)]),
        Request([Item(mine), Item("diagnosis/999999999")], "root", "admin"),
        Request([Item("orders/7")], "456", "user"),
        Request([Item("health/456"), Item("notifications/456")], "456", "user"),
        Request([Item(other)], "789", "user"),
    ])
    equal(outcomes(got), [
        ("ok", 1), ("forbidden", None), ("not_found", None), ("not_found", None), ("withheld", None), ("forbidden", None),
        ("ok", 2), ("ok", 1), ("ok", 3), ("withheld", None), ("not_found", None), ("forbidden", None),
        ("ok", got[12].seq), ("ok", got[13].seq), ("ok", 2)], "outcomes")
    equal(len(db.kept(mine)), 3, "messages kept")


@test("a batch that is refused altogether leaves nothing behind")
def all_refused(db):
    equal(outcomes(db.batch([Request([Item("diagnosis/999999998")], key="k", hash="h")])), [("not_found", None)], "outcomes")
    equal(db.one("select count(*) from tidings.topic where name = 'diagnosis/999999998'"), "0", "topics")
    equal(db.one("select count(*) from tidings.idempotency where key = 'k'"), "0", "keys")


@test("a granted user may publish")
def granted(db):
    topic = f"diagnosis/{db.diagnosis('456', ['789'])}"
    equal(outcomes(db.batch([Request([Item(topic)], "789", "user"), Request([Item(topic)], "790", "user")])),
          [("ok", 1), ("forbidden", None)], "outcomes")


@test("seven hundred items of many topics come back in their order")
def large(db):
    got = db.batch([Request([Item(f"large/{n % 70}") for n in range(700)])])
    equal([r.seq for r in got], [n // 70 + 1 for n in range(700)], "seqs")


@test("what expires, for whom and for whom not is stored with the message")
def stored(db):
    topic, connection = db.topic(), str(uuid.uuid4())
    db.batch([Request([Item(topic, '{"type":"ü","data":{"a":"\\\\ \'"}}', to_user="4'56", exclude=connection, expires_at="2031-05-06T07:08:09.5+02:00")])])
    equal(db.sql(f"select to_user, exclude, expires_at at time zone 'UTC', body, sent from tidings.message where topic_id = {db.topic_id(topic)}"),
          [["4'56", connection, "2031-05-06 05:08:09.5", '{"type":"ü","data":{"a":"\\\\ \'"}}', "f"]], "row")


@test("a key that comes again gets the first reply, and publishes nothing; with another body, by another caller, it is another matter")
def keys(db):
    topic = db.topic()
    first = db.batch([Request([Item(topic), Item(topic)], key="a", hash="1")])
    again = db.batch([Request([Item(topic), Item(topic)], key="a", hash="1"), Request([Item(topic)], key="a", hash="2"),
                      Request([Item(topic)], key="a", hash="1", caller="other"), Request([Item(topic)])])
    equal(outcomes(first), [("ok", 1), ("ok", 2)], "first")
    equal(outcomes(again), [("replayed", 1), ("replayed", 2), ("key_reused", None), ("ok", 3), ("ok", 4)], "again")
    equal(len(db.kept(topic)), 4, "messages")


@test("the same key twice within one batch counts once")
def key_twice_in_a_batch(db):
    topic = db.topic()
    equal(outcomes(db.batch([Request([Item(topic)], key="b", hash="1"), Request([Item(topic)], key="b", hash="1"),
                             Request([Item(topic)], key="b", hash="2"), Request([Item(topic)], key="c", hash="1")])),
          [("ok", 1), ("replayed", 1), ("key_reused", None), ("ok", 2)], "outcomes")


@test("the same key from several at once publishes once, and all get its seq; batches with the same keys don't deadlock")
def key_at_once(db):
    topic, sessions = db.topic(), [db.session() for _ in range(5)]
    names = [f"at-once-{n}" for n in range(20)]
    for n, s in enumerate(sessions):
        order = names if n % 2 else names[::-1]
        s.send(batch_sql([Request([Item(topic, json.dumps({"k": k}))], key=k, hash="1") for k in order]))
    by_key = {}
    for n, s in enumerate(sessions):
        for row, key in zip(s.receive(), names if n % 2 else names[::-1]):
            assert len(row) == 4 and row[1] in ("ok", "replayed"), row
            by_key.setdefault(key, []).append(row[2])
    equal([len(set(v)) for v in by_key.values()], [1] * 20, "seqs of each key")
    equal(len(db.kept(topic)), 20, "messages")


@test("who waits for a key whose first use is rolled back publishes it")
def key_rolled_back(db):
    topic, first, second = db.topic(), db.session(), db.session()
    first.sql("begin")
    db.batch([Request([Item(topic)], key="rb", hash="1")], first)
    second.send(batch_sql([Request([Item(topic)], key="rb", hash="1")]))
    assert not second.answered(0.2), "it did not wait"
    first.sql("rollback")
    equal(second.receive()[0][1:3], ["ok", "1"], "result")


@test("a service's key is new after 24 hours and a user's after 7 days; until then it is known, and the sweep leaves it")
def key_ages(db):
    topic = db.topic("456")
    for who, known, new in (({}, 23, 2), ({"caller": "456", "role": "user"}, 167, 2)):
        prefix = f"old-{who.get('role', 'service')}"
        ask = lambda n, hash: outcomes(db.batch([Request([Item(topic)], key=f"{prefix}{n}", hash=hash, **who)]))[0][0]
        left = lambda: [row[0] for row in db.sql(f"select key from tidings.idempotency where key like '{prefix}%' order by 1")]
        age = lambda hours: db.sql(f"update tidings.idempotency set created_at = created_at - interval '{hours} hours' where key like '{prefix}%'")
        equal([ask(n, "1") for n in range(3)], ["ok"] * 3, "the first time")
        age(known)
        db.sweep()
        equal(([ask(0, "1"), ask(1, "2")], left()), (["replayed", "key_reused"], [f"{prefix}{n}" for n in range(3)]), f"{prefix} after {known} hours")
        age(new)
        equal(ask(0, "2"), "ok", f"{prefix} used again")
        db.sweep()
        equal(left(), [f"{prefix}0"], f"{prefix}: left by the sweep")


def effect(topic, recommendation, value, old=None):
    return Request([Item(topic, '{"type":"e","data":{"x":1}}', effect=(recommendation, value, old))])


def effects(db, topic):
    return [(b["data"].get("old_effectiveness"), b["data"].get("improvement")) for b in db.bodies(topic)]


@test("effectiveness: the old one is the one given, else the last one broadcast, also within one batch")
def effectiveness(db):
    topic = db.topic()
    db.batch([effect(topic, 1, "0.5")])
    db.batch([effect(topic, 1, "0.75")])
    db.batch([effect(topic, 1, "0.9", "0.8"), effect(topic, 1, "0.7"), effect(topic, 2, "0.1"), Request([Item(topic)]), effect(topic, 2, "0.30")])
    equal(effects(db, topic), [(None, None), (0.5, 0.25), (0.8, 0.1), (0.9, -0.2), (None, None), (None, None), (0.1, 0.2)], "old and improvement")
    equal(effects(db, topic)[5], (None, None), "a message that is no effectiveness update")


@test("effectiveness of a refused request is not remembered")
def effectiveness_refused(db):
    topic = db.topic("789")
    db.batch([Request([Item(topic, '{"data":{"x":1}}', effect=(1, "0.5", None))], "456", "user"), effect(topic, 1, "0.6")])
    equal(effects(db, topic), [(None, None)], "old and improvement")


@test("what is ephemeral goes out in a notification of its own, takes no seq and is not kept")
def ephemeral(db):
    topic, listener = db.topic(), db.session("tidings_sidecar")
    listener.listen("ephemeral", "messages")
    connection = str(uuid.uuid4())
    got = db.batch([Request([Item(topic), Item(topic, '{"e":1}', ephemeral=True),
                             Item(topic, '{"e":"2 3"}', ephemeral=True, to_user="a b", exclude=connection), Item(topic)])])
    equal(outcomes(got), [("ok", 1), ("ok", None), ("ok", None), ("ok", 2)], "outcomes")
    n = db.topic_id(topic)
    equal(listener.notifications("ephemeral"), [f'{n} - 0  {{"e":1}}', f'{n} {connection} 3 a b {{"e":"2 3"}}'], "notifications")
    equal(len(db.kept(topic)), 2, "kept")


@test("what is ephemeral needs no lock and rings no doorbell, also in one batch with what is stored")
def ephemeral_alone(db):
    locked, free, holder, listener = db.topic(), db.topic(), db.session("postgres"), db.session("tidings_sidecar")
    db.batch([Request([Item(locked), Item(free)])])
    listener.listen("ephemeral", "messages")
    holder.sql(f"begin; select from tidings.topic where name = '{locked}' for update")
    equal(outcomes(db.batch([Request([Item(locked, ephemeral=True), Item(free)]), Request([Item(locked, '{"e":2}', ephemeral=True)])])),
          [("ok", None), ("ok", 2), ("ok", None)], "outcomes")
    notified, messages, ephemeral = listener.receive_after("select"), db.channel("messages"), db.channel("ephemeral")
    equal([sum(f'"{channel}" with' in r[0] for r in notified) for channel in (messages, ephemeral)], [1, 2], "notifications")
    assert any(f'"{messages}" with payload "{db.topic_id(free)}"' in r[0] for r in notified), notified


@test("a batch rings once, with every topic's id in it; of more topics than fit it rings again")
def doorbell(db):
    listener = db.session("tidings_sidecar")
    listener.listen("messages")
    topics = [f"bell/{n}" for n in range(800)]
    db.batch([Request([Item(t) for t in topics])])
    rung = listener.notifications("messages")
    equal(len(rung), 3, "notifications")
    equal(len(set(",".join(rung).split(","))), 800, "ids")


@test("what is to be delivered later waits in the outbox; a time that has passed is now")
def scheduled(db):
    topic, listener = db.topic(), db.session("tidings_sidecar")
    listener.listen("outbox")
    got = db.batch([Request([Item(topic), Item(topic, deliver_at="2099-01-01T00:00:00Z", expires_at="2099-01-02T00:00:00Z", to_user="u"),
                             Item(topic, deliver_at="2001-01-01T00:00:00Z")], key="sched", hash="1"),
                    Request([Item(db.topic("789"), deliver_at="2099-01-01T00:00:00Z")], "456", "user")])
    equal(outcomes(got), [("ok", 1), ("scheduled", None), ("ok", 2), ("forbidden", None)], "outcomes")
    equal(len(listener.notifications("outbox")), 1, "notifications")
    equal(db.sql(f"select to_user, deliver_at at time zone 'UTC', expires_at at time zone 'UTC' from tidings.outbox where topic = '{topic}'"),
          [["u", "2099-01-01 00:00:00", "2099-01-02 00:00:00"]], "outbox")
    equal(outcomes(db.batch([Request([Item(topic), Item(topic), Item(topic)], key="sched", hash="1")])),
          [("replayed", 1), ("replayed", None), ("replayed", 2)], "again")
    db.sql("delete from tidings.outbox")


@test("a request that finds a topic locked is busy as a whole: nothing is published, scheduled or remembered, and its key is not used")
def busy(db):
    locked, free, holder = db.topic(), db.topic(), db.session("postgres")
    db.batch([effect(t, 1, "0.5") for t in (locked, free)])
    holder.sql(f"begin; select from tidings.topic where name = '{locked}' for update")
    later = "2099-01-01T00:00:00Z"
    requests = [
        Request([Item(free), Item(locked), Item(free, deliver_at=later)], key="busy", hash="1"),
        Request([Item(free), Item(locked), Item(free, deliver_at=later)], key="busy", hash="1"),
        Request([Item(free)], key="busy", hash="2"),
        Request([Item(free), Item(free, deliver_at=later)], key="free", hash="1"),
        effect(locked, 1, "0.6"),
        effect(free, 1, "0.7"),
    ]
    equal(outcomes(db.batch(requests)), [("busy", None)] * 7 + [("ok", 2), ("scheduled", None), ("busy", None), ("ok", 3)], "while it is locked")
    equal(db.one(f"select count(*) from tidings.outbox where topic = '{free}'"), "1", "scheduled")
    equal(db.one("select count(*) from tidings.idempotency where key = 'busy'"), "0", "keys of the busy")
    equal(effects(db, free), [(None, None), (None, None), (0.5, 0.2)], "effectiveness of the free one")
    refusal = db.session().receive_after(batch_sql([Request([Item(free), Item(locked)])], skip_locked=False))
    assert "lock timeout" in refusal[0][0], refusal
    holder.sql("rollback")
    equal(outcomes(db.batch(requests[:2])), [("ok", 4), ("ok", 2), ("scheduled", None), ("replayed", 4), ("replayed", 2), ("replayed", None)], "after")
    db.batch([effect(locked, 1, "0.9")])
    equal(effects(db, locked)[-1], (0.5, 0.4), "effectiveness of the one that was locked")
    db.sql("delete from tidings.outbox")


@test("a batch that arrives after its publisher gave it up is refused")
def too_late(db):
    topic, now = db.topic(), int(db.one("select (extract(epoch from clock_timestamp()) * 1000)::int8"))
    refusal = db.session().receive_after(batch_sql([Request([Item(topic)])], until=now - 1))
    assert "too late" in refusal[0][0], refusal
    equal(outcomes(db.batch([Request([Item(topic)])], until=now + 60000)), [("ok", 1)], "one in time")
