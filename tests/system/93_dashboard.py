"""
The dashboard (web/dashboard.html) in a real browser, through lighttpd: what a patient sees of a diagnosis and does, live; who sees nothing; what it
says when something is wrong; and whether it can be used with a keyboard, by a screen reader, on a phone, from right to left.
"""
import contextlib
import importlib

from harness import equal, test, wait_until

clients = importlib.import_module("92_client")
pages = importlib.import_module("93_page")
feedback = importlib.import_module("58_feedback")

SIGN, GIVE = '#sign button[type="submit"]', '#give button[type="submit"]'
TABS = ("overview", "recommendations", "effectiveness", "feedback")


@contextlib.contextmanager
def opened(s, place, d, user=None, tab=None, **how):
    """The dashboard of a diagnosis, for its user."""
    with pages.opened(s, place, path=f"/dashboard?diagnosis={d}{f'#{tab}' if tab else ''}", **how) as page:
        page.on("#token", "fill", s.token(user or place.user))
        page.on(SIGN, "click")
        page.on("#content", "waitFor")
        page.wait_text("#state-text", "^Live, by")
        yield page


def go(page, tab):
    page.on(f"#tab-{tab}", "click")
    page.on(f"#{tab}", "waitFor")


def patient(s, place):
    """A diagnosis of the place's user, with a recommendation of a herb that nobody has heard of."""
    d = s.diagnosis(place.user)
    return d, feedback.recommend(s, d, place.user)["recommendation_id"]


def star(page, n, where="#stars"):
    page.on(f'{where} [value="{n}"]', "check", {"force": True})


@test("on the dashboard a patient gives feedback, changes it and withdraws it; each is there at once, counted, and told to whoever else looks")
def _(s):
    with clients.Place(s) as place:
        d, r = patient(s, place)
        with opened(s, place, d) as page:
            page.wait_text("#figures", "Rating – 0 answers")
            page.wait_text("#overview-empty", "^No feedback yet")
            go(page, "feedback")
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
