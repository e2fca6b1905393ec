"""Who is on a topic, as users: departures, what is rung for, the rules that decide who may see it."""
import datetime
import json
import uuid

from database import quote
from harness import edited, equal, test

GRACE_MS = 600000  # no machine is as slow as that


def node(db, grace_ms=GRACE_MS):
    name = str(uuid.uuid4())
    beat(db, name, grace_ms)
    return name


def beat(db, name, grace_ms=GRACE_MS):
    db.sidecar(f"select tidings.heartbeat('{name}', now()::text, 0, 0, '{{}}', '{{}}', '{{}}', p_grace_ms => {quote(grace_ms)})")
    # It lives as long as the test does.
    db.sql(f"update tidings.node set heartbeat_at = clock_timestamp() + interval '1 h' where id = '{name}'")


def on(db, where, topic, *users):
    """A connection of each user, by attach(); their ids."""
    ids = [str(uuid.uuid4()) for _ in users]
    count = len(users)
    db.sidecar(f"select count(*) from tidings.attach({quote(list(users))}, {quote(['admin'] * count)}, {quote([topic] * count)}, p_node => '{where}', "
               f"p_connections => {quote(ids)}, p_transports => {quote(['websocket'] * count)}, p_connected_at => array_fill(clock_timestamp()::text, array[{count}]))")
    return ids


def off(db, where, topic, *ids):
    db.flush(where, closed=[(i, db.topic_id(topic)) for i in ids])


def rosters(db, where, *topics, unwatched=(), limit=100, grace_ms=GRACE_MS):
    ids = [db.topic_id(t) for t in topics]
    return db.sidecar(f"select topic_id, users, clients, anonymous, leaves_in_ms, user_id, connections from tidings.rosters('{where}', {quote(ids, 'int8')}, "
                      f"{quote([db.topic_id(t) for t in unwatched], 'int8')}, {limit}, {grace_ms})")


def users(db, where, topic, **more):
    return {r[5]: int(r[6]) for r in rosters(db, where, topic, **more) if r[5]}


def page(db, topic, user="root", role="admin", after=None, limit=100):
    outcome, body = db.sql(f"select outcome, page from tidings.roster_page({quote(user)}, '{role}', '{topic}', {quote(after)}, {limit}, {GRACE_MS}, false)",
                           user="tidings_publisher")[0]
    return outcome, json.loads(body) if body else None


def older(db, user, seconds):
    """As if all of it had been so long ago."""
    ago = f"interval '{seconds} s'"
    db.sql(f"update tidings.departure set since = since - {ago}, left_at = left_at - {ago} where user_id = '{user}'; "
           f"update tidings.connection set connected_at = connected_at - {ago}, since = since - {ago} where user_id = '{user}'")


def before(time, seconds):
    moved = datetime.datetime.fromisoformat(time.replace("Z", "+00:00")) - datetime.timedelta(seconds=seconds)
    return moved.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@test("one entry a user over all nodes; who has lost the last connection is there for the grace, without any, and then is not")
def entries(db):
    topic, one, two = db.topic(), node(db), node(db)
    u, v = db.user(), db.user()
    (a,), (b,), (c,) = on(db, one, topic, u), on(db, two, topic, u), on(db, two, topic, v)
    equal(users(db, one, topic), {u: 2, v: 1}, "all")
    off(db, one, topic, a)
    equal((users(db, one, topic), rosters(db, one, topic)[0][4]), ({u: 1, v: 1}, ""), "with one connection less, nobody is about to leave")
    off(db, two, topic, b, c)
    rows = rosters(db, one, topic)
    equal({r[5]: int(r[6]) for r in rows}, {u: 0, v: 0}, "away")
    assert 0 < int(rows[0][4]) <= GRACE_MS, rows
    older(db, u, 600)
    equal((users(db, one, topic), rosters(db, one, topic)[0][1:4]), ({v: 0}, ["1", "0", "0"]), "once the grace is over")
    older(db, v, 600)
    equal(rosters(db, one, topic), [[str(db.topic_id(topic)), "0", "0", "0", "", "", ""]], "of nobody there is a row")


@test("who comes back in time has been there since they came first, also once their departure is forgotten; who comes back late has not")
def since(db):
    topic, where = db.topic(), node(db)
    u = db.user()
    told = lambda: page(db, topic)[1]["users"][0]["since"]
    (a,) = on(db, where, topic, u)
    first = told()
    off(db, where, topic, a)
    (b,) = on(db, where, topic, u)
    equal(told(), first, "back in time")
    older(db, u, 601)
    beat(db, where)
    equal((db.sql(f"select 1 from tidings.departure where user_id = '{u}'"), told()), ([], before(first, 601)), "once that is over")
    off(db, where, topic, b)
    older(db, u, 601)
    on(db, where, topic, u)
    late = told()
    assert late > before(first, 601), (first, late)
    beat(db, where)
    equal(told(), late, "back late")


@test("users of a node that is silent are there while it may be, then for the grace; burying it rings for them, and so does its farewell")
def dead_nodes(db):
    topic, alive, silent, goes = db.topic(), node(db), node(db), node(db)
    u, v = db.user(), db.user()
    on(db, silent, topic, u), on(db, goes, topic, v)
    rosters(db, alive, topic)
    heard = db.session("tidings_sidecar")
    heard.listen("control")
    rung = lambda: [n for n in heard.notifications("control") if n == f"rosters {db.topic_id(topic)}"]
    db.sidecar(f"select tidings.farewell('{goes}')")
    equal((users(db, alive, topic), len(rung())), ({u: 1, v: 0}, 1), "after a farewell")
    db.sql(f"update tidings.node set heartbeat_at = clock_timestamp() - interval '16 s' where id = '{silent}'")
    equal(users(db, alive, topic)[u], 0, "of one that is silent, without connections")
    beat(db, alive)
    equal((users(db, alive, topic)[u], len(rung())), (0, 1), "once it is buried")
    left = db.one(f"select extract(epoch from clock_timestamp() - left_at) > 0.9 from tidings.departure where user_id = '{u}'")
    equal(left, "t", "it was there for 15 s, and no longer")


@test("nothing rings, and no departure is written, for a topic that nobody watches or a node that keeps none; a watcher is rung for whoever comes or goes")
def rings(db):
    topic, other, where, watcher = db.topic(), db.topic(), node(db), node(db)
    without = node(db, None)
    u = db.user()
    heard = db.session("tidings_sidecar")
    heard.listen("control")
    said = lambda: [n for n in heard.notifications("control") if n.startswith("rosters")]
    (a,) = on(db, where, topic, u)
    off(db, where, topic, a)
    equal(said(), [], "unwatched")
    rosters(db, watcher, topic)
    (a,), (b,) = on(db, where, topic, u), on(db, where, other, u)
    off(db, where, other, b)
    equal(said(), [f"rosters {db.topic_id(topic)}"], "for who comes")
    off(db, where, topic, a)
    equal(said(), [f"rosters {db.topic_id(topic)}"], "for who goes")
    db.flush(where, opened=[(str(uuid.uuid4()), db.topic_id(topic), u)])
    equal(said(), [f"rosters {db.topic_id(topic)}"], "for who is written down later")
    rosters(db, watcher, unwatched=[topic])
    on(db, where, topic, u)
    equal(said(), [], "watched no longer")
    v = db.user()
    (c,) = on(db, without, topic, v)
    off(db, without, topic, c)
    equal(db.sql(f"select 1 from tidings.departure where user_id = '{v}'"), [], "departures by a node that keeps none")


@test("many topics are rung for in notifications that PostgreSQL takes")
def many(db):
    where = node(db)
    ids = list(range(10**15, 10**15 + 900))
    heard = db.session("tidings_sidecar")
    heard.listen("control")
    db.sql(f"set search_path = tidings, pg_temp; insert into roster_watch select i, '{where}' from unnest({quote(ids, 'int8')}) i; select ring_rosters({quote(ids, 'int8')})")
    told = [n for n in heard.notifications("control") if n.startswith("rosters")]
    equal((sorted(int(i) for n in told for i in n.split()[1].split(",")), len(told) > 1), (ids, True), "topics")
    db.sql("delete from tidings.roster_watch")


@test("of many users there are as many as are asked for, in the order of their ids, page by page; the numbers are of all, and of those without a user")
def pages(db):
    topic, where = db.topic(), node(db)
    names = sorted(f"{n}-{db.user()}" for n in ("Z", "a", "10", "9", "é", "_"))
    on(db, where, topic, *names)
    db.flush(where, opened=[(str(uuid.uuid4()), db.topic_id(topic), None) for _ in range(2)])
    by_bytes = sorted(names, key=lambda n: n.encode())
    rows = rosters(db, where, topic, limit=2)
    equal(([r[5] for r in rows], rows[0][1:4]), (by_bytes[:2], ["6", "8", "2"]), "the first of them")
    got, after = [], None
    while True:
        body = page(db, topic, after=after, limit=4)[1]
        got.append([u["user_id"] for u in body["users"]])
        equal([body[k] for k in ("users_total", "clients", "anonymous")], [6, 8, 2], "numbers")
        after = body.get("next")
        if after is None:
            break
    equal(got, [by_bytes[:4], by_bytes[4:]], "pages")


@test("who may see it: whoever may read the topic, services, admins; not who comes without a token; and the action 'presence' is asked for beside 'subscribe'")
def rights(db):
    topic = db.topic("456")
    outcomes = lambda: [page(db, topic, u, r)[0] for u, r in (("456", "user"), ("789", "user"), (None, "user"), ("svc", "service"), ("root", "admin"))]
    equal(outcomes(), ["ok", "forbidden", "forbidden", "ok", "ok"], "outcomes")
    equal([page(db, "diagnosis/999999996", u, r)[0] for u, r in (("456", "user"), ("root", "admin"))], ["not_found", "not_found"], "of what is not there")
    db.sql(f"update tidings.diagnosis set public = true where id = {topic.split('/')[1]}")
    equal(outcomes()[2], "forbidden", "of what is public, without a token")
    equal([page(db, "tidings/operations", u, r)[0] for u, r in (("456", "user"), ("svc", "service"), ("root", "admin"))], ["forbidden", "forbidden", "ok"], "of an operator's topic")
    rule = "tidings.default_authorize(user_id, role, topic, action)"
    attach = lambda also: db.sidecar(f"select outcome from tidings.attach('{{456}}', '{{user}}', '{{{topic}}}', p_also => {quote([also])})")[0][0]
    equal((attach(None), attach("presence")), ("ok", "ok"), "attach")
    with edited(db, "authorize", rule, rule + " and action <> 'presence'"):
        equal((attach(None), attach("presence"), outcomes()), ("ok", "forbidden", ["forbidden"] * 5), "where nobody may")
    with edited(db, "authorize", rule, "action = 'presence'"):
        equal((attach("presence"), outcomes()), ("forbidden", ["forbidden", "forbidden", "forbidden", "ok", "forbidden"]), "where nobody may read")


@test("forget() erases departures")
def forgets(db):
    topic, where = db.topic(), node(db)
    u = db.user()
    (a,) = on(db, where, topic, u)
    off(db, where, topic, a)
    equal(users(db, where, topic), {u: 0}, "before")
    db.sql(f"select tidings.forget('{u}')")
    equal(users(db, where, topic), {}, "after")
