/*
 * live-list - the list of what has come: messages, gaps, and what became of the connection; the newest on top.
 *
 * Thousands may come in a second. So they are put into the page once a frame, no more than ENTRIES_MAX are kept, and a screen
 * reader is told how many have come, every few seconds, rather than each.
 */

const ENTRIES_MAX = 200;
const NEWS_MS = 3000;

const byId = (id) => document.getElementById(id);
const list = byId("list");
const time = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

let waiting = []; // entries for the next frame, oldest first
let count = 0; // of messages, since the list was cleared
let unread = 0; // of messages that the screen reader has not been told of
let unreadGaps = [];
let newsTimer = null;

function element(name, properties, ...children) {
	const e = Object.assign(document.createElement(name), properties);
	e.append(...children);
	return e;
}

/* ---- a message in words */

const percent = (x) => (typeof x === "number" ? `${+(100 * x).toFixed(1)} %` : "?");
const text = (x) => (typeof x === "string" ? x : JSON.stringify(x));

function recommendation({ changed_fields: changed = [], old_recommendation: old = {}, new_recommendation: now = {}, reason }) {
	const change = (key) => {
		if (!(key in old)) return `${key}: ${text(now[key])} (new)`;
		return key in now ? `${key}: ${text(old[key])} → ${text(now[key])}` : `${key}: ${text(old[key])} (removed)`;
	};
	return [changed.map(change).join(", ") || "Nothing changed", reason].filter(Boolean).join(". ");
}

function effectiveness({ recommendation_id: id, old_effectiveness: old, new_effectiveness: now, confidence, sample_size: size }) {
	const change = old === undefined ? percent(now) : percent(old) === percent(now) ? `unchanged at ${percent(now)}` : `${percent(old)} → ${percent(now)}`;
	return `Recommendation ${id}: ${change}, confidence ${percent(confidence)}, sample of ${size}`;
}

function feedback({ rating, effectiveness: x, comment }) {
	return [`${rating} of 5, effectiveness ${percent(x)}`, comment].filter(Boolean).join(": ");
}

const IN_WORDS = { recommendation_update: recommendation, effectiveness_update: effectiveness, feedback_update: feedback };

/* Its data may be anything: a service publishes what it likes, under these types too. */
function inWords({ type, data }) {
	try {
		if (IN_WORDS[type]) return IN_WORDS[type](data);
	} catch {
		// not what that type usually has
	}
	const short = data && (data.message ?? data.text ?? data.title);
	return typeof short === "string" ? short : (JSON.stringify(data) ?? "").slice(0, 300);
}

/* ---- entries */

function stamp(when) {
	const date = when ? new Date(when) : new Date();
	const known = Number.isNaN(date.valueOf()) ? new Date() : date;
	return element("time", { dateTime: known.toISOString(), textContent: time.format(known) });
}

function messageEntry(m) {
	const kind = /^(recommendation|effectiveness|feedback)_update$/.exec(m.type)?.[1] ?? "other";
	const raw = element("pre", { tabIndex: 0 });
	const details = element("details", {}, element("summary", {}, "JSON", element("span", { className: "unseen" }, ` of ${m.type} ${m.seq ?? ""}`)), raw);
	details.addEventListener("toggle", () => (raw.textContent ||= JSON.stringify(m, null, 2)), { once: true });
	const head = element("p", { className: "head" },
		element("span", { className: "type" }, String(m.type).replace(/_update$/, "").replaceAll("_", " ")), " ",
		element("span", { className: "topic" }, m.topic), " ",
		element("span", { className: "seq" }, m.seq === undefined ? "not kept" : `#${m.seq}`), " ", stamp(m.timestamp));
	return element("li", { className: `entry message ${kind}` }, head, element("p", { className: "words" }, inWords(m)), details);
}

const noteEntry = (className, words) =>
	element("li", { className: `entry note ${className}` }, element("p", { className: "words" }, words), stamp());

/* ---- into the page */

function frame() {
	if (!waiting.length) return; // cleared meanwhile
	const entries = waiting.splice(0).reverse().map((make) => make());
	list.prepend(...entries);
	while (list.children.length > ENTRIES_MAX) list.lastChild.remove();
	byId("empty").hidden = true;
	byId("clear").disabled = false;
	const shown = list.querySelectorAll(".message").length;
	byId("count").textContent = count === shown ? `${count}` : `${count}, the newest ${shown} are shown`;
}

function put(make) {
	if (!waiting.length) requestAnimationFrame(frame);
	waiting.push(make);
	// A page that is not seen has no frames: what would not be shown is not kept either.
	if (waiting.length > ENTRIES_MAX) waiting.shift();
}

function news() {
	const messages = unread ? [`${unread} ${unread === 1 ? "message has" : "messages have"} come.`] : [];
	byId("news").textContent = [...messages, ...unreadGaps].join(" ");
	unread = 0;
	unreadGaps = [];
	newsTimer = null;
}

const tell = () => (newsTimer ??= setTimeout(news, NEWS_MS));

export function addMessage(m) {
	count++;
	unread++;
	put(() => messageEntry(m));
	tell();
}

export function addGap({ topic, from, to }) {
	const which = from === undefined ? "messages are" : from === to ? `message ${from} is` : `messages ${from} to ${to} are`;
	const words = `${topic}: ${which} gone, no longer kept by the server.`;
	unreadGaps.push(words);
	put(() => noteEntry("gap", words));
	tell();
}

/* What became of the connection. The status line tells the screen reader. */
export function addNote(words, className = "") {
	put(() => noteEntry(className, words));
}

byId("clear").addEventListener("click", () => {
	waiting = [];
	count = 0;
	list.replaceChildren();
	byId("empty").hidden = false;
	byId("count").textContent = "none yet";
	byId("messages").focus(); // the button that had it cannot be used now
	byId("clear").disabled = true;
});
