/*
 * admin - the page /admin: what an operator sees and does, with a token of role admin; without one there is nothing on it.
 *
 * Nodes and totals come by tidings itself, on tidings/operations. What is shown in the tables is asked for when that says something, and
 * not more often than the server takes easily; where the feed is away, now and then.
 *
 * The token is kept in this tab alone (sessionStorage), and goes in a header: never in an address.
 */
import { Tidings } from "./tidings.js";
import { age, byId, bytes, clockTime, count, duration, element, showRows } from "./admin-view.js";
import { Refusal, disconnect, drain, drop, forgetDone, isAsking, reconnect, request, retry, revoke, setToken } from "./admin-act.js";
import { beginTail, endTail } from "./admin-tail.js";

const KEPT = "admin token";
const WATCHED = "tidings/operations";
const TRANSPORTS = { websocket: "WebSocket", sse: "event stream", long_poll: "long-poll" };
const REFRESH_MS = 5000;
const EASY = 20; // of the time that an answer takes: as long nothing is asked again
const PAGE = 50;
const TOPICS_SHOWN = 3;

let feed = null;
let nodes = [];
let after = null; // the page of connections that is shown
let next = null;
let filter = {};
let refreshing = false;
let refreshAt = 0;
let timer = null;

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

function signOut(words = "") {
	feed?.close();
	feed = null;
	clearInterval(timer);
	endTail();
	stored(null);
	setToken(null);
	forgetDone();
	for (const body of document.querySelectorAll("#desk tbody, #messages")) body.replaceChildren();
	for (const figure of document.querySelectorAll(".figures dd")) figure.textContent = figure.className ? "" : "–";
	byId("desk").hidden = true;
	byId("sign").hidden = false;
	byId("sign-error").textContent = words;
	byId("token").value = "";
	byId("token").focus();
}

/* A token that is no admin's, or no more: there is nothing on this page. True: that was it. */
function ends(e) {
	if (e.status === 401) signOut(e.message);
	else if (e.status === 403) signOut("This is not an administrator's token: its role must be admin.");
	else return false;
	return true;
}

async function signIn(token) {
	setToken(token);
	byId("sign-error").textContent = "";
	try {
		await request("GET", "/ws/connections?limit=1");
	} catch (e) {
		if (!(e instanceof Refusal)) throw e;
		if (!ends(e)) {
			byId("sign").hidden = false;
			byId("sign-error").textContent = e.message;
		}
		return;
	}
	const moved = !byId("sign").hidden;
	stored(token);
	byId("sign").hidden = true;
	byId("desk").hidden = false;
	if (moved) byId("main").focus();
	watch(token);
	timer = setInterval(() => Date.now() >= refreshAt + (feed?.transport ? REFRESH_MS : 0) && refresh(), REFRESH_MS);
	refresh();
}

/* ---- nodes and totals */

function state(name, words) {
	byId("state").dataset.state = name;
	if (byId("state-text").textContent !== words) byId("state-text").textContent = words;
}

function showTotals(d) {
	byId("connections-count").textContent = count(d.connections);
	byId("transports").textContent = `WebSocket ${count(d.websocket)}, event stream ${count(d.sse)}, long-poll ${count(d.long_poll)}`;
	byId("users-count").textContent = count(d.users);
	byId("outbox-due").textContent = count(d.outbox.messages);
	byId("outbox-oldest").textContent = d.outbox.messages ? `the oldest for ${duration(d.outbox.oldest_s)}` : "";
	byId("outbox-failed").textContent = count(d.outbox.failed);
	byId("outbox-failed").parentElement.classList.toggle("bad", d.outbox.failed > 0);
	byId("retry-all").hidden = byId("drop-all").hidden = !d.outbox.failed;
}

const short = (id) => element("code", { title: id }, id.slice(0, 8));
const serving = () => nodes.filter((n) => !n.draining).length;

function showNodes(list) {
	nodes = list;
	showRows(byId("nodes"), nodes, (n) => n.id, [
		{ label: "Node", show: (n) => short(n.id) },
		{ label: "Runs for", show: (n) => age(n.started_at) },
		{ label: "Connections", number: true, show: (n) => count(n.connections) },
		{ label: "State", show: (n) => (!n.draining ? "takes clients" : n.connections ? "drains" : "drained: may be stopped") },
	], [
		{ label: "Drain", harm: true, of: (n) => `node ${n.id.slice(0, 8)}`, when: (n) => !n.draining, act: (n, b) => drain(n, b, serving() === 1).then(refresh) },
	]);
}

function watch(token) {
	state("waiting", "Connecting");
	feed = new Tidings("", { token, topics: [WATCHED], storage: null });
	feed.on("connected", ({ transport }) => state("connected", `Live, by ${TRANSPORTS[transport]}`));
	feed.on("disconnected", ({ reason }) => state("waiting", `Not live (${reason}): asked for now and then`));
	feed.on("error", ({ message, fatal, code }) => {
		if (fatal && code === "unauthorized") signOut("The server does not take this token any more.");
		else state("waiting", `Not live (${message}): asked for now and then`);
	});
	feed.on("message", ({ type, data }) => {
		if (type !== "operations") return;
		showTotals(data);
		showNodes(data.nodes);
		if (Date.now() >= refreshAt) refresh();
	});
}

/* ---- the tables */

const query = (parameters) => new URLSearchParams(Object.entries(parameters).filter(([, value]) => value));

async function readStatus() {
	const s = await request("GET", "/ws/status");
	showTotals({ connections: s.total_connections, users: s.users_online, ...s.connections_by_transport, outbox: s.outbox });
	showNodes(s.nodes);
}

function topicsOf(c) {
	const rest = c.topics.length - TOPICS_SHOWN;
	return c.topics.slice(0, TOPICS_SHOWN).map((name) => element("span", { className: "name" }, name))
		.concat(rest > 0 ? element("span", { title: c.topics.join("\n") }, `and ${rest} more`) : []);
}

async function readConnections() {
	const asked = query({ ...filter, after, limit: PAGE });
	const page = await request("GET", `/ws/connections?${asked}`);
	next = page.next;
	byId("filter-error").textContent = "";
	document.querySelector("#connections ~ .empty").textContent = Object.keys(filter).length || after ? "Nobody is found." : "Nobody is connected.";
	showRows(byId("connections"), page.connections, (c) => c.connection_id, [
		{ label: "User", show: (c) => element("span", { className: "name" }, c.user_id === null ? "anonymous" : String(c.user_id)) },
		{ label: "Transport", tight: true, show: (c) => TRANSPORTS[c.transport] },
		{ label: "Topics", show: topicsOf },
		{ label: "Age", show: (c) => age(c.connected_at) },
		{ label: "Lag", number: true, show: (c) => count(c.lag) },
		{ label: "Waiting", number: true, show: (c) => bytes(c.waiting_bytes) },
		{ label: "Node", show: (c) => short(c.node) },
	], [
		{ label: "Reconnect", of: (c) => `all of ${c.user_id}`, when: (c) => c.user_id !== null, act: (c, b) => reconnect(c, b).then(refresh) },
		{ label: "Disconnect", harm: true, of: (c) => `${c.user_id ?? "anonymous"} ${c.connection_id.slice(0, 8)}`, act: (c, b) => disconnect(c, b).then(refresh) },
	]);
	byId("first").hidden = !after;
	byId("next").hidden = !next;
}

async function readTopics() {
	const by = document.querySelector("[name=by]:checked").value;
	const { topics } = await request("GET", `/ws/topics?${query({ by, limit: 20 })}`);
	showRows(byId("topics"), topics, (t) => t.topic, [
		{ label: "Topic", show: (t) => element("span", { className: "name" }, t.topic) },
		{ label: "A minute", number: true, show: (t) => count(t.per_minute) },
		{ label: "Lag", number: true, show: (t) => count(t.lag) },
		{ label: "Clients", number: true, show: (t) => count(t.clients) },
		{ label: "Newest", show: (t) => age(t.newest_at) },
	], [
		{ label: "Tail", of: (t) => `of ${t.topic}`, act: (t) => (beginTail(t.topic), byId("tail-topic").focus()) },
		{ label: "Revoke", harm: true, of: (t) => `subscriptions to ${t.topic}`, act: (t, b) => revoke(t, b).then(refresh) },
	]);
}

async function readOutbox() {
	const { outbox } = await request("GET", `/ws/outbox?${query({ failed: byId("only-failed").checked ? 1 : 0, limit: PAGE })}`);
	const failed = (o) => o.failed_at !== null;
	showRows(byId("outbox"), outbox, (o) => o.id, [
		{ label: "What", show: (o) => `${o.kind}${failed(o) ? ", given up" : ""}` },
		{ label: "Topic", show: (o) => element("span", { className: "name" }, o.topic) },
		{ label: "Due", show: (o) => age(o.deliver_at) },
		{ label: "Attempts", number: true, show: (o) => count(o.attempts) },
		{ label: "Error", show: (o) => o.error ?? "–" },
	], [
		{ label: "Retry", of: (o) => `${o.kind} ${o.id}`, when: failed, act: (o, b) => retry(o, b).then(refresh) },
		{ label: "Drop", harm: true, of: (o) => `${o.kind} ${o.id}`, when: failed, act: (o, b) => drop(o, b).then(refresh) },
	]);
}

/* All of it, one after the other. While it lasts, or something is asked, or nobody looks, nothing is begun. */
async function refresh() {
	if (refreshing || isAsking() || document.hidden || byId("desk").hidden) return;
	refreshing = true;
	const began = Date.now();
	try {
		for (const read of [readStatus, readConnections, readTopics, readOutbox]) await read();
		byId("state").title = `As of ${clockTime()}`;
	} catch (e) {
		if (!(e instanceof Refusal)) throw e;
		if (e.status === 422) byId("filter-error").textContent = e.message;
		else if (!ends(e)) state("waiting", `${e.message} What is shown may be old.`);
	} finally {
		refreshing = false;
		refreshAt = Date.now() + Math.max(REFRESH_MS - 500, EASY * (Date.now() - began));
	}
}

/* What one asks for comes at once; where something is under way, after that. */
async function refreshNow() {
	while (refreshing) await new Promise((resolve) => setTimeout(resolve, 50));
	await refresh();
}

/* ---- what one does */

byId("sign").addEventListener("submit", (event) => {
	event.preventDefault();
	const token = byId("token").value.trim().replace(/^Bearer\s+/i, "");
	if (/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return void signIn(token);
	byId("sign-error").textContent = token ? "This is not a token: it has three parts, with dots between." : "This takes a token.";
	byId("token").focus();
});

byId("leave").addEventListener("click", () => signOut());

byId("filter").addEventListener("submit", (event) => {
	event.preventDefault();
	const { user, topic, slow } = event.target.elements;
	filter = Object.fromEntries([["user", user.value.trim()], ["topic", topic.value.trim()], ["slow", slow.checked ? 1 : 0]].filter(([, value]) => value));
	after = null;
	refreshNow();
});

function page(to) {
	after = to;
	byId("connections-title").focus();
	refreshNow();
}

byId("first").addEventListener("click", () => page(null));
byId("next").addEventListener("click", () => page(next));
byId("by").addEventListener("change", refreshNow);
byId("only-failed").addEventListener("change", refreshNow);
byId("retry-all").addEventListener("click", () => retry(null, byId("retry-all")).then(refresh));
byId("drop-all").addEventListener("click", () => drop(null, byId("drop-all")).then(refresh));
document.addEventListener("visibilitychange", () => Date.now() >= refreshAt && refresh());

const token = stored();
if (token) signIn(token);
else byId("sign").hidden = false;
