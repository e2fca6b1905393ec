/*
 * tidings-tabs - the client for an application that people open in many tabs: one connection for all of them.
 *
 *	Hub		one tab of those whose user is the same leads: it has the only connection, and is the server of all tabs, its own too
 *	TabSocket	what a tab has in place of a WebSocket: the same messages, by a BroadcastChannel, to and from the hub that leads
 *
 * Who leads holds a Web Lock; when its tab goes, the next in the queue does. To a client that is a server that went: it comes back with its
 * cursors, and the new hub gives it what is after them, from what it has itself or from the server's history. So nothing is lost or comes twice.
 * Where a browser has no locks or channels (a page without https), each tab has a connection of its own.
 */
import { Tidings as Client, SignedOut } from "./tidings.js";

const LINGER_MS = 1000; // a topic that no tab wants is kept for so long: a tab that changes its topics leaves for a moment
const SILENCE_MS = 5000; // a hub that does not answer for so long is frozen with its tab: another one takes over
const LOG_MAX = 100; // messages a topic, kept for tabs that come back
const PAGE = 100; // messages of history at once
const NEVER_MS = 2 ** 31 - 1;

const unique = () => Math.random().toString(36).slice(2) + Math.random().toString(36).slice(2);
const split = (cursor) => [cursor.slice(0, cursor.indexOf("-")), +cursor.slice(cursor.indexOf("-") + 1)];

/* Whose token it is, so that tabs of two users share nothing. */
function userOf(token) {
	try {
		return JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).sub;
	} catch {
		return token;
	}
}

class Hub {
	tab = unique();
	held; // when its tab's lock is: before that nobody should look whether it is
	#name;
	#options;
	#token;
	#channel;
	#closing = new AbortController();
	#standing = false; // for the lead
	#core = null; // the client with the connection, while this one leads
	#id;
	#release;
	#hello;
	#live = new Set(); // the topics that the core is connected with
	#topics = new Map(); // by name: epoch, base: the place before its log; by: the session that it was made for
	#sessions = new Map(); // by id; of one that is not served yet with its queue
	#tabs; // ends the waiting for the ends of tabs
	#watched = new Set();
	#heed = ({ type }) => (type === "pagehide" ? this.#resign() : this.#stand());

	constructor(name, options) {
		this.#name = name;
		this.#options = options;
		this.#channel = new BroadcastChannel(name);
		this.held = new Promise((held) => {
			const hold = () => (held(), this.#untilClosed());
			navigator.locks.request(this.#tabLock(this.tab), { signal: this.#closing.signal }, hold).catch(() => {});
		});
		for (const event of ["pagehide", "pageshow"]) globalThis.addEventListener?.(event, this.#heed);
	}

	join(token) {
		this.#token = token;
		this.#stand();
	}

	/* The one that leads does not answer. */
	steal() {
		if (!this.#core) this.#stand({ steal: true });
	}

	close() {
		this.#closing.abort();
		this.#resign();
		this.#channel.close();
		for (const event of ["pagehide", "pageshow"]) globalThis.removeEventListener?.(event, this.#heed);
	}

	#tabLock(tab) {
		return `${this.#name} ${tab}`;
	}

	#untilClosed() {
		return new Promise((done) => this.#closing.signal.addEventListener("abort", done));
	}

	#stand({ steal } = {}) {
		if (this.#closing.signal.aborted || (this.#standing && !steal)) return;
		this.#standing = true;
		const { signal } = this.#closing;
		navigator.locks.request(this.#name, steal ? { steal } : { signal }, () => this.#lead()).catch(() => {
			this.#resign(); // another one has taken it
			this.#stand();
		});
	}

	#lead() {
		if (this.#core || this.#closing.signal.aborted) return;
		const { token } = this.#options;
		const core = new Client(this.#options.url, {
			...this.#options.of, topics: [], cursors: {}, state: undefined, persist: undefined,
			token: typeof token === "function" ? (why) => (why === "first" ? this.#token : token(why)) : token,
		});
		this.#core = core;
		this.#id = unique();
		this.#tabs = new AbortController();
		core.on("message", (m) => this.#spread(m));
		core.on("connected", (hello) => {
			this.#hello = hello;
			// The places are known when this turn ends.
			queueMicrotask(() => {
				this.#live = new Set(hello.topics);
				for (const session of this.#sessions.values()) this.#admit(session);
			});
		});
		core.on("disconnected", ({ reason }) => this.#endAll(1012, reason));
		core.on("gap", ({ topic }) => {
			this.#begin(topic);
			for (const s of this.#sessions.values()) if (s.topics.has(topic)) this.#end(s, 1012, "a gap");
		});
		core.on("error", ({ code, topic, message, fatal }) => {
			if (code === "forbidden") return this.#forbid(topic, message);
			if (fatal) {
				for (const s of this.#sessions.values()) if (s.tab === this.tab) this.#end(s, 1008, message); // this tab's own matter
				this.#resign();
			} else this.#endAll(code === "busy" ? 1013 : 1006, message);
		});
		this.#channel.onmessage = ({ data }) => this.#core === core && this.#hear(data);
		this.#post({ begun: true });
		return new Promise((done) => (this.#release = done));
	}

	#resign() {
		this.#standing = false;
		if (!this.#core) return;
		this.#post({ gone: true });
		this.#core.close();
		this.#core = this.#channel.onmessage = null;
		this.#tabs.abort();
		this.#release?.();
		for (const all of [this.#sessions, this.#topics, this.#live, this.#watched]) all.clear();
	}

	#post(what) {
		this.#channel.postMessage({ hub: this.#id, ...what });
	}

	#hear({ open, ping, close, ...more }) {
		if (open) this.#open({ id: open, ...more });
		const session = this.#sessions.get(ping ?? close);
		if (!session) return;
		if (close) this.#drop(session);
		const { cursors } = this.#core;
		const all = [...session.topics.keys()].map((t) => cursors[t]);
		if (ping) this.#post({ to: [ping], say: { type: "pong", data: session.queue || !all.every(Boolean) ? {} : { cursor: all.join(".") } } });
	}

	#open({ id, tab, topics, rewind }) {
		const session = { id, tab, topics: new Map(topics), rewind, queue: [] };
		this.#sessions.set(id, session);
		this.#post({ to: [id] });
		this.#watch(tab);
		for (const [name, cursor] of topics) {
			if (this.#topics.has(name)) continue;
			try {
				this.#core.subscribe(name, cursor || undefined);
			} catch (e) {
				return this.#forbid(name, e.message);
			}
			this.#topics.set(name, { by: id, log: [] });
			if (cursor) this.#begin(name);
		}
		this.#admit(session);
	}

	/* A tab that is gone says nothing: its lock does. */
	#watch(tab) {
		if (this.#watched.has(tab) || tab === this.tab) return;
		this.#watched.add(tab);
		const drop = () => {
			this.#watched.delete(tab);
			for (const s of this.#sessions.values()) if (s.tab === tab) this.#drop(s);
		};
		navigator.locks.request(this.#tabLock(tab), { signal: this.#tabs.signal }, drop).catch(() => {});
	}

	#drop(session) {
		this.#sessions.delete(session.id);
		const core = this.#core;
		setTimeout(() => {
			if (this.#core !== core) return;
			const wanted = new Set([...this.#sessions.values()].flatMap((s) => [...s.topics.keys()]));
			for (const name of this.#topics.keys()) if (!wanted.has(name)) this.#forget(name);
		}, LINGER_MS);
	}

	#forget(name) {
		this.#topics.delete(name);
		this.#core.unsubscribe(name);
	}

	#end(session, code, reason) {
		this.#post({ to: [session.id], close: [code, reason] });
		this.#drop(session);
	}

	#endAll(code, reason) {
		this.#live.clear();
		for (const session of [...this.#sessions.values()]) this.#end(session, code, reason);
	}

	#forbid(topic, message) {
		for (const s of [...this.#sessions.values()]) {
			if (!s.topics.has(topic)) continue;
			this.#post({ to: [s.id], say: { type: "error", data: { code: "forbidden", message, topic } } });
			this.#end(s, 1008, "not allowed");
		}
		this.#topics.delete(topic);
	}

	/* What comes from here on is in the topic's log. */
	#begin(name) {
		const [epoch, base] = split(this.#core.cursors[name]);
		Object.assign(this.#topics.get(name) ?? {}, { epoch, base, log: [] });
	}

	#spread(m) {
		const topic = this.#topics.get(m.topic);
		if (!topic) return;
		if (m.seq) {
			// The first one may be told before it is told where the topic begins.
			if (topic.epoch === undefined) Object.assign(topic, { epoch: split(this.#core.cursors[m.topic])[0], base: m.seq - 1 });
			topic.log.push(m);
			if (topic.log.length > LOG_MAX) topic.base = Math.max(topic.base, topic.log.shift().seq);
		}
		const to = [];
		for (const s of this.#sessions.values()) if (s.topics.has(m.topic)) s.queue ? s.queue.push(m) : to.push(s.id);
		if (to.length) this.#post({ to, say: m });
	}

	/* Serves it, when the connection has all its topics. */
	async #admit(session) {
		if (session.admitted || ![...session.topics.keys()].every((name) => this.#live.has(name))) return;
		session.admitted = true;
		const core = this.#core;
		try {
			const topics = {};
			const messages = [];
			for (const [name, cursor] of session.topics) {
				const { entry, before } = await this.#resume(session, name, cursor);
				topics[name] = entry;
				messages.push(...before);
			}
			if (this.#core !== core || this.#sessions.get(session.id) !== session) return;
			const { connectionId, userId } = this.#hello;
			const say = (m) => this.#post({ to: [session.id], say: m });
			say({ type: "connect", data: { topics, connection_id: connectionId, user_id: userId } });
			for (const m of [...messages, ...session.queue]) say(m); // what is in both comes twice: the client passes it over
			session.queue = null;
		} catch (e) {
			if (this.#core === core && this.#sessions.get(session.id) === session) this.#end(session, 1013, e.message);
		}
	}

	/* Where a tab goes on in a topic, and the messages before those that it is sent from now on. */
	async #resume({ id, rewind }, name, cursor) {
		if (this.#topics.get(name).epoch === undefined) this.#begin(name);
		const topic = this.#topics.get(name);
		const others = topic.by !== id;
		const present = this.#options.of.presence && others ? [{ type: "presence", topic: name, data: await this.#core.presence(name) }] : [];
		if (!cursor && !others) return { entry: { cursor: `${topic.epoch}-${topic.base}`, recovered: true }, before: topic.log };
		if (!cursor && !rewind) return { entry: { cursor: this.#core.cursors[name], recovered: true }, before: present };
		if (!cursor) {
			const { messages, cursor: end } = await this.#core.history(name, { limit: rewind });
			return { entry: { cursor: messages[0] ? `${split(end)[0]}-${messages[0].seq - 1}` : end, recovered: true }, before: [...messages, ...present] };
		}
		const after = (at) => [...topic.log.filter((m) => m.seq > at), ...present];
		const [epoch, seq] = split(cursor);
		if (epoch === topic.epoch && seq >= topic.base) return { entry: { cursor, recovered: true }, before: after(seq) };
		const all = [];
		let first;
		let since;
		let at = cursor;
		do {
			since = at;
			const page = await this.#core.history(name, { since, limit: PAGE });
			first ??= page;
			all.push(...page.messages);
			at = page.cursor;
		} while (at !== since && split(at)[1] < topic.base);
		const start = first.recovered ? seq : all.length ? all[0].seq - 1 : split(at)[1];
		const entry = { cursor: `${split(at)[0]}-${start}`, recovered: first.recovered, missed: first.missed };
		return { entry, before: [...all, ...after(split(at)[1])] };
	}
}

/* As much of a WebSocket as the client uses. `hubs`: of this client, by their names. */
const socketsOf = (options, hubs) =>
	class TabSocket {
		static fixed = true; // its topics: another one is opened for others
		#id = unique();
		#hub;
		#channel;
		#asks;
		#bound; // to that hub
		#timer;

		constructor(url, [, bearer]) {
			const { origin, pathname, searchParams: query } = new URL(url);
			const token = bearer?.slice("bearer.".length);
			const topics = query.get("topics").split(",");
			const cursors = query.get("cursor")?.split(".") ?? [];
			for (const one of ["topics", "cursor"]) query.delete(one);
			const name = `tidings ${origin}${pathname} ${query} ${userOf(token)}`;
			if (!hubs.has(name)) hubs.set(name, new Hub(name, options));
			this.#hub = hubs.get(name);
			this.#hub.join(token);
			this.#channel = new BroadcastChannel(name);
			this.#channel.onmessage = ({ data }) => this.#hear(data);
			this.#asks = { open: this.#id, tab: this.#hub.tab, topics: topics.map((t, i) => [t, cursors[i] ?? ""]), rewind: query.get("rewind") };
			this.#hub.held.then(() => this.#channel.onmessage && !this.#bound && this.#ask());
		}

		#ask() {
			this.#channel.postMessage(this.#asks);
			this.#wait();
		}

		#wait() {
			clearTimeout(this.#timer);
			this.#timer = setTimeout(() => {
				if (globalThis.document?.visibilityState !== "hidden") this.#hub.steal();
				this.#wait();
			}, SILENCE_MS);
		}

		#hear({ hub, begun, gone, to, say, close }) {
			if (begun && !this.#bound) this.#ask();
			else if (begun || (gone && hub === this.#bound)) this.#end([1012, "another tab takes over"]);
			if (!to?.includes(this.#id) || (this.#bound && hub !== this.#bound)) return;
			this.#bound = hub;
			clearTimeout(this.#timer);
			if (say) this.onmessage({ data: JSON.stringify(say) });
			if (close) this.#end(close);
		}

		#end([code, reason]) {
			this.#stop();
			this.onclose({ code, reason });
		}

		#stop() {
			clearTimeout(this.#timer);
			this.#channel.close();
			this.#channel.onmessage = null;
		}

		send() {
			this.#channel.postMessage({ ping: this.#id });
		}

		close() {
			if (!this.#channel.onmessage) return;
			this.#channel.postMessage({ close: this.#id });
			this.#stop();
		}
	};

export class Tidings extends Client {
	#hubs;

	constructor(url, options = {}) {
		const shared = globalThis.navigator?.locks && globalThis.BroadcastChannel;
		const hubs = new Map();
		const WebSocket = socketsOf({ url, token: options.token, of: options }, hubs);
		// How long a connection takes is the hub's matter.
		super(url, shared ? { ...options, transports: ["websocket"], WebSocket, connectTimeout: NEVER_MS } : options);
		this.#hubs = hubs;
		this.on("status", (status) => (status === "closed" || status === "signed_out") && this.#leave());
	}

	close() {
		super.close();
		this.#leave();
	}

	#leave() {
		for (const hub of this.#hubs.values()) hub.close();
		this.#hubs.clear();
	}
}

export { SignedOut };
export default Tidings;
