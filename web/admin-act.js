/*
 * admin-act - requests with an administrator's token, and what an operator does: each act is asked about first, in a dialog that says
 * what will become of it, and told of when it is done.
 */
import { byId } from "./admin-view.js";

/* What the server refused, or that it could not be asked (status 0). */
export class Refusal extends Error {
	constructor(status, detail) {
		super(detail);
		this.status = status;
	}
}

let token = null;
export const setToken = (value) => (token = value);

/* An answer that comes when whoever asked has signed out is nobody's. */
export async function request(method, path) {
	const mine = token;
	let reply;
	try {
		reply = await fetch(path, { method, headers: { Authorization: `Bearer ${mine}` }, ...(method === "POST" && { body: "" }) });
	} catch {
		throw new Refusal(0, "There is no way to the server.");
	}
	const body = await reply.json().catch(() => null);
	if (mine !== token) throw new Refusal(0, "Signed out meanwhile.");
	if (reply.ok && body) return body;
	const fields = (body?.errors ?? []).map(({ field, message }) => `${field} ${message}`).join("; ");
	throw new Refusal(reply.status, fields || body?.detail || `The server answers ${reply.status}.`);
}

/* ---- the dialog */

const dialog = byId("ask");
let answer = null; // resolves what is asked

function close(value) {
	const resolve = answer;
	answer = null;
	dialog.close();
	resolve?.(value);
}

const whose = () => dialog.querySelector("[name=whose]:checked").value;

function yes() {
	if (byId("ask-whose").hidden) return close(true);
	const user = byId("ask-user");
	const missing = whose() === "user" && !user.value.trim();
	byId("ask-error").textContent = missing ? "Which user?" : "";
	user.toggleAttribute("aria-invalid", missing);
	if (missing) return user.focus();
	close(whose() === "user" ? { user: user.value.trim() } : { [whose()]: 1 });
}

byId("ask-yes").addEventListener("click", yes);
byId("ask-no").addEventListener("click", () => close(null));
dialog.addEventListener("cancel", (event) => {
	event.preventDefault();
	close(null);
});
byId("ask-user").addEventListener("keydown", (event) => event.key === "Enter" && yes());
for (const input of dialog.querySelectorAll("[name=whose]"))
	input.addEventListener("change", () => (byId("ask-user-field").hidden = whose() !== "user"));

/*
 * Asks; null: no. Else true, or whose subscriptions are meant.
 *
 *	harm	what is done cannot be undone
 */
function ask({ title, words, button, harm = false, asksWhose = false }) {
	byId("ask-title").textContent = title;
	byId("ask-words").textContent = words;
	byId("ask-yes").textContent = button;
	byId("ask-yes").className = harm ? "harm" : "main";
	byId("ask-whose").hidden = !asksWhose;
	byId("ask-error").textContent = "";
	return new Promise((resolve) => {
		answer = resolve;
		dialog.showModal();
		(asksWhose ? byId("ask-user") : byId("ask-no")).focus();
	});
}

export const isAsking = () => answer !== null;

/* ---- acts */

const done = byId("done");

function tell(words, bad = false) {
	done.textContent = words;
	done.classList.toggle("bad", bad);
}

export const forgetDone = () => tell("");

/*
 * Asks, does, tells.
 *
 *	make	what is asked -> [method, path]
 *	words	the reply -> what has become of it
 */
async function act(button, question, make, words) {
	const said = await ask(question);
	if (said === null) return false;
	button.disabled = true;
	tell(`${question.button}: waiting for the answer.`);
	try {
		tell(words(await request(...make(said))));
		return true;
	} catch (e) {
		if (!(e instanceof Refusal)) throw e;
		tell(`${question.button}: ${e.message}`, true);
		return false;
	} finally {
		button.disabled = false;
	}
}

const many = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
const path = (text) => encodeURIComponent(text);

export const disconnect = (c, button) => act(button, {
	title: "Disconnect?", button: "Disconnect",
	words: `The connection of ${c.user_id ?? "somebody without a token"}, ${c.connection_id}, is closed. Its client may connect again.`,
}, () => ["DELETE", `/ws/connection/${path(c.connection_id)}`], () => `Disconnected: ${c.connection_id}.`);

export const reconnect = (c, button) => act(button, {
	title: "Reconnect?", button: "Reconnect",
	words: `All connections of ${c.user_id}, on every node, are told to come again, and go on where they were.`,
}, () => ["POST", `/ws/user/${path(c.user_id)}/reconnect`], ({ connections }) => `${many(connections, "connection")} of ${c.user_id} told to come again.`);

export const revoke = (t, button) => act(button, {
	title: "Revoke?", button: "Revoke", harm: true, asksWhose: true,
	words: `Subscriptions to ${t.topic} end. Whoever tidings.authorize() still lets in may subscribe again: this is for where that asks your own tables.`,
}, (said) => ["POST", `/ws/topic/${path(t.topic)}/revoke?${new URLSearchParams(said)}`], () => `Subscriptions to ${t.topic} end.`);

export const drain = (n, button, last) => act(button, {
	title: "Drain?", button: "Drain", harm: true,
	words: `Node ${n.id} takes no new clients, and asks ${many(n.connections, "client")} to come again elsewhere. It stays empty until it is restarted.${
		last ? " It is the only one that takes clients: nobody can connect then." : ""}`,
}, () => ["POST", `/ws/node/${path(n.id)}/drain`], () => `Node ${n.id} drains.`);

const one = (o) => `${o.kind} ${o.id} for ${o.topic}`;

export const retry = (o, button) => act(button, {
	title: "Retry?", button: "Retry",
	words: o ? `The ${one(o)} is relayed now. Where the cause is still there it is given up again in five minutes.`
		: "All that was given up is relayed now. What still has its cause is given up again in five minutes.",
}, () => ["POST", `/ws/outbox/${o ? path(o.id) : "failed"}/retry`], ({ count }) => `On its way again: ${count}.`);

export const drop = (o, button) => act(button, {
	title: "Drop?", button: "Drop", harm: true,
	words: `${o ? `The ${one(o)}` : "All that was given up"} is forgotten, and reaches nobody. A notification stays its user's to read.`,
}, () => ["DELETE", `/ws/outbox/${o ? path(o.id) : "failed"}`], ({ count }) => `Dropped: ${count}.`);
