/*
 * tidings-send - what a client says (POST /ws/send) and asks (history, presence), whatever transport messages come to it by.
 *
 * A message that may have arrived is sent again only where that does no harm: what changes something carries an Idempotency-Key, the same
 * each time, so that the server does it once; what only asks may be asked twice. `typing` is not sent again: it is over by then.
 */
import { backoff, retryAfter } from "./tidings-link.js";

const CODES = { 0: "unreachable", 401: "unauthorized", 403: "forbidden", 404: "not_found", 429: "busy", 502: "unreachable", 503: "busy",
	504: "unreachable" };
const AGAIN = [0, 429, 502, 503, 504]; // it has not been done, or nobody knows whether it has
const TRIES = 3; // that there is time for, though none of them be answered

export const asks = (type) => /^get_/.test(type);

export const failure = (code, message, status = 0, errors = []) => Object.assign(new Error(message), { code, status, errors });

const late = () => failure("unreachable", "no answer in time");

/* What `run` waits for, for so long at most; and not when the client is closed. */
async function within(ms, closing, run) {
	const stop = new AbortController();
	const end = () => stop.abort();
	const timer = setTimeout(end, ms);
	closing.addEventListener("abort", end);
	try {
		return await run(stop.signal);
	} finally {
		clearTimeout(timer);
		closing.removeEventListener("abort", end);
	}
}

/* Waits; not when the client is closed. */
export const pause = (ms, closing) => within(ms, closing, (signal) => new Promise((done) => signal.addEventListener("abort", done)));

/* One request: its answer, or why there is none, with `wait`, how long the server wants us to stay away. */
async function request(fetch, url, init, ms, closing) {
	try {
		return await within(ms, closing, async (signal) => {
			const response = await fetch(url, { ...init, signal });
			const { status } = response;
			if (response.ok) return { reply: await response.json() };
			const { detail, errors } = await response.json().catch(() => ({})); // a proxy's may be anything
			const code = CODES[status] ?? (status < 500 ? "invalid" : "failed");
			return { error: failure(code, detail ?? `HTTP ${status}`, status, errors), wait: retryAfter(response) };
		});
	} catch (e) {
		return { error: e.name === "AbortError" ? late() : failure("unreachable", e.message) };
	}
}

/*
 * Gives the server's answer, or throws a failure().
 *
 *	message	what is said; none: it is a GET
 *	until	when it is too late
 *	token	gives the token to use, given the one that was refused
 *	closing	the signal of the client's end
 */
export async function ask(url, message, until, settings, token, closing) {
	const once = message?.type === "typing";
	const headers = message ? { "Content-Type": "application/json" } : {};
	const init = message ? { method: "POST", body: JSON.stringify(message), headers } : { cache: "no-store", headers };
	let refused;
	if (message && !once && !asks(message.type)) headers["Idempotency-Key"] = [Date.now(), Math.random(), Math.random()].map((n) => n.toString(36)).join("-");
	for (let attempt = 0; ; attempt++) {
		closing.throwIfAborted();
		const mine = await token(refused);
		closing.throwIfAborted();
		if (mine) headers.Authorization = `Bearer ${mine}`;
		const left = until - Date.now();
		if (left <= 0) throw late();
		const { reply, error, wait = 0 } = await request(settings.fetch, url, init, Math.min(left, settings.sendTimeout / TRIES), closing);
		if (reply) return reply;
		closing.throwIfAborted();
		if (error.status === 401 && refused === undefined && typeof settings.token === "function") {
			refused = mine;
			continue;
		}
		const rest = wait + backoff(settings, attempt);
		if (once || !AGAIN.includes(error.status) || Date.now() + rest > until) throw error;
		await pause(rest, closing);
	}
}
