/*
 * admin-tail - the tail of one topic: what is kept of it, and then what comes, by /ws/history. A subscription would count as a client,
 * and what waits for clients would be taken for sent.
 */
import { byId, clockTime, element } from "./admin-view.js";
import { Refusal, request } from "./admin-act.js";

const ASK_AGAIN_MS = 1500;
const MESSAGES_MAX = 100;
const SHOWN_MAX = 20000; // characters of one

const list = byId("messages");
const form = byId("tail");

let topic = null;
let cursor = null;
let turn = 0; // of another topic, or none, it is another

function entry(m) {
	const text = JSON.stringify(m.data) ?? "";
	const whole = element("pre", { tabIndex: 0 }, text.slice(0, SHOWN_MAX) + (text.length > SHOWN_MAX ? " …" : ""));
	return element("li", {},
		element("p", {}, element("span", { className: "seq" }, `#${m.seq}`), " ", element("strong", {}, String(m.type)), " ",
			element("time", { dateTime: m.timestamp ?? "" }, clockTime(m.timestamp))), whole);
}

const note = (words) => element("li", { className: "note" }, element("p", {}, words));

function show({ messages, recovered, missed }) {
	const entries = messages.map(entry);
	if (!recovered && missed) entries.unshift(note(`Messages ${missed.from} to ${missed.to} are no longer kept.`));
	else if (!recovered) entries.unshift(note("The topic is numbered anew: what came between is not known."));
	list.prepend(...entries.reverse());
	while (list.children.length > MESSAGES_MAX) list.lastChild.remove();
	if (messages.length) byId("tail-news").textContent = `${messages.length} of ${topic}`;
}

async function read(mine) {
	const query = new URLSearchParams({ topic, ...(cursor ? { since: cursor, limit: 100 } : { limit: 20 }) });
	let pause = ASK_AGAIN_MS;
	try {
		const reply = await request("GET", `/ws/history?${query}`);
		if (mine !== turn) return;
		byId("tail-error").textContent = "";
		if (!cursor && !reply.messages.length) list.replaceChildren(note("Nothing is kept: what comes is shown."));
		show(reply);
		if (reply.messages.length === 100) pause = 0;
		cursor = reply.cursor;
	} catch (e) {
		if (!(e instanceof Refusal)) throw e;
		if (mine !== turn) return;
		byId("tail-error").textContent = e.message;
		if (e.status >= 400 && e.status < 500 && e.status !== 429) return endTail();
		pause *= 4;
	}
	setTimeout(() => mine === turn && read(mine), pause);
}

export function endTail() {
	turn++;
	byId("tail-end").hidden = true;
	if (document.activeElement === document.body) byId("tail-topic").focus();
}

export function beginTail(name) {
	turn++;
	topic = name;
	cursor = null;
	list.replaceChildren();
	byId("tail-topic").value = name;
	byId("tail-error").textContent = name ? "" : "Which topic?";
	byId("tail-end").hidden = !name;
	if (name) read(turn);
}

form.addEventListener("submit", (event) => {
	event.preventDefault();
	beginTail(byId("tail-topic").value.trim());
});
byId("tail-end").addEventListener("click", endTail);
