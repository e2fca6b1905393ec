"""
The dashboard (web/dashboard.html) in a real browser, through lighttpd: what a patient sees of a diagnosis and does, live; who sees nothing; what it
says when something is wrong; and whether it can be used with a keyboard, by a screen reader, on a phone, from right to left.
"""
import concurrent.futures
import contextlib
import importlib
import json
import os
import pathlib
import re
import struct
import threading

from harness import TOP, Transaction, equal, test, wait_until

clients = importlib.import_module("92_client")
pages = importlib.import_module("93_page")
feedback = importlib.import_module("58_feedback")

analytics = importlib.import_module("59_analytics")

OUTAGE = pages.OUTAGE
PICTURES = {"diagnosis-wide": {**pages.WIDE, "scheme": "light"}, "diagnosis-dark": {**pages.WIDE, "scheme": "dark"},
            "diagnosis-phone": {**pages.PHONE, "scheme": "light"}}
# Where somebody wants to look at them.
LOOK_AT = os.environ.get("TIDINGS_SCREENSHOTS_TO")
EVIL = '"><img src=x onerror="document.title=1"><script>document.title=2</script>'
SIGN, GIVE = '#sign button[type="submit"]', '#give button[type="submit"]'
TABS = ("overview", "recommendations", "effectiveness", "feedback")


@contextlib.contextmanager
def opened(s, place, d, user=None, tab=None, token=None, **how):
    """The dashboard of a diagnosis, for its user."""
    with pages.opened(s, place, path=f"/dashboard?diagnosis={d}{f'#{tab}' if tab else ''}", **how) as page:
        page.on("#token", "fill", token or s.token(user or place.user))
        page.on(SIGN, "click")
        page.on("#content", "waitFor")
        page.wait_text("#state-text", "^Live, by")
        yield page


def go(page, tab):
    page.on(f"#tab-{tab}", "click")
    page.on(f"#{tab}", "waitFor")


def patient(s, place, herb="Ginger", granted=()):
    """A diagnosis of the place's user, with a recommendation."""
    d = s.diagnosis(place.user, granted)
    return d, feedback.recommend(s, d, place.user, herb=herb)["recommendation_id"]


def propose(s, d, replaces=None, **body):
    """A service does."""
    what = {"herb": "Turmeric", "condition": "dyspepsia", "reason": "Others fare better.", **({"replaces": replaces} if replaces else {}), **body}
    return s.api.post(feedback.recommendations(d), what, s.service()).want(200)["recommendation_id"]


def figures(page):
    """What the page shows of all feedback: count, mean and how often each rating was given."""
    text = page.text("#figures")
    found = re.search(r"Rating ([\d.]+) of 5 (\d+) answers?", text)
    if not found:
        return 0, None, []
    return int(found[2]), float(found[1]), [int(n) for n in page.texts(".ratings .count")][::-1]


def stored(s, d):
    """The same of the database."""
    row = s.sql("select count(*), round(avg(rating), 1), " + ", ".join(f"count(*) filter (where rating = {n})" for n in range(1, 6)) +
                f" from tidings.feedback where diagnosis_id = {d} and withdrawn_at is null")[0]
    return int(row[0]), float(row[1]) if row[1] else None, [int(n) for n in row[2:]] if row[1] else []


def star(page, n, where="#stars"):
    page.on(f'{where} [value="{n}"]', "check", {"force": True})


@test("on the dashboard a patient gives feedback, changes it and withdraws it; each is there at once, counted, and told to whoever else looks")
def _(s):
    with clients.Place(s) as place:
        d, r = patient(s, place)
        with opened(s, place, d) as page:
            page.wait_text("#overview-empty", "^No feedback yet")
            page.on("#begin", "click")
            page.on(GIVE, "click")
            page.wait_text("#give-error", "How many stars")
            equal(page.evaluate("document.activeElement.name"), "rating", "the focus")
            star(page, 5)
            page.on("#comment", "fill", "No more <b>heartburn</b>")
            page.wait_text("#comment-left", "^3,976 left$")
            page.on(GIVE, "click")
            page.wait_text("#said", "5 of 5 Ginger you .* No more <b>heartburn</b> Change")
            page.wait_text("#done", "your feedback is stored")
            equal(s.sql(f"select rating, recommendation_id, comment from tidings.feedback where diagnosis_id = {d}"), [["5", str(r), "No more <b>heartburn</b>"]], "stored")
            feedback.say(s, d, place.user, rating=2)
            page.wait_text("#said >> li >> nth=0", "2 of 5")
            page.on('#said [data-act="change"] >> nth=1', "click")
            page.on("#ask", "waitFor")
            star(page, 4, "#ask-stars")
            page.on("#ask-comment", "fill", "Better")
            page.on("#ask-yes", "click")
            page.wait_text("#done", "feedback is changed")
            page.wait_text("#said >> li >> nth=1", "4 of 5 Ginger you .* changed Better Change")
            go(page, "overview")
            page.wait_text("#figures", r"Rating 3.0 of 5 2 answers")
            go(page, "feedback")
            page.on('#said [data-act="withdraw"] >> nth=1', "click")
            page.on("#ask-yes", "click")
            wait_until(lambda: page.on("#said li", "count") == 1, "the withdrawal")
            go(page, "overview")
            page.wait_text("#figures", r"Rating 2.0 of 5 1 answer")
            equal(page.on("#overview b", "count"), 0, "what was made of a stranger's words")


@test("what is said on the dashboard is shown at once as pending, confirmed by its message, and taken back with the server's sentence")
def _(s):
    with clients.Place(s) as place:
        d, _r = patient(s, place)
        id = feedback.say(s, d, place.user, comment="first")["feedback_id"]
        with opened(s, place, d, tab="feedback") as page:
            star(page, 3)
            page.on("#comment", "fill", "waits")
            with Transaction(s, f"select from tidings.topic where name = 'diagnosis/{d}' for update"):
                page.on(GIVE, "click")
                page.wait_text("#said >> li >> nth=0", "3 of 5 .* you .* waits Being sent$")
                equal(page.on("#said li", "count"), 2, "entries")
            page.wait_text("#said >> li >> nth=0", "waits Change")
            equal(page.on("#said li", "count"), 2, "entries")
            page.on('#said [data-act="change"] >> nth=1', "click")
            feedback.ask(s, "DELETE", f"/api/feedback/{id}", user=place.user)
            star(page, 1, "#ask-stars")
            page.on("#ask-yes", "click")
            page.wait_text("#done", r"^This feedback is withdrawn\.?$")
            wait_until(lambda: page.texts("#said li .words") == ["waits"], "what is left")
            page.on("#comment", "fill", "x" * 4001)
            star(page, 1)
            page.on(GIVE, "click")
            page.wait_text("#give-error", "too long")
            equal((page.focus(), page.text("#comment-left")), ("comment", "1 too many"), "where it is wrong")


@test("a proposal comes to the dashboard by itself, with what would change; it is accepted or declined there, and once only")
def _(s):
    with clients.Place(s) as place:
        d, r = patient(s, place)
        with opened(s, place, d, tab="recommendations") as page:
            p = propose(s, d, replaces=r, data={"dosage": "2g"})
            page.wait_text(f'#cards [data-key="{p}"]', "Turmeric for dyspepsia proposed instead of Ginger herb was Ginger Turmeric dosage 2g Others fare better")
            page.on('#cards [data-act="accept"]', "click")
            page.on("#ask", "waitFor")
            page.on("#ask-reason", "fill", "Let us try")
            page.on("#ask-yes", "click")
            page.wait_text("#done", "^Accepted: Turmeric")
            page.wait_text(f'#cards [data-key="{p}"]', "in force")
            page.wait_text(f'#cards [data-key="{r}"]', "replaced")
            equal(s.sql(f"select status from tidings.recommendation where id in ({r}, {p}) order by id"), [["replaced"], ["active"]], "statuses")
            q = propose(s, d, herb="Mint")
            page.on(f'#cards [data-key="{q}"] [data-act="decline"]', "click")
            page.press("Escape")
            page.on("#ask", "waitFor", {"state": "hidden"})
            page.on(f'#cards [data-key="{q}"] [data-act="decline"]', "click")
            page.on("#ask-yes", "click")
            page.wait_text("#done", "^Declined: Mint")
            page.wait_text(f'#cards [data-key="{q}"]', "declined by user")
            other = propose(s, d, herb="Sage")
            page.on(f'#cards [data-key="{other}"] [data-act="accept"]', "click")
            feedback.decide(s, other, "declined", place.user)
            page.on("#ask-yes", "click")
            page.wait_text("#done", "is declined already")
            page.on("#tab-overview", "click")
            page.wait_text("#events", "Declined: Sage .* Ginger → Turmeric")


@test("a score comes to the dashboard when five people have said how they fare: in place, with its interval, and it is the database's; below five it is too few to say")
def _(s):
    herb = analytics.treatment()
    with clients.Place(s) as place:
        d, r = patient(s, place, herb)
        with opened(s, place, d, tab="effectiveness") as page:
            page.wait_text("#scores", "Too few to say")
            analytics.answered(s, herb, 0.9, 6)
            page.wait_text("#scores", "Between")
            analytics.counted(s)
            # What no message carries is asked for a little later.
            page.wait_text("#scores", "100 % fared well")
            entry = feedback.ask(s, "GET", f"/api/recommendations/{r}/effectiveness", user=place.user)
            wait_until(lambda: f"of {entry['sample_size']} people" in page.text("#scores"), "the newest", 60)
            text = page.text("#scores")
            assert text.startswith(f"{herb} for dyspepsia {entry['effectiveness']:.2f}"), (text, entry)
            assert f"Between {entry['lower']:.2f} and {entry['upper']:.2f}, of {entry['sample_size']} people" in text, (text, entry)
            assert f"{entry['effectiveness']:.2f}, between" in page.on("#scores svg", "getAttribute", "aria-label")
            go(page, "overview")
            page.wait_text("#figures", f"Best so far {herb} {entry['effectiveness']:.2f}")
            page.on("#course svg", "waitFor")


@test("a dashboard that loads while feedback is given, changed and withdrawn at full rate shows the database's numbers afterwards", allow="database|lock")
def _(s):
    with clients.Place(s) as place:
        d, r = patient(s, place)
        over = threading.Event()
        started = threading.Barrier(5)

        def one(n):
            def ask(method, path, **body):
                return s.api.request(method, path, body or None, s.token("root", role="admin"))

            mine, done = [], 0
            started.wait()
            while not over.is_set():
                reply = ask("POST", feedback.feedback(d), user_id=place.user, rating=1 + (done + n) % 5, **({"recommendation_id": r} if done % 2 else {}))
                done += reply.status == 200
                mine += [reply.json["feedback_id"]] if reply.status == 200 else []
                if done % 3 == 0 and mine:
                    ask("PUT", f"/api/feedback/{mine[done % len(mine)]}/rating", rating=1 + (done + n) % 5)
                if done % 5 == 0 and mine:
                    ask("DELETE", f"/api/feedback/{mine.pop(done % len(mine))}")
            return done

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            try:
                said = [pool.submit(one, n) for n in range(4)]
                started.wait()
                wait_until(lambda: s.last_seq(f"diagnosis/{d}") > 20, "the first feedback")
                with opened(s, place, d) as page:
                    first = s.last_seq(f"diagnosis/{d}")
                    wait_until(lambda: s.last_seq(f"diagnosis/{d}") > first + 60, "more while it is live", 60)
                    over.set()
                    assert all(f.result() > 3 for f in said), [f.result() for f in said]
                    wait_until(lambda: figures(page) == stored(s, d), f"the same numbers: {figures(page)} and {stored(s, d)}", 60)
                    own = feedback.ask(s, "GET", f"/api/diagnosis/{d}/analytics", user=place.user)["recommendations"][0]["own"]
                    go(page, "effectiveness")
                    page.wait_text("#scores", f"This diagnosis: {own['effectiveness']:.2f}, {own['rating']} of 5, {own['feedback']} answers?,")
                    go(page, "feedback")
                    newest = [[str(f["feedback_id"]), f["rating"]] for f in feedback.shown(s, d, place.user, limit=20)["feedback"]]
                    wait_until(lambda: page.evaluate("[...document.querySelectorAll('#said li')].slice(0, 20).map((e) => [e.dataset.key, "
                                                     "Number(e.querySelector('.unseen').textContent[0])])") == newest, "the newest twenty", 60)
            finally:
                over.set()


@test("older feedback is shown page by page on the dashboard, and one that is changed there is counted right")
def _(s):
    with clients.Place(s) as place:
        d, _r = patient(s, place)
        ids = [row[0] for row in s.sql(f"insert into tidings.feedback (diagnosis_id, user_id, patient, rating, effectiveness, said) select {d}, '{place.user}', "
                                       f"'{place.user}', 1 + n % 5, 0.5, false from generate_series(1, 120) n returning id")]
        with opened(s, place, d) as page:
            equal(figures(page), stored(s, d), "numbers")
            feedback.ask(s, "PUT", f"/api/feedback/{ids[0]}/rating", {"rating": 5}, place.user)
            feedback.ask(s, "PUT", f"/api/feedback/{ids[119]}/rating", {"rating": 5}, place.user)
            feedback.ask(s, "DELETE", f"/api/feedback/{ids[1]}", user=place.user)
            wait_until(lambda: figures(page) == stored(s, d), "numbers", 60)
            go(page, "feedback")
            for count in (100, 119):
                page.on("#older", "click")
                wait_until(lambda c=count: page.on("#said li", "count") == c, f"{count} entries", 60)
            equal((page.on("#older", "isVisible"), page.focus()), (False, "said-title"), "at the end")
            feedback.ask(s, "PUT", f"/api/feedback/{ids[2]}/rating", {"rating": 1}, place.user)
            go(page, "overview")
            wait_until(lambda: figures(page) == stored(s, d), "numbers", 60)


@test("the dashboard is live by each transport and says which; while the server is away it says that it is offline and when it tries again, then what it caught up", allow=OUTAGE)
def _(s):
    with clients.Place(s) as place:
        d, _r = patient(s, place)
        for mode, name in (("open", "WebSocket"), ("refuse", "event stream"), ("buffer", "long-poll")):
            with pages.opened(s, place, path=f"/dashboard?diagnosis={d}") as page:
                page.do("network", mode=mode)
                page.on("#token", "fill", s.token(place.user))
                page.on(SIGN, "click")
                page.wait_text("#state-text", f"^Live, by {name}\\.$")
                page.wait_text("#as-of", r"^As of \d\d:\d\d\.$")
        with opened(s, place, d) as page:
            before = stored(s, d)
            place.stop()
            page.wait_text("#state", r"^Offline.* (Next attempt in \d+ s|Trying)\.")
            equal(figures(page)[0], before[0], "what stays")
            for n in range(7):
                feedback.say(s, d, place.user, rating=1 + n % 5)
            place.start()
            page.wait_text("#state-text", "^Live, by")
            page.wait_text("#news", "^7 messages caught up")
            wait_until(lambda: figures(page) == stored(s, d), "the numbers", 60)


@test("what is no longer kept is a gap: the dashboard loads anew, says so, and its numbers are the database's", allow=OUTAGE)
def _(s):
    with clients.Place(s) as place:
        d, _r = patient(s, place)
        with opened(s, place, d) as page:
            ratings = iter((1, 2, 3, 4, 5))
            pages.gone(s, place, lambda api: feedback.say(s, d, place.user, rating=next(ratings)))
            page.wait_text("#done", "no longer kept. All was loaded anew")
            wait_until(lambda: figures(page) == stored(s, d) and figures(page)[0] == 5, "the numbers", 60)
            page.wait_text("#state-text", "^Live, by")
            feedback.say(s, d, place.user, rating=5)
            wait_until(lambda: figures(page) == stored(s, d), "the next", 60)


@test("without a token that may see it there is nothing on the dashboard, and it says what is wrong; when the right or the token ends, it all goes")
def _(s):
    with clients.Place(s) as place:
        doctor = f"doctor-{place.user}"
        d, _r = patient(s, place, granted=[doctor])
        foreign = s.diagnosis("999")
        with pages.opened(s, place, path="/dashboard") as page:
            equal((page.on("#board", "isVisible"), page.focus()), (False, "diagnosis"), "at first")
            for number, token, words, field in (("", s.token(place.user), "Which diagnosis", "diagnosis"), ("x", s.token(place.user), "Which diagnosis", "diagnosis"),
                                                (d, "", "takes a token", "token"), (d, "secret", "three parts", "token"),
                                                (d, s.token(place.user)[:-8] + "AAAAAAAA", "does not take", "token"), (d, s.token(place.user, ttl=-60), "does not take", "token"),
                                                (foreign, s.token(place.user), "not yours, or not there", "diagnosis"),
                                                (10 ** 15, s.token(place.user), "not yours, or not there", "diagnosis"), (d, s.service(), "not yours, or not there", "diagnosis")):
                page.on("#diagnosis", "fill", str(number))
                page.on("#token", "fill", token)
                page.on(SIGN, "click")
                page.wait_text("#sign-error", words)
                equal((page.on("#board", "isVisible"), page.focus(), page.on("#board li", "count")), (False, field, 0), words)
                page.is_wrong(f"#{field}", words)
        with opened(s, place, d, doctor, tab="feedback") as page:
            feedback.say(s, d, place.user, comment="secret")
            page.wait_text("#said", "secret")
            assert page.text("#said").count("Change") == 0, "what is somebody else's is changed by them"
            s.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {d}")
            s.sql(f"select tidings.revoke('{doctor}', 'diagnosis/{d}')")
            page.wait_text("#sign-error", "not yours, or not there")
            assert "secret" not in page.evaluate("document.body.textContent")
        token = s.token(place.user)
        with opened(s, place, d, tab="feedback") as page:
            equal([a for a in page.all("address") if "eyJ" in a], [], "addresses with the token")
            assert "eyJ" not in page.evaluate("location.href + JSON.stringify(localStorage) + document.cookie")
            page.evaluate("location.reload()")
            page.on("#give", "waitFor")
            page.evaluate(f"sessionStorage.setItem('dashboard token', {json.dumps(s.token(place.user, ttl=-60))}), location.reload()")
            page.wait_text("#sign-error", "does not take this token: ")
            page.on("#token", "fill", token)
            page.on(SIGN, "click")
            page.on("#give", "waitFor")
            equal(page.on("#tab-feedback", "getAttribute", "aria-selected"), "true", "the tab that was open")
            page.on("#leave", "click")
            equal((page.on("#board", "isVisible"), page.evaluate("sessionStorage.length"), page.on("#board li", "count")), (False, 0, 0), "signed out")
            page.do("open", path=f"/dashboard?diagnosis={d}", scripts=False)
            page.wait_text("noscript", "takes JavaScript, which is off here")
            equal(page.on("#sign", "isVisible"), False, "a form that does nothing is shown")


@test("tabs of the dashboard that are not open count what came; arrows go from tab to tab, also from right to left")
def _(s):
    with clients.Place(s) as place:
        d, _r = patient(s, place)
        with opened(s, place, d) as page:
            feedback.say(s, d, place.user)
            feedback.say(s, d, place.user)
            propose(s, d)
            page.wait_text("#tab-feedback", "^Feedback 2 new$")
            page.wait_text("#tab-recommendations", "^Recommendations 1 new$")
            page.on("#tab-overview", "focus")
            page.press("ArrowRight")
            equal((page.focus(), page.text("#tab-recommendations"), page.on("#cards", "isVisible")), ("tab-recommendations", "Recommendations", True), "the next tab")
            page.press("End")
            equal((page.focus(), page.text("#tab-feedback")), ("tab-feedback", "Feedback"), "the last tab")
            page.press("ArrowRight")
            equal(page.focus(), "tab-overview", "round")
            page.evaluate("document.documentElement.dir = 'rtl'")
            page.press("ArrowLeft")
            equal(page.focus(), "tab-recommendations", "the next tab, from right to left")
            equal(page.on('[role="tab"][tabindex="0"]', "count"), 1, "stops of Tab")
            # Nothing but keys: from the tab to the stars, the comment and the button.
            page.press("End", "Tab", "Tab", "Tab")
            equal(page.evaluate("document.activeElement.name"), "rating", "after the panel and what it is about")
            page.press("Space", "ArrowDown", "ArrowDown", "Tab", *"Well", "Tab", "Enter")
            page.wait_text("#said >> li >> nth=0", "3 of 5 .* Well Change")


@test("strangers' words stay words on the dashboard, whatever a backend broadcasts")
def _(s):
    with clients.Place(s) as place:
        d = s.diagnosis(place.user)
        r = feedback.recommend(s, d, place.user, herb=EVIL[:128], condition=EVIL[:128], data={EVIL[:64]: EVIL}, reason=EVIL)["recommendation_id"]
        feedback.say(s, d, place.user, comment=EVIL, recommendation_id=r)
        with opened(s, place, d) as page:
            for body in ({"type": "feedback_update", "data": None}, {"type": "recommendation_update", "data": {"reason": 5}}, {"type": "effectiveness_update", "data": [EVIL]},
                         {"type": "note", "data": {"text": EVIL}}, {"type": "recommendation_proposed", "data": {"herb": {}}}):
                s.api.post("/ws/publish", {"topic": f"diagnosis/{d}", **body}, s.service()).want(200)
            s.api.post("/ws/broadcast-feedback-update", {"diagnosis_id": d, "feedback_id": 1, "rating": 5, "effectiveness": 1, "comment": EVIL}, s.token(place.user)).want(200)
            page.wait_text("#events >> li >> nth=0", re.escape(EVIL))
            equal(figures(page), stored(s, d), "what is counted")
            for tab in TABS:
                go(page, tab)
            page.wait_text("#said", re.escape(EVIL))
            equal((page.on("main img, main script", "count"), page.evaluate("document.title")), (0, f"Diagnosis {d}: dashboard"), "what was made of it")


MOVES = """void (globalThis.seen = [], new MutationObserver(() => {
    const text = document.querySelector('#figures [data-key="rating"] .figure')?.textContent;
    if (text && seen.at(-1) !== text) seen.push(text);
}).observe(document.querySelector("#figures"), { childList: true, characterData: true, subtree: true }))"""


@test("a number of the dashboard runs from the old to the new where motion is welcome, and changes at once where it is not")
def _(s):
    with clients.Place(s) as place:
        for motion, runs in (("no-preference", True), ("reduce", False)):
            d, _r = patient(s, place)
            feedback.say(s, d, place.user, rating=1)
            with opened(s, place, d, motion=motion) as page:
                page.evaluate(MOVES)
                for _n in range(9):
                    feedback.say(s, d, place.user, rating=5)
                wait_until(lambda: page.text('#figures [data-key="rating"] .figure >> nth=0') == "4.6", "the last")
                seen = page.evaluate("seen")
                steps = {f"{(1 + 5 * n) / (1 + n):.1f}" for n in range(10)} | {"1.0"}
                equal(bool(set(seen) - steps), runs, f"other numbers than those that it was, with {motion}: {seen}")


def full(s, place):
    """A diagnosis of which there is something in every tab."""
    d, r = patient(s, place, "Turmeric")
    propose(s, d, replaces=r, herb="Chamomile", data={"dosage": "2 cups"})
    for rating, comment in ((2, "Not much of a difference"), (4, ""), (5, "No more heartburn, and I sleep through the night")):
        feedback.say(s, d, place.user, rating=rating, recommendation_id=r, **({"comment": comment} if comment else {}))
    feedback.recommend(s, d, place.user, herb="Valerian", condition="insomnia", data={"dosage": "400mg"})
    return d


@test("axe finds nothing serious on the dashboard, in light and dark, wide and on a phone, and nothing is wider than 320 px, nor from right to left")
def _(s):
    with clients.Place(s) as place:
        d = full(s, place)
        for size, scheme in ((pages.WIDE, "light"), (pages.PHONE, "dark"), (pages.NARROW, "light")):
            how = f"{size['width']}-{scheme}"
            with pages.opened(s, place, path=f"/dashboard?diagnosis={d}", **size, scheme=scheme) as page:
                def look(what, how=how, page=page):
                    if LOOK_AT:
                        page.do("shoot", to=str(pathlib.Path(LOOK_AT) / f"{how}-{what}.png"))
                    equal(page.do("axe", pages.AXE_S), [], f"what axe finds: {what}, {how}")
                    page.fits(f"{what}, {how}")

                page.on(SIGN, "click")
                page.wait_text("#sign-error", "takes a token")
                look("sign")
                page.on("#token", "fill", s.token(place.user))
                page.on(SIGN, "click")
                page.on("#content", "waitFor")
                for tab in TABS:
                    go(page, tab)
                    look(tab)
                star(page, 4)
                page.on('#said [data-act="change"] >> nth=0', "click")
                look("change")
                page.press("Escape")
                page.evaluate("document.documentElement.dir = 'rtl'")
                for tab in TABS:
                    go(page, tab)
                    page.fits(f"{tab} from right to left, {how}")


@test("the pictures of the dashboard that README.md shows are there, and small")
def _(s):
    readme = (TOP / "README.md").read_text()
    if os.environ.get("TIDINGS_SCREENSHOTS"):
        for n, (name, how) in enumerate(PICTURES.items()):
            picture(s, 5711 + n, pages.DOC / f"{name}.png", how)
    for name, how in PICTURES.items():
        data = (pages.DOC / f"{name}.png").read_bytes()
        equal((data[:8], struct.unpack("!II", data[16:24])), (b"\x89PNG\r\n\x1a\n", (how["width"], how["height"])), f"form and size of {name}")
        assert len(data) < 200000 and f"doc/{name}.png" in readme, f"{name} is large, or README.md does not show it"


# Makes a picture the same each time.
SAME = """{
    const all = (what) => [...document.querySelectorAll(what)];
    all("#events time").forEach((e, n) => (e.textContent = `10:0${9 - n}`));
    all("#as-of")[0].textContent = "As of 10:09.";
    all("#whose")[0].textContent = "Diagnosis 123";
    all(".changed").forEach((e) => e.classList.remove("changed"));
    document.activeElement.blur();
    scrollTo(0, 0);
}"""


def year(s, d, user, r, herb):
    """A quarter of feedback of others, and of the patient's own."""
    s.sql(f"insert into tidings.recommendation (diagnosis_id, condition, herb, source, decided_at, created_at) select i.id, 'dyspepsia', '{herb}', 'clinician', "
          "now() - interval '80 days', now() - interval '80 days' from tidings.diagnosis i where i.owner like 'picture-%'")
    s.sql("insert into tidings.feedback (diagnosis_id, recommendation_id, user_id, patient, rating, effectiveness, said, created_at) "
          "select r.diagnosis_id, r.id, i.owner, i.owner, case when i.id % 7 = 0 then 3 else 5 - i.id % 2 end, "
          "least(1, 0.6 + (i.id % 10) / 25.0), true, now() - (i.id % 80) * interval '1 day' "
          f"from tidings.recommendation r join tidings.diagnosis i on i.id = r.diagnosis_id where i.owner like 'picture-%' and r.herb = '{herb}'")
    s.sql("insert into tidings.feedback (diagnosis_id, recommendation_id, user_id, patient, rating, effectiveness, said, created_at) "
          f"select {d}, {r}, '{user}', '{user}', 2 + least(n, 3), 0.3 + 0.1 * n, true, now() - (70 - 11 * n) * interval '1 day' from generate_series(1, 6) n")


def picture(s, d, to, how):
    with clients.Place(s) as place:
        herb = ("Turmeric", "Curcuma", "Artichoke")[d % 3]
        s.sql(f"insert into tidings.diagnosis (id, owner) values ({d}, '{place.user}')")
        s.sql(f"insert into tidings.diagnosis (id, owner) select {d * 1000} + n, 'picture-{d}-' || n from generate_series(1, 150) n")
        r = feedback.recommend(s, d, place.user, herb=herb, data={"dosage": "2g"}, reason="Helps digestion")["recommendation_id"]
        year(s, d, place.user, r, herb)
        analytics.counted(s)
        s.sql("delete from tidings.diagnosis where owner like 'picture-%'")
        feedback.say(s, d, place.user, rating=5, recommendation_id=r, comment="No more heartburn")
        with opened(s, place, d, **how) as page:
            propose(s, d, herb="Ginger", data={"dosage": "1g"})
            page.wait_text("#events", "Proposed: Ginger")
            page.on("#course svg", "waitFor")
            page.evaluate(SAME)
            page.do("shoot", to=str(to))
