"""What feedback amounts to: votes, sums, scores, trends, and who is told of them."""
import collections
import decimal
import json
import random
import statistics

from harness import equal, test

Cell = collections.namedtuple("Cell", "people sum squares successes parent_sum")
PATIENTS = "select patient, recommendation_id, id, effectiveness, (created_at at time zone 'UTC')::date from tidings.feedback where withdrawn_at is null"


def fresh(db):
    """Nobody has said anything."""
    db.sql("create sequence if not exists public.people_of_tests start 1000000000; delete from tidings.feedback; delete from tidings.recommendation; select tidings.recount(); delete from tidings.effect_shown; "
           "delete from tidings.effect_due; delete from tidings.analyst_state; delete from tidings.outbox")


def patient(db, *treatments, owner=None):
    """(user, diagnosis, recommendations), one for each (herb, condition)."""
    owner = owner or db.user()
    diagnosis = db.diagnosis(owner)
    values = ",".join(f"({diagnosis}, '{herb}', '{condition}')" for herb, condition in treatments)
    return owner, diagnosis, [int(r[0]) for r in db.sql(f"insert into tidings.recommendation (diagnosis_id, herb, condition) values {values} returning id")]


def people(db, herb, condition, votes, days_ago=0):
    """As many patients, each with one recommendation and one vote."""
    db.sql(f"""with p as (select row_number() over () as n, v, nextval('public.people_of_tests') as id from unnest('{{{','.join(map(str, votes))}}}'::numeric[]) v),
            d as (insert into tidings.diagnosis (id, owner) select id, 'patient-' || id from p),
            r as (insert into tidings.recommendation (id, diagnosis_id, herb, condition, created_at)
                select id, id, '{herb}', '{condition}', now() - interval '100 days' from p)
        insert into tidings.feedback (diagnosis_id, recommendation_id, user_id, patient, rating, effectiveness, said, created_at)
            select id, id, 'patient-' || id, 'patient-' || id, 3, v, true, now() - interval '{days_ago} days' from p""")


def say(db, owner, diagnosis, recommendation, effectiveness, days_ago=0):
    return int(db.one(f"insert into tidings.feedback (diagnosis_id, recommendation_id, user_id, patient, rating, effectiveness, said, created_at) "
                      f"values ({diagnosis}, {recommendation}, '{owner}', '{owner}', 3, {effectiveness}, true, now() - interval '{days_ago} days') returning id"))


def analyse(db):
    """Until there is nothing to do at once."""
    while (again := db.sidecar("select tidings.analyse(20)")[0][0]) in ("0", "1000"):
        pass
    return again


def told(db, topic=None, type="effectiveness_update"):
    """What waits to be relayed, and is forgotten then."""
    found = [json.loads(r[0]) for r in db.sql("select body from tidings.outbox order by id")]
    db.sql("delete from tidings.outbox")
    return [b["data"] for b in found if b["type"] == type and topic in (None, b["topic"])]


# ---- an independent count


def rounded(values):
    """As numeric(…, 6) rounds: half away from zero."""
    return (sum(values) / len(values)).quantize(decimal.Decimal("0.000001"), decimal.ROUND_HALF_UP)


def count(db):
    """({(patient, herb, condition): (vote, day)}, {(herb, condition): Cell}, {(herb, condition, day): Cell})"""
    treatment = {r[0]: (r[1], r[2]) for r in db.sql("select id, herb, condition from tidings.recommendation")}
    newest = {}
    for who, recommendation, id, effectiveness, day in db.sql(PATIENTS + " and recommendation_id is not null order by id"):
        if recommendation in treatment:
            newest[who, recommendation] = (decimal.Decimal(effectiveness), day)
    said = collections.defaultdict(list)
    for (who, recommendation), (vote, day) in newest.items():
        said[(who, *treatment[recommendation])].append((vote, day))
    votes = {key: (rounded([v for v, _ in parts]), max(d for _, d in parts)) for key, parts in said.items()}
    by_herb, by_patient = collections.defaultdict(list), collections.defaultdict(list)
    for (who, herb, _), vote in votes.items():
        by_herb[who, herb].append(vote)
    herbs = {key: (rounded([v for v, _ in parts]), max(d for _, d in parts)) for key, parts in by_herb.items()}
    for (who, _), vote in herbs.items():
        by_patient[who].append(vote)
    everything = {who: (rounded([v for v, _ in parts]), max(d for _, d in parts)) for who, parts in by_patient.items()}
    rows = [((h, c), v, d, herbs[w, h][0]) for (w, h, c), (v, d) in votes.items()]
    rows += [((h, ""), v, d, everything[w][0]) for (w, h), (v, d) in herbs.items()] + [(("", ""), v, d, v) for v, d in everything.values()]
    cells, days = {}, {}
    for key, vote, day, parent in rows:
        for table, place in ((cells, key), (days, (*key, day))):
            old = table.get(place, Cell(0, 0, 0, 0, 0))
            table[place] = Cell(old.people + 1, old.sum + vote, old.squares + vote * vote, old.successes + (vote >= decimal.Decimal("0.75")), old.parent_sum + parent)
    return votes, cells, days


def kept(db):
    number = lambda texts: Cell(*(decimal.Decimal(t) for t in texts))
    return ({tuple(r[:3]): (decimal.Decimal(r[3]), r[4]) for r in db.sql("select patient, herb, condition, vote, day from tidings.effect_vote")},
            {tuple(r[:2]): number(r[2:]) for r in db.sql("select herb, condition, people, sum, squares, successes, parent_sum from tidings.effect")},
            {tuple(r[:3]): number(r[3:]) for r in db.sql("select herb, condition, day, people, sum, squares, successes, parent_sum from tidings.effect_day")})


def same(db, when):
    for got, wanted, what in zip(kept(db), count(db), ("votes", "cells", "days")):
        different = {k: (got.get(k), wanted.get(k)) for k in got.keys() | wanted.keys() if got.get(k) != wanted.get(k)}
        equal(different, {}, f"{what}, {when}")
    large = [c for (_, condition), c in count(db)[1].items() if condition and c.people >= 5]
    prior = [decimal.Decimal(v) for v in db.sql("select cells, people, people_squared, sum, squares, between_cells from tidings.effect_prior")[0]]
    wanted = [len(large), sum(c.people for c in large), sum(c.people ** 2 for c in large), sum(c.sum for c in large), sum(c.squares for c in large),
              sum(c.sum ** 2 / c.people for c in large)]
    assert all(abs(g - w) < decimal.Decimal("1e-6") for g, w in zip(prior, wanted)), f"the prior's, {when}: {prior}, wanted {wanted}"


# ---- tests


@test("after random feedback, edits, withdrawals and deletions, by people who move between days, the sums are those of an independent count, and of recount()")
def folded(db):
    fresh(db)
    rng = random.Random(7)
    everybody = []
    for _ in range(40):
        everybody.append(patient(db, *((rng.choice(["Turmeric", "Ginger", "Mint"]), rng.choice(["dyspepsia", "nausea"])) for _ in range(rng.randrange(1, 5)))))
    given = []
    for turn in range(12):
        for _ in range(25):
            change = rng.random()
            if change < 0.6 or not given:
                owner, diagnosis, recommendations = rng.choice(everybody)
                given.append(say(db, owner, diagnosis, rng.choice([*recommendations, "null"]), round(rng.random(), 3), rng.choice([0, 0, 1, 30, 200])))
            elif change < 0.8:
                db.sql(f"update tidings.feedback set effectiveness = {round(rng.random(), 3)}, edited_at = now(), folded = false where id = {rng.choice(given)} and withdrawn_at is null")
            elif change < 0.93:
                db.sql(f"update tidings.feedback set withdrawn_at = now(), folded = false where id = {rng.choice(given)}")
            else:
                db.sql(f"delete from tidings.feedback where id = {rng.choice(given)}")
        analyse(db)
        same(db, f"turn {turn}")
    before = kept(db)
    trends = "select * from tidings.effect_trend order by herb, condition, days"
    db.sql("update tidings.analyst_state set round_at = now() - interval '2 minutes', changed_at = now()")
    analyse(db)
    was = db.sql(trends)
    patients = int(db.one("select tidings.recount()"))
    equal((kept(db), patients), (before, len({k[0] for k in before[0]})), "made anew")
    equal(db.sql(trends), was, "the trends, made anew")
    same(db, "made anew")
    db.sql("delete from tidings.feedback")
    analyse(db)
    equal(kept(db), ({}, {}, {}), "when all is deleted")
    equal(db.sql("select cells, people, sum, between_cells from tidings.effect_prior")[0][:2] + db.sql(trends), ["0", "0"], "the prior and the trends then")


@test("one person has one vote: the newest that is not withdrawn, the mean of several recommendations of a treatment, once for a herb")
def one_vote(db):
    fresh(db)
    owner, diagnosis, (first, second, other) = patient(db, ("Mint", "nausea"), ("Mint", "nausea"), ("Mint", "colic"))
    vote = lambda condition: db.sql(f"select people, trim_scale(sum) from tidings.effect where herb = 'Mint' and condition = '{condition}'")
    say(db, owner, diagnosis, first, 0.2)
    newer = say(db, owner, diagnosis, first, 0.6)
    analyse(db)
    equal(vote("nausea"), [["1", "0.6"]], "the newest")
    say(db, owner, diagnosis, second, 0.8)
    say(db, owner, diagnosis, other, 0.1)
    analyse(db)
    equal((vote("nausea"), vote(""), vote("colic")), ([["1", "0.7"]], [["1", "0.4"]], [["1", "0.1"]]), "the mean, the herb's, the other's")
    db.sql(f"update tidings.feedback set withdrawn_at = now(), folded = false where id = {newer}")
    analyse(db)
    equal((vote("nausea"), vote("")), ([["1", "0.5"]], [["1", "0.3"]]), "without the one that is withdrawn")


@test("a score is drawn to its herb's and to all others', each without the treatment's own people, as when these are counted one by one")
def shrinkage(db):
    fresh(db)
    rng = random.Random(3)
    for herb in ("Turmeric", "Ginger", "Mint", "Fennel", "Anise"):
        for condition in ("dyspepsia", "nausea", "colic"):
            people(db, herb, condition, [round(min(max(rng.gauss(rng.random(), 0.2), 0), 1), 3) for _ in range(rng.choice([3, 6, 30]))])
    for _ in range(30):  # who have tried several
        owner, diagnosis, ids = patient(db, *{(rng.choice(["Turmeric", "Ginger", "Mint"]), rng.choice(["dyspepsia", "nausea", "colic"])) for _ in range(3)})
        for id in ids:
            say(db, owner, diagnosis, id, round(rng.random(), 3))
    analyse(db)
    votes = {k: float(v) for k, (v, _) in kept(db)[0].items()}
    by_herb, by_patient = {}, {}
    for (who, herb, _), v in votes.items():
        by_herb.setdefault((who, herb), []).append(v)
    by_herb = {k: statistics.fmean(v) for k, v in by_herb.items()}
    for (who, _), v in by_herb.items():
        by_patient.setdefault(who, []).append(v)
    by_patient = {k: statistics.fmean(v) for k, v in by_patient.items()}
    weight = float(db.one("set search_path = tidings; select weight from tidings.treatment_score('Mint', 'nausea')"))
    assert 2 <= weight <= 50 and weight != 6, weight

    def drawn(parent, values):
        values = list(values)
        return (weight * parent + sum(values)) / (weight + len(values)) if len(values) >= 5 else parent

    for herb, condition in {k[1:] for k in votes}:
        own = {w for w, h, c in votes if (h, c) == (herb, condition)}
        of_herb = {w for w, h in by_herb if h == herb}
        parent = drawn(drawn(0.5, (v for w, v in by_patient.items() if w not in of_herb)), (v for (w, h), v in by_herb.items() if h == herb and w not in own))
        wanted = drawn(parent, (v for (_, h, c), v in votes.items() if (h, c) == (herb, condition))) if len(own) >= 5 else None
        got = db.one(f"set search_path = tidings; select effectiveness from tidings.treatment_score('{herb}', '{condition}')")
        assert (wanted is None) == (got == "") and (wanted is None or abs(float(got) - wanted) < 1e-4), f"{herb}, {condition}: {got}, wanted {wanted}"


@test("of fewer than five people nothing is shown but the patient's own; from five on all see the same")
def few(db):
    fresh(db)
    owner, diagnosis, (mine,) = patient(db, ("Mint", "nausea"))
    stranger, _, (theirs,) = patient(db, ("Mint", "nausea"))
    people(db, "Mint", "nausea", [0.9, 0.9, 0.9])
    say(db, owner, diagnosis, mine, 0.5)
    analyse(db)
    ask = lambda user, id: db.act(user, "get_effectiveness", {"recommendation_id": id}).data
    equal([(a["effectiveness"], a["sample_size"], a["confidence"], a["levels"]) for a in (ask(stranger, theirs),)], [(None, 0, 0, [])], "somebody else's, of four")
    own = ask(owner, mine)
    equal((own["sample_size"], own["levels"], own["own"]["effectiveness"], "success_rate" in own, own["history"]),
          (1, [{"level": "own", "people": 1, "mean": 0.5}], 0.5, False, []), "one's own")
    equal(own["effectiveness"], 0.5, "drawn to nobody else")
    equal((told(db, f"diagnosis/{diagnosis}")[0]["sample_size"], db.sql("select * from tidings.effect_shown")), (1, []), "told")
    people(db, "Mint", "nausea", [0.9])
    analyse(db)
    answers = [ask(owner, mine), ask(stranger, theirs)]
    equal([(a["sample_size"], a["success_rate"]["successes"]) for a in answers], [(5, 4)] * 2, "of five")
    equal(answers[0]["effectiveness"], answers[1]["effectiveness"], "the score")
    equal(db.act(stranger, "get_effectiveness", {"recommendation_id": mine}).outcome, "forbidden", "another's recommendation")
    equal([db.act(owner, "get_analytics", {"diagnosis_id": diagnosis, "days": d}).outcome for d in (6, 7, 365, 366)], ["invalid_member", "ok", "ok", "invalid_member"], "days")


@test("whoever watches a treatment is told of its score, once a minute at most; the patient who said something, at once")
def telling(db):
    fresh(db)
    owner, diagnosis, (mine,) = patient(db, ("Mint", "nausea"))
    people(db, "Mint", "nausea", [0.9] * 30)
    analyse(db)
    first = told(db)
    equal((len(first), len({m["recommendation_id"] for m in first}), "old_effectiveness" in first[0]), (31, 31, False), "of the first score")
    equal(db.act(owner, "get_effectiveness", {"recommendation_id": mine}).data["effectiveness"], first[0]["new_effectiveness"], "what is told and what is read")
    say(db, owner, diagnosis, mine, 0)
    analyse(db)
    own = told(db)
    equal([(m["recommendation_id"], m["sample_size"]) for m in own], [(mine, 31)], "within the minute")
    db.sql("update tidings.effect_shown set shown_at = shown_at - interval '1 minute'; update tidings.effect_due set due_at = now()")
    analyse(db)
    later = told(db)
    equal((len(later), {m["old_effectiveness"] for m in later}, {m["new_effectiveness"] for m in later}),
          (31, {first[0]["new_effectiveness"]}, {own[0]["new_effectiveness"]}), "a minute later")
    analyse(db)
    equal(told(db), [], "when nothing has changed")


@test("five hundred diagnoses are told in a turn, and the others in the next")
def many_watchers(db):
    fresh(db)
    people(db, "Mint", "nausea", [0.9] * 7)
    db.sql("with d as (insert into tidings.diagnosis (id, owner) select nextval('public.people_of_tests'), 'x' from generate_series(1, 600) returning id) "
           "insert into tidings.recommendation (diagnosis_id, herb, condition) select id, 'Mint', 'nausea' from d")
    equal(db.sidecar("select tidings.analyse(20)"), [["1000"]], "a turn")
    equal(len(told(db)), 500, "told")
    analyse(db)
    equal(len(told(db)), 107, "told after it")


@test("trends are of two windows, in the order that is asked for; below five people a herb is left out; analytics/trending is told of another order once a minute, and read by any token")
def trends(db):
    fresh(db)
    people(db, "Turmeric", "dyspepsia", [0.9] * 84)
    people(db, "Turmeric", "dyspepsia", [0.8] * 61, 40)
    people(db, "Ginger", "nausea", [1] * 6)
    people(db, "Mint", "colic", [0.9, 0.2] * 20, 45)
    people(db, "Mint", "colic", [0.1] * 20, 3)
    people(db, "Anise", "colic", [1] * 4)
    analyse(db)
    ask = lambda **more: db.act("anybody", "get_trending", more).data
    growth = ask()
    equal([t["herb"] for t in growth["trending"]], ["Ginger", "Turmeric", "Mint"], "by growth")
    equal((growth["left_out"], growth["by"], growth["days"]), (1, "herb", 30), "beside it")
    turmeric = growth["trending"][1]
    equal([turmeric[k] for k in ("rank", "people", "people_before", "growth", "before", "change", "trend")], [2, 84, 61, 1.38, 0.8, 0.1, "steady"], "Turmeric")
    equal([t["herb"] for t in ask(sort="effectiveness")["trending"]], ["Turmeric", "Ginger", "Mint"], "by the lower bound")
    equal([(t["herb"], t["trend"]) for t in ask(sort="change")["trending"]], [("Turmeric", "steady"), ("Mint", "falling")], "by change")
    equal([(t["herb"], t["condition"]) for t in ask(by="treatment", condition="colic")["trending"]], [("Mint", "colic")], "of a condition")
    equal([t["people"] for t in ask(days=90, limit=1)["trending"]], [145], "in 90 days")
    equal([db.act("anybody", "get_trending", {k: v}).outcome for k, v in (("by", "x"), ("days", 31), ("sort", "x"), ("limits", 1))], ["invalid_member"] * 3 + ["invalid"], "refused")
    equal([m["by"] for m in told(db, "analytics/trending", "trending_update")], ["herb", "treatment"], "told")
    people(db, "Turmeric", "dyspepsia", [0.9] * 500)
    analyse(db)
    equal([t["herb"] for t in ask()["trending"]][0], "Turmeric", "then")
    equal(told(db, "analytics/trending", "trending_update"), [], "told within the minute")
    db.sql("update tidings.analyst_state set trending_at = trending_at - interval '1 minute', round_at = round_at - interval '1 minute'")
    analyse(db)
    equal([m["trending"][0]["herb"] for m in told(db, "analytics/trending", "trending_update")], ["Turmeric"] * 2, "told after it")
    equal([r[0] for r in db.attach(("456", "user", "analytics/trending"), ("svc", "service", "analytics/trending"), (None, None, "analytics/trending"))],
          ["ok", "ok", "forbidden"], "who may read it")


@test("a day later the windows have moved on, without anybody's doing")
def next_day(db):
    fresh(db)
    people(db, "Mint", "colic", [0.5] * 8, 6)
    analyse(db)
    seven = lambda: db.sql("select people, people_before from tidings.effect_trend where herb = 'Mint' and condition = '' and days = 7")
    equal(seven(), [["8", "0"]], "today")
    db.sql("update tidings.effect_day set day = day - 1; update tidings.analyst_state set round_at = now() - interval '1 day'")
    analyse(db)
    equal(seven(), [["0", "8"]], "tomorrow")


@test("a treatment that does better is suggested in place of another, with what it is founded on; none that this patient must not take or has fared badly with")
def suggestions(db):
    fresh(db)
    people(db, "Turmeric", "dyspepsia", [0.85] * 150)
    people(db, "Ginger", "dyspepsia", [0.61] * 40)
    owner, diagnosis, (mine, quiet) = patient(db, ("Ginger", "dyspepsia"), ("Valerian", "insomnia"))
    db.sql(f"update tidings.recommendation set created_at = now() - interval '20 days' where id = {mine}; "
           f"update tidings.recommendation set created_at = now() - interval '22 days' where id = {quiet}")
    analyse(db)
    ask = lambda: {(s["recommendation_id"], s["kind"]): s for s in db.act(owner, "get_analytics", {"diagnosis_id": diagnosis}).data["suggestions"]}
    found = ask()
    equal(set(found), {(mine, "replace"), (quiet, "ask_for_feedback")}, "suggestions")
    replace = found[mine, "replace"]
    (better, n1), (worse, n0) = ((float(m), int(n)) for m, n in db.sql("select effectiveness, sample_size from tidings.effect_shown order by herb desc"))
    z = (better - worse) / (better * (1 - better) / (n1 + 7) + worse * (1 - worse) / (n0 + 7)) ** 0.5  # of two treatments the prior weighs 6
    equal((replace["by"], replace["probability"]), ({"herb": "Turmeric", "condition": "dyspepsia"}, round(statistics.NormalDist().cdf(z), 2)), "by")
    equal(found[quiet, "ask_for_feedback"]["reason"], "No feedback for 22 days.", "reason")
    db.sql(f"insert into tidings.contraindication values ('Turmeric', 'anticoagulant'); insert into tidings.patient_fact values ('{owner}', 'anticoagulant')")
    equal(set(ask()), {(quiet, "ask_for_feedback")}, "contraindicated")
    db.sql("delete from tidings.contraindication")
    equal((mine, "replace") in ask(), True, "and not any more")
    _, _, (tried,) = patient(db, ("Turmeric", "dyspepsia"), owner=owner)
    say(db, owner, diagnosis, tried, 0.3)
    analyse(db)
    equal((mine, "replace") in ask(), False, "tried, and fared badly")


@test("feedback that another transaction is changing is waited for by nobody, and counted when it has; one analyst is at work at a time")
def concurrent(db):
    fresh(db)
    owner, diagnosis, (mine,) = patient(db, ("Mint", "nausea"))
    first = say(db, owner, diagnosis, mine, 0.2)
    second, people_of = patient(db, ("Mint", "nausea")), lambda: db.sql("select people, trim_scale(sum) from tidings.effect where condition = 'nausea'")
    say(db, *second[:2], second[2][0], 0.6)
    other = db.session("postgres")
    other.sql("begin")
    other.sql(f"update tidings.feedback set withdrawn_at = now(), folded = false where id = {first}")
    db.sidecar("set lock_timeout = '5s'; select tidings.analyse(20)")
    equal(people_of(), [["1", "0.6"]], "meanwhile")
    other.sql("commit")
    analyse(db)
    equal((people_of(), db.one("select count(*) from tidings.feedback where not folded")), ([["1", "0.6"]], "0"), "then")
    other.sql("begin")
    other.sql("select pg_advisory_xact_lock(hashtext('tidings.analyst'))")
    equal(db.sidecar("select tidings.analyse(20)"), [["-1"]], "while another is at it")
    other.sql("rollback")


@test("a diagnosis that is deleted, and a patient who is forgotten, count no more")
def deleted(db):
    fresh(db)
    people(db, "Mint", "nausea", [0.9] * 6)
    owner, diagnosis, (mine,) = patient(db, ("Mint", "nausea"))
    db.sql(f"insert into tidings.patient_fact values ('{owner}', 'x')")
    say(db, owner, diagnosis, mine, 0.1)
    analyse(db)
    equal(db.one("select people from tidings.effect where condition = 'nausea'"), "7", "before")
    db.sql(f"select * from tidings.forget('{owner}')")
    equal(db.one("select people from tidings.effect where condition = 'nausea'"), "6", "at once")
    same(db, "without the one that is forgotten")
    equal(db.sql(f"select 1 from tidings.effect_vote where patient = '{owner}' union all select 1 from tidings.patient_fact where user_id = '{owner}' "
                 f"union all select 1 from tidings.effect_lost where patient = '{owner}'"), [], "what is left")
