/* The client against a server that does what it is told (fake.mjs). With the real one: tests/system/92_client.py. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { Storage } from "./heard.mjs";
import { ALL, eachWay, scene, upTo } from "./scene.mjs";

const IMPATIENT = { connectTimeout: 1500 }; // for what never answers; what does has that long, on a busy machine too

/* What a process of its own says that runs `script` with a client `c`, and that ends by itself. */
async function child(fake, way, script) {
	const all = `
		import { heard } from ${JSON.stringify(new URL("./heard.mjs", import.meta.url).href)};
		const c = heard(${JSON.stringify(fake.url)}, {
			topics: ["a"], transports: [${JSON.stringify(way)}],
			connectTimeout: 1e8, pingInterval: 1e8, silenceTimeout: 1e8, pingTimeout: 1e8, sendTimeout: 1e8, // no timer that is left ends by itself
		});
		${script}`;
	const process_ = spawn(process.execPath, ["--input-type=module", "-e", all], { stdio: ["ignore", "pipe", "inherit"] });
	const [said, [status]] = await Promise.all([process_.stdout.toArray(), once(process_, "exit")]);
	assert.equal(status, 0);
	return String(Buffer.concat(said));
}

eachWay("what waits comes, then what is published, each once, in order, of several topics", async (fake, client, way) => {
	fake.publish("a", 1);
	fake.publish("b/c:d", 1);
	const c = client({ topics: ["a", "b/c:d"] });
	await c.event("message", 2);
	for (let i = 2; i <= 20; i++) fake.publish(i % 2 ? "a" : "b/c:d", i);
	await c.event("message", 21);
	assert.deepEqual(c.seqs("a"), upTo(10));
	assert.deepEqual(c.seqs("b/c:d"), upTo(11));
	assert.deepEqual([c.kept.gap, c.kept.error, c.t.transport, c.kept.connected.length], [[], [], way, 1]);
	assert.deepEqual(c.kept.connected[0].topics, ["a", "b/c:d"]);
	assert.equal(c.t.cursors.a, `${fake.topic("a").epoch}-10`);
});

eachWay("a server that crashes and comes back: nothing is lost, nothing comes twice", async (fake, client, way) => {
	const c = client();
	await c.event("connected");
	for (let round = 1; round <= 3; round++) {
		fake.publish("a", "before");
		await c.event("message", 2 * round - 1);
		await fake.stop();
		fake.publish("a", "meanwhile");
		await fake.start();
		await c.event("message", 2 * round);
	}
	assert.deepEqual(c.seqs("a"), upTo(6));
	assert.deepEqual(c.kept.disconnected.map((d) => d.transport), Array(3).fill(way));
	assert.deepEqual(c.kept.gap, []);
});

eachWay("a message that the server sends twice comes once", async (fake, client, way) => {
	const c = client();
	await c.event("connected");
	fake.publish("a", 1);
	await c.event("message");
	if (way === "long_poll") await fake.request((r) => r.query.get("timeout") !== "0");
	fake.repeat("a");
	fake.publish("a", 2);
	await c.event("message", 2);
	assert.deepEqual(c.seqs("a"), [1, 2]);
});

eachWay("seqs of messages for others are no gap", async (fake, client) => {
	fake.publish("a", 1);
	fake.publish("a", 2, { hidden: true });
	fake.publish("a", 3);
	const c = client();
	await c.event("message", 2);
	fake.publish("a", 4, { hidden: true });
	fake.publish("a", 5);
	await c.event("message", 3);
	assert.deepEqual([c.seqs("a"), c.kept.gap], [[1, 3, 5], []]);
});

eachWay("messages for this user alone that waited come before the cursor that connect gives, and are no duplicates", async (fake, client) => {
	upTo(5).forEach((n) => fake.publish("a", n));
	fake.early = { a: [2, 4] };
	const c = client();
	await c.event("message", 2);
	fake.publish("a", 6);
	await c.event("message", 3);
	assert.deepEqual(c.seqs("a"), [2, 4, 6]);
});

eachWay("an ephemeral message comes, and moves no cursor", async (fake, client, way) => {
	fake.publish("a", 1);
	const c = client();
	await Promise.all([c.event("message"), c.event("connected")]);
	if (way === "long_poll") await fake.request((r) => r.query.get("timeout") !== "0");
	const before = c.t.cursors;
	fake.publish("a", "typing", { ephemeral: true });
	await c.event("message", 2);
	assert.deepEqual([c.kept.message[1].data, c.t.cursors], ["typing", before]);
});

eachWay("a queue that was trimmed is a gap that says from where to where", async (fake, client) => {
	fake.publish("a", 1);
	const c = client({ topics: ["a", "b"] });
	await c.event("message");
	await fake.stop();
	upTo(9, 2).forEach((n) => fake.publish("a", n));
	fake.trim("a", 6);
	fake.publish("b", 1);
	await fake.start();
	await c.event("message", 5);
	assert.deepEqual(c.kept.gap, [{ topic: "a", from: 2, to: 6 }]);
	assert.deepEqual([c.seqs("a"), c.seqs("b")], [[1, 7, 8, 9], [1]]);
});

/* What a page's server gives: its own state of a topic, with the cursor of tidings.cursor(). */
const loader = (fake, loaded) => async (topic) => {
	const { epoch, last } = fake.topic(topic);
	loaded.push(last);
	return `${epoch}-${last}`;
};

eachWay("state is loaded first, and the messages that come are those after its cursor; a topic with a cursor needs none", async (fake, client) => {
	const loaded = [];
	for (let i = 1; i <= 3; i++) fake.publish("a", i), fake.publish("b", i);
	const c = client({ topics: ["a", "b"], cursors: { b: `${fake.topic("b").epoch}-1` }, state: loader(fake, loaded) });
	await c.event("message", 2);
	while (!c.t.cursors.a) await new Promise(setImmediate);
	fake.publish("a", 4);
	await c.event("message", 3);
	assert.deepEqual([loaded, c.seqs("a"), c.seqs("b"), c.kept.gap], [[3], [4], [2, 3], []]);
	assert.ok(fake.requests.every((r) => !r.topics.includes("a") || /^[0-9a-f]+-\d+/.test(r.cursor.split(".")[r.topics.indexOf("a")])));
});

eachWay("state is loaded again after a gap, and tried again where it throws; nothing comes that the state has", async (fake, client) => {
	const loaded = [];
	const load = loader(fake, loaded);
	let fails = 1;
	const c = client({ state: (topic) => (fails-- > 0 ? Promise.reject(new Error("away")) : load(topic)) });
	await c.event("connected");
	assert.deepEqual(c.kept.error.map((e) => [e.code, e.message, e.topic, e.fatal]), [["state", "away", "a", false]]);
	fake.publish("a", 1);
	await c.event("message");
	await fake.stop();
	for (let i = 2; i <= 9; i++) fake.publish("a", i);
	fake.trim("a", 6);
	fails = 2;
	await fake.start();
	await c.event("gap");
	await c.event("error", 3);
	while (loaded.length < 2) await new Promise(setImmediate);
	while (c.t.cursors.a !== `${fake.topic("a").epoch}-9`) await new Promise(setImmediate);
	fake.publish("a", 10);
	await c.event("message", 2);
	assert.deepEqual([loaded, c.seqs("a"), c.kept.gap], [[0, 9], [1, 10], [{ topic: "a", from: 2, to: 6 }]]);
});

eachWay("the epoch of a cursor that was made before its topic gives way to the topic's", async (fake, client) => {
	fake.ahead = "new7xabcdef";
	const c = client({ cursors: { a: "new7xabcdef-0" } });
	await c.event("connected");
	fake.publish("a", 1);
	await c.event("message");
	assert.deepEqual([c.seqs("a"), c.kept.gap, c.t.cursors.a], [[1], [], `${fake.topic("a").epoch}-1`]);
});

eachWay("types and rewind are asked for, and the cursor goes past what is not wanted", async (fake, client, way) => {
	const c = client({ types: ["x", "y z"], rewind: 5, pingInterval: 50 });
	await c.event("connected");
	const { query } = fake.requests.at(-1);
	assert.deepEqual([query.get("types"), query.get("rewind")], ["x,y z", "5"]);
	fake.publish("a", 1);
	fake.publish("a", 2);
	fake.publish("a", 3, { type: "x" });
	fake.publish("a", 4);
	await c.event("message");
	if (way === "sse") fake.say(`: still here\nid: ${fake.topic("a").epoch}-4\n\n`);
	if (way === "long_poll") fake.publish("a", 5, { type: "x" });
	while (+c.t.cursors.a.split("-")[1] < 4) await new Promise(setImmediate);
	assert.equal(c.seqs("a")[0], 3);
});

eachWay("a topic that was made anew is a gap, and all that is in it comes", async (fake, client) => {
	upTo(3).forEach((n) => fake.publish("a", n));
	const c = client();
	await c.event("message", 3);
	await fake.stop();
	fake.topic("a").restart();
	upTo(2).forEach((n) => fake.publish("a", n));
	await fake.start();
	await c.event("message", 5);
	assert.deepEqual([c.kept.gap, c.seqs("a")], [[{ topic: "a" }], [1, 2, 3, 1, 2]]);
	assert.equal(c.t.cursors.a, `${fake.topic("a").epoch}-2`);
});

eachWay("cursors that are handed in are where it goes on; a damaged one is a gap of its own topic alone", async (fake, client) => {
	for (const n of upTo(4)) ["a", "b"].forEach((t) => fake.publish(t, n));
	const before = client({ topics: ["a"] });
	await before.event("message", 2);
	before.t.close();
	const kept = { a: `${fake.topic("a").epoch}-3`, b: "nonsense.9" };
	const c = client({ topics: ["a", "b"], cursors: kept });
	await c.event("message", 5);
	assert.deepEqual([c.seqs("a"), c.seqs("b"), c.kept.gap], [[4], [1, 2, 3, 4], [{ topic: "b" }]]);
});

eachWay("the cursors that an application keeps with each message never run ahead of it", async (fake, client) => {
	for (const n of upTo(3)) ["a", "b"].forEach((t) => fake.publish(t, n));
	const c = client({ topics: ["a", "b"], cursors: { a: `${fake.topic("a").epoch}-0`, b: `${fake.topic("b").epoch}-0` } });
	const seen = { a: 0, b: 0 };
	c.t.on("message", (m) => {
		seen[m.topic] = m.seq;
		const at = Object.entries(c.t.cursors).map(([t, cursor]) => [t, +cursor.split("-")[1]]);
		assert.deepEqual(Object.fromEntries(at), seen);
	});
	await c.event("message", 6);
});

eachWay("topics come and go: several in one turn are one change, for a WebSocket of the open one, and the others lose nothing", async (fake, client) => {
	const c = client({ topics: ["a"] });
	await c.event("connected");
	fake.publish("a", 1);
	await c.event("message");
	const before = fake.requests.length;
	["b", "c", "d"].forEach((t) => c.t.subscribe(t));
	c.t.unsubscribe("d");
	fake.publish("a", 2);
	await c.event("connected", 2);
	["a", "b", "c", "d"].forEach((t) => fake.publish(t, "x"));
	await c.event("message", 5);
	const asked = fake.requests.slice(before).map((r) => r.topics.join());
	assert.deepEqual([...new Set(asked.filter((t) => t !== "a"))], c.t.transport === "websocket" ? [] : ["a,b,c"]);
	c.t.unsubscribe("a");
	await c.event("connected", 3);
	fake.publish("a", "no more");
	fake.publish("b", "last");
	await c.event("message", 6);
	assert.deepEqual([c.seqs("a"), c.seqs("b"), c.seqs("c"), c.seqs("d")], [[1, 2, 3], [1, 2], [1], []]);
	assert.deepEqual([c.t.topics, c.kept.gap], [["b", "c"], []]);
});

scene("on an open WebSocket a topic that is refused goes, and the others stay; more than a burst takes another connection", async (fake, client) => {
	const c = client({ transports: ["websocket"] });
	await c.event("connected");
	fake.forbidden = ["b"];
	c.t.subscribe("b");
	c.t.subscribe("c");
	const { topic, code, fatal } = await c.event("error");
	assert.deepEqual([topic, code, fatal, (await c.event("connected", 2)).topics], ["b", "forbidden", false, ["a", "c"]]);
	upTo(30).forEach((n) => c.t.subscribe(`t${n}`));
	assert.equal((await c.event("connected", 3)).topics.length, 32);
	assert.deepEqual(fake.requests.map((r) => r.topics.length), [1, 32]);
});

scene("on an open WebSocket, where the last topic is a refused one, it disconnects", async (fake, client) => {
	const c = client({ transports: ["websocket"] });
	await c.event("connected");
	fake.forbidden = ["b"];
	c.t.subscribe("b");
	c.t.unsubscribe("a");
	assert.equal((await c.event("disconnected")).retryIn, null);
	assert.deepEqual([c.t.status, c.kept.error.map((e) => e.topic)], ["idle", ["b"]]);
});

scene("on an open WebSocket a topic that goes and comes again begins where it is told to, whatever was on its way", async (fake, client) => {
	upTo(9).forEach((n) => fake.publish("a", n));
	const c = client({ transports: ["websocket"], topics: ["a", "b"] });
	await c.event("message", 9);
	fake.slow = 50;
	c.t.unsubscribe("a");
	c.t.subscribe("a", `${fake.topic("a").epoch}-4`);
	fake.publish("a", 10);
	c.t.unsubscribe("b");
	await c.event("connected", 2);
	await c.event("message", 15);
	assert.deepEqual([c.seqs("a").slice(9), c.t.cursors.a.split("-")[1], fake.requests.length, c.kept.gap], [[5, 6, 7, 8, 9, 10], "10", 1, []]);
});

scene("on an open WebSocket the places that a pong tells are each of its topic, whichever came and went", async (fake, client) => {
	const c = client({ transports: ["websocket"], types: ["x"], pingInterval: 30 });
	await c.event("connected");
	c.t.subscribe("b");
	await c.event("connected", 2);
	c.t.unsubscribe("a");
	c.t.subscribe("a");
	await c.event("connected", 3);
	upTo(3).forEach((n) => fake.publish("a", n));
	fake.publish("b", 1);
	const at = () => Object.entries(c.t.cursors).map(([t, cursor]) => `${t} ${cursor.split("-")[1]}`).sort().join();
	while (at() !== "a 3,b 1") await once(fake, "said");
	assert.equal(fake.requests.length, 1);
});

scene("a server that does not know how topics come and go on a WebSocket gets another connection", async (fake, client) => {
	fake.older = true;
	const c = client({ transports: ["websocket"] });
	await c.event("connected");
	c.t.subscribe("b");
	assert.deepEqual((await c.event("connected", 2)).topics, ["a", "b"]);
	assert.deepEqual(c.kept.error, []);
	fake.publish("b", 1);
	await c.event("message");
});

eachWay("a topic that is left in the middle of what waits: no more of it comes", async (fake, client) => {
	upTo(5).forEach((n) => fake.publish("a", n));
	const c = client({ topics: ["a", "b"] });
	c.t.on("message", (m) => m.topic === "a" && m.seq === 2 && c.t.unsubscribe("a"));
	await c.event("message", 2);
	while (c.kept.connected.at(-1)?.topics.join() !== "b") await c.event("connected", c.kept.connected.length + 1);
	fake.publish("b", 1);
	await c.event("message", 3);
	assert.deepEqual([c.seqs("a"), c.seqs("b")], [[1, 2], [1]]);
});

eachWay("topics that come while it connects: what waits for the first is not lost with that connection", async (fake, client) => {
	fake.forgets = true;
	fake.slow = 50;
	["a", "b", "c"].forEach((t) => fake.publish(t, 1));
	let asked = 0;
	const c = client({ token: async () => `t${++asked}` });
	await fake.request(() => true);
	c.t.subscribe("b");
	await Promise.race([fake.request(() => true), once(fake, "said")]);
	c.t.subscribe("c");
	await c.event("message", 3);
	assert.deepEqual([c.seqs("a"), c.seqs("b"), c.seqs("c"), asked], [[1], [1], [1], 1]);
});

eachWay("topics that come while the token is fetched are taken along, and it is fetched once", async (fake, client) => {
	let asked = 0;
	let give;
	const c = client({ token: () => (asked++, new Promise((done) => (give = done))) });
	while (!give) await new Promise(setImmediate);
	c.t.subscribe("b");
	await new Promise((done) => setTimeout(done)); // the turn in which it would connect anew
	give("t");
	assert.deepEqual([(await c.event("connected")).topics, asked], [["a", "b"], 1]);
});

eachWay("a refused token: a fresh one is asked for once, and it goes on where it was", async (fake, client) => {
	fake.tokens = ["old"];
	const asked = [];
	const c = client({ token: async (why) => (asked.push(why), why === "first" ? "old" : "new") });
	fake.publish("a", 1);
	await c.event("message");
	fake.tokens = ["new"];
	fake.end(1008, "token expired");
	fake.publish("a", 2);
	await c.event("message", 2);
	assert.deepEqual([asked, c.seqs("a"), c.kept.error], [["first", "refused"], [1, 2], []]);
});

eachWay("a token that is refused, and the fresh one too: a fatal error, and that is all", async (fake, client, way) => {
	fake.tokens = [];
	const asked = [];
	const c = client({ token: (why) => (asked.push(why), "bad") });
	const error = await c.event("error");
	assert.deepEqual([error.code, error.fatal, c.t.closed, asked], ["unauthorized", true, true, ["first", "refused"]]);
	const fixed = client({ token: "bad" });
	assert.equal((await fixed.event("error")).code, "unauthorized");
	assert.equal(fake.requests.length, 3);
});

eachWay("a topic that is not allowed is dropped with an error; the others go on", async (fake, client) => {
	fake.forbidden = ["b", "d"];
	const c = client({ topics: ["a", "b", "c", "d"] });
	fake.publish("c", 1);
	await c.event("message");
	assert.deepEqual(c.kept.error.map((e) => [e.code, e.topic, e.fatal]), [["forbidden", "b", false], ["forbidden", "d", false]]);
	assert.deepEqual(c.t.topics, ["a", "c"]);
});

eachWay("a listener that throws breaks nothing, and is not kept silent", async (fake, _client, way) => {
	fake.publish("a", 1);
	fake.publish("a", 2);
	const said = await child(fake, way, `
		process.on("uncaughtException", (e) => console.log(e.message));
		c.t.on("message", (m) => {
			if (m.seq === 1) throw new Error("the application's own");
			console.log(m.seq, c.kept.disconnected.length);
			c.t.close();
		});`);
	assert.deepEqual(said.split("\n").sort(), ["", "2 0", "the application's own"]);
});

eachWay("close() in the middle: no event comes any more, the cursors are right, and what is not handled comes the next time", async (fake, client) => {
	upTo(5).forEach((n) => fake.publish("a", n));
	const c = client();
	c.t.on("message", (m) => m.seq === 3 && c.t.close());
	await c.event("message", 3);
	const next = client({ cursors: c.t.cursors });
	await next.event("message", 2);
	assert.deepEqual([c.seqs("a"), next.seqs("a")], [[1, 2, 3], [4, 5]]);
});

eachWay("after close() a process ends by itself", async (fake, _client, way) => {
	fake.publish("a", 1);
	assert.equal(await child(fake, way, `c.t.on("message", () => { c.t.close(); console.log("closed"); });`), "closed\n");
});

/* ---- choosing a transport */

scene("WebSocket is refused: server-sent events; those are buffered: long-poll; the next client begins with what worked", async (fake, client) => {
	const storage = new Storage();
	fake.publish("a", 1);
	for (const [ways, wanted] of [[{ websocket: "refuse" }, "sse"], [{ sse: "buffer" }, "long_poll"]]) {
		Object.assign(fake.ways, ways);
		const c = client({ storage, ...IMPATIENT });
		assert.equal((await c.event("connected")).transport, wanted);
		await c.event("message");
		assert.deepEqual(storage.kept, { [`tidings ${fake.url}`]: wanted });
		c.t.close();
		fake.requests.length = 0;
		const again = client({ storage });
		await Promise.all([again.event("message"), again.event("connected")]);
		assert.deepEqual([again.t.transport, again.kept.error], [wanted, []]);
		// Before a stream, a poll fetches what waits.
		assert.deepEqual(new Set(fake.requests.map((r) => r.transport)), new Set(["long_poll", wanted]));
		again.t.close();
		storage.kept = {};
	}
});

scene("what waits for a topic without a cursor is not lost in a stream that a proxy holds back", async (fake, client) => {
	fake.publish("a", 1);
	fake.forgets = true; // what a client has been sent is not sent to the next
	fake.ways = { websocket: "refuse", sse: "buffer", long_poll: "open" };
	const c = client(IMPATIENT);
	await c.event("connected");
	fake.publish("a", 2);
	await c.event("message", 2);
	assert.deepEqual(c.seqs("a"), [1, 2]);
});

scene("an upgrade and a stream that are never answered: long-poll", async (fake, client) => {
	fake.ways = { websocket: "swallow", sse: "swallow", long_poll: "open" };
	const c = client(IMPATIENT);
	fake.publish("a", 1);
	await Promise.all([c.event("message"), c.event("connected")]);
	assert.deepEqual([c.t.transport, new Set(fake.requests.map((r) => r.transport))], ["long_poll", new Set(ALL)]);
});

scene("without a WebSocket class it is left out", async (fake, client) => {
	const c = client({ WebSocket: undefined });
	await c.event("connected");
	assert.deepEqual([c.t.transport, fake.requests.map((r) => r.transport)], ["sse", ["long_poll", "sse"]]);
});

scene("a server that is down is not taken for a network without WebSocket", async (fake, client) => {
	const storage = new Storage();
	const c = client({ storage });
	await c.event("connected");
	await fake.stop();
	assert.equal((await c.event("error", 2)).code, "unreachable");
	assert.deepEqual(c.kept.disconnected.map((d) => d.transport), ["websocket"]);
	await fake.start();
	fake.publish("a", 1);
	await c.event("message");
	assert.deepEqual([c.t.transport, Object.values(storage.kept)], ["websocket", ["websocket"]]);
});

scene("a transport that has worked and breaks is the first to be tried again", async (fake, client) => {
	fake.ways.websocket = "refuse";
	const c = client();
	await c.event("connected");
	fake.requests.length = 0;
	fake.drop();
	await c.event("connected", 2);
	assert.deepEqual(fake.requests.map((r) => r.transport), ["sse"]);
});

scene("one that lets us in and breaks again and again gives way to the next", async (fake, client) => {
	fake.on("session", (s) => s.transport === "websocket" && fake.drop());
	const c = client();
	fake.publish("a", 1);
	await c.event("message");
	while (c.t.transport !== "sse") await c.event("connected", c.kept.connected.length + 1);
	assert.deepEqual([c.seqs("a"), c.kept.gap], [[1], []]);
});

for (const worse of ["sse", "long_poll"])
	scene(`from ${worse} it goes back to WebSocket when that works again, without a break: nothing is lost or comes twice`, async (fake, client) => {
		fake.ways = { websocket: "refuse", sse: worse === "sse" ? "open" : "refuse", long_poll: "open" };
		const storage = new Storage();
		const c = client({ storage, probeInterval: 40 });
		await c.event("connected");
		await fake.request((r) => r.transport === "websocket"); // a probe in vain
		assert.equal(c.t.transport, worse);
		fake.ways.websocket = "open";
		let n = 0;
		// As the probe is on its way, and as it has just arrived.
		fake.on("request", () => fake.publish("a", ++n));
		fake.on("session", () => n < 30 && fake.publish("a", ++n));
		const publishing = setInterval(() => fake.publish("a", ++n), 1);
		while (c.t.transport !== "websocket") await c.event("connected", c.kept.connected.length + 1);
		clearInterval(publishing);
		fake.publish("a", ++n);
		await c.event("message", n);
		assert.deepEqual(c.seqs("a"), upTo(n));
		assert.deepEqual([c.kept.disconnected, c.kept.gap, c.kept.error], [[], [], []]);
		while (fake.transports.length > 1) await once(fake, "left");
		assert.deepEqual([fake.transports, Object.values(storage.kept)], [["websocket"], ["websocket"]]);
	});

scene("from long-poll it goes back to server-sent events where WebSocket still does not work", async (fake, client) => {
	fake.ways = { websocket: "refuse", sse: "refuse", long_poll: "open" };
	const c = client({ probeInterval: 40 });
	await c.event("connected");
	fake.ways.sse = "open";
	await c.event("connected", 2);
	fake.publish("a", 1);
	await c.event("message");
	assert.deepEqual([c.t.transport, c.kept.disconnected, c.seqs("a")], ["sse", [], [1]]);
});

scene("what worked is forgotten only when it does not work a while later either", async (fake, client) => {
	const storage = new Storage();
	const c = client({ storage, probeInterval: 600 });
	await c.event("connected");
	fake.ways.websocket = "refuse";
	fake.drop();
	assert.equal((await c.event("connected", 2)).transport, "sse");
	assert.deepEqual(Object.values(storage.kept), ["websocket"]);
	await fake.request((r) => r.transport === "websocket");
	await fake.request((r) => r.transport === "websocket"); // the second probe: the first was in vain
	assert.deepEqual(Object.values(storage.kept), ["sse"]);
});

/* ---- silence, and servers that ask for patience */

scene("a WebSocket that says nothing is asked, and left when it does not answer", async (fake, client) => {
	const c = client({ transports: ["websocket"], pingInterval: 40, pingTimeout: 2000 });
	await c.event("connected");
	await once(fake, "said");
	assert.deepEqual(await once(fake, "said"), ["ping"]);
	assert.equal(c.kept.connected.length, 1);
	fake.deaf = true;
	assert.equal((await c.event("disconnected")).reason, "no answer to a ping");
	fake.deaf = false;
	fake.publish("a", 1);
	await c.event("message");
});

scene("an event stream that says nothing is left; comments are enough", async (fake, client) => {
	const c = client({ transports: ["sse"], silenceTimeout: 2000 });
	await c.event("connected");
	for (let n = 0; n < 12; n++) {
		await new Promise((done) => setTimeout(done, 200)); // silence itself is what is tested: longer in all than is borne at once
		fake.say(": still here\n\n");
	}
	assert.equal(c.kept.connected.length, 1);
	assert.equal((await c.event("disconnected")).reason, "the event stream is silent");
	fake.publish("a", 1);
	await c.event("message");
});

scene("a poll that is never answered is left", async (fake, client) => {
	const c = client({ transports: ["long_poll"], pollTimeout: 0.1, pingTimeout: 100 });
	await c.event("connected");
	fake.ways.long_poll = "swallow";
	fake.end();
	assert.equal((await c.event("disconnected")).reason, "no reply to a poll");
	fake.ways.long_poll = "open";
	fake.publish("a", 1);
	await c.event("message");
});

scene("busy: Retry-After is honoured, no other transport is tried, and it is told", async (fake, client) => {
	fake.ways = { websocket: "busy", sse: "busy", long_poll: "busy" };
	const c = client();
	const error = await c.event("error");
	assert.equal(error.code, "busy");
	assert.ok(error.retryIn >= 1000, `retryIn ${error.retryIn}`);
	// A page cannot see why an upgrade is refused, so the next way is asked for the reason.
	assert.equal(fake.requests.length, 2);
	fake.ways = { websocket: "open" };
	assert.equal((await c.event("connected")).transport, "websocket");
});

scene("1013 and too many connections: it comes back later, with its cursor and the same token", async (fake, client) => {
	for (const [code, reason] of [[1013, "full: try again later"], [1008, "too many connections"]]) {
		fake.topic("a").restart();
		const c = client({ token: "t" });
		await c.event("connected");
		fake.publish("a", 1);
		await c.event("message");
		fake.end(code, reason);
		const { retryIn } = await c.event("disconnected");
		assert.ok(retryIn >= 2000, `retryIn ${retryIn}`);
		fake.publish("a", 2);
		await c.event("message", 2);
		assert.deepEqual([c.kept.error, c.kept.gap, c.t.transport], [[], [], "websocket"]);
		c.t.close();
	}
});

eachWay("1012: it comes back with its cursor", async (fake, client) => {
	const c = client();
	fake.publish("a", 1);
	await c.event("message");
	fake.end(1012, "this server is going away: reconnect");
	fake.publish("a", 2);
	await c.event("message", 2);
	assert.deepEqual([c.seqs("a"), c.kept.error, c.kept.gap], [[1, 2], [], []]);
});

scene("empty replies that come at once are not answered by a flood of polls", async (fake, client) => {
	fake.on("session", (s) => s.push([]));
	const c = client({ transports: ["long_poll"] });
	await fake.request((r) => r.query.get("timeout") === "25");
	const before = fake.requests.length;
	for (let n = 0; n < 50; n++) await fetch(`${fake.url}/elsewhere`); // a flood would be as fast as these
	assert.ok(fake.requests.length - before < 60, `${fake.requests.length - before - 50} polls`);
	assert.deepEqual(c.kept.error, []);
});

scene("a token function that fails is asked again", async (fake, client) => {
	let n = 0;
	const c = client({ token: async () => { if (++n < 3) throw new Error("no network"); return "t"; } });
	await c.event("connected");
	assert.deepEqual(c.kept.error.map((e) => [e.code, e.message, e.fatal]), Array(2).fill(["token", "no network", false]));
	assert.equal(fake.requests[0].token, "t");
});

scene("when the machine comes online again it is tried at once", async (fake, client) => {
	const window = new EventTarget();
	Object.assign(globalThis, {
		addEventListener: window.addEventListener.bind(window), removeEventListener: window.removeEventListener.bind(window),
	});
	try {
		const c = client({ backoffMin: 600000, backoffMax: 600000 });
		await c.event("connected");
		await fake.stop();
		await c.event("disconnected");
		await fake.start();
		window.dispatchEvent(new Event("online"));
		await c.event("connected", 2);
		c.t.close();
		window.dispatchEvent(new Event("online"));
		assert.equal(c.t.transport, null);
	} finally {
		delete globalThis.addEventListener;
		delete globalThis.removeEventListener;
	}
});

scene("the last topic goes: it disconnects; the next one comes: it connects", async (fake, client) => {
	const c = client();
	await c.event("connected");
	c.t.unsubscribe("a");
	assert.equal((await c.event("disconnected")).retryIn, null);
	assert.deepEqual([c.t.transport, c.t.topics], [null, []]);
	c.t.subscribe("b");
	fake.publish("b", 1);
	await c.event("message");
});

scene("what is no topic, and one too many, is refused where it is written", async (_fake, client) => {
	const c = client({ topics: [] });
	for (const bad of ["", "a,b", "ä", "a b", "x".repeat(129), undefined]) assert.throws(() => c.t.subscribe(bad ?? ""), TypeError);
	upTo(100).forEach((n) => c.t.subscribe(`t${n}`));
	assert.throws(() => c.t.subscribe("t101"), RangeError);
	c.t.subscribe("t100");
});

scene("a service's own messages may be called connect, pong or error", async (fake, client) => {
	const c = client({ transports: ["websocket"] });
	await c.event("connected");
	for (const type of ["connect", "pong", "error", "reconnect_messages"]) fake.say(JSON.stringify({ type, topic: "a", data: {} }));
	await c.event("message", 4);
	assert.equal(c.kept.connected.length, 1);
});

scene("an event stream in pieces of any size, with either line end, says the same", async (fake, client) => {
	const c = client({ transports: ["sse"] });
	await c.event("connected");
	const text = "\u2028 Zeile : data: \u{1f33f}";
	const bytes = Buffer.from(`: comment\r\nid: x-1\r\ndata: {"type":"n","topic":"a","seq":1,\r\n:\ndata:"data":${JSON.stringify(text)}}\r\n\r\n`);
	for (const byte of bytes) {
		fake.say(Buffer.of(byte));
		await new Promise(setImmediate);
	}
	assert.equal((await c.event("message")).data, text);
});

scene("a base with a path is kept", async (fake, client) => {
	const c = client({ url: `${fake.url}/push/` });
	assert.equal((await c.event("error")).code, "unreachable");
	assert.deepEqual(fake.requests.map((r) => r.path), ["/push/ws", "/push/poll", "/push/poll"]);
});

scene("the page of a network that wants a login first is no server", async (fake, client) => {
	fake.ways = { websocket: "page", sse: "page", long_poll: "page" };
	const c = client();
	const { code, message } = await c.event("error");
	assert.equal(code, "unreachable");
	assert.match(message, /^websocket: .+; sse: .+; long_poll: ./);
	fake.ways = { websocket: "open" };
	fake.publish("a", 1);
	await c.event("message");
});

/* ---- what it says */

eachWay("what it says is answered, in order, whatever its messages come by", async (fake, client) => {
	const c = client({ token: "t" });
	fake.sends = [{ status: 503 }];
	const replies = await Promise.all(["x", "y", "z"].map((message) => c.t.send("chat_message", { message })));
	replies.push(await c.t.send("get_history", { limit: 1 }, { correlationId: "h" }));
	assert.deepEqual(replies.map((r) => r.type), ["chat_message_done", "chat_message_done", "chat_message_done", "get_history_done"]);
	assert.deepEqual(fake.done.map((m) => m.data.message), ["x", "y", "z", undefined]);
	assert.deepEqual([replies[3].correlation_id, fake.done.find((m) => m.type === "get_history").correlation_id], ["h", "h"]);
	const keys = fake.requests.filter((r) => r.path === "/ws/send").map((r) => r.key);
	assert.deepEqual([new Set(keys).size, keys.filter(Boolean).length], [4, 4]); // what only asks needs none
	assert.ok(fake.requests.every((r) => r.token === "t"));
});

scene("an ack is of a notification by its id, of another message by its place", async (fake, client) => {
	const { t } = client({ topics: [] });
	await t.ack({ topic: "notifications/1", seq: 3, type: "notification", notification: { id: "u" } });
	await t.ack({ topic: "health/1", seq: 4, type: "health_alert", data: { id: 9 } });
	assert.deepEqual(fake.done.map((m) => [m.type, m.data]), [["ack", { id: "u" }], ["ack", { topic: "health/1", seq: 4 }]]);
});

scene("what was refused says why, is not tried again, and holds up nothing", async (fake, client) => {
	const { t } = client({ topics: [] });
	const errors = [{ field: "data.metric", message: "is required" }];
	fake.sends = [{ status: 422, errors }, { status: 403 }, { status: 404 }, { status: 500 }];
	const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => t.send("health_update", {})));
	assert.deepEqual(outcomes.slice(0, 4).map(({ reason: e }) => [e.status, e.code, e.message, e.errors]), [
		[422, "invalid", "No.", errors], [403, "forbidden", "No.", []], [404, "not_found", "No.", []], [500, "failed", "No.", []]]);
	assert.ok(outcomes[0].reason instanceof Error);
	assert.equal(outcomes[4].value.data.n, 1);
	assert.equal(fake.requests.length, 5);
});

scene("a message whose answer is lost, or that is never answered, is sent again, and done once", async (fake, client) => {
	const { t } = client({ topics: [], sendTimeout: 6000 });
	fake.sends = ["break", "swallow", { status: 502 }];
	const { data } = await t.send("chat_message", { message: "once" });
	assert.deepEqual([data.n, fake.done.length, fake.requests.length], [1, 1, 4]);
	assert.equal(new Set(fake.requests.map((r) => r.key)).size, 1);
});

scene("what only asks is asked again; that somebody types is not said again", async (fake, client) => {
	const { t } = client({ topics: [] });
	fake.sends = ["break", { status: 503 }];
	assert.equal((await t.send("get_preferences")).type, "get_preferences_done");
	fake.sends = [{ status: 503, headers: { "Retry-After": "0" } }];
	await assert.rejects(t.send("typing", { is_typing: true }), { code: "busy", status: 503 });
	assert.deepEqual([fake.requests.length, fake.requests.some((r) => r.key)], [4, false]);
});

for (const status of [429, 503])
	scene(`${status}: what is said waits as long as the server wants, or fails at once where that is too long`, async (fake, client) => {
		const { t } = client({ topics: [], sendTimeout: 30000 });
		fake.sends = [{ status, headers: { "Retry-After": "1" } }];
		const asked = fake.request(() => true).then(() => Date.now());
		await t.send("mark_read", { id: "u" });
		assert.ok(Date.now() - (await asked) >= 1000);
		fake.sends = [{ status, headers: { "Retry-After": "60" } }];
		await assert.rejects(t.send("mark_read", { id: "u" }), { code: "busy", status });
		assert.equal(fake.requests.length, 3);
	});

scene("nobody there: what is said fails in the end", async (fake, client) => {
	const { t } = client({ topics: [], sendTimeout: 3000 });
	await fake.stop();
	const outcomes = await Promise.allSettled([t.send("mark_read", { id: "u" }), t.send("mark_read", { id: "v" })]);
	assert.deepEqual(outcomes.map(({ reason: e }) => [e.code, e.status]), [["unreachable", 0], ["unreachable", 0]]);
	await fake.start();
	assert.equal((await t.send("mark_read", { id: "w" })).data.n, 1);
});

scene("a token that is refused to a message: all that is said, and the connection, take one fresh one", async (fake, client) => {
	const asked = [];
	fake.tokens = ["new"];
	const c = client({ token: async (why) => (asked.push(why), why === "first" ? "old" : "new") });
	const replies = await Promise.all([c.t.send("get_health"), c.t.send("get_thresholds"), c.t.send("chat_message", { message: "m" })]);
	assert.equal(replies.length, 3);
	await c.event("connected");
	assert.deepEqual([asked, c.kept.error], [["first", "refused"], []]);
});

scene("a token that expires while it is connected, and is refused to a message first, is no fatal error", async (fake, client) => {
	const asked = [];
	const c = client({ token: (why) => `${asked.push(why)}` });
	await c.event("connected");
	for (const [n, token] of [[1, "2"], [2, "3"]]) {
		fake.tokens = [token];
		await c.t.send("get_health");
		fake.end(1008, "token expired");
		await c.event("connected", n + 1);
	}
	assert.deepEqual([asked, c.kept.error], [["first", "refused", "refused"], []]);
});

scene("a token that stays refused, or that cannot be had, fails what is said", async (fake, client) => {
	fake.tokens = [];
	await assert.rejects(client({ topics: [], token: "t" }).t.send("get_health"), { code: "unauthorized", status: 401 });
	await assert.rejects(client({ topics: [], token: () => "t" }).t.send("get_health"), { code: "unauthorized", status: 401 });
	const none = () => Promise.reject(new Error("signed out"));
	await assert.rejects(client({ topics: [], token: none }).t.send("get_health"), { code: "token", status: 0, message: "signed out" });
	assert.equal(fake.requests.length, 3);
});

scene("close() ends what is being said, and no more is", async (fake, client) => {
	const { t } = client({ topics: [] });
	fake.sends = ["swallow", "swallow"];
	const said = ["chat_message", "chat_message", "get_health"].map((type) => assert.rejects(t.send(type, {}), { code: "closed" }));
	await fake.request((r) => r.key);
	t.close();
	await Promise.all([...said, assert.rejects(t.send("get_health"), { code: "closed" })]);
	assert.deepEqual([fake.requests.length, fake.done.length], [2, 0]);
});

scene("after close() a process ends by itself, though a message waits to be sent again", async (fake) => {
	fake.sends = [{ status: 503, headers: { "Retry-After": "1000" } }];
	const said = await child(fake, "websocket", `
		c.t.send("mark_read", {}).catch((e) => process.stdout.write(e.code));
		await c.event("connected");
		setTimeout(() => c.t.close(), 200);`);
	assert.equal(said, "closed");
});

scene("a topic that is withdrawn in the middle of a stream is dropped, though the token cannot be renewed", async (fake, client) => {
	const c = client({ topics: ["a", "b"], token: "t", transports: ["sse"] });
	await c.event("connected");
	fake.forbidden = ["b"];
	fake.end(1008, "not allowed");
	await c.event("connected", 2);
	assert.deepEqual([c.t.topics, c.kept.error.map((e) => [e.code, e.topic])], [["a"], [["forbidden", "b"]]]);
});
