"""
The operator's page (web/admin.html) in a real browser, through lighttpd: who sees something there, what it shows, each act and what becomes
of it for a client, and whether it can be used with a keyboard, by a screen reader, on a phone.
"""
import contextlib
import importlib
import os
import pathlib
import re
import urllib.parse
import uuid

from harness import Client, equal, test, wait_until

clients = importlib.import_module("92_client")
pages = importlib.import_module("93_page")
topics = importlib.import_module("48_topics")

OUTAGE = pages.OUTAGE
SIGN, LEAVE, YES, NO = '#sign button[type="submit"]', "#leave", "#ask-yes", "#ask-no"
EVIL = '"><img src=x onerror="document.title=1"><script>document.title=2</script>'
# Where somebody wants to look at them.
PICTURES = os.environ.get("TIDINGS_SCREENSHOTS_TO")


def admin(s):
    return s.token("root", role="admin")


@contextlib.contextmanager
def signed_in(s, place, **how):
    with pages.opened(s, place, path="/admin", **how) as page:
        page.on("#token", "fill", admin(s))
        page.on(SIGN, "click")
        page.on("#desk", "waitFor")
        yield page


def listen(s, server, user, *names, role="admin"):
    """Whoever they are may read all."""
    return topics.connect(s, server, names, s.token(user, role=role))


def search(page, user):
    page.on("#of-user", "fill", user)
    page.on('#filter button[type="submit"]', "click")


def button(table, label, of):
    return f'#{table} button:has-text("{label}"):has-text("{of}")'


def act(page, table, label, of):
    page.on(button(table, label, of), "click")
    page.on("#ask", "waitFor")


def shoot(page, name):
    if PICTURES:
        page.do("shoot", to=str(pathlib.Path(PICTURES) / f"{name}.png"))


def publish(s, topic, data):
    s.api.post("/ws/publish", {"topic": topic, "type": "note", "data": data}, s.service()).want(200)


@test("without an admin's token there is nothing on the operator's page, and it says what is wrong")
def _(s):
    with clients.Place(s) as place, pages.opened(s, place, path="/admin") as page:
        equal((page.on("#desk", "isVisible"), page.on(SIGN, "isVisible")), (False, True), "at first")
        for token, words in (("", "takes a token"), ("secret", "three parts"), (s.token(place.user), "must be admin"), (s.service(), "must be admin"),
                             (s.token("root", role="admin", ttl=-60), "has expired"), (admin(s)[:-8] + "AAAAAAAA", "not valid")):
            page.on("#token", "fill", token)
            page.on(SIGN, "click")
            page.wait_text("#sign-error", words)
            equal((page.on("#desk", "isVisible"), page.on("#desk tbody tr", "count"), page.focus()), (False, 0, "token"), words)
        equal({urllib.parse.urlsplit(a).path for a in page.all("address") if "/ws" in a}, {"/ws/connections"}, "what it asked for")
        page.on("#token", "fill", admin(s))
        page.on(SIGN, "click")
        page.on("#desk", "waitFor")
        page.on("#nodes tbody tr >> nth=0", "waitFor")
        equal([a for a in page.all("address") if admin(s)[:-20] in a or "token" in urllib.parse.urlsplit(a).query], [], "addresses with the token")
        assert admin(s)[:40] not in page.evaluate("location.href + JSON.stringify(localStorage) + document.cookie")
        page.evaluate("location.reload()")
        page.on("#desk", "waitFor")
        page.on(LEAVE, "click")
        equal((page.on("#desk", "isVisible"), page.on("#desk tbody tr", "count"), page.evaluate("sessionStorage.length")), (False, 0, 0), "signed out")
        page.on("#token", "fill", admin(s))
        page.on(SIGN, "click")
        page.on("#nodes tbody tr >> nth=0", "waitFor")
        page.evaluate("""window.fetched = window.fetch, window.held = [], window.fetch = async (path, how) => {
            const reply = await fetched(path, how);
            if (!path.startsWith("/ws/connections")) return reply;
            const body = await reply.json();
            await new Promise((go) => held.push(go));
            return { ok: reply.ok, status: reply.status, json: async () => body };
        }, null""")
        search(page, "")
        wait_until(lambda: page.evaluate("held.length"), "an answer to be under way")
        page.on(LEAVE, "click")
        page.evaluate("held.forEach((go) => go()), new Promise((done) => setTimeout(done, 0))")
        equal(page.on("#desk tbody tr", "count"), 0, "rows that came when nobody was signed in any more")
        page.do("open", path="/admin", scripts=False)
        page.wait_text("noscript", "takes JavaScript, which is off here")
        equal(page.on("#sign", "isVisible"), False, "a form that does nothing is shown")


@test("the operator's page is live by each transport, and shows nodes, who is connected with what, and topics by rate, lag and clients")
def _(s):
    with clients.Place(s) as place:
        who, topic = f"op-{uuid.uuid4()}", f"desk/{uuid.uuid4()}"
        for mode, name in (("open", "WebSocket"), ("refuse", "event stream"), ("buffer", "long-poll")):
            with pages.opened(s, place, path="/admin") as page:
                page.do("network", mode=mode)
                page.on("#token", "fill", admin(s))
                page.on(SIGN, "click")
                page.wait_text("#state", f"^Live, by {name}$")
                page.evaluate("document.querySelector('#users-count').textContent = 'old'")
                page.wait_text("#users-count", "^[0-9]+$")
        with signed_in(s, place) as page, listen(s, place.node, who, topic, f"health/{who}") as client:
            search(page, who)
            wait_until(lambda: len(page.texts("#connections tbody tr")) == 1 and page.on(f'#connections tr[data-key="{client.id}"]', "count") == 1, "the one row")
            cells = page.texts("#connections tbody td")
            equal((cells[0], cells[1], cells[4], cells[5]), (who, "WebSocket", "0", "0 B"), "user, transport, lag, waiting")
            assert topic in cells[2] and f"health/{who}" in cells[2] and re.match(r"\d+ s$", cells[3]), cells
            for n in range(3):
                publish(s, topic, n)
            page.on('#by [value="clients"]', "check", {"force": True})
            page.on('#by [value="rate"]', "check", {"force": True})
            wait_until(lambda: re.search(r" 3 0 1 \d+ s", page.text(f'#topics tr[data-key="{topic}"]')), "rate, lag and clients of the topic", 60)
            search(page, "nobody")
            page.wait_text("#connections ~ .empty", "Nobody is found")
            page.on("#of-user", "fill", "")
            page.on("#of-topic", "fill", "a b")
            page.on('#filter button[type="submit"]', "click")
            page.wait_text("#filter-error", "must be the name of a topic")


@test("what an operator does on the page becomes of clients: disconnect, reconnect, revoke; who cancels does nothing")
def _(s):
    with clients.Place(s) as place, signed_in(s, place) as page:
        who, topic = f"op-{uuid.uuid4()}", f"desk/{uuid.uuid4()}"
        search(page, who)
        with listen(s, place.node, who, topic) as client:
            page.wait_text("#connections tbody", client.id[:8])
            act(page, "connections", "Disconnect", client.id[:8])
            equal(page.focus(), "ask-no", "the focus in the dialog")
            page.press("Escape")
            page.on("#ask", "waitFor", {"state": "hidden"})
            client.answers()
            act(page, "connections", "Disconnect", client.id[:8])
            page.on(YES, "click")
            equal(client.closed(), (1000, "disconnected by administrator"), "disconnect")
            page.wait_text("#done", f"^Disconnected: {client.id}")
        with listen(s, place.node, who, topic) as client:
            page.wait_text("#connections tbody", client.id[:8])
            act(page, "connections", "Reconnect", who)
            page.on(YES, "click")
            equal(client.closed()[0], 1012, "reconnect")
            page.wait_text("#done", "^1 connection of op-")
        with listen(s, place.node, who, topic) as client:
            publish(s, topic, 1)
            page.on('#by [value="clients"]', "check", {"force": True})
            page.on('#by [value="rate"]', "check", {"force": True})
            page.on(button("topics", "Revoke", topic), "waitFor")
            act(page, "topics", "Revoke", topic)
            page.on(YES, "click")
            page.wait_text("#ask-error", "Which user")
            page.on("#ask-user", "fill", who)
            page.on(YES, "click")
            equal(client.closed()[0], 1008, "revoke")
            page.wait_text("#done", f"^Subscriptions to {topic} end")


@test("the outbox on the page: what was given up is told with its error, retried, dropped")
def _(s):
    with clients.Place(s) as place, signed_in(s, place) as page:
        topic = f"desk/{uuid.uuid4()}"
        ids = [r[0] for r in s.sql("insert into tidings.outbox (deliver_at, topic, body, attempts, last_error, failed_at) select now(), "
                                   f"'{topic}', tidings.message_text('note', '{topic}', null, 'data', to_json(n)), 10, '22P02 <b>bad</b>', now() "
                                   "from generate_series(1, 3) n returning id")]
        page.on("#only-failed", "check")
        page.wait_text("#outbox tbody", "22P02 <b>bad</b>")
        act(page, "outbox", "Retry", f"message {ids[0]}")
        page.on(YES, "click")
        page.wait_text("#done", "^On its way again: 1")
        act(page, "outbox", "Drop", f"message {ids[1]}")
        page.on(YES, "click")
        page.wait_text("#done", "^Dropped: 1")
        wait_until(lambda: len([t for t in page.texts("#outbox tbody tr") if topic in t]) == 1, "one to be left")
        page.on("#drop-all", "click")
        page.on(YES, "click")
        page.wait_text("#outbox ~ .empty", "Nothing waits")
        equal(s.sql(f"select body::json->>'data' from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name = '{topic}'"), [["1"]], "sent")


@test("the tail of a topic shows what is kept and what comes, sends nobody anything, and strangers' words stay words")
def _(s):
    with clients.Place(s) as place, signed_in(s, place) as page:
        topic = f"health/{place.user}"
        publish(s, topic, {"text": "before"})
        page.on("#tail-topic", "fill", topic)
        page.on("#tail-begin", "click")
        page.wait_text("#messages", "before")
        publish(s, topic, {"text": EVIL})
        wait_until(lambda: EVIL.replace('"', '\\"') in page.text("#messages li >> nth=0"), "what was published")
        with listen(s, place.node, EVIL, f"desk/{uuid.uuid4()}"):
            search(page, EVIL)
            page.wait_text("#connections tbody", re.escape(EVIL))
            act(page, "connections", "Reconnect", "all of")
            page.wait_text("#ask-words", re.escape(EVIL))
            page.on(YES, "click")
            page.wait_text("#done", re.escape(EVIL))
        equal((page.evaluate("document.title"), page.on("main img, main script, dialog img", "count")), ("tidings: operation", 0), "what was made of it")
        with listen(s, place.node, place.user, topic, role=None) as client:
            equal([m["seq"] for m in topics.unpack(client, 2)], [1, 2], "what its user is sent, who was not there")
        page.on("#tail-topic", "fill", "diagnosis/99999999")
        page.on("#tail-begin", "click")
        page.wait_text("#tail-error", "no such diagnosis")


@test("a node that is drained on the page: its client goes, the page says so, and when it is gone the rest goes on", allow=OUTAGE)
def _(s):
    with clients.Place(s, TIDINGS_DRAIN_TIME="1") as place, s.web() as web:
        place.web, hidden = web, place.web
        try:
            with signed_in(s, place) as page, listen(s, place.node, f"op-{uuid.uuid4()}", f"desk/{uuid.uuid4()}") as client:
                node = s.sql(f"select node_id from tidings.connection where id = '{client.id}'")[0][0]
                page.wait_text(f'#nodes tr[data-key="{node}"]', " [12] takes clients")
                act(page, "nodes", "Drain", node[:8])
                page.wait_text("#ask-words", "[12] clients? to come again")
                page.on(YES, "click")
                equal(client.closed()[0], 1012, "the close")
                page.wait_text("#done", f"^Node {node} drains")
                page.wait_text(f'#nodes tr[data-key="{node}"]', "drained: may be stopped")
                equal(page.on(button("nodes", "Drain", node[:8]), "count"), 0, "buttons to drain it again")
        finally:
            place.web = hidden


@test("while the sidecar is away the operator's page says that it is not live, and goes on; when it is back it is live again", allow=OUTAGE)
def _(s):
    with clients.Place(s) as place, signed_in(s, place) as page:
        page.wait_text("#state", "^Live, by")
        place.stop()
        page.wait_text("#state", "^Not live")
        page.on("#topics tbody tr >> nth=0", "waitFor")
        place.start()
        page.wait_text("#state", "^Live, by")


@test("axe finds nothing serious on the operator's page, in light and dark, wide and on a phone; nothing is wider than 320 px; keys are enough")
def _(s):
    with clients.Place(s) as place, contextlib.ExitStack() as stack:
        who = f"op-{uuid.uuid4()}"
        for n in range(3):
            stack.enter_context(listen(s, place.node, f"{who}-{n}", f"desk/{who}-{n}", f"health/{who}"))
            publish(s, f"desk/{who}-{n}", {"text": "one of several words, that are long enough to need more than a line of a phone"})
        s.sql(f"insert into tidings.outbox (deliver_at, topic, body, attempts, last_error, failed_at) values (now(), 'desk/{who}', '{{}}', 10, '22P02 x', now())")
        try:
            for size, scheme in ((pages.WIDE, "light"), (pages.PHONE, "dark"), (pages.NARROW, "light")):
                how = f"{size['width']}-{scheme}"
                with pages.opened(s, place, path="/admin", **size, scheme=scheme) as page:
                    def look(what, how=how, page=page):
                        shoot(page, f"{how}-{what}")
                        equal(page.do("axe", pages.AXE_S), [], f"what axe finds: {what}, {how}")
                        page.fits(f"{what}, {how}")

                    page.on(SIGN, "click")
                    page.wait_text("#sign-error", "takes a token")
                    look("sign")
                    # Keys alone, from the field that has the focus.
                    page.press(*admin(s), "Enter")
                    page.wait_text("#state", "^Live")
                    equal(page.focus(), "main", "the focus after signing in")
                    page.wait_text("#topics tbody", who)
                    page.on("#outbox tbody tr >> nth=0", "waitFor")
                    page.on(button("topics", "Tail", f"desk/{who}-0"), "focus")
                    page.press("Enter")
                    page.wait_text("#messages", "several words")
                    equal(page.focus(), "tail-topic", "the focus after Tail")
                    page.evaluate("document.activeElement.blur(), scrollTo(0, 0)")
                    look("desk")
                    page.on(button("topics", "Revoke", f"desk/{who}-0"), "focus")
                    page.press("Enter")
                    page.on("#ask", "waitFor")
                    look("revoke")
                    page.press("Escape")
                    wait_until(lambda p=page: "Revoke" in p.focus(), "the focus to be back")
                    page.evaluate("document.querySelector('#topics').scrollIntoView()")
                    shoot(page, f"{how}-topics")
                    page.evaluate("document.querySelector('#outbox').scrollIntoView()")
                    shoot(page, f"{how}-outbox")
        finally:
            s.sql("delete from tidings.outbox where failed_at is not null")


@test("a row that moves keeps the focus; where it goes, the focus is on its table's heading")
def _(s):
    with clients.Place(s) as place, signed_in(s, place) as page:
        mine, other, who = f"desk/{uuid.uuid4()}", f"desk/{uuid.uuid4()}", f"op-{uuid.uuid4()}"
        rows = lambda: [k for k in page.evaluate("[...document.querySelectorAll('#topics tbody tr')].map((r) => r.dataset.key)") if k in (mine, other)]
        for topic, count in ((other, 30), (mine, 20)):
            s.api.post("/ws/publish", [{"topic": topic, "type": "note", "data": n} for n in range(count)], s.service()).want(200)
        wait_until(lambda: rows() == [other, mine], "both topics", 60)
        page.on(button("topics", "Tail", mine), "focus")
        s.api.post("/ws/publish", [{"topic": mine, "type": "note", "data": n} for n in range(20)], s.service()).want(200)
        wait_until(lambda: rows() == [mine, other], "the rows to move", 60)
        equal(page.evaluate("document.activeElement.closest('tr')?.dataset.key"), mine, "the row that has the focus")
        search(page, who)
        with listen(s, place.node, who, mine) as client:
            page.on(button("connections", "Disconnect", client.id[:8]), "focus")
        wait_until(lambda: page.focus() == "connections-title", f"the focus to be on the heading; it is on {page.focus()}", 60)


@test("page by page: what is not on the first page of connections is on the next")
def _(s):
    with clients.Place(s, TIDINGS_CONNECTIONS_MAX="200") as place, contextlib.ExitStack() as stack:
        topic = f"desk/{uuid.uuid4()}"
        ids = [stack.enter_context(Client(f"ws://127.0.0.1:{place.node.port}{topics.path('ws', [topic], token=s.token(f'p{n}', role='admin'))}")).id
               for n in range(60)]
        wait_until(lambda: int(s.sql(f"select count(*) from tidings.connection c join tidings.topic t on t.id = c.topic_id where t.name = '{topic}'")[0][0]) == 60,
                   "all of them to be known")
        with signed_in(s, place) as page:
            keys = lambda: page.evaluate("[...document.querySelectorAll('#connections tbody tr')].map((r) => r.dataset.key)")
            page.on("#of-topic", "fill", topic)
            page.on('#filter button[type="submit"]', "click")
            first = wait_until(lambda: set(k := keys()) <= set(ids) and len(k) == 50 and k, "the first page")
            page.on("#next", "click")
            second = wait_until(lambda: len(k := keys()) == 10 and k, "the second page")
            equal(sorted(first + second), sorted(ids), "all")
            equal((page.on("#next", "isVisible"), page.focus()), (False, "connections-title"), "after the last")
            page.on("#first", "click")
            wait_until(lambda: keys() == first, "the first page again")
