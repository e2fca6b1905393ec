"""Predictions: by HTTP, on a live connection, and what those who watch are told (section 8)."""
import importlib

from harness import equal, test, wait_until
from live import combined, person

analytics = importlib.import_module("59_analytics")
answered, ask, counted, of_type, patient, treatment = (analytics.answered, analytics.ask, analytics.counted, analytics.of_type, analytics.patient, analytics.treatment)
NOT_THERE = 10 ** 15


def predictions(d):
    return f"/api/diagnosis/{d}/predictions"


def better(s):
    """(diagnosis, user, recommendation, herb): others fare better with that herb than with what is recommended for a month."""
    condition, good, bad = treatment(), treatment(), treatment()
    found = answered(s, good, 0.9, 8) + answered(s, bad, 0.1, 8)
    d, user, r = patient(s, bad)
    ids = ",".join(str(i) for i in (r, *(f[2] for f in found)))
    s.sql(f"update tidings.recommendation set condition = '{condition}', created_at = now() - interval '30 days', decided_at = now() - interval '30 days' where id in ({ids}); "
          f"update tidings.feedback set folded = false where recommendation_id in ({ids})")
    counted(s)
    s.sql(f"update tidings.effect_due set due_at = now() where condition = '{condition}'")
    wait_until(lambda: s.sql(f"select count(*) from tidings.effect_shown where condition = '{condition}'") == [["2"]], "scores that are shown")
    return d, user, r, good


@test("a service has it predicted: what others fare better with is proposed to everyone who watches, and is in force once its patient says so; what was predicted is read with it")
def _(s):
    d, user, r, herb = better(s)
    with s.connect(d, user) as client:
        done = ask(s, "POST", predictions(d), {}, role="service")
        (proposed,) = done["proposed"]
        equal((done["status"], done["recommendations_updated"], done["predicted"]), ("predictions applied", 0, 2), "reply")
        told = of_type(client, "recommendation_proposed")["data"]
        equal((told["recommendation_id"], told["replaces"], told["herb"], told["source"]), (proposed, r, herb, "rules-1"), "told")
        assert 0.9 <= told["probability"] <= 0.99, told
        equal(ask(s, "POST", predictions(d), {}, role="service")["proposed"], [], "once more")
        equal(ask(s, "PUT", f"/api/recommendations/{proposed}/status", {"status": "active"}, user)["status"], "decided", "decided")
        equal(of_type(client, "recommendation_update")["data"]["new_recommendation"], {"herb": herb}, "in force")
    new, old = ask(s, "GET", f"/api/diagnosis/{d}/recommendations", user=user)["recommendations"]
    equal((new["status"], old["status"], old["prediction"], new["prediction"]["model"]), ("active", "replaced", None, "rules-1"), "the list")
    assert new["prediction"]["lower"] <= new["prediction"]["success"] <= new["prediction"]["upper"], new
    report = {e["recommendation_id"]: e for e in ask(s, "GET", f"/api/diagnosis/{d}/analytics", user=user)["recommendations"]}
    equal((report[proposed]["prediction"], "prediction" in report[r]), (new["prediction"], False), "the analytics")


@test("what a machine may do of its own is the operator's to say: apply has it in force at once, off is a conflict; by HTTP and on a live connection")
def _(s):
    d, user, r, herb = better(s)
    with s.web(TIDINGS_PREDICTIONS="off") as off, s.web(TIDINGS_PREDICTIONS="apply") as apply:
        refused = ask(s, "POST", predictions(d), {}, user, 409, api=off.api)
        assert "switched off" in refused["detail"], refused
        with s.connect(d, user) as client:
            done = ask(s, "POST", predictions(d), {}, user, headers={"Idempotency-Key": "k"}, api=apply.api)
            equal((done["recommendations_updated"], done["proposed"]), (1, []), "reply")
            told = of_type(client, "recommendation_update")["data"]
            assert told["reason"].startswith("AI Model Prediction (Confidence: 0.9"), told
            equal(told["changed_fields"], ["herb"], "told")
        equal(ask(s, "POST", predictions(d), {}, user, headers={"Idempotency-Key": "k"}, api=apply.api), done, "the same once more")
    with s.node(TIDINGS_PREDICTIONS="off") as node, combined(s, node, user) as live:
        equal(live.refused("predict", {"diagnosis_id": d}), "conflict", "off")
    with combined(s, s.node1, user) as live:
        equal(live.ask("predict", {"diagnosis_id": d}, "predictions")["recommendations_updated"], 0, "nothing is better than that")


@test("to whom a herb is contraindicated it is never proposed, and instead of what is probable they are told why")
def _(s):
    d, user, r, herb = better(s)
    s.sql(f"insert into tidings.contraindication values ('{herb}', 'anticoagulant'); insert into tidings.patient_fact values ('{user}', 'anticoagulant')")
    equal(ask(s, "POST", predictions(d), {}, role="service")["proposed"], [], "proposed")
    taken = ask(s, "POST", f"/api/diagnosis/{d}/recommendations", {"herb": herb, "condition": "c", "reason": "r"}, user)["recommendation_id"]
    listed = {x["recommendation_id"]: x for x in ask(s, "GET", f"/api/diagnosis/{d}/recommendations", user=user)["recommendations"]}
    equal(listed[taken]["prediction"], {"model": "rules-1", "reason": "contraindicated: anticoagulant"}, "a doctor's")


@test("predictions of what is somebody else's, or not there, or with a member that there is not, are refused; how good they were is for admins")
def _(s):
    d, user, r = patient(s, treatment())
    ask(s, "POST", predictions(d), {}, person(s), 403)
    ask(s, "POST", predictions(NOT_THERE), {}, user, 403)
    ask(s, "POST", predictions(NOT_THERE), {}, want=404, role="service")
    ask(s, "POST", predictions("x"), {}, user, 404)
    ask(s, "POST", predictions(d), {"limit": 1}, user, 422)
    ask(s, "POST", predictions(d), [], user, 422)
    ask(s, "GET", predictions(d), user=user, want=405)
    equal(ask(s, "POST", predictions(d), {}, user)["proposed"], [], "of nobody")
    for role in (None, "service", "clinician"):
        ask(s, "GET", "/api/analytics/models", role=role, want=403)
    ask(s, "GET", "/api/analytics/models?model=x", role="admin", want=422)
    s.sql("insert into tidings.prediction (recommendation_id, patient, model, success, outcome, outcome_at) "
          f"select {NOT_THERE} + n, 'p' || n, 'mine', 0.5, n % 2 = 0, now() from generate_series(1, 6) n")
    (mine,) = [m for m in ask(s, "GET", "/api/analytics/models", role="admin")["models"] if m["model"] == "mine"]
    equal(mine, {"model": "mine", "n": 6, "brier": 0.25, "brier_base_rate": 0.25, "bins": [{"predicted": 0.5, "observed": 0.5, "n": 6}]}, "models")
    with combined(s, s.node1, person(s), role="admin") as live:
        assert mine in live.ask("get_models", {}, "models")["models"]
