"""What feedback amounts to: by HTTP, on a live connection, and what those who watch are told (section 8)."""
import importlib
import uuid

from harness import Client, equal, test, wait_until
from live import combined, person

feedback = importlib.import_module("58_feedback")
ask, recommend, say = feedback.ask, feedback.recommend, feedback.say
NOT_THERE = 10 ** 15


def treatment():
    """A herb that nobody has heard of."""
    return f"herb-{uuid.uuid4()}"


def patient(s, herb):
    """(diagnosis, user, recommendation)"""
    user = person(s)
    d = s.diagnosis(user)
    return d, user, recommend(s, d, user, herb=herb)["recommendation_id"]


def answered(s, herb, effectiveness, count):
    """As many patients who have said how it was."""
    found = [patient(s, herb) for _ in range(count)]
    for d, user, r in found:
        say(s, d, user, recommendation_id=r, effectiveness=effectiveness)
    return found


def counted(s):
    wait_until(lambda: s.sql("select count(*) from tidings.feedback where not folded") == [["0"]], "feedback that is counted")


def of_type(client, type):
    while (message := client.next())["type"] != type:
        pass
    return message


@test("feedback of five people is a score for everyone with that treatment: they are told, read the same, and go on from the cursor without hearing it again")
def _(s):
    herb = treatment()
    d, user, r = patient(s, herb)
    with s.connect(d, user) as client:
        answered(s, herb, 0.9, 5)
        told = of_type(client, "effectiveness_update")
        equal((told["topic"], told["data"]["recommendation_id"], told["data"]["herb"]), (f"diagnosis/{d}", r, herb), "message")
        data = told["data"]
        assert data["sample_size"] >= 5 and data["lower"] < data["new_effectiveness"] < data["upper"], data
        counted(s)
        page = ask(s, "GET", f"/api/recommendations/{r}/effectiveness", user=user)
        equal((page["sample_size"], page["success_rate"]["successes"], "own" in page), (5, 5, False), "read")
    s.sql("update tidings.effect_due set due_at = now(); update tidings.effect_shown set shown_at = shown_at - interval '1 minute'")
    with s.connect(d, user, cursor=page["cursor"]) as client:
        say(s, d, user, recommendation_id=r, effectiveness=0.1)
        told = of_type(client, "effectiveness_update")
        wait_until(lambda: ask(s, "GET", f"/api/recommendations/{r}/effectiveness", user=user)["sample_size"] == 6, "one's own that is counted")
    report = ask(s, "GET", f"/api/diagnosis/{d}/analytics?days=7", user=user)
    equal((report["feedback"]["total"], report["feedback"]["ratings"]["5"], len(report["timeline"]), report["days"]), (1, 1, 1, 7), "of the diagnosis")
    equal([(e["recommendation_id"], e["sample_size"], e["own"]["effectiveness"]) for e in report["recommendations"]], [(r, 6, 0.1)], "of its recommendation")


@test("below five people a patient reads and is told nothing of others")
def _(s):
    herb = treatment()
    d, user, r = patient(s, herb)
    answered(s, herb, 0.9, 3)
    say(s, d, user, recommendation_id=r, effectiveness=0.2)
    counted(s)
    page = ask(s, "GET", f"/api/recommendations/{r}/effectiveness", user=user)
    equal((page["sample_size"], [x for x in page["levels"] if x["level"] == "treatment"], "success_rate" in page), (1, [], False), "read")
    wait_until(lambda: any(m["type"] == "effectiveness_update" for m in s.api.get(f"/ws/history/{d}", s.token(user)).want(200)["messages"]), "what is told")
    equal({m["data"]["sample_size"] for m in s.api.get(f"/ws/history/{d}", s.token(user)).want(200)["messages"] if m["type"] == "effectiveness_update"}, {1}, "told")


@test("analytics of what is somebody else's, or not there, with days or members that there are not: each has its answer, and a service reads trends alone")
def _(s):
    d, user, r = patient(s, treatment())
    analytics, effectiveness, trending = f"/api/diagnosis/{d}/analytics", f"/api/recommendations/{r}/effectiveness", "/api/analytics/trending"
    for path in (analytics, effectiveness):
        equal(ask(s, "GET", path, user=person(s), want=403)["status"], 403, path)
        ask(s, "GET", path, role="service", want=403)
        ask(s, "GET", path, role="admin")
        for query in ("days=0", "days=366", "days=x", "day=7", "days=7&days=8"):
            ask(s, "GET", f"{path}?{query}", user=user, want=422)
    for path in (f"/api/diagnosis/{NOT_THERE}/analytics", f"/api/recommendations/{NOT_THERE}/effectiveness"):
        ask(s, "GET", path, user=user, want=403)
        ask(s, "GET", path, role="admin", want=404)
    for query in ("by=x", "days=31", "sort=x", "limit=0", "limit=101", "b=herb", "condition="):
        ask(s, "GET", f"{trending}?{query}", user=user, want=422)
    for role in (None, "service", "clinician", "admin"):
        ask(s, "GET", f"{trending}?by=treatment&sort=effectiveness&days=7&limit=1", role=role)
    s.api.get(trending).want(401)
    s.api.request("POST", trending, {}, s.token(user)).want(405)


@test("analytics/trending is followed by any token, told of another order, and read with the place to go on from")
def _(s):
    herb = treatment()
    user = person(s)
    page = ask(s, "GET", "/api/analytics/trending", user=user)
    s.sql("update tidings.analyst_state set trending_at = '-infinity'")
    url = f"ws://127.0.0.1:{s.node1.port}/ws?topics=analytics/trending&token={s.token(user)}&cursor={page['cursor']}"
    with Client(url, hello=False) as client:
        answered(s, herb, 0.9, 6)
        while True:
            told = of_type(client, "trending_update")
            if herb in [t["herb"] for t in told["data"]["trending"]]:
                break
            s.sql("update tidings.analyst_state set trending_at = '-infinity', looked_at = '-infinity'")
    equal(told["topic"], "analytics/trending", "topic")
    assert herb in [t["herb"] for t in ask(s, "GET", "/api/analytics/trending?limit=100", user=user)["trending"]]


@test("what feedback amounts to is asked for on a live connection too")
def _(s):
    d, user, r = patient(s, treatment())
    with combined(s, s.node1, user) as live:
        equal(live.ask("get_analytics", {"diagnosis_id": d}, "analytics")["diagnosis_id"], d, "analytics")
        equal(live.ask("get_effectiveness", {"recommendation_id": r}, "effectiveness")["effectiveness"], None, "effectiveness")
        equal(live.ask("get_trending", {"by": "treatment"}, "trending")["by"], "treatment", "trending")
        equal(live.refused("get_trending", {"bye": "herb"}), "invalid_message", "a typo")


@test("feedback that is given while no sidecar runs is counted when one does, and what a crash of the server leaves is counted once",
      allow="database|Database|statement")
def _(s):
    herb = treatment()
    s.node1.stop()
    try:
        given = answered(s, herb, 0.9, 6)
        equal(s.sql("select count(*) > 0 from tidings.feedback where not folded"), [["t"]], "waits")
    finally:
        s.replace_node1()
    s.wait_ready()
    counted(s)
    d, user, r = given[0]
    say(s, d, user, recommendation_id=r, effectiveness=0.1)
    s.stop_postgres("immediate")
    s.start_postgres()
    s.wait_ready()
    wait_until(lambda: s.sql("select count(*) from tidings.feedback where not folded") == [["0"]], "feedback that is counted", 60)
    equal(s.sql(f"select people, trim_scale(sum) from tidings.effect where herb = '{herb}' and condition = ''"), [["6", "4.6"]], "votes")
