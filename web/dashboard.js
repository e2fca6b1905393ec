/*
 * dashboard - the page /dashboard?diagnosis=123: how the treatment of a diagnosis goes, live.
 *
 * State and cursor are loaded in one reply, and what comes after the cursor is followed by tidings.js (its option `state`): nothing is missed in
 * between, and nothing is counted twice. A gap loads anew. What no message carries (success rates, the timeline, suggestions) is asked for when
 * messages say that it has changed, at most once in REFRESH_MS.
 *
 * The token is kept in this tab alone (sessionStorage), and goes in a header: never in an address. Which tab is open is in the address, so that
 * one is back in it after signing in again.
 */
import { Tidings } from "./tidings.js";
import { Pending, Refusal, ask, get, setToken, stopAsking, tell } from "./dashboard-act.js";
import { FeedbackTab } from "./dashboard-feedback.js";
import { Model } from "./dashboard-model.js";
import { showEffectiveness, showOverview, showRecommendations } from "./dashboard-panels.js";
import { byId, forgetFigures, many, mark, now } from "./dashboard-view.js";

const KEPT = "dashboard token";
const TRANSPORTS = { websocket: "WebSocket", sse: "event stream", long_poll: "long-poll" };
const TABS = ["overview", "recommendations", "effectiveness", "feedback"];
const DAYS = 90;
const SHOW_MS = 250; // several changes in this time are one
const SOON_MS = 300;
const REFRESH_MS = 5000;
const QUIET_MS = 400; // after that long without a message what was missed is caught up
const NOT_YOURS = "This diagnosis is not yours, or not there.";

let diagnosis = null;
let user = null;
let feed = null;
let model = null;
let tab = TABS[0];
let showAgain = false; // something has changed since it was shown
const timers = {};
const unread = new Map(TABS.map((name) => [name, 0]));
const pending = new Pending(() => show());
const path = () => `/api/diagnosis/${diagnosis}`;
const feedbackTab = new FeedbackTab({ pending, path, user: () => user, say: (type, data) => feed.send(type, data) });

/* ---- the token */

function stored(value) {
	try {
		if (value === undefined) return sessionStorage.getItem(KEPT);
		if (value === null) sessionStorage.removeItem(KEPT);
		else sessionStorage.setItem(KEPT, value);
	} catch {
		// this browser keeps nothing: then it is to be typed in again
	}
	return null;
}

/* Whose token it is, as far as it says; the server says so too when it lets the page in. */
function subject(token) {
	try {
		const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
		return String(JSON.parse(atob(part)).sub);
	} catch {
		return null;
	}
}

/* The end, and what is to be done before there is another beginning. */
function signOut(words = "", field = "token") {
	feed?.close();
	feed = model = null;
	for (const name of Object.keys(timers)) {
		clearTimeout(timers[name]);
		delete timers[name];
	}
	clearInterval(retryTimer);
	pending.clear();
	forgetFigures();
	stopAsking();
	tell("");
	setToken(null);
	for (const list of document.querySelectorAll("#figures, #events, #suggestions, #cards, #scores, #said, #course")) {
		list.replaceChildren();
		delete list.dataset.shown;
	}
	if (field === "token") stored(null);
	byId("board").hidden = true;
	byId("sign").hidden = false;
	byId("sign-error").textContent = words;
	byId("diagnosis").value = diagnosis ?? "";
	byId("token").value = field === "token" ? "" : stored() ?? "";
	for (const id of ["diagnosis", "token"]) mark(byId(id), words !== "" && id === field);
	byId(field).focus();
}

/* Not allowed any more, or never: there is nothing on this page. True: that was it. */
function ends(e) {
	if (e.status === 401) signOut(`The server does not take this token: ${e.message}`);
	else if (e.status === 403 || e.status === 404) signOut(NOT_YOURS, "diagnosis");
	else return false;
	return true;
}

byId("sign").addEventListener("submit", (event) => {
	event.preventDefault();
	const wanted = byId("diagnosis").value.trim();
	const token = byId("token").value.trim().replace(/^Bearer\s+/i, "");
	const wrong = !/^[1-9]\d{0,18}$/.test(wanted) ? ["diagnosis", "Which diagnosis? Its number is wanted."]
		: !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token) ? ["token", token ? "This is not a token: it has three parts, with dots between." : "This takes a token."] : null;
	for (const id of ["diagnosis", "token"]) mark(byId(id), id === wrong?.[0]);
	byId("sign-error").textContent = wrong?.[1] ?? "";
	if (wrong) return byId(wrong[0]).focus();
	history.replaceState(null, "", `?diagnosis=${wanted}${location.hash}`);
	stored(token);
	begin(wanted, token);
	byId("whose").focus();
});
byId("begin").addEventListener("click", () => give(""));
byId("leave").addEventListener("click", () => signOut());

/* ---- what is loaded */

let refreshAt = 0;
let refreshWhen = 0;
let refreshing = false;
let again = 0; // ms: something has changed while numbers were asked for

async function parts(best) {
	const [analytics, recommendations] = await Promise.all([get(`${path()}/analytics?days=${DAYS}`), get(`${path()}/recommendations?limit=100`)]);
	const treated = best(analytics);
	const course = treated && (await get(`/api/recommendations/${treated}/effectiveness?days=${DAYS}`));
	return { analytics, recommendations, course };
}

const bestOf = ({ recommendations }) =>
	recommendations.filter((e) => e.status === "active" && e.effectiveness !== null).sort((a, b) => b.lower - a.lower)[0]?.recommendation_id;

async function load() {
	const mine = feed;
	const fresh = new Model();
	try {
		// The list first: what the numbers know of it already is seen by their cursor.
		const list = await get(`${path()}/feedback?limit=50`);
		const [{ analytics, recommendations, course }, { messages }] = await Promise.all([parts(bestOf), get(`/ws/history/${diagnosis}?limit=50`)]);
		if (mine !== feed) throw new Refusal(0, "It is another diagnosis now.");
		fresh.load(list, analytics, recommendations, messages.filter((m) => m.seq <= Number(list.cursor.split("-")[1])));
		if (course) fresh.histories.set(course.recommendation_id, course.history);
		model = feedbackTab.model = fresh;
		pending.upTo(model.at);
		byId("loading").hidden = true;
		byId("content").hidden = false;
		asOf();
		show();
		return list.cursor;
	} catch (e) {
		if (mine === feed && e instanceof Refusal) ends(e);
		throw e;
	}
}

/* Numbers that no message carries. */
async function refresh() {
	const mine = model;
	refreshing = true;
	refreshAt = Date.now();
	delete timers.refresh;
	mine.ask();
	try {
		const { analytics, recommendations, course } = await parts(bestOf);
		if (mine !== model) return;
		const exact = mine.adopt(analytics, recommendations);
		if (course) mine.histories.set(course.recommendation_id, course.history);
		show();
		if (!exact) refreshIn(REFRESH_MS);
	} catch (e) {
		if (!(e instanceof Refusal)) throw e;
		if (mine === model && !ends(e)) refreshIn(REFRESH_MS);
	} finally {
		mine.asked();
		refreshing = false;
		if (again && mine === model) refreshIn(again);
		again = 0;
	}
}

function refreshIn(ms) {
	if (refreshing) return void (again = again ? Math.min(again, ms) : ms);
	const when = Math.max(Date.now() + ms, ms === SOON_MS ? 0 : refreshAt + REFRESH_MS);
	if (timers.refresh && refreshWhen <= when) return;
	clearTimeout(timers.refresh);
	refreshWhen = when;
	timers.refresh = setTimeout(refresh, when - Date.now());
}

/* ---- what is shown */

const SHOW = {
	overview: () => showOverview(model),
	recommendations: () => showRecommendations(model, pending, { decide, give }),
	effectiveness: () => showEffectiveness(model),
	feedback: () => feedbackTab.show(),
};

/* At once, and then again not before SHOW_MS are over. */
function show() {
	if (!model || timers.show) return void (showAgain = !!model);
	SHOW[tab]();
	showTabs();
	timers.show = setTimeout(() => {
		delete timers.show;
		if (showAgain) show();
	}, SHOW_MS);
	showAgain = false;
}

function showTabs() {
	for (const name of TABS) {
		const button = byId(`tab-${name}`);
		const n = unread.get(name);
		const words = n ? `${n > 99 ? "99+" : n}` : "";
		button.setAttribute("aria-selected", String(name === tab));
		button.tabIndex = name === tab ? 0 : -1;
		byId(name).hidden = name !== tab;
		if ((button.querySelector(".badge")?.textContent ?? "") === (words && `${words} new`)) continue;
		button.querySelector(".badge")?.remove();
		if (!words) continue;
		const badge = document.createElement("span");
		const unseen = document.createElement("span");
		badge.className = "badge";
		unseen.className = "unseen";
		unseen.textContent = " new";
		badge.append(words, unseen);
		button.append(" ", badge);
	}
}

function open(name, focus = false) {
	tab = TABS.includes(name) ? name : TABS[0];
	unread.set(tab, 0);
	if (location.hash !== `#${tab}`) history.replaceState(null, "", `${location.search}#${tab}`);
	if (model) SHOW[tab]();
	showTabs();
	if (focus) byId(`tab-${tab}`).focus();
}

for (const name of TABS) {
	byId(`tab-${name}`).addEventListener("click", () => open(name));
	byId(`tab-${name}`).addEventListener("keydown", ({ key }) => {
		const forth = getComputedStyle(byId("board")).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
		const back = forth === "ArrowLeft" ? "ArrowRight" : "ArrowLeft";
		const place = TABS.indexOf(name);
		const to = { [forth]: (place + 1) % TABS.length, [back]: (place + TABS.length - 1) % TABS.length, Home: 0, End: TABS.length - 1 }[key];
		if (to !== undefined) open(TABS[to], true);
	});
}

/* ---- live */

let retryTimer = null;
let caught = 0; // of the messages that were missed
let missedUntil = 0; // ms, by the server's clock where it says its time

function state(name, words, retryIn = null) {
	const { dataset } = byId("state");
	dataset.state = name;
	if (byId("state-text").textContent !== words) byId("state-text").textContent = words;
	clearInterval(retryTimer);
	byId("retry").textContent = "";
	if (retryIn === null) return;
	const at = Date.now() + retryIn;
	// The seconds run in a place of their own, which no screen reader reads out as they do.
	const tick = () => (byId("retry").textContent = at > Date.now() ? `Next attempt in ${Math.ceil((at - Date.now()) / 1000)} s.` : "Trying.");
	retryTimer = setInterval(tick, 1000);
	tick();
}

const asOf = () => (byId("as-of").textContent = `As of ${now()}.`);
const live = () => state("connected", `Live, by ${TRANSPORTS[feed.transport]}.`);

/* A connection is there; what was said before it, or comes until it is quiet, was missed meanwhile. */
function connected({ userId, at }) {
	if (userId !== undefined && userId !== null) user = String(userId);
	caught = 0;
	missedUntil = at ? Date.parse(at) : Date.now();
	live();
	catchUp();
}

function catchUp() {
	clearTimeout(timers.quiet);
	timers.quiet = setTimeout(caughtUp, QUIET_MS);
}

function caughtUp() {
	clearTimeout(timers.quiet);
	delete timers.quiet;
	if (feed?.transport) live();
	if (caught > 1) byId("news").textContent = `${many(caught, "message")} caught up.`;
}

function hear(m) {
	if (!model) return;
	const { tab: about, ask: when } = model.take(m);
	if (timers.quiet && Date.parse(m.timestamp) >= missedUntil) caughtUp();
	else if (timers.quiet) {
		if (++caught > 1) state("catching", `Catching up: ${many(caught, "message")}.`);
		catchUp();
	}
	if (about !== tab) unread.set(about, unread.get(about) + 1);
	pending.upTo(model.at);
	asOf();
	show();
	if (when) refreshIn(when === "now" ? SOON_MS : REFRESH_MS);
}

function failed({ code, message, fatal, retryIn }) {
	if (code === "forbidden") signOut(NOT_YOURS, "diagnosis");
	else if (fatal && code === "unauthorized") signOut(`The server does not take this token: ${message}`);
	else if (fatal) signOut(message, "diagnosis");
	else if (code === "state") state("waiting", `Not loaded: ${message} It is tried again.`);
	else state("waiting", code === "busy" ? `Offline: the server is busy.` : "Offline.", retryIn);
}

function begin(wanted, token) {
	diagnosis = wanted;
	user = subject(token);
	setToken(token);
	for (const name of TABS) unread.set(name, 0);
	byId("sign").hidden = true;
	byId("board").hidden = false;
	byId("loading").hidden = false;
	byId("content").hidden = true;
	byId("whose").textContent = `Diagnosis ${diagnosis}`;
	document.title = `Diagnosis ${diagnosis}: dashboard`;
	byId("as-of").textContent = "";
	open(location.hash.slice(1));
	state("waiting", "Connecting.");
	feed = new Tidings("", { token, state: load, storage: null });
	feed.on("connected", connected);
	feed.on("disconnected", ({ retryIn }) => retryIn !== null && state("waiting", "Offline.", retryIn));
	feed.on("error", failed);
	feed.on("message", hear);
	feed.on("gap", () => {
		byId("news").textContent = "Some of what happened is no longer kept: all was loaded anew.";
		tell("Some of what happened is no longer kept. All was loaded anew.");
	});
	feed.subscribe(`diagnosis/${diagnosis}`);
}

/* ---- what one does with a recommendation */

async function decide(r, status) {
	const accept = status === "active";
	const old = r.replaces ? `, and ${model.name(r.replaces) ?? "what it replaces"} is no longer` : "";
	const said = await ask({
		title: accept ? `Accept ${r.herb}?` : `Decline ${r.herb}?`, button: accept ? "Accept" : "Decline",
		words: accept ? `It is in force then${old}.` : "It is not proposed any longer. What is in force stays.",
		part: "ask-why", read: () => ({ reason: byId("ask-reason").value.trim() }),
	});
	byId("ask-reason").value = "";
	if (!said || !model) return;
	tell("");
	const say = () => feed.send("decide_recommendation", { recommendation_id: r.recommendation_id, status, ...(said.reason && { reason: said.reason }) });
	const done = await pending.run(`recommendation ${r.recommendation_id}`, { words: accept ? "Being accepted" : "Being declined" }, say, () => model?.at ?? 0);
	if (done) tell(`${accept ? "Accepted" : "Declined"}: ${r.herb}.`);
	if (model) refreshIn(SOON_MS);
}

function give(id) {
	open("feedback");
	feedbackTab.begin(id);
}

/* ---- */

const asked = new URLSearchParams(location.search).get("diagnosis") ?? "";
const kept = stored();
if (/^[1-9]\d{0,18}$/.test(asked) && kept) begin(asked, kept);
else {
	diagnosis = asked;
	signOut("", asked ? "token" : "diagnosis");
	if (kept) byId("token").value = kept;
}
addEventListener("hashchange", () => open(location.hash.slice(1)));
