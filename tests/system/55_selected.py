"""What a client chooses of a topic: its history, its newest messages, some types; and the place of a state that it has read (section 7)."""
import importlib
import json

from harness import equal, test

topics_of = importlib.import_module("48_topics")


def publish(s, topic, *types, **more):
    """A message of each type, told apart by its data."""
    items = [{"topic": topic, "type": t, "data": {"n": n}, **more} for n, t in enumerate(types)]
    return [r["seq"] for r in s.web1.api.post("/ws/publish", items, s.service()).want(200)["results"]]


def history(s, topic, token=None, want=200, **parameters):
    query = "".join(f"&{k}={v}" for k, v in parameters.items())
    return s.web1.api.get(f"/ws/history?topic={topic}{query}", token or s.token()).want(want)


def seqs(body):
    return [m["seq"] for m in body["messages"]]


# ------------------------------------------------------------------------------------------------------------- history


@test("the history of any topic that one may read: the newest, what came after a cursor, and page by page before a seq")
def _(s):
    d = s.diagnosis()
    topic = f"diagnosis/{d}"
    empty = history(s, topic)
    equal((empty["messages"], empty["recovered"]), ([], True), "of a topic that nobody has used")
    publish(s, topic, *"aabbaabbaa")
    newest = history(s, topic, limit=3)
    equal((seqs(newest), newest["cursor"].split("-")[1]), ([8, 9, 10], "10"), "the newest")
    equal(seqs(history(s, topic, since=empty["cursor"])), list(range(1, 11)), "after the cursor of before")
    pages, before = [], 11
    while got := seqs(page := history(s, topic, before=before, limit=4)):
        equal(page["cursor"], f"{newest['cursor'].split('-')[0]}-{got[-1]}", "the cursor of a page")
        pages, before = pages + [got], got[0]
    equal(pages, [[7, 8, 9, 10], [3, 4, 5, 6], [1, 2]], "pages")
    equal((seqs(history(s, topic, types="b")), seqs(history(s, topic, types="b,c", before=8, limit=1)), seqs(history(s, topic, types="b", since=empty["cursor"], limit=4))),
          ([3, 4, 7, 8], [7], [3, 4]), "of one type")
    equal(history(s, topic, types="b", since=empty["cursor"], limit=4)["cursor"].split("-")[1], "4", "the cursor goes past what is of another type")
    equal(seqs(s.web1.api.get(f"/ws/history/{d}?before=3&types=a", s.token()).want(200)), [1, 2], "by the diagnosis")


@test("history tells messages for somebody else to nobody, and a page before a seq is as long without them")
def _(s):
    topic = f"diagnosis/{s.diagnosis(granted=('457',))}"
    for n in range(6):
        publish(s, topic, "a", **({"to_user_id": "457"} if n % 2 else {}))
    equal((seqs(history(s, topic, before=6, limit=2)), seqs(history(s, topic, limit=2, token=s.token("457")))), ([3, 5], [5, 6]), "seqs")


@test("history of a topic is refused as everything else is: who may not, names that are none, parameters that do not fit")
def _(s):
    topic = f"diagnosis/{s.diagnosis()}"
    history(s, topic, token=s.token("789"), want=403)
    history(s, "health/456", token=s.token("789"), want=403)
    history(s, topic, token=s.service(), want=403)
    history(s, "diagnosis/999999999", token=s.token(role="admin"), want=404)
    s.web1.api.get(f"/ws/history?topic={topic}").want(401)
    s.web1.api.post("/ws/history", {}, s.token()).want(405)
    for query, field in (("", "topic"), ("topic=", "topic"), ("topic=a%20b", "topic"), ("topic=Diagnosis/1", "topic"), (f"topic={topic}&before=0", "before"),
                         (f"topic={topic}&before=x", "before"), (f"topic={topic}&before=3&since=abc-1", "before"), (f"topic={topic}&since=x", "since"),
                         (f"topic={topic}&limit=101", "limit"), (f"topic={topic}&types=", "types"), (f"topic={topic}&types=a,a", "types"), (f"topic={topic}&types=a,,b", "types"),
                         (f"topic={topic}&types=" + ",".join(map(str, range(21))), "types"), (f"topic={topic}&types=" + "x" * 129, "types"),
                         (f"topic={topic}&topic={topic}", "topic")):
        problem = s.web1.api.get(f"/ws/history?{query}", s.token()).want(422)
        equal([e["field"] for e in problem["errors"]], [field], query)
    equal([e["field"] for e in s.web1.api.get(f"/ws/history/1?topic={topic}", s.token()).want(422)["errors"]], ["topic"], "a topic for one diagnosis")
