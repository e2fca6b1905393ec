"""Feedback and recommendations: by HTTP, on a live connection, and what everyone who watches is told (section 8)."""
import concurrent.futures
import importlib
import uuid

from harness import Transaction, equal, test, wait_until
from live import TALKATIVE, combined, count, person

live_http = importlib.import_module("22_live_http")

NOT_THERE = 10 ** 15


def feedback(d):
    return f"/api/diagnosis/{d}/feedback"


def recommendations(d):
    return f"/api/diagnosis/{d}/recommendations"


def ask(s, method, path, body=None, user="456", want=200, role=None, headers=None, api=None):
    reply = (api or s.api).request(method, path, body, s.token(user, role=role), headers)
    return reply.want(want)


def say(s, d, user="456", want=200, role=None, headers=None, **body):
    return ask(s, "POST", feedback(d), {"rating": 5, **body}, user, want, role, headers)


def shown(s, d, user="456", **query):
    text = "&".join(f"{k}={v}" for k, v in query.items())
    return ask(s, "GET", feedback(d) + (f"?{text}" if text else ""), user=user)


def recommend(s, d, user="456", want=200, role=None, **body):
    return ask(s, "POST", recommendations(d), {"herb": "Ginger", "condition": "dyspepsia", "reason": "r", **body}, user, want, role)


def decide(s, id, status, user="456", want=200, role=None, **body):
    return ask(s, "PUT", f"/api/recommendations/{id}/status", {"status": status, **body}, user, want, role)


def wrong(reply):
    return {e["field"]: e["message"] for e in reply["errors"]}


def answered(call):
    """The reply. On a slow machine one waits for others longer than it may, and is told to come again: nothing was done."""
    return wait_until(lambda: (r := call()).status != 503 and r, "an answer")


def owned(s, granted=()):
    """A diagnosis, and whose it is."""
    user = person(s)
    return s.diagnosis(user, granted), user


@test("feedback is answered once it is stored and told, and read back with a cursor from which what comes next is missed by nobody")
def _(s):
    doctor = person(s)
    d, user = owned(s, [doctor])
    with s.connect(d, doctor) as client:
        reply = say(s, d, user, effectiveness=0.95, comment="No more heartburn.")
        id = reply["feedback_id"]
        equal(reply, {"status": "feedback submitted", "feedback_id": id, "diagnosis_id": d, "rating": 5, "effectiveness": 0.95, "seq": 1, "clients_notified": 1}, "reply")
        got = client.next()
        got["data"].pop("timestamp")
        equal((got["type"], got["seq"], got["data"]), ("feedback_update", 1, {"feedback_id": id, "user_id": user, "rating": 5, "effectiveness": 0.95,
                                                                             "comment": "No more heartburn."}), "message")
    page = shown(s, d, doctor)
    equal([(f["feedback_id"], f["user_id"], f["rating"], f["effectiveness"], f["comment"]) for f in page["feedback"]],
          [(id, user, 5, 0.95, "No more heartburn.")], "what is shown")
    say(s, d, doctor, rating=2)
    history = s.api.get(f"/ws/history/{d}?since={page['cursor']}", s.token(user)).want(200)
    equal([(m["seq"], m["data"]["rating"], m["data"]["effectiveness"]) for m in history["messages"]], [(2, 2, 0.25)], "after the cursor")
    equal(shown(s, s.diagnosis(user), user)["feedback"], [], "where nobody said anything")


@test("a rating, a comment and a withdrawal change feedback, tell everyone, and are told only once")
def _(s):
    d, user = owned(s)
    id = say(s, d, user, rating=5, comment="first")["feedback_id"]
    path = f"/api/feedback/{id}"
    with s.connect(d, user) as client:
        client.next()
        equal(ask(s, "PUT", f"{path}/rating", {"rating": 4}, user)["effectiveness"], 0.75, "effectiveness by the new rating")
        equal(ask(s, "PUT", f"{path}/rating", {"rating": 3, "effectiveness": 0.8126}, user)["effectiveness"], 0.813, "effectiveness as said")
        reply = ask(s, "PUT", f"{path}/rating", {"rating": 1}, user)
        equal((reply["status"], reply["rating"], reply["effectiveness"], reply["seq"]), ("feedback updated", 1, 0.813, 4), "what was said stays")
        ask(s, "PUT", f"{path}/comment", {"comment": "second"}, user)
        ask(s, "PUT", f"{path}/comment", {"comment": ""}, user)
        gone = ask(s, "DELETE", path, user=user)
        equal((gone["status"], gone["seq"], gone["clients_notified"]), ("feedback withdrawn", 7, 1), "withdrawn")
        got = [client.next()["data"] for _ in range(6)]
        equal([(m["rating"], m["effectiveness"], m.get("comment"), m.get("edited"), m.get("withdrawn")) for m in got],
              [(4, 0.75, "first", True, None), (3, 0.813, "first", True, None), (1, 0.813, "first", True, None), (1, 0.813, "second", True, None),
               (1, 0.813, None, True, None), (1, 0.813, None, True, True)], "what is told")
    equal(shown(s, d, user)["feedback"], [], "what is shown")
    for method, sub, body in (("PUT", "/rating", {"rating": 4}), ("PUT", "/comment", {"comment": "x"}), ("DELETE", "", None)):
        equal(ask(s, method, path + sub, body, user, want=409)["detail"], "This feedback is withdrawn.", f"{method} {sub}")
    equal(count(s, "feedback", f"id = {id} and comment is null"), 1, "the row, without its comment")


@test("what was withdrawn is in no message that is kept, and the numbering has no hole")
def _(s):
    d, user = owned(s)
    id = say(s, d, user, comment="secret")["feedback_id"]
    say(s, d, user, comment="other")
    ask(s, "PUT", f"/api/feedback/{id}/rating", {"rating": 1}, user)
    ask(s, "DELETE", f"/api/feedback/{id}", user=user)
    equal(count(s, "message", "body like '%secret%'"), 0, "messages with the comment")
    history = s.api.get(f"/ws/history/{d}", s.token(user)).want(200)
    equal([(m["seq"], m["data"].get("withdrawn")) for m in history["messages"]], [(2, None), (4, True)], "history")


BAD = [
    ({}, "rating", "is required"),
    ({"rating": 6}, "rating", "must be an integer from 1 to 5"),
    ({"rating": 0}, "rating", "must be an integer from 1 to 5"),
    ({"rating": 4.5}, "rating", "must be an integer from 1 to 5"),
    ({"rating": "5"}, "rating", "must be an integer from 1 to 5"),
    ({"rating": True}, "rating", "must be an integer from 1 to 5"),
    ({"rating": None}, "rating", "is required"),
    ({"rating": 5, "effectiveness": "NaN"}, "effectiveness", "must be a number from 0 to 1"),
    ({"rating": 5, "effectiveness": 1.0001}, "effectiveness", "must be a number from 0 to 1"),
    ({"rating": 5, "effectiveness": -0.1}, "effectiveness", "must be a number from 0 to 1"),
    ({"rating": 5, "comment": "x" * 4001}, "comment", "must be text of at most 4,000 characters"),
    ({"rating": 5, "comment": 7}, "comment", "must be text of at most 4,000 characters"),
    ({"rating": 5, "recommendation_id": 0}, "recommendation_id", "must be an integer from 1 to 9223372036854775807"),
    ({"rating": 5, "recommendation_id": NOT_THERE}, "recommendation_id", "is not a recommendation of this diagnosis"),
    ({"rating": 5, "ratting": 4}, "ratting", "is not known here"),
    ({"rating": 5, "diagnosis_id": 1}, "diagnosis_id", "is not known here"),
]


@test("bad feedback is refused by name of what is wrong, and nothing of it is stored")
def _(s):
    d, user = owned(s)
    other, _other = owned(s)
    theirs = recommend(s, other, _other)["recommendation_id"]
    for body, field, message in [*BAD, ({"rating": 5, "recommendation_id": theirs}, "recommendation_id", "is not a recommendation of this diagnosis")]:
        equal(wrong(ask(s, "POST", feedback(d), body, user, want=422)), {field: message}, f"{body}"[:80])
    head = {"Content-Type": "application/json"}
    for text, want in (('{"rating":5,"effectiveness":NaN}', 400), ('{"rating":5,"effectiveness":1e400}', 422), ('{"rating":1e400}', 422), ('{"rating":5,"effectiveness":-0.0001}', 422),
                       ('{"rating":5,"comment":"\\ud800"}', 400), ('{"rating":5,"rating":4}', 400), ('[{"rating":5}]', 422), ("", 400)):
        equal(s.api.request("POST", feedback(d), text.encode(), s.token(user), head).status, want, text)
    equal(s.api.request("POST", feedback(d), b'{"rating":5,"comment":"\xff"}', s.token(user), head).status, 400, "not UTF-8")
    equal((count(s, "feedback", f"diagnosis_id = {d}"), s.last_seq(f"diagnosis/{d}")), (0, 0), "rows and messages")
    # What is small, long or in other letters is none of that.
    for body in ({"rating": 5, "comment": "\U0001f33f" * 4000}, {"rating": 1, "effectiveness": 1e-300}, {"rating": 1, "comment": ""}):
        ask(s, "POST", feedback(d), body, user)
    equal(s.api.request("POST", feedback(d), b'{"rating":1,"effectiveness":1e-99999}', s.token(user), head).want(200)["effectiveness"], 0, "a very small number")
    equal(count(s, "feedback", f"diagnosis_id = {d}"), 4, "rows")
    path = f"/api/feedback/{say(s, d, user)['feedback_id']}"
    for sub, body, field in (("rating", {}, "rating"), ("rating", {"rating": 6}, "rating"), ("rating", {"rating": 5, "comment": "x"}, "comment"),
                             ("comment", {}, "comment"), ("comment", {"comment": None}, "comment"), ("comment", {"comment": "x" * 4001}, "comment")):
        equal(list(wrong(ask(s, "PUT", f"{path}/{sub}", body, user, want=422))), [field], f"{sub} {body}"[:60])
    for query, field in (("limit=0", "limit"), ("limit=101", "limit"), ("before=x", "before"), ("befor=7", "befor"), ("limit=1&limit=2", "limit"), ("diagnosis_id=1", "diagnosis_id"),
                         ("recommendation_id=", "recommendation_id")):
        equal(list(wrong(ask(s, "GET", f"{feedback(d)}?{query}", user=user, want=422))), [field], query)
    equal(list(wrong(ask(s, "DELETE", f"{path}?now=1", user=user, want=422))), ["now"], "of a withdrawal")


@test("somebody else's diagnosis and one that is not there are the same to a user; a service writes for others and reads nothing; an admin may all")
def _(s):
    d, user = owned(s)
    stranger, patient = person(s), person(s)
    id = say(s, d, user)["feedback_id"]
    for place in (d, NOT_THERE):
        equal(say(s, place, stranger, want=403)["detail"], "This is not allowed to you, or not there.", f"{place}")
        ask(s, "GET", feedback(place), user=stranger, want=403)
        ask(s, "GET", recommendations(place), user=stranger, want=403)
    for number in (id, NOT_THERE):
        for method, sub, body in (("PUT", "/rating", {"rating": 1}), ("PUT", "/comment", {"comment": "x"}), ("DELETE", "", None)):
            ask(s, method, f"/api/feedback/{number}{sub}", body, stranger, want=403)
    # Whoever owns the diagnosis has not written all that is said of it.
    by_service = say(s, d, "svc", role="service", user_id=patient, rating=3)["feedback_id"]
    ask(s, "PUT", f"/api/feedback/{by_service}/rating", {"rating": 1}, user, want=403)
    equal(wrong(say(s, d, "svc", role="service", want=422)), {"user_id": "is required of a service: whose feedback is it?"}, "whose")
    say(s, d, user, user_id=stranger, want=403)
    say(s, d, user, user_id=user)
    equal(say(s, NOT_THERE, "svc", role="service", user_id=patient, want=404)["detail"], "There is no such diagnosis.", "to a service")
    ask(s, "GET", feedback(d), user="svc", role="service", want=403)
    ask(s, "DELETE", f"/api/feedback/{by_service}", user="svc", role="service", want=403)
    equal([f["user_id"] for f in ask(s, "GET", feedback(d), user="root", role="admin")["feedback"]], [user, patient, user], "whose feedback it is")
    ask(s, "PUT", f"/api/feedback/{id}/rating", {"rating": 1}, "root", role="admin")
    equal(ask(s, "DELETE", f"/api/feedback/{NOT_THERE}", user="root", role="admin", want=404)["detail"], "There is no such feedback.", "to an admin")
    equal(s.api.get(feedback(d)).status, 401, "without a token")
    for path in ("/api/feedback/x/rating", "/api/feedback/0", "/api/diagnosis/01/feedback", "/api/", "/api/feedback", "/api/diagnosis/1/feedback/2"):
        equal(ask(s, "DELETE", path, user=user, want=405 if path.endswith(("rating", "01/feedback")) else 404)["status"] // 100, 4, path)
    equal(s.api.request("PATCH", feedback(d), {}, s.token(user)).headers["Allow"], "POST, GET, HEAD", "what the path takes")


@test("a clinician whose grant ends while they watch gives, changes and reads no feedback any more, and may still take back their own")
def _(s):
    doctor = person(s)
    d, user = owned(s, [doctor])
    with s.connect(d, token=s.token(doctor, role="clinician")) as client:
        id = say(s, d, doctor, role="clinician", comment="seen")["feedback_id"]
        client.next()
        s.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {d}")
        equal(client.closed()[0], 1008, "the connection")
    say(s, d, doctor, want=403, role="clinician")
    ask(s, "GET", feedback(d), user=doctor, want=403)
    ask(s, "PUT", f"/api/feedback/{id}/rating", {"rating": 1}, doctor, want=403)
    ask(s, "PUT", f"/api/feedback/{id}/comment", {"comment": "x"}, doctor, want=403)
    ask(s, "DELETE", f"/api/feedback/{id}", user=doctor)
    equal(shown(s, d, user)["feedback"], [], "what is shown")


@test("a diagnosis that is deleted, or becomes another's, shows nobody what was said of it; it can still be withdrawn, and nobody is told")
def _(s):
    d, user = owned(s)
    heir = person(s)
    ids = [say(s, d, user, comment="mine")["feedback_id"] for _ in range(2)]
    s.sql(f"update tidings.diagnosis set owner = '{heir}' where id = {d}")
    equal(shown(s, d, heir)["feedback"], [], "what the next owner sees")
    ask(s, "PUT", f"/api/feedback/{ids[0]}/rating", {"rating": 1}, user, want=403)
    before = s.last_seq(f"diagnosis/{d}")
    gone = ask(s, "DELETE", f"/api/feedback/{ids[0]}", user=user)
    equal((gone["seq"], gone["clients_notified"], s.last_seq(f"diagnosis/{d}")), (None, 0, before), "nobody is told")
    s.sql(f"delete from tidings.diagnosis where id = {d}")
    ask(s, "GET", feedback(d), user=heir, want=403)
    say(s, d, heir, want=403)
    ask(s, "PUT", f"/api/feedback/{ids[1]}/rating", {"rating": 1}, "root", role="admin", want=404)
    ask(s, "DELETE", f"/api/feedback/{ids[1]}", user=user)
    equal(count(s, "feedback", f"diagnosis_id = {d} and withdrawn_at is not null and comment is null"), 2, "withdrawn")


@test("two people who rate at once both count, and of two changes of one's own at once the later one stays: in the order in which they are told")
def _(s):
    people = [person(s) for _ in range(8)]
    d, user = owned(s, people)
    with s.web(TIDINGS_DATABASE_TIMEOUT=60000) as web, concurrent.futures.ThreadPoolExecutor(8) as pool:

        def at_once(method, path, bodies, who):
            return list(pool.map(lambda n: answered(lambda: web.api.request(method, path, bodies[n], s.token(who[n]))).want(200), range(len(bodies))))

        replies = at_once("POST", feedback(d), [{"rating": 1 + n % 5} for n in range(8)], people)
        equal(sorted(r["seq"] for r in replies), list(range(1, 9)), "seqs")
        equal(sorted(f["user_id"] for f in shown(s, d, user)["feedback"]), sorted(people), "whose feedback there is")
        id = replies[0]["feedback_id"]
        changes = at_once("PUT", f"/api/feedback/{id}/rating", [{"rating": n} for n in range(1, 6)], people[:1] * 5)
    last = max(changes, key=lambda r: r["seq"])
    now = next(f for f in shown(s, d, user)["feedback"] if f["feedback_id"] == id)
    equal((now["rating"], now["effectiveness"]), (last["rating"], last["effectiveness"]), "what stays")


@test("the same Idempotency-Key stores feedback once and gives its first answer again, also many times at once; another body is 422")
def _(s):
    d, user = owned(s)
    key = {"Idempotency-Key": str(uuid.uuid4())}
    with s.web(TIDINGS_DATABASE_TIMEOUT=60000) as web, concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _n: web.api.post(feedback(d), {"rating": 5}, s.token(user), key).want(200), range(8)))
    equal(replies, [replies[0]] * 8, "answers")
    equal(list(wrong(say(s, d, user, want=422, headers=key, rating=4))), ["Idempotency-Key"], "another body")
    equal(count(s, "feedback", f"diagnosis_id = {d}"), 1, "rows")
    id, again = replies[0]["feedback_id"], {"Idempotency-Key": str(uuid.uuid4())}
    first = ask(s, "DELETE", f"/api/feedback/{id}", user=user, headers=again)
    equal(ask(s, "DELETE", f"/api/feedback/{id}", user=user, headers=again), first, "withdrawn again by the same key")


@test("pages of feedback, newest first, go on before the last one, of one recommendation too")
def _(s):
    d, user = owned(s)
    r = recommend(s, d, user)["recommendation_id"]
    ids = [say(s, d, user, **({"recommendation_id": r} if n % 2 else {}))["feedback_id"] for n in range(7)]
    page = shown(s, d, user, limit=3)
    equal(([f["feedback_id"] for f in page["feedback"]], page["more"]), (ids[:3:-1], True), "the first page")
    page = shown(s, d, user, limit=4, before=ids[4])
    equal(([f["feedback_id"] for f in page["feedback"]], page["more"]), (ids[3::-1], False), "the last page")
    equal([f["feedback_id"] for f in shown(s, d, user, recommendation_id=r)["feedback"]], ids[5::-2], "of the recommendation")


# ---------------------------------------------------------------------------------------------------- recommendations


@test("a person's recommendation is in force at once, in place of what it replaces; everyone is told what has changed, and may read it with a cursor")
def _(s):
    doctor = person(s)
    d, user = owned(s, [doctor])
    with s.connect(d, user) as client:
        first = recommend(s, d, doctor, role="clinician", data={"dosage": "1 g", "with": None}, reason="why")
        equal((first["status"], first["seq"], first["clients_notified"]), ("recommended", 1, 1), "reply")
        second = recommend(s, d, user, herb="Turmeric", data={"dosage": "500 mg", "with": None}, replaces=first["recommendation_id"])
        told = [client.next() for _ in range(2)]
        for m in told:
            m["data"].pop("timestamp")
        equal([(m["type"], m["data"]) for m in told],
              [("recommendation_update", {"recommendation_id": first["recommendation_id"], "status": "active", "replaces": None, "old_recommendation": {},
                                          "new_recommendation": {"dosage": "1 g", "with": None, "herb": "Ginger"}, "reason": "why",
                                          "changed_fields": ["herb", "with", "dosage"]}),
               ("recommendation_update", {"recommendation_id": second["recommendation_id"], "status": "active", "replaces": first["recommendation_id"],
                                          "old_recommendation": {"dosage": "1 g", "with": None, "herb": "Ginger"},
                                          "new_recommendation": {"dosage": "500 mg", "with": None, "herb": "Turmeric"}, "reason": "r",
                                          "changed_fields": ["herb", "dosage"]})], "what is told")
    page = ask(s, "GET", recommendations(d), user=doctor)
    equal([(r["recommendation_id"], r["herb"], r["condition"], r["data"], r["status"], r["source"], r["replaces"], r["decided_by"]) for r in page["recommendations"]],
          [(second["recommendation_id"], "Turmeric", "dyspepsia", {"dosage": "500 mg", "with": None}, "active", "user", first["recommendation_id"], user),
           (first["recommendation_id"], "Ginger", "dyspepsia", {"dosage": "1 g", "with": None}, "replaced", "clinician", None, user)], "what is shown")
    decide(s, second["recommendation_id"], "withdrawn", user, reason="it does not help")
    history = s.api.get(f"/ws/history/{d}?since={page['cursor']}", s.token(user)).want(200)
    equal([(m["data"]["status"], m["data"]["new_recommendation"], m["data"]["reason"]) for m in history["messages"]], [("withdrawn", {}, "it does not help")], "after the cursor")
    for status, ids in (("active", []), ("withdrawn", [second["recommendation_id"]]), ("replaced", [first["recommendation_id"]])):
        page = ask(s, "GET", f"{recommendations(d)}?status={status}", user=user)
        equal([r["recommendation_id"] for r in page["recommendations"]], ids, status)
    equal([r["recommendation_id"] for r in ask(s, "GET", f"{recommendations(d)}?limit=1&before={second['recommendation_id']}", user=user)["recommendations"]],
          [first["recommendation_id"]], "the next page")


@test("what a service recommends is proposed, changes nothing, and a person decides, once")
def _(s):
    d, user = owned(s)
    old = recommend(s, d, user)["recommendation_id"]
    proposals = [recommend(s, d, "model", role="service", herb=h, replaces=old)["recommendation_id"] for h in ("Turmeric", "Mint", "Fennel")]
    equal([r["status"] for r in ask(s, "GET", recommendations(d), user=user)["recommendations"]], ["proposed"] * 3 + ["active"], "status")
    decide(s, proposals[2], "declined", user, reason="I don't like it")
    with s.web(TIDINGS_DATABASE_TIMEOUT=60000) as web, concurrent.futures.ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(lambda id: answered(lambda: web.api.request("PUT", f"/api/recommendations/{id}/status", {"status": "active"}, s.token(user))), proposals[:2]))
    equal(sorted(r.status for r in replies), [200, 409], "two that would replace the same, at once")
    for id, status, detail in ((proposals[2], "active", "This recommendation is declined already."), (old, "withdrawn", "This recommendation is replaced already.")):
        equal(decide(s, id, status, user, want=409)["detail"], detail, status)
    messages = s.api.get(f"/ws/history/{d}", s.token(user)).want(200)["messages"]
    equal([m["type"] for m in messages], ["recommendation_update"] + ["recommendation_proposed"] * 3 + ["recommendation_declined", "recommendation_update"], "what is told")
    equal((messages[4]["data"]["status"], messages[4]["data"]["reason"]), ("declined", "I don't like it"), "the one that was declined")
    equal(count(s, "recommendation", f"diagnosis_id = {d} and status = 'active'"), 1, "in force")


@test("bad recommendations and decisions are refused by name of what is wrong, and change nothing")
def _(s):
    d, user = owned(s)
    other, _other = owned(s)
    theirs = recommend(s, other, _other)["recommendation_id"]
    whole = {"herb": "Ginger", "condition": "c", "reason": "r"}
    for body, fields in (({}, ["herb", "condition", "reason"]), ({**whole, "herb": ""}, ["herb"]), ({**whole, "herb": "x" * 129}, ["herb"]), ({**whole, "data": []}, ["data"]),
                         ({**whole, "replaces": theirs}, ["replaces"]), ({**whole, "replaces": NOT_THERE}, ["replaces"]), ({**whole, "herbs": 1}, ["herbs"]),
                         ({**whole, "data": {"x": "y" * 17000}}, ["data"]), ({**whole, "reason": "x" * 4001}, ["reason"])):
        equal(list(wrong(ask(s, "POST", recommendations(d), body, user, want=422))), fields, f"{body}"[:60])
    head = {"Content-Type": "application/json"}
    bomb = b'{"herb":"h","condition":"c","reason":"r","data":{"n":[%s]}}' % b",".join([b"1e130000"] * 900)
    reply = s.api.request("POST", recommendations(d), bomb, s.token(user), head)
    equal(list(wrong(reply.want(422))), ["data"], "numbers that would be 100 MB")
    equal(s.api.request("POST", recommendations(d), b'{"herb":"h","condition":"c","reason":"r","data":{"n":"\\u0000"}}', s.token(user), head).status, 400, "a NUL")
    id = recommend(s, d, user)["recommendation_id"]
    for body, fields in (({}, ["status"]), ({"status": "proposed"}, ["status"]), ({"status": "x" * 129}, ["status"]), ({"status": "withdrawn", "resaon": ""}, ["resaon"])):
        equal(list(wrong(ask(s, "PUT", f"/api/recommendations/{id}/status", body, user, want=422))), fields, f"{body}"[:60])
    equal(list(wrong(ask(s, "GET", f"{recommendations(d)}?status=activ", user=user, want=422))), ["status"], "of a question")
    stranger = person(s)
    decide(s, id, "withdrawn", stranger, want=403)
    decide(s, NOT_THERE, "withdrawn", user, want=403)
    equal(decide(s, NOT_THERE, "withdrawn", "root", role="admin", want=404)["detail"], "There is no such recommendation.", "to an admin")
    recommend(s, d, stranger, want=403)
    s.sql(f"insert into tidings.recommendation (diagnosis_id, herb, condition) select {d}, 'h', 'c' from generate_series(1, 99)")
    equal(recommend(s, d, user, want=422)["detail"], "There are 100 recommendations in force or proposed already.", "the 101st")
    equal((count(s, "recommendation", f"diagnosis_id = {d}"), s.last_seq(f"diagnosis/{d}")), (100, 1), "rows and messages")


# ---------------------------------------------------------------------------------------------------- other ways, limits, outages


@test("all of it may be said on a live connection and by POST /ws/send, with the same answers and refusals, its members in data or beside type")
def _(s):
    d, user = owned(s)
    with s.node(**TALKATIVE) as node, combined(s, node, user, f"diagnosis/{d}") as live:

        def by_http(kind, data, want):
            reply = s.api.post("/ws/send", {"type": kind, "data": data}, s.token(user)).want(200)
            equal(reply["type"], want, kind)
            return reply["data"]

        for say_it in (live.ask, lambda kind, data, want: live.ask(kind, want=want, **data), by_http):
            r = say_it("recommend", {"diagnosis_id": d, "herb": "Ginger", "condition": "dyspepsia", "reason": ""}, "recommended")["recommendation_id"]
            id = say_it("submit_feedback", {"diagnosis_id": d, "rating": 5, "recommendation_id": r}, "feedback_submitted")["feedback_id"]
            equal(say_it("rate_feedback", {"feedback_id": id, "rating": 2}, "feedback_updated")["effectiveness"], 0.25, "effectiveness")
            say_it("comment_feedback", {"feedback_id": id, "comment": "c"}, "feedback_updated")
            page = say_it("get_feedback", {"diagnosis_id": d, "recommendation_id": r}, "feedback")
            equal([(f["rating"], f["comment"]) for f in page["feedback"]], [(2, "c")], "feedback")
            equal(say_it("withdraw_feedback", {"feedback_id": id}, "feedback_withdrawn")["status"], "feedback withdrawn", "status")
            say_it("decide_recommendation", {"recommendation_id": r, "status": "withdrawn"}, "recommendation_decided")
            page = say_it("get_recommendations", {"diagnosis_id": d, "limit": 1}, "recommendations")
            equal([(x["recommendation_id"], x["status"]) for x in page["recommendations"]], [(r, "withdrawn")], "recommendations")
            equal(page["cursor"].split("-")[1], str(s.last_seq(f"diagnosis/{d}")), "the cursor's seq")
        fault = live.ask("submit_feedback", {"diagnosis_id": d, "rating": 5, "recommendation_id": NOT_THERE}, "error")
        equal((fault["code"], fault["errors"]), ("invalid_message", [{"field": "recommendation_id", "message": "is not a recommendation of this diagnosis"}]), "a fault")
        equal(live.refused("withdraw_feedback", {"feedback_id": id}), "conflict", "withdrawn again")
        equal(live.refused("get_feedback", {"diagnosis_id": d, "befor": 1}), "invalid_message", "a typo in a question")
        equal(live.refused("submit_feedback", {"diagnosis_id": NOT_THERE, "rating": 5}), "forbidden", "of nobody's diagnosis")
        equal(live.refused("rate_feedback", {"feedback_id": NOT_THERE, "rating": 5}), "forbidden", "of no feedback")
    s.api.post("/ws/send", {"type": "withdraw_feedback", "data": {"feedback_id": id}}, s.token(user)).want(409)


@test("each request is one audit line, without a word of its comment; what is counted has its routes")
def _(s):
    d, user = owned(s)
    id = say(s, d, user, comment="secret-of-mine")["feedback_id"]
    shown(s, d, user)
    ask(s, "DELETE", f"/api/feedback/{id}", user=user)
    say(s, d, person(s), want=403)
    lines = live_http.audit_lines(s, path=feedback(d))
    equal([next(w for w in line.split() if w.startswith("outcome=")) for line in lines], ["outcome=ok", "outcome=ok", "outcome=forbidden"], "outcomes")
    assert "event=publish" in lines[0] and "type=submit_feedback" in lines[0] and f"topic=diagnosis/{d}" in lines[0] and "event=read" in lines[1], lines
    equal(len(live_http.audit_lines(s, path=f"/api/feedback/{id}", type="withdraw_feedback", user=user)), 1, "of the withdrawal")
    assert not any("secret-of-mine" in path.read_text(errors="replace") for path in s.log_files()), "the comment is in a log"
    metrics = s.api.get("/metrics").body.decode()
    assert 'tidings_http_requests_total{program="api",route="/api/diagnosis/*/feedback",status="403"}' in metrics, "no such count"


@test("a thousand feedbacks a second by one script are 429 but for what a user may say; what was answered 200 is stored, and nothing else; a service has no limit")
def _(s):
    d, user = owned(s)
    with s.web(TIDINGS_PUBLISH_RATE=1, TIDINGS_PUBLISH_BURST=20, TIDINGS_DATABASE_TIMEOUT=60000) as web:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            replies = list(pool.map(lambda n: web.api.post(feedback(d), {"rating": 1 + n % 5}, s.token(user)), range(300)))
        done = sum(r.status == 200 for r in replies)
        equal({r.status for r in replies}, {200, 429}, "answers")
        assert done >= 20 and all(int(r.headers["Retry-After"]) >= 1 for r in replies if r.status == 429), done
        equal(count(s, "feedback", f"diagnosis_id = {d}"), done, "rows")
        for _n in range(40):
            web.api.post(feedback(d), {"rating": 3, "user_id": user}, s.service()).want(200)
        other, another = owned(s)
        web.api.post(feedback(other), {"rating": 3}, s.token(another)).want(200)


@test("a server process that ends between a feedback and its message leaves neither; the same key stores it once it is tried again", allow="database|answer|terminat")
def _(s):
    d, user = owned(s)
    say(s, d, user)
    key = {"Idempotency-Key": str(uuid.uuid4())}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with Transaction(s, f"select from tidings.topic where name = 'diagnosis/{d}' for update"):
            reply = pool.submit(s.api.post, feedback(d), {"rating": 1}, s.token(user), key)
            pid = wait_until(lambda: s.sql("select pid from pg_stat_activity where application_name = 'tidings api' and wait_event_type = 'Lock'"), "the topic to be waited for")
            s.sql(f"select pg_terminate_backend({pid[0][0]})")
            reply = reply.result()
    reply.want(503)
    equal((count(s, "feedback", f"diagnosis_id = {d}"), s.last_seq(f"diagnosis/{d}")), (1, 1), "rows and messages")
    again = wait_until(lambda: (r := s.api.post(feedback(d), {"rating": 1}, s.token(user), key)).status == 200 and r.json, "it to be taken")
    equal((again["seq"], s.api.post(feedback(d), {"rating": 1}, s.token(user), key).want(200)), (2, again), "once it is tried again")
    equal(count(s, "feedback", f"diagnosis_id = {d}"), 2, "rows")


@test("while the database is away every request is 503 with Retry-After, and afterwards all goes on", allow="database|connection")
def _(s):
    d, user = owned(s)
    id = say(s, d, user)["feedback_id"]
    s.stop_postgres()
    try:
        for method, path, body in (("POST", feedback(d), {"rating": 5}), ("GET", feedback(d), None), ("PUT", f"/api/feedback/{id}/rating", {"rating": 4}),
                                   ("DELETE", f"/api/feedback/{id}", None), ("POST", recommendations(d), {"herb": "h", "condition": "c", "reason": ""})):
            reply = s.api.request(method, path, body, s.token(user))
            reply.want(503)
            assert int(reply.headers["Retry-After"]) >= 1, reply
        ask(s, "POST", feedback(d), {"rating": 6}, user, want=422)
    finally:
        s.start_postgres()
    s.wait_ready()
    wait_until(lambda: s.api.get(feedback(d), s.token(user)).status == 200, "api.fcgi to go on")
    equal([(f["feedback_id"], f["rating"]) for f in shown(s, d, user)["feedback"]], [(id, 5)], "feedback")


@test("who holds feedback in a transaction of their own keeps one who changes it waiting for a moment only: 503, and nothing is changed", allow="database|lock")
def _(s):
    d, user = owned(s)
    id = say(s, d, user)["feedback_id"]
    with Transaction(s, f"select from tidings.feedback where id = {id} for update"):
        reply = s.api.request("PUT", f"/api/feedback/{id}/rating", {"rating": 1}, s.token(user))
        reply.want(503)
        say(s, d, user)
    equal(ask(s, "PUT", f"/api/feedback/{id}/rating", {"rating": 1}, user)["seq"], 3, "afterwards")
