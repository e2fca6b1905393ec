/*
 * tidings - the client: for pages, and for Node 18 or newer. tidings.d.ts says what it offers.
 *
 * It chooses the transport, comes back after a break, and tells the application. What a connection is, tidings-link.js knows; what is
 * said to the server goes its own way, tidings-send.js.
 */
import { backoff, Link, Place, VIA } from "./tidings-link.js";
import { asks, failure, pause, send } from "./tidings-send.js";

const TRANSPORTS = ["websocket", "sse", "long_poll"];
const TOPICS_MAX = 100;
const STABLE_MS = 10000; // a link that lasted so long was a good one
const FLAPS_MAX = 3; // after so many links that broke soon, another transport is tried first
const EARLY_PROBE = 30; // where a better transport has worked before, the first probe comes after this part of the interval
const PROBE_INTERVAL_MAX_MS = 3600000;

const DEFAULTS = {
	topics: [],
	cursors: {},
	transports: TRANSPORTS,
	connectTimeout: 5000,
	silenceTimeout: 40000,
	pingInterval: 25000,
	pingTimeout: 10000,
	probeInterval: 300000,
	backoffMin: 500,
	backoffMax: 30000,
	pollTimeout: 25,
	sendTimeout: 30000,
};

function pageStorage() {
	try {
		return globalThis.document ? globalThis.localStorage : null;
	} catch {
		return null; // a page may be forbidden to keep anything
	}
}

export class Tidings {
	closed = false;
	#listeners = {};
	#places = new Map(); // by topic
	#base;
	#settings;
	#order; // the transports, best first
	#best; // the one to try first: the last that worked
	#memory; // what the storage says
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
	#change; // the turn in which topics come and go
	#shown = null; // the transport that the application has been told of as connected
	#probe = null; // a better link that is being tried while #link is in use
	#probeTimer;
	#probes = 0; // in vain
	#closing = new AbortController();
	#said = Promise.resolve(); // the last message has been answered
	#online = () => this.#cameOnline();

	constructor(url, options = {}) {
		const place = globalThis.location;
		const here = { WebSocket: globalThis.WebSocket, fetch: (...of) => globalThis.fetch(...of), storage: pageStorage() };
		this.#settings = { ...DEFAULTS, ...here, ...options };
		this.#base = new URL(url || place.origin, place?.href).href.replace(/\/$/, "");
		this.#order = this.#settings.transports.filter((t) => VIA[t] && (t !== "websocket" || this.#settings.WebSocket));
		if (!this.#order.length) throw new TypeError("there is no transport to use");
		this.#memory = this.#recall();
		this.#best = this.#memory ?? this.#order[0];
		if (typeof options.token === "string") this.#token = options.token;
		for (const topic of this.#settings.topics) this.subscribe(topic, this.#settings.cursors[topic]);
		globalThis.addEventListener?.("online", this.#online);
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
		const all = (this.#listeners[event] ??= new Set());
		all.add(listener);
		return () => all.delete(listener);
	}

	subscribe(topic, cursor) {
		if (!/^[\w.:/-]{1,128}$/.test(topic)) throw new TypeError(`this is no topic: ${topic}`);
		if (this.closed || this.#places.has(topic)) return;
		if (this.#places.size === TOPICS_MAX) throw new RangeError(`over ${TOPICS_MAX} topics`);
		this.#places.set(topic, new Place(cursor));
		if (this.#settings.state && !cursor) this.#load(topic);
		else this.#changed();
	}

	unsubscribe(topic) {
		if (this.#places.delete(topic)) this.#changed();
	}

	/* One after the other, so that they arrive in order; what only asks need not wait. */
	send(type, data, { correlationId } = {}) {
		const { signal } = this.#closing;
		const until = Date.now() + this.#settings.sendTimeout;
		const say = () =>
			send(`${this.#base}/ws/send`, { type, data, correlation_id: correlationId }, until, this.#settings, (r) => this.#getToken(r), signal);
		if (asks(type)) return say();
		const answer = this.#said.then(say);
		this.#said = answer.catch(() => {}); // its own failure, not the next one's
		return answer;
	}

	ack({ topic, seq, notification }) {
		return this.send("ack", notification ? { id: notification.id } : { topic, seq });
	}

	close() {
		this.closed = true;
		this.#closing.abort();
		this.#stop();
		clearTimeout(this.#change);
		globalThis.removeEventListener?.("online", this.#online);
	}

	#emit(event, detail) {
		for (const listener of this.closed ? [] : [...(this.#listeners[event] ?? [])]) {
			try {
				listener(detail);
			} catch (e) {
				queueMicrotask(() => { throw e; }); // the application's: not to be mistaken for ours
			}
		}
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
				this.#emit("error", { code: "state", message: e?.message ?? String(e), topic, fatal: false });
			}
		}
		if (this.#places.get(topic) === place) this.#changed();
	}

	get #ready() {
		return new Map([...this.#places].filter(([, { loading }]) => !loading));
	}

	/* Several in one turn make one reconnection. One that is to come anyway takes them along; and one that is being made is not
	   broken off: with it would go what waits for its topics, which is sent once to who has no cursor. */
	#changed() {
		clearTimeout(this.#change);
		this.#change = setTimeout(() => {
			const comes = this.#timer || this.#asking || (this.#link && !this.#link.isUp);
			if (!comes || !this.#ready.size) this.#connect();
		});
	}

	#cameOnline() {
		if (this.#timer) this.#connect();
		else if (this.#link?.isUp) {
			this.#link.check?.();
			this.#planProbe(true); // it may be another network
		}
	}

	#stop() {
		this.#turn++;
		this.#asking = false;
		clearTimeout(this.#timer);
		clearTimeout(this.#probeTimer);
		this.#timer = null;
		this.#link?.end();
		this.#probe?.end();
		this.#link = this.#probe = null;
	}

	/* ---- a round: one transport after the other, until one works */

	#connect(first = this.#best) {
		this.#stop();
		this.#reasons = [];
		this.#round = [first, ...this.#order.filter((t) => t !== first)];
		if (this.#ready.size) this.#next();
		else this.#gone("there are no topics", null);
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
		if (turn === this.#turn) this.#link = this.#open(transport, (l, hello) => this.#up(l, hello), (l, why) => this.#down(l, why));
	}

	/* The token; `refused`: that one is no longer taken. Who wants one while it is fetched gets the same. */
	async #getToken(refused) {
		const { token } = this.#settings;
		if (refused !== undefined && refused === this.#token) {
			this.#token = undefined;
			this.#had = true;
		}
		if (this.#token === undefined && token) {
			this.#fetching ??= (async () => token(this.#had ? "refused" : "first"))();
			try {
				this.#token = await this.#fetching;
			} catch (e) {
				throw failure("token", e?.message ?? String(e));
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
				this.#emit("gap", { topic, ...entry.missed });
			},
			message: (link, m) => {
				if (ours(link, m.topic)?.take(m.seq)) this.#emit("message", m);
			},
		});
	}

	#up(link, hello) {
		const { transport, places } = link;
		this.#link = link;
		this.#refused = false;
		this.#best = this.#shown = transport;
		const worse = this.#memory && this.#rank(transport) > this.#rank(this.#memory);
		if (!worse) this.#remember(transport);
		// One that has worked before will again, perhaps soon: a server that starts has all sorts of moments.
		this.#planProbe(worse);
		this.#emit("connected", { transport, topics: [...places.keys()], connectionId: hello.connection_id, userId: hello.user_id });
		if (places.size !== this.#ready.size || [...places].some(([topic, p]) => this.#places.get(topic) !== p)) this.#changed();
	}

	#down(link, { kind, message, topic, wait }) {
		const { transport, isUp } = link;
		const stable = isUp && Date.now() - link.since >= STABLE_MS;
		this.#stop();
		if (stable) this.#attempt = 0;
		if (stable && !this.#rank(transport)) this.#probes = 0;

		if (kind === "forbidden" && this.#places.delete(topic)) {
			this.#emit("error", { code: kind, message, topic, fatal: false });
			this.#connect(transport);
		} else if (kind === "refused" && typeof this.#settings.token === "function" && !this.#refused) {
			this.#refused = this.#had = true;
			if (this.#token === link.token) this.#token = undefined; // unless there is a fresh one already
			this.#connect(transport);
		} else if (kind === "refused" || kind === "invalid") {
			this.#emit("error", { code: kind === "refused" ? "unauthorized" : kind, message, fatal: true });
			this.close();
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
		this.#gone(message, retryIn);
		if (code) this.#emit("error", { code, message, fatal: false, retryIn });
	}

	#gone(reason, retryIn) {
		const transport = this.#shown;
		this.#shown = null;
		if (transport) this.#emit("disconnected", { transport, reason, retryIn });
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
			this.#remember(this.#link.transport);
			return this.#planProbe();
		}
		const up = (link, hello) => {
			this.#probe = null;
			this.#link.end();
			this.#up(link, hello);
		};
		this.#probe = this.#open(transport, up, (link, why) => (link.isUp ? this.#down(link, why) : this.#try(others)));
	}

	/* ---- what worked, kept for the next time */

	#recall() {
		try {
			const known = this.#settings.storage?.getItem(`tidings ${this.#base}`);
			return this.#order.includes(known) ? known : null;
		} catch {
			return null; // it is forbidden here: we go without
		}
	}

	#remember(transport) {
		if (transport === this.#memory) return;
		this.#memory = transport;
		try {
			this.#settings.storage?.setItem(`tidings ${this.#base}`, transport);
		} catch {
			// full, or forbidden here: this client knows it, the next finds out itself
		}
	}
}

export default Tidings;
