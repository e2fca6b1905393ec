"""
The live page (web/index.html) in a real browser, through lighttpd: what a reader with eyes, with a keyboard or with a screen reader
finds. TIDINGS_SCREENSHOTS=1 makes the pictures in doc/ anew, which README.md shows.
"""
import importlib
import json
import os
import queue
import re
import struct
import subprocess
import threading
from types import SimpleNamespace

from harness import TOP, equal, test, wait_until

clients = importlib.import_module("92_client")
DOC = TOP / "doc"
WIDE, PHONE, NARROW = {"width": 1280, "height": 960}, {"width": 390, "height": 844}, {"width": 320, "height": 640}
AXE_S = 120  # of a large page, on a busy machine
PICTURES = {"live-wide": {**WIDE, "scheme": "light"}, "live-dark": {**WIDE, "scheme": "dark"}, "live-phone": {**PHONE, "scheme": "light"}}
CONNECT, DISCONNECT, PUBLISH = '#connect button[type="submit"]', "#disconnect", '#publish button[type="submit"]'
TRANSPORTS = {"websocket": "WebSocket", "sse": "event stream", "long_poll": "long-poll"}
OUTAGE = "Connection refused|backend"  # what lighttpd logs while the sidecar is away
# What a browser says of a server that refuses, or is away.
EXPECTED = r"Failed to load resource|WebSocket connection to|net::ERR_"


# Makes a picture the same each time.
SAME = """{
	const all = (what) => [...document.querySelectorAll(what)];
	for (const e of all(".note.warn").slice(0, -1)) e.remove(); // how often it tried in vain
	all("time").reverse().forEach((e, n) => (e.textContent = `10:00:0${n}`));
	for (const e of all("#fact-topics, .topic, .words")) e.textContent = e.textContent.replace(/diagnosis.\\d+/, "diagnosis/123");
	all("#diagnosis_id")[0].value = "123";
	all("#fact-user")[0].textContent = "456";
	all("#fact-id")[0].textContent = "6f1c2b9a-5d0e-4c37-9a41-0be2f7d1c854";
	document.activeElement.blur();
	scrollTo(0, 0);
}"""


class Page(clients.Driven):
    """A browser on the live page: web/test/page.mjs tells the commands."""

    def __init__(self, s, place):
        before, after = clients.command("chromium")
        self.s, self.place = s, place
        self.errors = open(s.logs / "page.txt", "a+")
        self.child = subprocess.Popen([before[0], clients.WEB / "test" / "page.mjs", str(place.web.port), *after], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=self.errors, text=True, env=s.browser_environment())
        self.events, self.replies = [], queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.origin = self._reply("start", 60)

    def _reply(self, what, seconds=60):
        try:
            reply = self.replies.get(timeout=seconds)
        except queue.Empty:
            self.errors.seek(0)
            raise AssertionError(f"no answer to {what}: {self.errors.read()[-2000:]}") from None
        equal(reply["did"], what, "what was answered")
        assert "error" not in reply, f"{what}: {reply['error']}"
        return reply["result"]

    def on(self, what, call, *with_):
        return self.do("on", at=what, call=call, **{"with": with_})

    def evaluate(self, what):
        return self.do("evaluate", script=what)

    def press(self, *keys):
        self.do("press", keys=keys)

    def text(self, what):
        return " ".join(self.on(what, "innerText").split())

    def wait_text(self, what, pattern):
        try:
            wait_until(lambda: re.search(pattern, self.text(what)), f"{pattern!r} in {what}", 60)
        except AssertionError as e:
            raise AssertionError(f"{e}; it says {self.text(what)!r}") from None

    def texts(self, what):
        return [" ".join(t.split()) for t in self.on(what, "allInnerTexts")]

    def seqs(self, topic=None):
        """Of the messages that are shown, oldest first."""
        topics, seqs = self.texts(".message .topic"), self.texts(".message .seq")
        return [int(seq[1:]) for t, seq in zip(topics, seqs) if topic in (None, t)][::-1]

    def wait_seqs(self, *wanted, topic=None):
        wait_until(lambda: self.seqs(topic) == list(wanted), f"messages {wanted} to be shown", 60)

    def fill(self, topics, token=None, transport=""):
        self.on("#topics", "fill", topics)
        self.on("#token", "fill", self.s.token(self.place.user) if token is None else token)
        if transport is not None:
            self.on(f'#connect [name="transport"][value="{transport}"]', "check", {"force": True})

    def connect(self, topics, token=None, transport=""):
        self.fill(topics, token, transport)
        self.on(CONNECT, "click")

    def connected(self, *args, **kw):
        self.connect(*args, **kw)
        self.wait_text("#state", "^Connected by")

    def focus(self):
        return self.evaluate("document.activeElement.id || document.activeElement.textContent.trim() || document.activeElement.name")

    def is_wrong(self, what, pattern):
        """The field is marked, and its description says why."""
        wait_until(lambda: self.on(what, "getAttribute", "aria-invalid") == "true", f"{what} to be marked", 60)
        described = self.on(what, "getAttribute", "aria-describedby").split()[0]
        assert re.search(pattern, self.text(f"#{described}")), f"{self.text(f'#{described}')!r} is said of {what}, wanted {pattern!r}"

    def unfolded(self):
        return self.on("#fold", "getAttribute", "aria-expanded") == "true"

    def fits(self, what):
        wide, room = self.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide <= room, f"{what}: {wide} px in a window of {room}"

    def __exit__(self, *error):
        super().__exit__()
        trouble = [t for t in self.all("trouble") if not re.search(EXPECTED, t)]
        if not error[0]:
            equal(trouble, [], "what the browser says")


def opened(s, place, **how):
    page = Page(s, place)
    page.do("open", **how)
    return page


def number(topic):
    return topic.split("/")[1]


def gone(s, place, publish):
    """While the sidecar is away messages are published, five times, and only the newest two are kept."""
    place.stop()
    for _n in range(5):
        publish(s.api)
    s.sql("select tidings.sweep(0, 1000000, 1000000, 2, 0, 604800)")
    place.start()


@test("the live page connects by the transport that one chooses, shows what comes, and publishes")
def _(s):
    with clients.Place(s) as place, opened(s, place) as page:
        topic = place.diagnosis()
        page.fill(number(topic))
        page.on("#diagnosis_id", "fill", number(topic))
        # While nobody is connected; then it comes.
        for kind, words in (("effectiveness", "Recommendation 789: 85 %, confidence 92 %, sample of 150"), ("feedback", "5 of 5, effectiveness 95 %: Sleeps better")):
            page.on("#kind", "selectOption", kind)
            s.wait_watchers(number(topic), 0)
            page.on(PUBLISH, "click")
            page.wait_text("#reply", "nobody is connected: it waits")
            page.connected(number(topic), transport="websocket")
            wait_until(lambda w=words: page.text(".message >> nth=0 >> .words") == w, f"{words} to be shown; it is {page.texts('.words')}")
            page.on(DISCONNECT, "click")
        page.on("#kind", "selectOption", "recommendation")
        for n, (transport, name) in enumerate(TRANSPORTS.items(), 3):
            page.connected(number(topic), transport=transport)
            equal((page.text("#state"), page.text("#fact-topics")), (f"Connected by {name}", topic), "the state")
            equal(page.on("#diagnosis_id", "inputValue"), number(topic), "where to publish")
            s.wait_watchers(number(topic), 1)
            page.on(PUBLISH, "click")
            page.wait_text("#reply", rf"^Committed as #{n}; 1 client is connected\.$")
            page.wait_seqs(*range(1, n + 1))
            page.on(DISCONNECT, "click")
            equal(page.text("#state"), "Not connected", "the state")
        equal(page.text(".message >> nth=0 >> .words"), "herb: Ginger → Turmeric, dosage: 1g → 2g. User feedback indicated better results", "in words")
        page.on("summary >> nth=0", "click")
        wait_until(lambda: page.text("pre >> nth=0"), "the JSON")
        equal(json.loads(page.text("pre >> nth=0"))["seq"], 5, "seq in the JSON")
        equal(page.seqs(), [1, 2, 3, 4, 5], "seqs")


@test("the live page finds the transport by itself, and says which")
def _(s):
    with clients.Place(s) as place, opened(s, place) as page:
        topic = place.diagnosis()
        for n, (mode, name) in enumerate((("open", "WebSocket"), ("refuse", "event stream"), ("buffer", "long-poll")), 1):
            page.do("network", mode=mode)
            page.connected(topic)
            equal(page.text("#state"), f"Connected by {name}", f"the state in a network: {mode}")
            place.publish(topic)
            page.wait_seqs(*range(1, n + 1))
            page.on(DISCONNECT, "click")


@test("where compression is switched on Chromium agrees to it, is understood, and understands")
def _(s):
    with clients.Place(s, TIDINGS_DEFLATE="yes") as place, opened(s, place) as page:
        topic, reason = place.diagnosis(), "the same again and again, " * 150

        def said(what):
            """Of the messages that came."""
            return page.evaluate(f"said.map((m) => {what})")

        path = s.ws_path(number(topic), s.token(place.user))
        page.evaluate(f"""window.said = [];
            window.ws = new WebSocket(location.origin.replace("http", "ws") + "{path}");
            ws.onmessage = ({{ data }}) => said.push(JSON.parse(data));
            ws.onopen = () => ws.send(JSON.stringify({{ type: "ping", pad: "x".repeat(60000) }}))""")
        wait_until(lambda: said("m.type") == ["connect", "pong"], "the answer to a long ping")
        equal(page.evaluate("ws.extensions"), "permessage-deflate; server_no_context_takeover; client_no_context_takeover", "what was agreed")
        s.recommend(int(number(topic)), reason, token=s.token(place.user))
        wait_until(lambda: said("m.data.reason")[2:] == [reason], "a long message")
        # Larger than a message may be, and small on its way.
        page.evaluate("ws.onclose = ({ code }) => (window.code = code); ws.send(' '.repeat(1e6))")
        wait_until(lambda: page.evaluate("window.code") == 1009, "the close")


@test("the live page shows a break and the return, and nothing is lost in between", allow=OUTAGE)
def _(s):
    with clients.Place(s) as place, opened(s, place) as page:
        topics = place.diagnosis(), f"health/{place.user}"
        for transport in TRANSPORTS:
            if page.seqs():
                page.on("#clear", "click")
            first = place.publish(*topics)[topics[0]]
            page.connected(f"{number(topics[0])}, {topics[1]}", transport=transport)
            page.wait_seqs(first, topic=topics[0])
            place.stop()
            page.wait_text("#state-text", "^(Connection lost|The server cannot be reached|The server is not ready)$")
            place.publish(*topics, topics[0])
            place.start()
            page.wait_text("#state", "^Connected by")
            place.publish(*topics)
            wanted = [first, first + 1, first + 2, first + 3]
            page.wait_seqs(*wanted, topic=topics[0])
            notes = page.texts(".note .words")
            assert re.match("Connected by .*Connection lost.*; Connected by [^;]*$", "; ".join(reversed(notes))), f"{transport}: the notes are {notes}"
            page.on(DISCONNECT, "click")


@test("the live page shows which messages are gone, and tells a screen reader", allow=OUTAGE)
def _(s):
    with clients.Place(s) as place, opened(s, place) as page:
        topic = place.diagnosis()
        place.publish(topic, topic)
        page.connected(number(topic))
        page.wait_seqs(1, 2)
        gone(s, place, lambda api: place.publish(topic, api=api))
        page.wait_seqs(1, 2, 6, 7)
        words = f"{topic}: messages 3 to 5 are gone, no longer kept by the server."
        equal(page.texts(".gap .words"), [words], "gaps")
        equal(page.evaluate("[...document.querySelectorAll('.entry')].filter((e) => e.matches('.message, .gap')).map((e) => "
                            "e.querySelector('.seq')?.textContent ?? 'gap')"), ["#7", "#6", "gap", "#2", "#1"], "the order")
        page.wait_text("#news", re.escape(words))


@test("who disconnects on the live page and connects again gets what came meanwhile, also when others have got it")
def _(s):
    with clients.Place(s) as place, opened(s, place) as page:
        topic = place.diagnosis()
        place.publish(topic)
        page.connected(number(topic))
        page.wait_seqs(1)
        page.on(DISCONNECT, "click")
        with s.connect(number(topic), place.user, server=place.node) as other:
            place.publish(topic, topic)
            equal(other.seqs_up_to(3), [2, 3], "what another client gets")
            page.on(CONNECT, "click")
            page.wait_seqs(1, 2, 3)


@test("the live page says what is wrong with a token, a diagnosis or a topic, beside it")
def _(s):
    with clients.Place(s) as place, opened(s, place) as page:
        mine, foreign = number(place.diagnosis()), str(s.diagnosis(owner="999"))
        for topics, token, field, pattern in (
            ("", None, "#topics", "Which diagnosis"),
            ("1, a b!", None, "#topics", "This is no topic: b!"),
            (mine, "secret", "#token", "three parts"),
            (mine, s.token(place.user)[:-8] + "AAAAAAAA", "#token", "refuses this token"),
            (mine, s.token(place.user, ttl=-60), "#token", "This token ended at"),
            (mine, "", "#token", "takes a token"),
            (foreign, None, "#topics", f"Not allowed: diagnosis/{foreign}"),
        ):
            for transport in TRANSPORTS if re.search("refuses|allowed", pattern) else ("",):
                page.connect(topics, token, transport)
                page.is_wrong(field, pattern)
                equal(page.focus(), field[1:], "the focus")
                assert page.text("#state").startswith("Not connected"), page.text("#state")
        page.connected(f"{foreign}, {mine}")
        equal(page.on("[aria-invalid]", "count"), 0, "complaints")
        wait_until(lambda: f"Not allowed: diagnosis/{foreign}. It is not yours, or not there." in page.texts(".note .words"), "the note")
        page.wait_text("#fact-topics", f"^diagnosis/{mine}$")
        page.wait_text("#fact-refused", f"^diagnosis/{foreign}$")


@test("without a token the live page connects where the server allows it")
def _(s):
    with s.node(TIDINGS_ANONYMOUS="public") as node, s.web(node, TIDINGS_ANONYMOUS="public") as web:
        public, private = s.diagnosis(owner="999"), s.diagnosis(owner="999")
        s.sql(f"update tidings.diagnosis set public = true where id = {public}")
        with opened(s, SimpleNamespace(web=web)) as page:
            for transport in TRANSPORTS:
                page.connected(str(public), "", transport)
                page.on(DISCONNECT, "click")
            page.connected(str(public), "")
            page.wait_text("#fact-user", "^anonymous$")
            page.on(DISCONNECT, "click")
            for topics in (str(private), f"health/456, {public}"):
                page.connect(topics, "")
                page.is_wrong("#token", "takes a token")


@test("the live page shows the server's errors beside the fields, and what it refuses")
def _(s):
    with clients.Place(s) as place, opened(s, place) as page:
        mine, foreign = number(place.diagnosis()), str(s.diagnosis(owner="999"))
        page.fill(mine)
        page.on("#diagnosis_id", "fill", mine)
        page.on("#new_data", "fill", "{")
        page.on(PUBLISH, "click")
        page.is_wrong("#new_data", "^New data is not JSON")
        page.on("#new_data", "fill", "[]")
        page.on("#diagnosis_id", "fill", "x")
        page.on(PUBLISH, "click")
        page.is_wrong("#new_data", "^New data must be an object")
        page.is_wrong("#diagnosis_id", "^Diagnosis must be an integer from 1 to")
        equal(page.focus(), "diagnosis_id", "the focus")
        page.wait_text("#reply", "^422 ")
        page.on("#kind", "selectOption", "feedback")
        equal(page.on("[aria-invalid]", "count"), 0, "complaints about another form")
        page.on("#diagnosis_id", "fill", mine)
        page.on("#rating", "fill", "6")
        page.on("#effectiveness", "fill", "")
        page.on(PUBLISH, "click")
        page.is_wrong("#rating", "from 1 to 5")
        page.is_wrong("#effectiveness", "^Effectiveness is required")
        page.on("#rating", "fill", "4")
        page.on("#effectiveness", "fill", "1")
        page.on("#diagnosis_id", "fill", foreign)
        page.on(PUBLISH, "click")
        page.wait_text("#reply", "^403 ")
        for token, why in (("", "^Publishing takes a token"), ("a.b.c", "^The server refuses this token")):
            page.on("#token", "fill", token)
            page.on(PUBLISH, "click")
            wait_until(lambda: re.search(why, page.text("#token-error")), f"{why} to be said", 60)
            page.is_wrong("#token", why)
            page.wait_text("#reply", "^Nothing was published: see the token")
            equal(page.focus(), "token", "the focus")
        equal(s.sql(f"select count(*) from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name in ('diagnosis/{mine}', "
                    f"'diagnosis/{foreign}')"), [["0"]], "published")


@test("of many messages the live page shows the newest 200, counts them all, and tells a screen reader how many, not each")
def _(s):
    with clients.Place(s) as place, opened(s, place) as page:
        topic = place.diagnosis()
        page.connected(number(topic))
        page.evaluate("void (globalThis.told = [], new MutationObserver(() => told.push([performance.now(), document.querySelector('#news').textContent]))"
                      ".observe(document.querySelector('#news'), { childList: true, characterData: true, subtree: true }))")
        place.publish(*[topic] * 260)
        for _n in range(40):
            place.publish(topic)
        page.wait_text("#count", "^300, the newest 1?[0-9]?[0-9]+ are shown$")
        wait_until(lambda: page.seqs()[-1] == 300, "the last")
        seqs = page.seqs()
        equal((seqs, page.on(".entry", "count")), (list(range(301 - len(seqs), 301)), 200), "what is shown")
        told = wait_until(lambda: (t := page.evaluate("told")) and sum(int(re.search(r"\d+", words)[0]) for _, words in t) == 300 and t,
                          "the count to be told")
        pauses = [b - a for (a, _), (b, _) in zip(told, told[1:])]
        assert all(ms > 2900 for ms in pauses), f"told too often, with pauses of {pauses} ms"
        page.on("#clear", "click")
        equal((page.on(".entry", "count"), page.text("#count"), page.focus()), (0, "none yet", "messages"), "after clearing")
        place.publish(topic)
        page.wait_seqs(301)


@test("axe finds nothing serious on the live page and in the docs: in light and dark, wide and on a phone, and nothing is wider than 320 px", allow=OUTAGE)
def _(s):
    with clients.Place(s) as place, opened(s, place) as page:
        topic = place.diagnosis()
        place.publish(topic)
        # A scheme has its colours at any size.
        for size, scheme in ((WIDE, "light"), (PHONE, "dark"), (NARROW, "light")):
            how = f"{size['width']} px, {scheme}"
            page.do("open", **size, scheme=scheme)
            page.unfolded() or page.on("#fold", "click")

            def look(what, how=how):
                equal(page.do("axe", AXE_S), [], f"what axe finds: {what}, {how}")
                page.fits(f"{what}, {how}")

            look("at first")
            page.connect("x!", "secret")
            page.is_wrong("#token", "three parts")
            page.on("#new_data", "fill", "{")
            page.on(PUBLISH, "click")
            page.is_wrong("#new_data", "JSON")
            look("with errors")
            page.do("open", **size, scheme=scheme)
            page.connected(number(topic))
            gone(s, place, lambda api: place.publish(topic, api=api))
            page.on(".gap", "waitFor")
            page.wait_text("#state", "^Connected by")
            page.on("summary >> nth=0", "click")
            page.on("pre >> nth=0", "waitFor")
            page.unfolded() or page.on("#fold", "click")
            for kind in ("recommendation", "effectiveness", "feedback"):
                page.on("#kind", "selectOption", kind)
                page.on(PUBLISH, "click")
                page.wait_text("#reply", "^Committed")
                look(f"connected, {kind}")
            place.stop()
            page.on("#now", "waitFor")
            look("waiting")
            place.start()
            page.wait_text("#state", "^Connected by")
            page.do("open", **size, scheme=scheme, path="/docs")
            page.on("#close-codes", "waitFor")
            page.evaluate("document.querySelectorAll('#publish, #publish details, #message-LiveError').forEach((e) => (e.open = true))")
            page.on("#publish .try", "waitFor")
            page.fits(f"the docs, {how}")
            # All that is folded is made alike, and takes axe seconds: one of each section stays.
            page.evaluate("document.querySelectorAll('.entry:not([open]) ~ .entry:not([open])').forEach((e) => e.remove())")
            look("the docs")


@test("the live page can be used with the keyboard alone, and the focus is never lost")
def _(s):
    with clients.Place(s) as place, opened(s, place) as page:
        topic, token = place.diagnosis(), s.token(place.user)
        # Nothing but keys from here on. Where Tab leads, in order:
        page.press("Tab")
        equal(page.focus(), "To the messages", "the first stop")
        page.press("Tab", "Tab", "Tab", "Tab")
        equal(page.focus(), "topics", "after the links")
        page.press(*number(topic), "Tab")
        equal((page.focus(), page.on("#topics", "inputValue")), ("token", number(topic)), "what Tab selected is replaced")
        page.press(*token, "Tab")
        page.press("Space")
        equal(page.on("#token", "getAttribute", "type"), "text", "type of the token's field")
        page.press("Space")
        equal(page.on("#token", "getAttribute", "type"), "password", "type of the token's field")
        page.press("Tab", "ArrowRight", "ArrowRight")
        equal(page.evaluate("document.activeElement.value"), "sse", "transport")
        page.press("Enter")
        page.wait_text("#state", "^Connected by event stream")
        equal(page.focus(), "disconnect", "the focus after connecting")
        page.press("Tab", "Tab", "Tab", "Tab", "Tab", "Tab")
        equal(page.focus(), "reason", "the last field")
        page.press("Enter")
        page.wait_seqs(1)
        page.press("Tab", "Tab", "Tab")
        equal(page.focus(), "JSON of recommendation_update 1", "after the list's buttons")
        page.press("Enter")
        wait_until(lambda: page.text("pre"), "the JSON")
        page.press(*["Shift+Tab"] * 9)
        equal(page.focus(), "disconnect", "back")
        page.press("Enter")
        equal((page.text("#state"), page.focus()), ("Not connected", "Connect"), "after disconnecting")


@test("the live page's token is in no address and in no storage but the tab's, and the page says what it takes without scripts")
def _(s):
    with clients.Place(s) as place, opened(s, place) as page:
        topic, token = place.diagnosis(), s.token(place.user)
        for transport in TRANSPORTS:
            page.connected(number(topic), token, transport)
            page.on(PUBLISH, "click")
            page.wait_text("#reply", "^Committed")
            page.on(DISCONNECT, "click")
        equal([a for a in page.all("address") if token in a], [], "addresses with the token")
        assert token not in page.evaluate("location.href + JSON.stringify(localStorage) + document.cookie")
        asked = {re.sub(r".*:\d+|[?].*", "", a) for a in page.all("address")}
        assert {"/ws", "/sse", "/poll"} <= asked, f"asked for {asked}"
        page.evaluate("location.reload()")
        wait_until(lambda: page.on("#token", "inputValue") == token, "the token to be there again")
        equal(page.on('[name="transport"]:checked', "inputValue"), "long_poll", "the transport that was chosen")
        page.do("open", scripts=False)
        page.wait_text("noscript", "takes JavaScript, which is off here")
        equal(page.on("#live", "isVisible"), False, "forms that do nothing are shown")


@test("the pictures of the live page that README.md shows are there, and small", allow=OUTAGE)
def _(s):
    readme = (TOP / "README.md").read_text()
    if os.environ.get("TIDINGS_SCREENSHOTS"):
        DOC.mkdir(exist_ok=True)
        for n, (name, how) in enumerate(PICTURES.items()):
            picture(s, 4711 + n, DOC / f"{name}.png", how)
    for name, how in PICTURES.items():
        data = (DOC / f"{name}.png").read_bytes()
        equal((data[:8], struct.unpack("!II", data[16:24])), (b"\x89PNG\r\n\x1a\n", (how["width"], how["height"])), f"form and size of {name}")
        assert len(data) < 200000 and f"doc/{name}.png" in readme, f"{name} is large, or README.md does not show it"


def picture(s, diagnosis, to, how):
    """The same each time: what differs from run to run is replaced."""
    with clients.Place(s) as place, opened(s, place, **how) as page:
        s.sql(f"insert into tidings.diagnosis (id, owner) values ({diagnosis}, '{place.user}')")
        token = s.token(place.user)

        def broadcast(kind, api=place.web.api, **fields):
            api.post(f"/ws/broadcast-{kind}-update", {"diagnosis_id": diagnosis, **fields}, token).want(200)

        broadcast("effectiveness", recommendation_id=789, new_effectiveness=0.8, confidence=0.88, sample_size=120)
        page.connected(str(diagnosis), token)
        page.wait_seqs(1)
        ratings = iter((3, 4, 4, 3, 4))
        gone(s, place, lambda api: broadcast("feedback", api, feedback_id=998, rating=next(ratings), effectiveness=0.7, comment="Less nausea"))
        page.wait_seqs(1, 5, 6)
        broadcast("recommendation", old_data={"herb": "Ginger", "dosage": "1g"}, new_data={"herb": "Turmeric", "dosage": "2g"},
                  reason="User feedback indicated better results")
        broadcast("effectiveness", recommendation_id=789, new_effectiveness=0.85, confidence=0.92, sample_size=150)
        s.wait_watchers(diagnosis, 1)
        if page.unfolded():
            page.on("#kind", "selectOption", "feedback")
            page.on(PUBLISH, "click")
            page.wait_text("#reply", "^Committed as #9; 1 client")
        else:
            broadcast("feedback", feedback_id=999, rating=5, effectiveness=0.95, comment="Sleeps better")
        page.wait_seqs(1, 5, 6, 7, 8, 9)
        page.evaluate(SAME)
        page.do("shoot", to=str(to))
