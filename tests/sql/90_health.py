"""Readings, thresholds, and alerts that are decided where a reading is inserted."""
import uuid

from database import act_sql, answer
from harness import equal, test


def reading(db, user, value, metric="pulse", **more):
    return db.act(user, "health_update", {"metric": metric, "value": value, **more})


def types(db, topic):
    return [b["type"] for b in db.bodies(topic)]


def alerts(db, user):
    return [b["data"]["value"] for b in db.bodies(f"health/{user}") if b["type"] == "health_alert"]


def threshold(db, user, low=None, high=None, **more):
    got = db.act(user, "set_threshold", {"metric": "pulse", "low": low, "high": high, **more})  # null: taken away
    equal(got.outcome, "ok", "outcome")
    return got


@test("health_update: stored, sent to the user's topic but not to its sender, and answered with the correlation_id")
def update(db):
    user, me = db.user(), str(uuid.uuid4())
    got = db.act(user, "health_update", {"metric": "blood_pressure", "value": 120, "unit": 'mm"Hg\\', "timestamp": "2024-01-01T00:00:00+01:00"},
                 correlation='a"b', connection=me)
    equal((got.outcome, got.topic, got.seq, got.clients), ("ok", f"health/{user}", 1, 0), "answer")
    equal((got.reply["type"], got.reply["correlation_id"]), ("health_update_stored", 'a"b'), "reply")
    equal({k: got.data[k] for k in ("metric", "seq")}, {"metric": "blood_pressure", "seq": 1}, "data")
    (message,) = db.bodies(f"health/{user}")
    equal((message["type"], message["topic"], message["correlation_id"]), ("health_update", f"health/{user}", 'a"b'), "message")
    equal(message["data"], {"id": got.data["id"], "user_id": user, "metric": "blood_pressure", "value": 120, "unit": 'mm"Hg\\',
                            "timestamp": "2023-12-31T23:00:00.000Z"}, "its data")
    equal(db.one(f"select exclude from tidings.message where topic_id = {db.topic_id(f'health/{user}')}"), me, "excluded")


@test("a user id that is an integer is one in messages, any other is text")
def user_ids(db):
    equal([db.one(f"select tidings.user_json('{u}')") for u in ("456", "0", "-7", "007", "-0", "1234567890123456", "u1")],
          ["456", "0", "-7", '"007"', '"-0"', '"1234567890123456"', '"u1"'], "as JSON")


@test("health_update is for one's own health; a service or admin says whose; nobody else's clinician writes it")
def who_may(db):
    user, other, doctor = db.user(), db.user(), db.user()
    db.sql(f"insert into tidings.health_grant values ('{user}', '{doctor}')")
    data = {"metric": "pulse", "value": 1}
    got = [db.act(who, "health_update", {**data, **more}, role=role) for who, role, more in (
        (user, "user", {"user_id": user}), (other, "user", {"user_id": user}), (doctor, "clinician", {"user_id": user}),
        ("svc", "service", {"user_id": user}), ("root", "admin", {"user_id": user}), ("svc", "service", {}), ("svc", "service", {"user_id": "a b"}),
        (None, "user", {}))]
    equal([g.outcome for g in got], ["ok", "forbidden", "forbidden", "ok", "ok", "invalid", "invalid", "forbidden"], "outcomes")
    equal(db.one(f"select count(*) from tidings.health_reading where user_id in ('{user}', '{other}', 'a b')"), "3", "readings")


@test("a reading from the future, or with a value that cannot be stored, is refused and nothing of it is done")
def refused(db):
    user = db.user()
    for more in ({"timestamp": "2999-01-01T00:00:00Z"}, {"value": "1e999"}, {"timestamp": "2024-02-31T00:00:00Z"}, {"unit": "a\0b"}, {"value": "NaN"}):
        got = db.act(user, "health_update", {"metric": "pulse", "value": 1, **more})
        equal((got.outcome, bool(got.detail), got.reply), ("invalid", True, None), str(more))
    equal(db.one(f"select count(*) from tidings.health_reading where user_id = '{user}'"), "0", "readings")
    equal(db.one(f"select count(*) from tidings.topic where name = 'health/{user}'"), "0", "topics")


@test("an alert is raised when a metric goes outside, not while it stays there, and again after it was inside")
def crossing(db):
    user = db.user()
    threshold(db, user, 50, 100)
    for value in (50, 100, 101, 120, 100, 130, 40, 30, 70, 49):
        reading(db, user, value)
    equal(alerts(db, user), [101, 130, 40, 49], "values that raised one")
    equal(types(db, f"notifications/{user}"), ["notification"] * 4, "notifications")
    first = [b for b in db.bodies(f"health/{user}") if b["type"] == "health_alert"][0]
    equal({k: first["data"][k] for k in ("metric", "side", "low", "high", "severity")},
          {"metric": "pulse", "side": "high", "low": 50, "high": 100, "severity": "high"}, "alert")
    note = db.bodies(f"notifications/{user}")[0]["notification"]
    equal((note["id"], note["type"], note["priority"]), (first["data"]["notification_id"], "health_alert", "high"), "notification")
    assert "101" in note["message"] and note["title"] == "Pulse Alert", note


@test("twenty readings that come together raise an alert once")
def at_once(db):
    user = db.user()
    threshold(db, user, high=100)
    reading(db, user, 90)
    holder, sessions = db.session("postgres"), [db.session() for _ in range(20)]
    holder.sql("begin")
    holder.sql(f"select from tidings.health_state where user_id = '{user}' for update")
    for n, s in enumerate(sessions):
        s.send(act_sql(user, "user", "health_update", {"metric": "pulse", "value": 101 + n}))
    holder.sql("commit")
    got = [answer(s.receive()) for s in sessions]
    equal({g.outcome for g in got}, {"ok"}, "outcomes")
    # Who had waited too long for the state has left it to the relay.
    while db.one(f"select count(*) from tidings.outbox where topic = 'health/{user}'") != "0":
        db.relay()
    equal(len(alerts(db, user)), 1, "alerts")
    equal(db.one(f"select count(*) from tidings.notification where user_id = '{user}'"), "1", "notifications")
    equal(db.kept(f"health/{user}"), list(range(1, 23)), "seqs")


@test("the first readings of a metric that come together raise an alert once, although its state is not there yet")
def first_at_once(db):
    user = db.user()
    threshold(db, user, high=100)
    first, second = db.session(), db.session()
    first.sql("begin")
    first.sql(act_sql(user, "user", "health_update", {"metric": "pulse", "value": 101}))
    second.send(act_sql(user, "user", "health_update", {"metric": "pulse", "value": 102}))
    assert not second.answered(0.2), "the second did not wait"
    first.sql("commit")
    equal(answer(second.receive()).outcome, "ok", "outcome")
    equal(alerts(db, user), [101], "alerts")


@test("a reading that SQL inserts is judged and pushed like any other, when its transaction commits, and by whoever may insert")
def plain_sql(db):
    user = db.user()
    threshold(db, user, high=100)
    db.sql("create role clinic_app; grant usage on schema tidings to clinic_app; grant insert on tidings.health_reading to clinic_app")
    app = db.session("postgres")
    app.sql("set role clinic_app")
    app.sql("begin")
    app.sql(f"insert into tidings.health_reading (user_id, metric, value, unit) values ('{user}', 'pulse', 90, 'bpm'), ('{user}', 'pulse', 110, 'bpm'), "
            f"('{user}', 'pulse', 120, null)")
    reading(db, user, 1, metric="other")  # the open transaction delays nobody
    db.relay()
    equal(types(db, f"health/{user}"), ["health_update"], "before it commits")
    app.sql("commit")
    while db.relay() == "0":
        pass
    equal(types(db, f"health/{user}"), ["health_update"] * 3 + ["health_alert", "health_update"], "after")
    equal([b["notification"]["type"] for b in db.bodies(f"notifications/{user}")], ["health_alert"], "notifications")
    reading(db, user, 130)
    equal(alerts(db, user), [110], "alerts")
    app.sql("reset role")
    db.sql("drop owned by clinic_app; drop role clinic_app")


def insert(db, user, value, ago="0", pushed=False, run=None):
    (run or db.sql)(f"insert into tidings.health_reading (user_id, metric, value, measured_at, pushed) "
                    f"values ('{user}', 'pulse', {value}, now() - interval '{ago}', {pushed})")


def relay(db):
    while db.relay() == "0":
        pass


def ago(db, interval):
    return db.one(f"select tidings.stamp(clock_timestamp() - interval '{interval}')")


@test("an import of readings that says they are pushed alarms nobody, and silences no alarm after it")
def silent_import(db):
    # The import moved the metric's state, and the next reading on the same side raised nothing.
    for when in ("0", "1 year"):
        user = db.user()
        threshold(db, user, high=100)
        insert(db, user, 200, when, pushed=True)
        db.relay()
        equal(db.one(f"select count(*) from tidings.topic where name in ('health/{user}', 'notifications/{user}')"), "0", "topics")
        reading(db, user, 180)
        equal(alerts(db, user), [180], "alerts")
        insert(db, user, 50, when, pushed=True)
        reading(db, user, 190)
        equal(alerts(db, user), [180], "alerts while it stays outside")


@test("an import of old readings that does not say so silences no alarm after it either")
def loud_import(db):
    user = db.user()
    threshold(db, user, high=100)
    for when in ("1 year", "2 days", "25 hours"):
        insert(db, user, 200, when)
    relay(db)
    equal(alerts(db, user), [], "alerts of what is older than a day")
    reading(db, user, 180)
    equal(alerts(db, user), [180], "alerts")


@test("a transaction that has inserted a reading and stays open does not make the next reading of that metric wait, nor loses what it inserted")
def open_insert(db):
    user, slow = db.user(), db.session("postgres")
    threshold(db, user, high=100)
    slow.sql("begin")
    insert(db, user, 150, run=slow.sql)
    slow.sql("set constraints all immediate")
    other = db.session()
    other.send(act_sql(user, "user", "health_update", {"metric": "pulse", "value": 90}))
    equal(answer(other.receive(5)).outcome, "ok", "outcome, while it is open")
    reading(db, user, 160)
    equal((db.relay(), alerts(db, user)), ("", [160]), "nothing to relay, and alerts, while it is open")
    slow.sql("commit")
    relay(db)
    reading(db, user, 80)
    reading(db, user, 170)
    equal((alerts(db, user), types(db, f"health/{user}").count("health_update")), ([160, 170], 5), "alerts and readings after")


@test("a threshold that an open transaction has changed keeps no reading waiting; a state that one keeps locked leaves the judging to the relay")
def open_locks(db):
    user, slow, me = db.user(), db.session("postgres"), str(uuid.uuid4())
    threshold(db, user, high=100)
    reading(db, user, 50)
    slow.sql(f"begin; update tidings.health_threshold set high = 200 where user_id = '{user}'")
    reading(db, user, 110)
    equal(alerts(db, user), [110], "by the limit that is committed")
    slow.sql("rollback")
    reading(db, user, 50)
    slow.sql(f"begin; select from tidings.health_state where user_id = '{user}' for update")
    got = db.act(user, "health_update", {"metric": "pulse", "value": 120}, connection=me)
    equal((got.outcome, got.data["seq"]), ("ok", None), "answer")
    db.sql(f"select tidings.publish('health/{user}', 'x', '{{}}'), tidings.publish('elsewhere', 'x', '{{}}')")
    relay(db)
    equal((types(db, f"health/{user}").count("x"), types(db, "elsewhere")), (0, ["x"]), "what comes after it in its topic waits, other topics do not")
    slow.sql("rollback")
    relay(db)
    equal(types(db, f"health/{user}")[-3:], ["health_update", "health_alert", "x"], "in order")
    equal(alerts(db, user), [110, 120], "alerts")
    equal(db.sql(f"select count(*) from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name = 'health/{user}' and exclude = '{me}'"),
          [["1"]], "its sender does not get the reading")


@test("readings that a device had kept for hours raise one alarm, and the next live one raises its own")
def kept(db):
    user = db.user()
    threshold(db, user, high=100)
    for value, when in ((150, "3 hours"), (160, "2 hours 50 minutes"), (170, "2 hours")):
        reading(db, user, value, timestamp=ago(db, when))
    equal(alerts(db, user), [150], "alerts")
    reading(db, user, 180)
    equal(alerts(db, user), [150, 180], "alerts, live")
    reading(db, user, 90, timestamp=ago(db, "110 minutes"))
    reading(db, user, 190, timestamp=ago(db, "100 minutes"))
    reading(db, user, 185)
    equal(alerts(db, user), [150, 180], "late ones while the alarm is on: neither doubled nor ended")


@test("a device whose clock is 20 minutes slow beside one that is right raises alarms")
def slow_clock(db):
    user = db.user()
    threshold(db, user, high=100)
    for value in (90, 150, 95):
        reading(db, user, 80)
        reading(db, user, value, timestamp=ago(db, "20 minutes"))
    equal(alerts(db, user), [150], "alerts")
    reading(db, user, 160)
    equal(alerts(db, user), [150, 160], "alerts")


@test("a server whose clock was ahead, and comes back: the next reading is judged; a relay that was away for days judges readings as when they came")
def server_clock(db):
    user = db.user()
    threshold(db, user, high=100)
    ahead = lambda: db.sql(f"update tidings.health_state set measured_at = now() + interval '1 year', late_measured_at = now() + interval '1 year' "
                           f"where user_id = '{user}'")
    reading(db, user, 150)
    ahead()
    for value in (90, 155):
        reading(db, user, value)
    equal(alerts(db, user), [150, 155], "live")
    ahead()
    reading(db, user, 90)
    insert(db, user, 160, "5 seconds")
    relay(db)
    equal(alerts(db, user), [150, 155, 160], "inserted by SQL")
    user = db.user()
    threshold(db, user, high=100)
    insert(db, user, 170)
    db.sql(f"update tidings.health_reading set measured_at = measured_at - interval '3 days', received_at = received_at - interval '3 days' where user_id = '{user}'")
    relay(db)
    equal(alerts(db, user), [170], "after days")


@test("a threshold that is removed and set again, the same, is judged afresh; a limit that is no number is refused")
def afresh(db):
    user = db.user()
    threshold(db, user, high=100)
    reading(db, user, 150)
    threshold(db, user)
    threshold(db, user, high=100)
    reading(db, user, 160)
    equal(alerts(db, user), [150, 160], "alerts")
    for limits in ("'NaN', null", "1, 'NaN'", "1, 'infinity'", "'-infinity', 1"):
        assert "violates check" in db.psql(f"insert into tidings.health_threshold values ('{user}', 'x', {limits})").stderr, limits
    assert "violates check" in db.psql(f"insert into tidings.health_reading (user_id, metric, value) values ('{user}', 'pulse', 'NaN')").stderr, "NaN"


@test("set_threshold takes a bound away on null alone: what is not named stays, and what is misspelt is refused")
def misspelt(db):
    # {"metric":"pulse","hihg":120} deleted the limit.
    user = db.user()
    set_ = lambda **data: db.act(user, "set_threshold", {"metric": "pulse", **data})
    limits = lambda: [(t["low"], t["high"], t["severity"]) for t in db.act(user, "get_thresholds").data["thresholds"]]
    equal((set_().outcome, set_(severity="low").outcome, limits()), ("invalid", "invalid", []), "no bound and no threshold")
    set_(high=120, severity="critical")
    for typo in ({"hihg": 130}, {"max": 130}, {"high": 130, "Low": 1}):
        got = set_(**typo)
        equal((got.outcome, got.detail.endswith("is not known here")), ("invalid", True), str(typo))
    equal(limits(), [(None, 120, "critical")], "after typos")
    equal((set_(low=50).data, set_(severity="high").data["high"]), ({"metric": "pulse", "low": 50, "high": 120, "severity": "critical"}, 120), "what is not named")
    equal((set_(low=130).outcome, limits()), ("invalid", [(50, 120, "high")]), "a bound beyond the one that stays")
    reading(db, user, 150)
    equal(set_(low=None).data["high"], 120, "one taken away")
    reading(db, user, 155)
    set_(low=None, high=None)
    equal(limits(), [], "both taken away")
    for type, data in (("health_update", {"metric": "pulse", "value": 1, "valeu": 2}), ("join", {"conversation_id": str(uuid.uuid4()), "user": "x"}),
                       ("set_preferences", {"quiet": None}), ("mark_read", {"id": str(uuid.uuid4()), "ids": []})):
        equal(db.act(user, type, data).detail, f"{list(data)[-1]} is not known here", type)


@test("a reading that comes late is history: it raises no alert and ends none")
def late(db):
    user = db.user()
    threshold(db, user, high=100)
    reading(db, user, 90)
    reading(db, user, 200, timestamp="2024-01-01T00:00:00Z")
    reading(db, user, 110)
    reading(db, user, 90, timestamp="2024-01-01T00:00:00Z")
    reading(db, user, 120)
    equal(alerts(db, user), [110], "alerts")


@test("a clock that is ahead does not turn the readings after it into history")
def clock_ahead(db):
    user = db.user()
    threshold(db, user, high=100)
    db.sql(f"insert into tidings.health_reading (user_id, metric, value, measured_at) values ('{user}', 'pulse', 90, now() + interval '10 years')")
    reading(db, user, 110)
    equal(alerts(db, user), [110], "alerts")


@test("another threshold is judged afresh; the same one set again is not")
def other_threshold(db):
    user = db.user()
    threshold(db, user, high=100)
    reading(db, user, 110)
    threshold(db, user, high=100, severity="low")
    reading(db, user, 120)
    equal(alerts(db, user), [110], "alerts")
    threshold(db, user, high=150)
    reading(db, user, 160)
    equal(alerts(db, user), [110, 160], "alerts")
    threshold(db, user)
    reading(db, user, 1000)
    equal((alerts(db, user), db.act(user, "get_thresholds").data), ([110, 160], {"thresholds": []}), "without one")


@test("set_threshold: the owner, a clinician with a grant and an admin; the alert's priority is its severity")
def thresholds(db):
    user, doctor, other = db.user(), db.user(), db.user()
    db.sql(f"insert into tidings.health_grant values ('{user}', '{doctor}')")
    data = {"metric": "pulse", "low": 1, "high": 9, "severity": "critical", "user_id": user}
    asks = ((user, "user"), (doctor, "clinician"), (doctor, "user"), (other, "clinician"), ("root", "admin"), ("svc", "service"))
    outcomes = ["ok", "ok", "forbidden", "forbidden", "ok", "forbidden"]
    equal([db.act(w, "set_threshold", data, role=r).outcome for w, r in asks], outcomes, "set_threshold")
    equal([db.act(w, "get_thresholds", {"user_id": user}, role=r).outcome for w, r in asks], outcomes, "get_thresholds")
    equal([db.act(w, "get_health", {"user_id": user}, role=r).outcome for w, r in asks], outcomes, "get_health")
    equal(db.act(user, "get_thresholds").data["thresholds"], [{"metric": "pulse", "low": 1, "high": 9, "severity": "critical"}], "thresholds")
    reading(db, user, 10)
    equal(db.bodies(f"notifications/{user}")[0]["notification"]["priority"], "critical", "priority")
    for more in ({"low": 9}, {"low": 10}, {"severity": "dire"}):
        equal(db.act(user, "set_threshold", {**data, **more}).outcome, "invalid", str(more))


@test("get_health pages on by the last timestamp without skipping what has the same one")
def history(db):
    user = db.user()
    for n in range(10):
        reading(db, user, n, metric="ab"[n % 2], timestamp=f"2024-01-01T00:00:0{n // 4}Z")
    got, since = [], "2023-01-01T00:00:00Z"
    while True:
        page = db.act(user, "get_health", {"since": since, "limit": 1}).data
        got += [r["value"] for r in page["readings"]]
        if not page["more"]:
            break
        since = page["readings"][-1]["timestamp"]
    equal(got, list(range(10)), "all, oldest first")
    newest = db.act(user, "get_health", {"limit": 2}).data
    equal(([r["value"] for r in newest["readings"]], newest["more"]), ([8, 9], True), "the newest")
    of_one = db.act(user, "get_health", {"metric": "a", "since": "2024-01-01T00:00:01Z"}).data
    equal(([r["value"] for r in of_one["readings"]], of_one["more"]), ([8], False), "of one metric")
    equal(db.act(user, "get_health", {"metric": "b", "limit": 1}).data["more"], True, "more of one metric")
    equal(db.act(user, "get_health", {"metric": "none"}).data, {"readings": [], "more": False}, "none")


@test("set_threshold leaves what it does not name as it is, and takes a bound away on an explicit null alone")
def merges(db):
    user = db.user()

    def ask(**data):
        got = db.act(user, "set_threshold", {"metric": "pulse", **data})
        equal(got.outcome, "ok", f"outcome of {data}")
        rows = db.act(user, "get_thresholds", {}).data["thresholds"]
        return [(r["low"], r["high"], r["severity"]) for r in rows]

    equal(db.act(user, "set_threshold", {"metric": "pulse"}).outcome, "invalid", "nothing, where there is none")
    equal(db.act(user, "set_threshold", {"metric": "pulse", "severity": "low"}).outcome, "invalid", "a severity, where there is none")
    equal(ask(high=120, severity="critical"), [(None, 120, "critical")], "high")
    equal(ask(low=40), [(40, 120, "critical")], "low too")
    equal(ask(severity="normal"), [(40, 120, "normal")], "severity")
    equal(ask(), [(40, 120, "normal")], "nothing")
    equal(ask(high=None), [(40, None, "normal")], "no high")
    equal(db.act(user, "set_threshold", {"metric": "pulse", "high": 40}).outcome, "invalid", "a high that the low that is kept reaches")
    equal(ask(low=None), [], "neither")


@test("diagnosis ids go up to 2^63 - 1, and beyond that a topic is no diagnosis'")
def ids(db):
    for topic, wanted in (("diagnosis/1", "1"), ("diagnosis/9223372036854775807", str(2**63 - 1)), ("diagnosis/1000000000000000000", str(10**18)),
                          ("diagnosis/9223372036854775808", ""), ("diagnosis/10000000000000000000", ""), ("diagnosis/0", ""), ("diagnosis/01", ""),
                          ("diagnosis/", ""), ("diagnosis/1/", ""), ("diagnosis/1\n", ""), ("diagnosis/\uff11", ""), ("Diagnosis/1", "")):
        equal(db.one(f"select coalesce(tidings.diagnosis_of('{topic}')::text, '')"), wanted, topic)
