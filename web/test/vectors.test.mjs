/* The client held to tests/vectors: a server that says what each case's steps have it say. doc/clients.md says what a step is. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { Tidings } from "../tidings.js";

const VECTORS = process.env.TIDINGS_VECTORS ? new URL(`file://${process.env.TIDINGS_VECTORS}/`) : new URL("../../tests/vectors/", import.meta.url);
const WAIT_MS = 20000;
const FATAL = ["unauthorized", "invalid"];

/* What has come, in order; next() is the next of it. */
class Inbox {
	#all = [];
	#wake = () => {};

	put(what) {
		this.#all.push(what);
		this.#wake();
	}

	get isEmpty() {
		return !this.#all.length;
	}

	async next(what) {
		const timer = setTimeout(() => this.#wake(new Error(`waited in vain for ${what}`)), WAIT_MS);
		while (this.isEmpty)
			await new Promise((resolve, reject) => (this.#wake = (e) => (e ? reject(e) : resolve())));
		clearTimeout(timer);
		return this.#all.shift();
	}
}

class Run {
	requests = new Inbox();
	told = new Inbox();
	waits = new Inbox();
	failures = new Inbox();

	constructor({ transport = "websocket", topics, cursors = {}, tokens, token }) {
		const run = this;
		this.transport = transport;
		class Socket {
			constructor(url, protocols) {
				const bearer = protocols.find((p) => p.startsWith("bearer."));
				run.requests.put({ url, token: bearer?.slice("bearer.".length), socket: this });
			}
			send() {}
			close() {}
		}
		const fetch = (url, { headers }) =>
			new Promise((reply) => run.requests.put({ url, token: headers.Authorization?.slice("Bearer ".length), reply }));
		this.client = new Tidings("http://tidings.example", {
			topics, cursors, WebSocket: Socket, fetch, transports: [transport], storage: null, backoffMin: 40, backoffMax: 100,
			token: tokens ? () => tokens.shift() : token,
			connectTimeout: 1e6, pingInterval: 1e6, silenceTimeout: 1e6, pingTimeout: 1e6,
		});
		this.client.on("message", (m) => this.told.put([m.topic, m.seq ?? null]));
		this.client.on("gap", ({ topic, from = null, to = null }) => this.told.put([topic, "gap", from, to]));
		this.client.on("disconnected", ({ retryIn }) => retryIn !== null && this.waits.put(retryIn));
		this.client.on("error", ({ code, topic, fatal, retryIn }) => {
			if (fatal) this.failures.put(code);
			else if (code === "forbidden") this.told.put([topic, "refused"]);
			// Where it was connected `disconnected` has said so already.
			else if (retryIn !== undefined && this.waits.isEmpty) this.waits.put(retryIn);
		});
	}

	async asked(wanted) {
		this.request = await this.requests.next(`a request like ${JSON.stringify(wanted)}`);
		const { pathname: path, searchParams: query } = new URL(this.request.url);
		const got = { cursor: null, token: this.request.token, ...Object.fromEntries(query), path };
		assert.deepEqual(Object.fromEntries(Object.keys(wanted).map((name) => [name, got[name]])), wanted);
	}

	async sent(message) {
		const text = JSON.stringify(message);
		if (this.request.socket) return this.request.socket.onmessage({ data: text });
		if (!this.stream || this.stream.request !== this.request) {
			const body = new ReadableStream({ start: (controller) => (this.stream = { request: this.request, controller }) });
			this.request.reply(new Response(body, { headers: { "Content-Type": "text/event-stream" } }));
		}
		const name = ["connect", "close"].includes(message.type) ? `event: ${message.type}\n` : "";
		this.stream.controller.enqueue(new TextEncoder().encode(`${name}data: ${text}\n\n`));
	}

	async closed([code, reason]) {
		this.request.socket.onclose({ code, reason });
	}

	async replied(status, { headers, body }) {
		this.request.reply(new Response(JSON.stringify(body), { status, headers }));
	}

	async expectTold(wanted) {
		const got = [];
		while (got.length < wanted.length) got.push(await this.told.next(`${JSON.stringify(wanted)} after ${JSON.stringify(got)}`));
		assert.deepEqual(got, wanted);
	}

	/* A stream's bytes, or a reply's, are on their way for some turns. */
	async cursors(wanted) {
		const until = Date.now() + WAIT_MS;
		while (JSON.stringify(this.client.cursors) !== JSON.stringify(wanted) && Date.now() < until) await new Promise(setImmediate);
		assert.deepEqual(this.client.cursors, wanted);
	}

	async waits_ms([from, to]) {
		const ms = await this.waits.next("a wait");
		assert.ok(ms >= from && ms <= to, `it waits ${ms} ms, not ${from} to ${to}`);
	}

	async failed(wanted) {
		assert.equal(await this.failures.next(wanted), wanted);
		assert.ok(FATAL.includes(wanted) && this.client.closed);
	}

	async run(steps) {
		for (const step of steps) {
			const [name] = Object.keys(step);
			await this[name === "told" ? "expectTold" : name](step[name], step);
		}
		assert.ok(this.told.isEmpty, "nothing more is told");
	}
}

for (const file of readdirSync(VECTORS).filter((f) => f.endsWith(".json")).sort())
	for (const one of JSON.parse(readFileSync(new URL(file, VECTORS))).cases)
		test(`JavaScript, ${file.replace(".json", "")}: ${one.name}`, { timeout: 60000 }, async () => {
			const run = new Run(one);
			try {
				await run.run(one.steps);
			} finally {
				run.client.close();
			}
		});
