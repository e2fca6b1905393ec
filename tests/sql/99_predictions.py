"""How probable a success is held, what that has proposed, and how it is judged: against numbers, and a second hand."""
import importlib
import json
import math
import random

from harness import equal, test

analytics = importlib.import_module("98_analytics")
statistics = importlib.import_module("97_statistics")
analyse, fresh, patient, people, say, told = analytics.analyse, analytics.fresh, analytics.patient, analytics.people, analytics.say, analytics.told
near, row = statistics.near, statistics.row


def predict(db, herb, condition, who):
    return db.sql(f"select success, lower, upper, model, reason from tidings.predict_success('{herb}', '{condition}', '{who}')")[0]


def ask(db, diagnosis, predictions="propose"):
    return db.act("svc", "predict", {"diagnosis_id": diagnosis}, role="service", predictions=predictions)


def start(db):
    fresh(db)
    db.sql("delete from tidings.prediction; delete from tidings.contraindication; delete from tidings.patient_fact; "
           "update tidings.analyst_state set round_at = '-infinity'")


def better(db):
    """150 people fare better with Turmeric than 40 with Ginger, which (user, diagnosis, recommendation) has for a month."""
    start(db)
    people(db, "Turmeric", "dyspepsia", [0.9] * 150)
    people(db, "Ginger", "dyspepsia", [0.4, 0.8] * 20)
    user, diagnosis, (recommendation,) = patient(db, ("Ginger", "dyspepsia"))
    db.sql(f"update tidings.recommendation set created_at = now() - interval '30 days' where id = {recommendation}")
    analyse(db)
    return user, diagnosis, recommendation


# ---- the second hand


def logit(p):
    return math.log(p / (1 - p))


def beta_part(x, a, b, steps=4000):
    """The part of Beta(a, b) below x, by Simpson's rule over the log-odds, where it has no poles."""
    constant = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)

    def density(t):
        return math.exp(constant - a * math.log1p(math.exp(-t)) - b * (t + math.log1p(math.exp(-t))))

    top = logit(x)
    low = min(-60 / a, top - 1)
    step = (top - low) / steps
    return step / 3 * sum((1 if i in (0, steps) else 4 if i % 2 else 2) * density(low + i * step) for i in range(steps + 1))


def others(votes, herb, condition, who, weight=6):
    """(people, probability); votes: {(patient, herb, condition): vote}"""
    mean = lambda values: round(sum(values) / len(values), 6)
    herbs, everything = {}, {}
    for (p, h, _), v in votes.items():
        herbs.setdefault((p, h), []).append(v)
    herbs = {k: mean(v) for k, v in herbs.items()}
    for (p, _), v in herbs.items():
        everything.setdefault(p, []).append(v)
    levels = [[mean(v) >= 0.75 for p, v in everything.items() if p != who], [v >= 0.75 for (p, h), v in herbs.items() if h == herb and p != who],
              [v >= 0.75 for (p, h, c), v in votes.items() if (h, c) == (herb, condition) and p != who]]
    if len(levels[0]) < 5:
        return 0, None
    drawn = 0.5
    for parent, child in zip(levels, levels[1:]):
        n, x = len(parent) - len(child), sum(parent) - min(max(sum(child), sum(parent) - len(parent) + len(child)), sum(parent))
        drawn = (weight * drawn + x) / (weight + n) if n >= 5 else drawn
    n = len(levels[2]) if len(levels[2]) >= 5 else 0
    return n, (weight * drawn + (sum(levels[2]) if n else 0)) / (weight + n)


def probability(votes, herb, condition, who):
    n, success = others(votes, herb, condition, who)
    tried = [(v >= 0.75, others(votes, h, c, who)[1]) for (p, h, c), v in votes.items() if p == who]
    theta = 0
    if tried:
        g, mean = sum(s for s, _ in tried), sum(m for _, m in tried) / len(tried)
        theta = min(max(math.log((g + 6 * mean) / (len(tried) - g + 6 * (1 - mean))) - logit(mean), -1), 1)
    return n, 1 / (1 + math.exp(-logit(success) - theta))


# ---- tests


@test("how a patient fares, and what is probable by it with its bounds, are the numbers that were computed elsewhere")
def numbers(db):
    near(row(db, "select tidings.leaning(2, 0, 0.7), tidings.leaning(2, 2, 0.7), tidings.leaning(5, 0, 0.7), tidings.leaning(0, 0, null)"),
         (-0.75, 0.39, -1, 0), "leaning", 5e-3)
    near(row(db, "select p, tidings.beta_quantile(0.1, 36 * p, 36 * (1 - p)), tidings.beta_quantile(0.9, 36 * p, 36 * (1 - p)) "
                 "from tidings.leant(0.8, tidings.leaning(2, 2, 0.7)) p"), (0.86, 0.78, 0.92), "two of two", 6e-3)


@test("the bounds are the Beta distribution's, by an independent integration, and hold what is probable near 0 and 1 too")
def bounds(db):
    values = [(p, n) for p in (0.05, 0.2, 0.5, 0.81, 0.95) for n in (6, 11, 36)]
    got = db.sql("select tidings.beta_quantile(0.1, n * p, n * (1 - p)), tidings.beta_quantile(0.9, n * p, n * (1 - p)) from (values "
                 + ",".join(f"({p}::float8, {n}::float8)" for p, n in values) + ") v(p, n)")
    for (p, n), (low, high) in zip(values, got):
        near((beta_part(float(low), n * p, n * (1 - p)), beta_part(float(high), n * p, n * (1 - p))), (0.1, 0.9), f"{p} of {n}", 1e-4)
    got = db.sql("select tidings.beta_quantile(q, n * p, n * (1 - p)) from unnest('{1e-5,0.001,0.999,0.999999}'::float8[]) p, unnest('{6,36}'::float8[]) n, "
                 "unnest('{0.1,0.9}'::float8[]) q")
    assert len(got) == 16 and all(0 < float(r[0]) < 1 for r in got), got


@test("what is predicted of random patients is as by an independent implementation, and nothing where all others are fewer than five")
def independent(db):
    start(db)
    rng = random.Random(20)
    who, _, _ = patient(db, ("Ginger", "dyspepsia"))
    equal(predict(db, "Ginger", "dyspepsia", who), ["", "", "", "rules-1", ""], "of nobody")
    everybody = []
    for _ in range(20):
        treatments = rng.sample([(h, c) for h in ("Turmeric", "Ginger", "Mint") for c in ("dyspepsia", "nausea")], rng.randrange(1, 4))
        owner, diagnosis, recommendations = patient(db, *treatments)
        everybody.append(owner)
        for r in recommendations:
            say(db, owner, diagnosis, r, rng.choice([0.1, 0.5, 0.75, 0.8, 1]))
    analyse(db)
    votes = {tuple(r[:3]): float(r[3]) for r in db.sql("select patient, herb, condition, vote from tidings.effect_vote")}
    assert int(db.one("select cells from tidings.effect_prior")) < 10, "the weight of the prior is 6"
    for owner in [who, *everybody[:8]]:
        for herb, condition in (("Turmeric", "dyspepsia"), ("Mint", "nausea"), ("Sage", "nausea")):
            n, p = probability(votes, herb, condition, owner)
            got = predict(db, herb, condition, owner)
            near([float(got[0])], [p], f"{owner} with {herb}", 1e-9)
            nu = min(n, 30) + 6
            near([beta_part(float(v), nu * p, nu * (1 - p)) for v in got[1:3]], [0.1, 0.9], f"bounds of {owner} with {herb}", 1e-3)


@test("what others fare better with is proposed once, with its probability, and nothing is changed by that; apply has it in force at once; off is refused")
def modes(db):
    user, diagnosis, recommendation = better(db)
    statuses = lambda: db.sql(f"select herb, status, source from tidings.recommendation where diagnosis_id = {diagnosis} order by id")
    equal((ask(db, diagnosis, "off").outcome, statuses()), ("settled", [["Ginger", "active", "clinician"]]), "off")
    done = ask(db, diagnosis)
    (proposed,) = done.data["proposed"]
    equal((done.data["recommendations_updated"], done.data["predicted"], statuses()),
          (0, 2, [["Ginger", "active", "clinician"], ["Turmeric", "proposed", "rules-1"]]), "proposed")
    message = json.loads(db.one("select body from tidings.message where strpos(body, 'recommendation_proposed') > 0 order by topic_id desc, seq desc limit 1"))["data"]
    equal((message["recommendation_id"], message["replaces"], message["herb"], message["probability"]), (proposed, recommendation, "Turmeric", 0.99), "told")
    equal(ask(db, diagnosis).data["proposed"], [], "a second time")
    equal(db.act(user, "decide_recommendation", {"recommendation_id": proposed, "status": "active"}).outcome, "ok", "decided")
    equal(statuses(), [["Ginger", "replaced", "clinician"], ["Turmeric", "active", "rules-1"]], "decided")
    user, diagnosis, recommendation = better(db)
    equal(ask(db, diagnosis, "apply").data["recommendations_updated"], 1, "applied")
    equal(statuses(), [["Ginger", "replaced", "clinician"], ["Turmeric", "active", "rules-1"]], "applied")
    message = json.loads(db.one("select body from tidings.message where strpos(body, 'AI Model Prediction (Confidence: 0.99)') > 0 order by topic_id desc, seq desc limit 1"))
    equal((message["type"], message["data"]["old_recommendation"], message["data"]["new_recommendation"]),
          ("recommendation_update", {"herb": "Ginger"}, {"herb": "Turmeric"}), "told")


@test("what is contraindicated has no prediction and is never proposed, whatever an operator's own functions say; nor is what this patient fared badly with, "
      "or what is better by chance, or within two weeks")
def never(db):
    user, diagnosis, recommendation = better(db)
    generated = lambda: [r[0] for r in db.sql(f"select herb from tidings.generate_recommendations({diagnosis}, 10)")]
    equal(generated(), ["Turmeric"], "without it")
    db.sql(f"insert into tidings.contraindication values ('turmeric', 'Anticoagulant'); insert into tidings.patient_fact values ('{user}', 'anticoagulant')")
    equal(predict(db, "Turmeric", "dyspepsia", user), ["", "", "", "rules-1", "contraindicated: Anticoagulant"], "a prediction")
    equal((generated(), ask(db, diagnosis).data["proposed"]), ([], []), "contraindicated")
    before = "\n".join("\t".join(r) for r in db.sql("select pg_get_functiondef('tidings.update_recommendations'::regproc)"))
    body = "select id, 'Turmeric', condition, '{}'::jsonb, 1::float8, 'mine', 'mine' from tidings.recommendation where diagnosis_id = diagnosis"
    own = before.split("AS $function$")[0] + f"AS $own${body}$own$"
    db.sql(own)
    try:
        equal(ask(db, diagnosis, "apply").data["recommendations_updated"], 0, "by an operator's own")
        db.sql("delete from tidings.patient_fact")
        (mine,) = ask(db, diagnosis).data["proposed"]
        equal(db.sql(f"select herb, source, reason from tidings.recommendation where id = {mine}"), [["Turmeric", "mine", "mine"]], "an operator's own")
    finally:
        db.sql(before)
    db.sql(f"delete from tidings.recommendation where id = {mine}")
    tried = int(db.one(f"insert into tidings.recommendation (diagnosis_id, herb, condition, status, created_at) values ({diagnosis}, 'Turmeric', 'dyspepsia', "
                       "'withdrawn', now() - interval '60 days') returning id"))
    say(db, user, diagnosis, tried, 0.1)
    analyse(db)
    equal((generated(), ask(db, diagnosis).data["proposed"]), ([], []), "tried, and fared badly")
    user, diagnosis, recommendation = better(db)
    db.sql(f"update tidings.recommendation set created_at = now() - interval '13 days' where id = {recommendation}")
    equal(ask(db, diagnosis).data["proposed"], [], "within two weeks")
    start(db)
    people(db, "Turmeric", "dyspepsia", [0.9] * 5 + [0.75] * 5)
    people(db, "Ginger", "dyspepsia", [0.5] * 5 + [0.75] * 5)
    user, diagnosis, (recommendation,) = patient(db, ("Ginger", "dyspepsia"))
    db.sql(f"update tidings.recommendation set created_at = now() - interval '30 days' where id = {recommendation}")
    analyse(db)
    equal((generated(), ask(db, diagnosis).data["proposed"]), (["Turmeric"], []), "by chance")


@test("a prediction is judged by what its patient says last, and by nothing once that is withdrawn; models have the Brier score and the bins of an independent count, "
      "for admins alone and from five people on")
def judged(db):
    user, diagnosis, recommendation = better(db)
    ask(db, diagnosis)
    outcome = lambda: db.sql(f"select outcome, outcome_at is not null from tidings.prediction where recommendation_id = {recommendation}")
    equal(outcome(), [["", "f"]], "before")
    id = db.act(user, "submit_feedback", {"diagnosis_id": diagnosis, "recommendation_id": recommendation, "rating": 5}).data["feedback_id"]
    kept = db.one(f"select success from tidings.prediction where recommendation_id = {recommendation}")
    equal((outcome(), ask(db, diagnosis).data["predicted"]), ([["t", "t"]], 1), "said")
    db.act(user, "rate_feedback", {"feedback_id": id, "rating": 2})
    equal((outcome(), db.one(f"select success from tidings.prediction where recommendation_id = {recommendation}")), ([["f", "t"]], kept), "changed")
    db.act(user, "withdraw_feedback", {"feedback_id": id})
    equal(outcome(), [["", "f"]], "withdrawn")
    models = lambda: db.act("root", "get_models", role="admin").data["models"]
    equal(([db.act(u, "get_models", role=r).outcome for u, r in (("u", "user"), ("svc", "service"), ("c", "clinician"))], models()), (["forbidden"] * 3, []), "before")
    rng = random.Random(3)
    known = [(round(rng.random(), 3), rng.random() < 0.6) for _ in range(400)]
    db.sql("insert into tidings.prediction (recommendation_id, patient, model, success, outcome, outcome_at) values "
           + ",".join(f"({n}, 'p{n}', 'mine', {p}, {o}, now())" for n, (p, o) in enumerate(known, 10 ** 9)))
    (mine,) = models()
    base = sum(o for _, o in known) / 400
    near([mine["n"], mine["brier"], mine["brier_base_rate"]], [400, sum((p - o) ** 2 for p, o in known) / 400, base * (1 - base)], "scores", 6e-5)
    equal(sum(b["n"] for b in mine["bins"]), 400, "bins")
    for place, b in enumerate(mine["bins"]):
        inside = [(p, o) for p, o in known if min(int(p * 10), 9) == place]
        near([b["n"], b["predicted"], b["observed"]], [len(inside), sum(p for p, _ in inside) / len(inside), sum(o for _, o in inside) / len(inside)], f"bin {place}", 6e-3)
    db.sql("delete from tidings.prediction where patient > 'p1000000003'")
    equal(models(), [], "of four people")
