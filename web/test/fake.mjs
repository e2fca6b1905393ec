/*
 * fake - a tidings server that does what it is told, for states that are hard to make with the real one.
 *
 * It keeps topics with seqs and epochs, and speaks the three transports as the real one does. A test turns its knobs:
 *
 *	ways		by transport: "open", "refuse" (502), "swallow" (never answers), "buffer" (answers, but nothing arrives), "busy" (503),
 *			"page" (a web page)
 *	tokens		the tokens that are good; null: all
 *	forbidden	the topics that are not
 *	early		by topic: seqs that are sent before all else to who has no cursor (messages for this user alone that waited)
 *	ahead		an epoch that holds for every topic, as in a cursor of one that was not there yet
 *	forgets		what has been sent to one client does not wait for the next, as with the real one
 *	older		it does not know subscribe and unsubscribe
 *	slow		ms between taking a request and answering it
 *	deaf		pings are not answered, nothing is said
 *	present		what is said of who is there
 *	sends		what becomes of the next requests to POST /ws/send: "swallow", "break" (done, but the answer is lost), a status with
 *			headers and errors. None left: it is done and answered
 *
 * `done` are the messages that were done: with an Idempotency-Key once.
 */
import { createServer } from "node:http";
import { EventEmitter, once } from "node:events";
import { randomBytes } from "node:crypto";
import { WebSocketServer } from "ws";

const TRANSPORTS = { "/ws": "websocket", "/sse": "sse", "/poll": "long_poll" };

class Topic {
	constructor(name) {
		this.name = name;
		this.restart();
	}

	/* Made anew, or restored from a backup: the numbers begin again. */
	restart() {
		this.epoch = randomBytes(4).toString("hex");
		this.floor = 0; // up to here nothing is kept any more
		this.last = 0;
		this.sent = 0; // up to here somebody has been sent
		this.messages = [];
	}

	after(seq) {
		return this.messages.filter((m) => m.seq > seq);
	}
}

/* One client's subscription, whatever the transport. */
class Session {
	constructor(server, transport, query, write) {
		Object.assign(this, { server, transport, write });
		const names = query.get("topics").split(",");
		const cursors = query.get("cursor")?.split(".") ?? names.map(() => "");
		this.types = query.get("types")?.split(",");
		this.topics = new Map();
		this.early = [];
		this.hello = {};
		names.forEach((name, i) => this.#place(server.topic(name), cursors[i]));
	}

	#place(topic, cursor) {
		const [epoch, seq] = cursor.split("-");
		let at = +(seq ?? (this.server.forgets ? topic.sent : topic.floor));
		const entry = { recovered: true };
		if (cursor && ((epoch !== topic.epoch && epoch !== this.server.ahead) || at > topic.last || at < topic.floor)) {
			entry.recovered = false;
			if (epoch === topic.epoch && at < topic.floor) entry.missed = { from: at + 1, to: topic.floor };
			at = topic.floor;
		}
		if (!cursor && this.server.early[topic.name]) {
			at = topic.last;
			this.early.push(...topic.messages.filter((m) => this.server.early[topic.name].includes(m.seq)));
		}
		this.topics.set(topic.name, at);
		this.hello[topic.name] = { cursor: `${topic.epoch}-${at}`, ...entry };
	}

	/* `subscribe` and `unsubscribe`, as they are answered. */
	answer({ type, subscription: name, cursor = "" }) {
		if (this.server.older) return { type: "error", data: { code: "unknown_type", message: "There is no such type of message here." } };
		if (type === "unsubscribe") this.topics.delete(name);
		else if (this.server.forbidden.includes(name)) return { type: "error", data: { code: "forbidden", message: "no" } };
		else if (!this.topics.has(name)) this.#place(this.server.topic(name), cursor);
		return { type: `${type}d`, data: { subscription: name, topic: name, ...this.hello[name] } };
	}

	/* What it has not got yet. */
	pending() {
		const all = [...this.early, ...[...this.topics].flatMap(([name, at]) => this.server.topic(name).after(at))];
		this.early = [];
		for (const m of all) {
			this.topics.set(m.topic, Math.max(m.seq, this.topics.get(m.topic)));
			this.server.topic(m.topic).sent = m.seq;
		}
		return all.filter((m) => !m.hidden && (!this.types || this.types.includes(m.type)));
	}

	get cursor() {
		return [...this.topics].map(([name, at]) => `${this.server.topic(name).epoch}-${at}`).join(".");
	}

	get connect() {
		const recovered = Object.values(this.hello).every((h) => h.recovered);
		return { type: "connect", data: { user_id: 456, connection_id: "c", cursor: this.cursor, recovered, topics: this.hello } };
	}
}

export class Fake extends EventEmitter {
	ways = { websocket: "open", sse: "open", long_poll: "open" };
	tokens = null;
	forbidden = [];
	early = {};
	ahead = null;
	forgets = false;
	older = false;
	slow = 0;
	deaf = false;
	present = { clients: 0, anonymous: 0, users: [] };
	sends = [];
	done = [];
	requests = []; // {transport, path, topics, cursor, token, key}
	#replies = new Map(); // by key
	#topics = new Map();
	#sessions = new Set();
	#sockets = new Set();
	#port = 0;

	static async start() {
		const fake = new Fake();
		await fake.start();
		return fake;
	}

	async start() {
		this.setMaxListeners(0);
		this.http = createServer((request, response) => this.#serve(request, response));
		this.http.on("connection", (s) => {
			this.#sockets.add(s);
			s.on("close", () => this.#sockets.delete(s)).on("error", () => {});
		});
		this.http.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
		this.webSockets = new WebSocketServer({ noServer: true, handleProtocols: () => "tidings" });
		this.http.listen(this.#port, "127.0.0.1");
		await once(this.http, "listening");
		this.#port = this.http.address().port;
		this.url = `http://127.0.0.1:${this.#port}`;
	}

	async stop() {
		const closed = once(this.http, "close");
		this.http.close();
		this.drop();
		await closed;
	}

	/* As a crash does it. */
	drop() {
		this.#sessions.clear();
		for (const s of this.#sockets) s.destroy();
	}

	/* As a server ends its connections in form. */
	end(code, reason) {
		const all = [...this.#sessions];
		this.#sessions.clear();
		for (const s of all) s.close(code, reason);
	}

	topic(name) {
		if (!this.#topics.has(name)) this.#topics.set(name, new Topic(name));
		return this.#topics.get(name);
	}

	/* `more`: {hidden: true} for somebody else's eyes, {again: seq} sends that one a second time, {ephemeral: true}, {type}. */
	publish(name, data, { hidden, ephemeral, type = "note" } = {}) {
		const topic = this.topic(name);
		const m = { type, topic: name, data };
		if (!ephemeral) {
			m.seq = ++topic.last;
			Object.defineProperty(m, "hidden", { value: hidden });
			topic.messages.push(m);
		}
		for (const s of [...this.#sessions]) if (s.topics.has(name)) s.push(ephemeral ? [m] : s.pending());
	}

	/* The last message once more, as a node may send it that has just crashed. */
	repeat(name) {
		for (const s of this.#sessions) if (s.topics.has(name)) s.push([this.topic(name).messages.at(-1)]);
	}

	/* Messages up to there are not kept any longer. */
	trim(name, seq) {
		const topic = this.topic(name);
		topic.floor = seq;
		topic.messages = topic.after(seq);
	}

	say(text) {
		for (const s of this.#sessions) s.write(text);
	}

	get transports() {
		return [...this.#sessions].map((s) => s.transport);
	}

	/* The next request of which that is true. */
	async request(is) {
		for (;;) {
			const [r] = await once(this, "request");
			if (is(r)) return r;
		}
	}

	#arrive(request) {
		const url = new URL(request.url, "http://x");
		const transport = TRANSPORTS[url.pathname];
		const bearer = request.headers["sec-websocket-protocol"]?.match(/bearer\.([^, ]+)/)?.[1];
		const token = request.headers.authorization?.replace("Bearer ", "") ?? bearer ?? null;
		const topics = url.searchParams.get("topics")?.split(",");
		const key = request.headers["idempotency-key"];
		const r = { transport, path: url.pathname, topics, token, key, cursor: url.searchParams.get("cursor"), query: url.searchParams };
		this.requests.push(r);
		queueMicrotask(() => this.emit("request", r));
		return r;
	}

	#upgrade(request, socket, head) {
		const r = this.#arrive(request);
		const way = this.ways.websocket;
		socket.on("error", () => {});
		if (way === "swallow") return;
		if (way !== "open" || !r.transport) {
			socket.end(`HTTP/1.1 ${way === "busy" ? 503 : 502} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
			return;
		}
		this.webSockets.handleUpgrade(request, socket, head, (ws) => this.#speak(ws, r));
	}

	#speak(ws, r) {
		const say = (m) => (this.slow ? setTimeout(() => ws.send(JSON.stringify(m)), this.slow) : ws.send(JSON.stringify(m)));
		if (this.tokens && !this.tokens.includes(r.token)) return ws.close(1008, "authentication failed");
		const topic = r.topics.find((t) => this.forbidden.includes(t));
		if (topic) {
			say({ type: "error", data: { code: "forbidden", message: "no", topic } });
			return ws.close(1008, "not allowed");
		}
		const s = new Session(this, "websocket", r.query, (text) => ws.send(text));
		s.push = (messages) => this.deaf || messages.forEach(say);
		s.close = (code, reason) => ws.close(code, reason);
		ws.on("message", (data) => {
			this.emit("said", String(data));
			if (this.deaf) return;
			if (String(data) === "ping") return say({ type: "pong", data: { timestamp: "", cursor: s.cursor } });
			const m = JSON.parse(data);
			say({ ...s.answer(m), ...(this.older ? {} : { correlation_id: m.correlation_id }) });
			missed(m.subscription);
		});
		ws.on("close", () => this.#leave(s));
		const missed = (...names) => {
			for (const name of names.filter((n) => s.topics.has(n))) {
				const early = s.early.filter((m) => m.topic === name);
				const messages = [...early, ...this.topic(name).after(s.topics.get(name))].filter((m) => !m.hidden);
				if (messages.length) say({ type: "reconnect_messages", topic: name, data: { messages } });
			}
			s.pending();
		};
		say(s.connect);
		missed(...s.topics.keys());
		this.#enter(s);
	}

	#enter(s) {
		this.#sessions.add(s);
		this.emit("session", s);
	}

	#leave(s) {
		this.#sessions.delete(s);
		this.emit("left", s);
	}

	#serve(request, response) {
		const r = this.#arrive(request);
		const way = this.ways[r.transport];
		const refuse = (status, errors, headers) => {
			response.writeHead(status, { "Content-Type": "application/problem+json", ...headers });
			response.end(JSON.stringify({ status, detail: "No.", errors }));
		};
		const topic = r.topics?.find((t) => this.forbidden.includes(t));
		if (r.path === "/ws/send") return void this.#take(r, request, response, refuse);
		if (way === "swallow") return;
		if (way === "page") return response.writeHead(200, { "Content-Type": "text/html" }).end("<p>Welcome!");
		if (way === "busy") return refuse(503, undefined, { "Retry-After": "1" });
		if (way === "refuse" || !(way || r.path.startsWith("/ws/"))) return refuse(502);
		if (this.tokens && !this.tokens.includes(r.token)) return refuse(401);
		if (r.path === "/ws/history") return void response.end(JSON.stringify(this.#history(r.query)));
		if (r.path === "/ws/presence") return void response.end(JSON.stringify({ topic: r.query.get("topic"), ...this.present }));
		if (topic) return refuse(403, [{ field: "topics", message: topic }]);
		if (r.transport === "sse") this.#stream(r, response, way);
		else this.#hold(r, response);
	}

	#history(query) {
		const topic = this.topic(query.get("topic"));
		const types = query.get("types")?.split(",");
		const [epoch, seq] = (query.get("since") ?? `${topic.epoch}-${topic.floor}`).split("-");
		const recovered = epoch === topic.epoch && seq >= topic.floor;
		const from = recovered ? +seq : topic.floor;
		const limit = +(query.get("limit") ?? 100);
		const found = topic.after(from).slice(0, limit);
		const at = found.length < limit ? topic.last : found.at(-1).seq;
		const messages = found.filter((m) => !m.hidden && (!types || types.includes(m.type)));
		const missed = !recovered && epoch === topic.epoch ? { missed: { from: +seq + 1, to: topic.floor } } : {};
		return { cursor: `${topic.epoch}-${at}`, messages, recovered, ...missed };
	}

	async #take(r, request, response, refuse) {
		const what = this.sends.shift() ?? {};
		if (what === "swallow") return;
		if (this.tokens && !this.tokens.includes(r.token)) return refuse(401);
		if (what.status) return refuse(what.status, what.errors, what.headers);
		const m = JSON.parse(Buffer.concat(await request.toArray()));
		const reply = this.#replies.get(r.key) ?? { type: `${m.type}_done`, data: { n: this.done.push(m) }, correlation_id: m.correlation_id };
		if (r.key) this.#replies.set(r.key, reply);
		if (what === "break") return void request.socket.destroy();
		setTimeout(() => response.setHeader("Content-Type", "application/json").end(JSON.stringify(reply)), this.slow);
	}

	#stream(r, response, way) {
		const event = (m, name) => `${name ? `event: ${name}\n` : ""}data: ${JSON.stringify(m)}\n\n`;
		const s = new Session(this, "sse", r.query, (text) => response.write(text));
		response.writeHead(200, { "Content-Type": "text/event-stream" });
		response.flushHeaders();
		if (way === "buffer") return void s.pending();
		s.push = (messages) => this.deaf || messages.forEach((m) => response.write(event(m)));
		s.close = (code, reason) => response.end(event({ type: "close", data: { code, reason } }, "close"));
		response.on("close", () => this.#leave(s));
		response.write(event(s.connect, "connect"));
		this.#enter(s);
		s.push(s.pending());
	}

	#hold(r, response) {
		const s = new Session(this, "long_poll", r.query, () => {});
		s.push = (messages) => {
			this.#leave(s);
			const reply = JSON.stringify({ cursor: s.cursor, messages, recovered: s.connect.data.recovered, topics: s.after() });
			response.setHeader("Content-Type", "application/json");
			setTimeout(() => response.end(reply), this.slow);
		};
		s.after = () => Object.fromEntries(Object.entries(s.hello).map(([name, h]) =>
			[name, { ...h, cursor: `${this.topic(name).epoch}-${s.topics.get(name)}` }]));
		s.close = () => s.push([]);
		response.on("close", () => this.#leave(s));
		const now = s.pending();
		if (now.length || !r.cursor || r.query.get("timeout") === "0" || !s.connect.data.recovered) s.push(now);
		else this.#enter(s);
	}
}
