/*
 * tidings - the client: for pages, and for Node 18 or newer. tidings.d.ts says what it offers.
 *
 * It chooses the transport, comes back after a break, and tells the application. What a connection is, tidings-link.js knows; what is
 * said to the server goes its own way, tidings-send.js.
 */
import { backoff, differing, Link, Place } from "./tidings-link.js";
import { Kept, settings, TRANSPORTS } from "./tidings-options.js";
import { ask, asks, failure, pause } from "./tidings-send.js";
import { Topic } from "./tidings-topic.js";

const EVENTS = ["message", "connected", "disconnected", "status", "gap", "error"];
const TOPIC = /^[\w.:/-]{1,128}$/;
const TOPICS_MAX = 100;
const STABLE_MS = 10000; // a link that lasted so long was a good one
const FLAPS_MAX = 3; // after so many links that broke soon, another transport is tried first
const EARLY_PROBE = 30; // where a better transport has worked before, the first probe comes after this part of the interval
const PROBE_INTERVAL_MAX_MS = 3600000;
const OFFLINE_MS = 2000; // for an answer, when the machine says that it is offline
const RENEWAL_MS = 60000; // before its end a token is exchanged; one that lasts less than twice as long, at half its time
const TIMER_MAX_MS = 2 ** 31 - 1;
const NOTICES = ["online", "offline", "visibilitychange", "pageshow"];

/* When a token ends, in ms; 0: it does not say. */
export function expiry(token) {
	try {
		return JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).exp * 1000 || 0;
	} catch {
		return 0;
	}
}

/* What the token function throws, or gives, when nobody is signed in any more. */
export class SignedOut extends Error {
	name = "SignedOut";
}

export class Tidings {
	static SignedOut = SignedOut; // for a plain script
	closed = false;
	#listeners = {};
	#places = new Map(); // by topic
	#holders = new Map(); // by topic: the Topics that hold it, and this, where subscribe() does
	#base;
	#settings;
	#order; // the transports, best first
	#best; // the one to try first: the last that worked
	#kept;
	#token;
	#fetching = null; // a token
	#refused = false; // the last token was, and there was no connection since
	#had = false; // a token, which the server no longer takes
	#link = null; // in use, or being tried
	#round = []; // what to try after it
	#reasons = []; // why what was tried before it did not work
	#asking = false; // for a token
	#turn = 0; // changes with each attempt: who comes late finds another
	#attempt = 0; // rounds in vain, for the backoff
	#timer = null; // the wait between two rounds
	#patient = false; // that wait is the server's wish
	#paused = false;
	#change; // the turn in which topics come and go
	#shown = null; // the transport that the application has been told of as connected
	#status = "idle"; // that it has been told
	#probe = null; // a link that is being tried while #link is in use: a better one, or one with a fresh token
	#probeTimer;
	#probes = 0; // in vain
	#renewal; // of the token, ahead of its end
	#closing = new AbortController(); // its reason: why it is closed
	#said = Promise.resolve(); // the last message has been answered
	#heed = ({ type }) => this.#noticed(type);

	constructor(url, options = {}) {
		const place = globalThis.location;
		this.#settings = settings(options);
		this.#base = new URL(url || place.origin, place?.href).href.replace(/\/$/, "");
		this.#order = this.#settings.transports.filter((t) => t !== "websocket" || this.#settings.WebSocket);
		if (!this.#order.length) throw new TypeError("there is no transport");
		this.#kept = new Kept(this.#settings, this.#base);
		this.#best = this.#rank(this.#kept.transport) < 0 ? this.#order[0] : this.#kept.transport;
		if (typeof options.token === "string") this.#token = options.token;
		for (const topic of this.#settings.topics) this.subscribe(topic, this.#settings.cursors[topic]);
		for (const event of NOTICES) globalThis.addEventListener?.(event, this.#heed);
	}

	get status() {
		if (this.closed) return this.#closing.signal.reason.code === "signed_out" ? "signed_out" : "closed";
		if (this.#paused) return "paused";
		if (this.#shown) return "connected";
		return this.#places.size ? "connecting" : "idle";
	}

	get transport() {
		return this.#link?.isUp ? this.#link.transport : null;
	}

	get topics() {
		return [...this.#places.keys()];
	}

	get cursors() {
		return Object.fromEntries([...this.#places].flatMap(([topic, { cursor }]) => (cursor ? [[topic, cursor]] : [])));
	}

	on(event, listener) {
		if (!EVENTS.includes(event) && !event.includes(" ")) throw new TypeError(`there is no event ${event}`);
		const all = (this.#listeners[event] ??= new Set());
		all.add(listener);
		return () => all.delete(listener);
	}

	ready() {
		const { signal } = this.#closing;
		return new Promise((done, fail) => {
			if (this.closed) fail(signal.reason);
			if (this.status === "connected") done();
			const end = () => fail(signal.reason);
			const off = this.on("connected", () => {
				off();
				signal.removeEventListener("abort", end);
				done();
			});
			signal.addEventListener("abort", end);
		});
	}

	subscribe(topic, cursor) {
		this.#hold(this, topic, cursor);
	}

	topic(name, cursor) {
		const topic = new Topic(this, name, (t) => this.#holders.get(name)?.delete(t) && !this.#holders.get(name).size && this.unsubscribe(name));
		this.#hold(topic, name, cursor);
		return topic;
	}

	#hold(holder, topic, cursor = this.#kept.cursors[topic]) {
		if (!TOPIC.test(topic)) throw new TypeError(`this is no topic: ${topic}`);
		if (this.closed) throw this.#closing.signal.reason;
		if (this.#places.has(topic)) return void this.#holders.get(topic).add(holder);
		if (this.#places.size === TOPICS_MAX) throw new RangeError(`over ${TOPICS_MAX} topics`);
		this.#holders.set(topic, new Set([holder]));
		this.#places.set(topic, new Place(cursor));
		if (this.#settings.state && !cursor) this.#load(topic);
		else this.#changed();
	}

	unsubscribe(topic) {
		if (this.#leave(topic)) this.#changed();
	}

	/* False: it is not there. */
	#leave(topic) {
		const { [topic]: cursor } = this.cursors;
		if (cursor) this.#kept.cursors[topic] = cursor;
		this.#holders.delete(topic);
		return this.#places.delete(topic);
	}

	pause() {
		if (this.closed) return;
		this.#paused = true;
		this.#stop();
		this.#gone("paused", null);
	}

	resume() {
		if (!this.#paused) return;
		this.#paused = false;
		this.#connect();
	}

	/* One after the other, so that they arrive in order; what only asks need not wait. */
	send(type, data, { correlationId } = {}) {
		const until = Date.now() + this.#settings.sendTimeout;
		const say = () => this.#ask("send", { type, data, correlation_id: correlationId }, until);
		if (asks(type)) return say();
		const answer = this.#said.then(say);
		this.#said = answer.catch(() => {}); // its own failure, not the next one's
		return answer;
	}

	ack({ topic, seq, notification }) {
		return this.send("ack", notification ? { id: notification.id } : { topic, seq });
	}

	history(topic, { since, before, limit, types = this.#settings.types } = {}) {
		const query = Object.entries({ topic, since, before, limit, types }).filter(([, value]) => value !== undefined);
		return this.#ask(`history?${new URLSearchParams(query)}`);
	}

	presence(topic) {
		return this.#ask(`presence?${new URLSearchParams({ topic })}`);
	}

	#ask(path, message, until = Date.now() + this.#settings.sendTimeout) {
		return ask(`${this.#base}/ws/${path}`, message, until, this.#settings, (r) => this.#getToken(r), this.#closing.signal);
	}

	close() {
		this.#close(failure("closed", "the client is closed"));
	}

	#close(why) {
		if (this.closed) return;
		this.closed = true;
		this.#closing.abort(why);
		this.#stop();
		clearTimeout(this.#change);
		this.#kept.now(this.cursors);
		for (const event of NOTICES) globalThis.removeEventListener?.(event, this.#heed);
	}

	/* It cannot go on. */
	#fail(code, message) {
		this.#emit("error", { code, message, fatal: true });
		this.#close(failure(code, message));
		this.#tell();
	}

	/* It goes on. */
	#warn(code, message, more) {
		this.#emit("error", { code, message, ...more, fatal: false });
	}

	#emit(event, detail) {
		for (const listener of this.closed && event !== "status" ? [] : [...(this.#listeners[event] ?? [])]) {
			try {
				listener(detail);
			} catch (e) {
				queueMicrotask(() => { throw e; }); // the application's: not to be mistaken for ours
			}
		}
	}

	/* To all who listen, then to those of its topic. */
	#emitOf(topic, event, detail, ...names) {
		this.#emit(event, detail);
		for (const name of names) this.#emit(`${topic} ${name}`, detail);
	}

	#tell() {
		const { status } = this;
		if (status === this.#status) return;
		this.#status = status;
		this.#emit("status", status);
	}

	/* The application's state of a topic, and the place in it. Until that is there no link asks for the topic, and messages of one that
	   has asked are passed over: they come after the place. `loads`: how often it was in vain. */
	async #load(topic, loads = 0) {
		const place = new Place();
		const { signal } = this.#closing;
		place.loading = true;
		this.#places.set(topic, place);
		while (place.loading) {
			if (loads) await pause(backoff(this.#settings, loads - 1), signal);
			if (this.closed || this.#places.get(topic) !== place) return;
			place.loads = ++loads;
			try {
				if (!place.move(await this.#settings.state(topic))) throw new TypeError("state gave no cursor");
				place.loading = false;
				place.seen = place.at;
			} catch (e) {
				this.#warn("state", e?.message ?? String(e), { topic });
			}
		}
		if (this.#places.get(topic) === place) this.#changed();
	}

	get #ready() {
		return new Map([...this.#places].filter(([, { loading }]) => !loading));
	}

	/* Several in one turn are one change: of the open link, if it can follow, else by another one. One that is to come anyway takes them
	   along; and one that is being made is not broken off: with it would go what waits for its topics, which is sent once to who has no cursor. */
	#changed() {
		this.#tell();
		clearTimeout(this.#change);
		this.#change = setTimeout(() => {
			const comes = this.#timer || this.#asking || (this.#link && !this.#link.isUp);
			if (this.#ready.size && (comes || this.#link?.follow?.(this.#ready))) return;
			this.#connect();
		});
	}

	/* What the browser says of the network and of the page: time to look whether the link lives, and not to wait for the next round. */
	#noticed(type) {
		const hidden = type === "visibilitychange" && globalThis.document?.visibilityState === "hidden";
		if (hidden) this.#kept.now(this.cursors);
		else if (type === "offline") this.#link?.isUp && this.#link.check(OFFLINE_MS);
		else if (this.#timer) this.#patient || this.#connect();
		else if (this.#link?.isUp) {
			this.#link.check();
			if (type === "online") this.#planProbe(true); // it may be another network
		}
	}

	#stop() {
		this.#turn++;
		this.#asking = false;
		clearTimeout(this.#timer);
		clearTimeout(this.#probeTimer);
		clearTimeout(this.#renewal);
		this.#timer = null;
		this.#link?.end();
		this.#probe?.end();
		this.#link = this.#probe = null;
	}

	/* ---- a round: one transport after the other, until one works */

	#connect(first = this.#best) {
		if (this.#paused) return;
		this.#stop();
		this.#reasons = [];
		this.#round = [first, ...this.#order.filter((t) => t !== first)];
		if (this.#ready.size) this.#next();
		else this.#gone("there are no topics", null);
		this.#tell();
	}

	async #next() {
		const turn = ++this.#turn;
		const transport = this.#round.shift();
		if (!transport) return this.#later("unreachable", this.#reasons.join("; "));
		try {
			this.#asking = true;
			await this.#getToken();
		} catch (e) {
			if (turn === this.#turn) this.#later(e.code, e.message);
			return;
		} finally {
			if (turn === this.#turn) this.#asking = false;
		}
		if (turn === this.#turn) this.#link = this.#open(transport, (l) => this.#up(l), (l, why) => this.#down(l, why));
	}

	/* The token; `refused`: that one is no longer taken. Who wants one while it is fetched gets the same. */
	async #getToken(refused, why) {
		const { token } = this.#settings;
		if (refused !== undefined && refused === this.#token) {
			this.#token = undefined;
			this.#had = true;
		}
		if (this.#token === undefined && token) {
			this.#fetching ??= (async () => token(why ?? (this.#had ? "refused" : "first")))();
			try {
				const given = await this.#fetching;
				if (given instanceof Error) throw given;
				this.#token = given;
			} catch (e) {
				const message = e?.message ?? String(e);
				if (e?.name !== "SignedOut") throw failure("token", message);
				if (!this.closed) this.#fail("signed_out", message);
				throw this.#closing.signal.reason;
			} finally {
				this.#fetching = null;
			}
		}
		return this.#token;
	}

	#open(transport, up, down) {
		const ours = (link, topic) => {
			const place = link.places.get(topic);
			return place === this.#places.get(topic) ? place : undefined; // the topic may have gone, or come anew
		};
		return new Link(transport, this.#base, this.#ready, this.#token, this.#settings, {
			up,
			down,
			begin: (link, topic, entry, before) => {
				const place = ours(link, topic);
				if (!place?.begin(entry, before)) return;
				if (this.#settings.state) this.#load(topic, place.loads);
				this.#emitOf(topic, "gap", { topic, ...entry.missed }, "gap");
			},
			forbidden: (topic, place, message) => {
				if (this.#places.get(topic) !== place) return;
				this.unsubscribe(topic);
				this.#warn("forbidden", message, { topic });
			},
			message: (link, m) => {
				if (!ours(link, m.topic)?.take(m.seq)) return;
				this.#emitOf(m.topic, "message", m, m.type, "*");
				this.#kept.soon(() => this.cursors);
			},
		});
	}

	#up(link) {
		const { transport, places, hello } = link;
		this.#link = link;
		this.#refused = false;
		this.#best = this.#shown = transport;
		const worse = this.#rank(transport) > this.#rank(this.#kept.transport) && this.#rank(this.#kept.transport) >= 0;
		if (!worse && this.#order.length > 1) this.#kept.remember(transport);
		// One that has worked before will again, perhaps soon: a server that starts has all sorts of moments.
		this.#planProbe(worse);
		this.#planRenewal();
		this.#emit("connected", { transport, topics: [...places.keys()], connectionId: hello.connection_id, userId: hello.user_id, at: hello.timestamp });
		this.#tell();
		if (differing(places, this.#ready).length) this.#changed();
	}

	#down(link, { kind, message, topic, wait }) {
		const { transport, isUp } = link;
		const stable = isUp && Date.now() - link.since >= STABLE_MS;
		this.#stop();
		if (stable) this.#attempt = 0;
		if (stable && !this.#rank(transport)) this.#probes = 0;

		if (kind === "forbidden" && this.#leave(topic)) {
			this.#warn(kind, message, { topic });
			this.#connect(transport);
		} else if (kind === "refused" && typeof this.#settings.token === "function" && !this.#refused) {
			this.#refused = this.#had = true;
			if (this.#token === link.token) this.#token = undefined; // unless there is a fresh one already
			this.#connect(transport);
		} else if (kind === "refused" || kind === "invalid") {
			this.#fail(kind === "refused" ? "unauthorized" : kind, message);
		} else if (kind === "broken" && !isUp) {
			this.#reasons.push(`${transport}: ${message}`);
			this.#next();
		} else {
			// One that lets us in and breaks again and again is not one that works.
			if (kind === "broken" && this.#attempt >= FLAPS_MAX) this.#best = this.#order[this.#rank(transport) + 1] ?? this.#order[0];
			this.#later(kind === "busy" && !isUp ? kind : "", message, wait);
		}
	}

	/* The next round comes, a while from now. `code`: why, where the application is to be told. */
	#later(code, message, wait = 0) {
		const retryIn = Math.round(wait + backoff(this.#settings, this.#attempt++));
		this.#timer = setTimeout(() => this.#connect(), retryIn);
		this.#patient = wait > 0;
		this.#gone(message, retryIn);
		if (code) this.#warn(code, message, { retryIn });
	}

	#gone(reason, retryIn) {
		const transport = this.#shown;
		this.#shown = null;
		if (transport) this.#emit("disconnected", { transport, reason, retryIn });
		this.#tell();
	}

	/* ---- back to a better transport, while another is in use */

	#rank(transport) {
		return this.#order.indexOf(transport);
	}

	#planProbe(early) {
		const better = this.#order.slice(0, this.#rank(this.#link.transport));
		const { probeInterval } = this.#settings;
		const ms = early ? probeInterval / EARLY_PROBE : Math.min(PROBE_INTERVAL_MAX_MS, probeInterval * 2 ** this.#probes);
		clearTimeout(this.#probeTimer);
		if (better.length && !this.#probe) this.#probeTimer = setTimeout(() => this.#try(better), ms * (0.75 + Math.random() / 2));
	}

	#try([transport, ...others]) {
		this.#probe = null;
		if (!transport) {
			this.#probes++;
			this.#kept.remember(this.#link.transport);
			return this.#planProbe();
		}
		const up = (link) => {
			if (this.#link !== link) {
				this.#probe = null;
				this.#link.end();
			}
			this.#up(link);
		};
		this.#probe = this.#open(transport, up, (link, why) => (link.isUp ? this.#down(link, why) : this.#try(others)));
	}

	/* ---- a fresh token before the server refuses this one */

	#planRenewal() {
		const left = expiry(this.#link.token) - Date.now();
		const wait = Math.min(TIMER_MAX_MS, Math.max(left - RENEWAL_MS, left / 2));
		clearTimeout(this.#renewal);
		if (left > 0 && typeof this.#settings.token === "function") this.#renewal = setTimeout(() => this.#renew(), wait);
	}

	/* The new link is there before the old one goes. Where there is no token to be had, the old one is used up. */
	async #renew() {
		const link = this.#link;
		const { token } = link;
		this.#token = undefined;
		try {
			await this.#getToken(undefined, "expiring");
		} catch {
			// it is asked again when this one is refused
		}
		this.#token ??= token;
		if (this.#link !== link || this.#token === token) return;
		this.#probe?.end();
		this.#try([link.transport]);
	}
}

export default Tidings;
