/*
 * tidings-link - one connection to a tidings server, by one transport.
 *
 *	Place		how far a topic has been received: it makes the cursors, and drops what comes twice
 *	Link		one connection, or the attempt at one
 *	via…		the three transports: they tell their link what they hear
 *
 * Nothing is lost when a link ends, however it ends: the next one asks for what comes after the places.
 */

const BUSY_MS = 2000; // how much longer to stay away from a server that has said so, where it does not say for how long
const NO_ANSWER = "no answer in time";
const FOLLOW_MAX = 20; // topics that come or go on an open connection at once: the server takes so many messages in a burst, and some more
const EMPTY_REPLY_MS = 1000; // an empty reply that came sooner than this is not asked for again before

/* ---- places */

export class Place {
	epoch;
	at = 0; // everything up to here has come, or is not for us
	loading = false; // its state, which brings its cursor: until then no link asks for it
	loads = 0; // of its state, since a message has come
	seen = 0; // the last that has come. Behind `at` while messages for this user alone, which waited, are still to come

	constructor(cursor) {
		this.damaged = cursor && !this.move(cursor);
		this.seen = this.at;
	}

	get cursor() {
		return this.epoch && `${this.epoch}-${this.at}`;
	}

	move(cursor) {
		const [whole, epoch, seq] = /^([0-9a-z]+)-(\d+)$/.exec(cursor) ?? [];
		if (whole) [this.epoch, this.at] = [epoch, +seq];
		return whole;
	}

	/* The server tells where it goes on from. `before`: the seq to begin at, where its cursor is the one after the messages
	   that come with it. Returns true when something is lost. */
	begin({ cursor, recovered }, before) {
		const lost = !recovered || this.damaged;
		if (lost || !this.epoch) {
			this.move(cursor);
			this.at = before ?? this.at;
			this.seen = 0;
		} else [this.epoch] = cursor.split("-"); // of a topic that was not there yet it is another
		this.damaged = false;
		return lost;
	}

	/* The server tells where it is: what is not for us, or of a type that we don't want, has gone by. */
	pass(cursor) {
		const [epoch, seq] = cursor.split("-");
		if (epoch === this.epoch) this.at = Math.max(this.at, +seq);
	}

	/* False: it has come before. */
	take(seq) {
		this.loads = 0;
		if (seq <= this.seen) return false;
		if (seq) {
			this.seen = seq;
			this.at = Math.max(this.at, seq);
		}
		return true;
	}
}

/* The topics whose places two maps have not in common. */
export const differing = (a, b) => [...new Map([...a, ...b]).keys()].filter((topic) => a.get(topic) !== b.get(topic));

/* ---- links */

/* Why a link ended:
 *	broken		the network's fault, as far as one can see
 *	restart		the server said: come back
 *	busy		the server said: come back later; after `wait` ms, where it said so
 *	refused		the token
 *	forbidden	`topic`
 *	invalid		what we ask for
 */
const problem = (kind, message, more) => ({ kind, message, ...more });

/* What a close code means, of a WebSocket or in an event stream's `close`. */
function closed(code, reason, topic) {
	const message = `closed: ${code} ${reason}`.trim();
	if (topic) return problem("forbidden", message, { topic });
	// A topic was withdrawn, of which a stream does not say which: the next request is told.
	if (code === 1008 && reason === "not allowed") return problem("restart", message);
	// A place may become free: that is no matter of the token.
	if (code === 1013 || (code === 1008 && /too many/.test(reason))) return problem("busy", message, { wait: BUSY_MS });
	return problem({ 1008: "refused", 1012: "restart" }[code] ?? "broken", message);
}

/* ms that the server wants us to stay away; 0: it does not say. */
export const retryAfter = (response) => response.headers.get("Retry-After") * 1000 || 0;

/* ms to wait after so many attempts in vain. */
export const backoff = ({ backoffMin, backoffMax }, attempts) =>
	Math.min(backoffMax, backoffMin * 2 ** attempts) * (0.5 + Math.random() / 2);

async function refusal(response) {
	const { status } = response;
	const body = await response.json().catch(() => ({})); // a proxy's may be anything
	const message = body.detail ?? `HTTP ${status}`;
	const topic = body.errors?.find((e) => e.field === "topics")?.message;
	if (status === 401) return problem("refused", message);
	if (status === 429 || status === 503) return problem("busy", message, { wait: retryAfter(response) || BUSY_MS });
	if (status === 422 && body.detail) return problem("invalid", message);
	if ((status === 403 || status === 404) && topic) return problem("forbidden", message, { topic });
	return problem("broken", message);
}

export class Link {
	isUp = false;
	over = false;
	#abort = new AbortController();
	#timer;

	/* `places`: of the topics that it asks for, and may keep. `to` hears of it: up(link), again after topics have come or gone; then
	   begin(link, topic, entry, before), message(link, m) and forbidden(topic, place, message); at last down(link, problem), if it did not
	   end() it itself. */
	constructor(transport, base, places, token, settings, to) {
		Object.assign(this, { transport, base, places, token, settings, to });
		this.signal = this.#abort.signal;
		this.expect(settings.connectTimeout, NO_ANSWER);
		VIA[transport](this).catch((e) => this.down(e.kind ? e : problem("broken", e.message)));
	}

	url(path) {
		const topics = [...this.places.keys()].map((t) => encodeURIComponent(t).replace(/%2F/g, "/"));
		const cursors = [...this.places.values()].map((p) => p.cursor);
		const { rewind, types, device, presence } = this.settings;
		return (
			`${this.base}/${path}?topics=${topics}` +
			(cursors.some(Boolean) ? `&cursor=${cursors.join(".")}` : "") +
			(rewind ? `&rewind=${rewind}` : "") +
			(types ? `&types=${types.map(encodeURIComponent)}` : "") +
			(device ? `&device=${device}` : "") +
			(presence ? "&presence=yes" : "")
		);
	}

	async request(path, more = "") {
		const { fetch } = this.settings; // called as a method it would refuse
		const response = await fetch(this.url(path) + more, {
			headers: this.token ? { Authorization: `Bearer ${this.token}` } : {},
			cache: "no-store",
			signal: this.signal,
		});
		if (!response.ok) throw await refusal(response);
		return response;
	}

	/* What is to happen when nothing more is heard for so long: a function, or it is broken. */
	expect(ms, what) {
		clearTimeout(this.#timer);
		if (!this.over) this.#timer = setTimeout(() => (typeof what === "function" ? what() : this.down(problem("broken", what))), ms);
	}

	/* Whether it lives. What cannot be asked is believed; but not where there is a doubt, with `ms` to say something. */
	check(ms) {
		if (ms) this.expect(ms, "offline");
	}

	up(hello) {
		if (this.isUp || this.over) return;
		this.isUp = true;
		this.since = Date.now();
		this.hello = hello;
		this.to.up(this);
	}

	begin(topics, before) {
		for (const [topic, entry] of Object.entries(topics)) this.over || this.to.begin(this, topic, entry, before?.(topic));
	}

	take(messages) {
		for (const m of messages) this.over || this.to.message(this, m);
	}

	/* `cursor`: of all its topics. */
	pass(cursor) {
		const cursors = cursor.split(".");
		[...this.places.values()].forEach((p, i) => p.pass(cursors[i]));
	}

	down(why) {
		if (this.over) return;
		this.end();
		this.to.down(this, why);
	}

	end() {
		this.over = true;
		clearTimeout(this.#timer);
		this.#abort.abort();
	}
}

/* ---- transports */

async function viaWebSocket(link) {
	const { WebSocket, pingInterval, pingTimeout } = link.settings;
	const ws = new WebSocket(link.url("ws").replace(/^http/, "ws"), ["tidings", ...(link.token ? [`bearer.${link.token}`] : [])]);
	const asked = new Map(link.places); // link.places: those that the server has told of, in its order
	const waiting = new Map(); // for answers, by correlation id: [topic, place]
	let said = 0;
	let forbidden;
	const answered = ({ data, correlation_id: id }) => {
		const [topic, place] = waiting.get(id);
		waiting.delete(id);
		if (!data.code) {
			link.places.delete(topic);
			if (place) {
				link.places.set(topic, place);
				link.begin({ [topic]: data });
			}
		} else if (asked.get(topic) === place) {
			if (data.code !== "forbidden") return link.down(problem("busy", data.message, { wait: BUSY_MS }));
			asked.delete(topic);
			link.to.forbidden(topic, place, data.message);
		}
		if (!waiting.size && !link.over) link.to.up(link);
	};
	const hear = (m) => {
		if (m.type === "reconnect_messages" && m.data?.messages) link.take(m.data.messages);
		else if (m.topic) link.take([m]);
		else if (m.type === "connect") {
			link.up(m.data);
			link.begin(m.data.topics);
		} else if (waiting.has(m.correlation_id)) answered(m);
		else if (m.type === "pong" && m.data.cursor) link.pass(m.data.cursor);
		else if (m.type === "error") {
			forbidden = m.data.topic; // and then it closes
			if (waiting.size) link.down(problem("restart", m.data.message)); // an older server, or too much was said
		}
	};

	const ask = (topic, place) => {
		const { rewind, types, presence } = link.settings;
		asked.set(topic, place);
		waiting.set(`${++said}`, [topic, place]);
		ws.send(JSON.stringify({
			type: `${place ? "" : "un"}subscribe`, subscription: topic, correlation_id: `${said}`,
			...(place && { cursor: place.cursor, rewind, types, presence }),
		}));
	};

	/* These are the topics from now on. False: it takes another link. */
	if (!WebSocket.fixed) link.follow = (places) => {
		const changes = differing(asked, places);
		if (changes.length > FOLLOW_MAX) return false;
		for (const topic of changes) {
			if (asked.get(topic)) ask(topic);
			if (places.has(topic)) ask(topic, places.get(topic));
		}
		return true;
	};

	link.check = (ms = pingTimeout) => {
		ws.send("ping");
		link.expect(ms, "no answer to a ping");
	};
	ws.onmessage = ({ data }) => {
		try {
			hear(JSON.parse(data));
		} catch (e) {
			link.down(problem("broken", e.message));
		}
		if (link.isUp) link.expect(pingInterval, () => link.check());
	};
	ws.onerror = () => {}; // it says nothing, and `close` follows
	ws.onclose = ({ code, reason }) => link.down(closed(code, reason, forbidden));
	link.signal.addEventListener("abort", () => ws.close());
}

/* The events of a stream, as {event, data} (the HTML standard, 9.2.6); `heard` is called with every piece. */
async function* events(body, heard) {
	const reader = body.getReader();
	const text = new TextDecoder();
	let rest = "";
	let event = {};
	for (;;) {
		const { done, value } = await reader.read();
		if (done) return;
		heard();
		const lines = (rest + text.decode(value, { stream: true })).split("\n");
		rest = lines.pop();
		for (const line of lines) {
			const [, name, content] = /^(\w*):? ?([^]*?)\r?$/.exec(line);
			if (name === "data") event.data = event.data === undefined ? content : `${event.data}\n${content}`;
			else if (name) event[name] = content;
			else if (line === "" || line === "\r") {
				if (event.data !== undefined || event.id) yield event;
				event = {};
			}
		}
	}
}

/* One poll; `arrived` is called before what it brings is told. True: nothing has come. */
async function poll(link, timeout, arrived) {
	const { topics, messages } = await (await link.request("poll", `&timeout=${timeout}`)).json();
	if (!topics || !messages) throw problem("broken", "no reply to a poll");
	arrived();
	// Its cursors are those after its messages.
	link.begin(topics, (topic) => {
		const first = messages.find((m) => m.topic === topic && m.seq);
		return first && first.seq - 1;
	});
	link.take(messages);
	for (const topic in topics) link.over || link.places.get(topic)?.move(topics[topic].cursor);
	return !messages.length;
}

async function viaSse(link) {
	// What waits for a topic without a cursor is sent once. Were it sent into a stream that a proxy holds back, it would be lost.
	if ([...link.places.values()].some((p) => !p.cursor)) await poll(link, 0, () => link.expect(link.settings.connectTimeout, NO_ANSWER));
	const response = await link.request("sse");
	if (!/event-stream/.test(response.headers.get("Content-Type"))) throw problem("broken", "no event stream");
	const heard = () => link.isUp && link.expect(link.settings.silenceTimeout, "the event stream is silent");
	for await (const { event, data, id } of events(response.body, heard)) {
		if (data === undefined) {
			link.pass(id);
			continue;
		}
		const m = JSON.parse(data);
		if (event === "connect") {
			link.up(m.data);
			link.begin(m.data.topics);
			heard();
		} else if (event === "close") throw closed(m.data.code, m.data.reason);
		else link.take([m]);
	}
	throw problem("broken", "the event stream ended");
}

async function viaPolls(link) {
	const { pollTimeout, pingTimeout } = link.settings;
	// The first is not held: that shows whether there is a way.
	for (let timeout = 0; ; timeout = pollTimeout) {
		const asked = Date.now();
		const empty = await poll(link, timeout, () => link.up({}));
		if (timeout && empty && Date.now() - asked < EMPTY_REPLY_MS) await new Promise((done) => link.expect(EMPTY_REPLY_MS, done));
		link.expect(pollTimeout * 1000 + pingTimeout, "no reply to a poll");
	}
}

export const VIA = { websocket: viaWebSocket, sse: viaSse, long_poll: viaPolls };
