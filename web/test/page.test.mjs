/* The client in the life of a page: what the browser tells it, who is signed in, parts of the page that come and go. As client.test.mjs. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { SignedOut, Tidings } from "../tidings.js";
import { Storage } from "./heard.mjs";
import { eachWay, scene, upTo } from "./scene.mjs";

/* A window, for as long as `run` lasts. */
async function inWindow(run) {
	const window = new EventTarget();
	const document = { visibilityState: "visible" };
	const added = {
		document, addEventListener: window.addEventListener.bind(window), removeEventListener: window.removeEventListener.bind(window),
	};
	Object.assign(globalThis, added);
	try {
		await run((event, visibilityState = "visible") => {
			document.visibilityState = visibilityState;
			window.dispatchEvent(new Event(event));
		});
	} finally {
		for (const name of Object.keys(added)) delete globalThis[name];
	}
}

/* A token that says when it ends, in seconds from now. */
const ending = (seconds, id) =>
	`h.${Buffer.from(JSON.stringify({ exp: Math.floor(Date.now() / 1000) + seconds, id })).toString("base64url")}.s`;

/* ---- words */

eachWay("status says in a word how it is, and each change is an event", async (fake, client) => {
	const c = client({ topics: [] });
	assert.equal(c.t.status, "idle");
	c.t.subscribe("a");
	assert.equal(c.t.status, "connecting");
	await c.t.ready();
	c.t.subscribe("b");
	await c.event("connected", 2);
	await fake.stop();
	await c.event("status", 3);
	await fake.start();
	await c.event("status", 4);
	c.t.pause();
	c.t.resume();
	await c.t.ready();
	for (const topic of ["a", "b"]) c.t.unsubscribe(topic);
	await c.event("disconnected", 3);
	assert.deepEqual(c.kept.status, ["connecting", "connected", "connecting", "connected", "paused", "connecting", "connected", "idle"]);
	c.t.close();
	assert.equal(c.t.status, "closed");
});

scene("ready() waits for the connection, and throws what ended it", async (fake, client) => {
	const c = client();
	await Promise.all([c.t.ready(), c.t.ready()]);
	await c.t.ready();
	c.t.pause();
	const waiting = c.t.ready();
	c.t.close();
	await assert.rejects(waiting, { code: "closed" });
	await assert.rejects(c.t.ready(), { code: "closed" });
	fake.tokens = [];
	await assert.rejects(client({ token: "bad" }).t.ready(), { code: "unauthorized" });
});

scene("what is misspelt, or impossible, is an error where it is written", async (fake, client) => {
	const wrong = [{ tokne: "t" }, { transports: ["websokcet"] }, { device: "my phone" }, { persist: true, state: () => "" }];
	for (const options of wrong) assert.throws(() => new Tidings(fake.url, options), TypeError);
	const { t } = client({ topics: [] });
	assert.throws(() => t.on("mesage", () => {}), /there is no event mesage/);
	for (const bad of [{ topic: "a" }, "a b", ""]) assert.throws(() => t.topic(bad), TypeError);
	t.close();
	assert.throws(() => t.subscribe("a"), { code: "closed" });
	assert.deepEqual([fake.requests, t.topics], [[], []]);
});

/* ---- tokens */

for (const how of ["throws", "gives"])
	eachWay(`a token function that ${how} SignedOut ends it, with an error and a word`, async (fake, client) => {
		fake.tokens = ["old"];
		let signedIn = true;
		const out = new SignedOut("bye");
		const token = (why) => {
			if (why === "first" && signedIn) return "old";
			if (how === "throws") throw out;
			return out;
		};
		const c = client({ token });
		await c.event("connected");
		fake.tokens = [];
		fake.end(1008, "token expired");
		const error = await c.event("error");
		assert.deepEqual([error, c.t.status, c.kept.status.at(-1)], [{ code: "signed_out", message: "bye", fatal: true }, "signed_out", "signed_out"]);
		await assert.rejects(c.t.ready(), { code: "signed_out" });
		await assert.rejects(c.t.send("get_health"), { code: "signed_out" });
		signedIn = false;
		const d = client({ token, topics: [] });
		await assert.rejects(d.t.send("get_health"), { code: "signed_out" });
		assert.deepEqual([d.t.closed, d.kept.error.length], [true, 1]);
	});

eachWay("before its end a token is exchanged: the new connection is there before the old one goes", async (fake, client) => {
	const asked = [];
	let next = null;
	const c = client({ token: (why) => (asked.push(why), why === "first" ? ending(10, 1) : (next = ending(3600, 2))) });
	await c.event("connected");
	const publishing = setInterval(() => fake.publish("a", 1), 5);
	await c.event("connected", 2);
	clearInterval(publishing);
	fake.publish("a", "last");
	const { last } = fake.topic("a");
	await c.event("message", last);
	assert.deepEqual([c.seqs("a"), asked, c.kept.disconnected, c.kept.gap], [upTo(last), ["first", "expiring"], [], []]);
	assert.equal(fake.requests.at(-1).token, next);
});

scene("a fresh token that cannot be had: the old one is used up", async (fake, client) => {
	const asked = [];
	const c = client({
		token: (why) => {
			asked.push(why);
			if (why === "expiring") throw new Error("no network");
			return why === "first" ? ending(4) : "new";
		},
	});
	await c.event("connected");
	while (asked.length < 2) await new Promise((done) => setTimeout(done, 20));
	fake.publish("a", 1);
	await c.event("message");
	fake.tokens = ["new"];
	fake.end(1008, "token expired");
	await c.event("connected", 2);
	assert.deepEqual([asked, c.kept.error], [["first", "expiring", "refused"], []]);
});

/* ---- the page and its network */

scene("the machine goes offline: a WebSocket that does not answer within 2 s is left, and tried anew when it is back", async (fake, client) => {
	await inWindow(async (notice) => {
		const c = client({ pingTimeout: 600000, backoffMin: 600000, backoffMax: 600000 });
		await c.event("connected");
		notice("offline");
		await once(fake, "said");
		fake.publish("a", 1);
		await c.event("message");
		fake.deaf = true;
		notice("offline");
		assert.equal((await c.event("disconnected")).reason, "no answer to a ping");
		fake.deaf = false;
		notice("online");
		fake.publish("a", 2);
		await c.event("message", 2);
		assert.deepEqual([c.seqs("a"), c.kept.gap], [[1, 2], []]);
	});
});

for (const way of ["sse", "long_poll"])
	scene(`the machine goes offline: ${way} that says nothing for 2 s is begun anew, and nothing is lost`, async (fake, client) => {
		await inWindow(async (notice) => {
			const c = client({ transports: [way] });
			await c.event("connected");
			if (way === "long_poll") await fake.request((r) => r.query.get("timeout") !== "0");
			notice("offline");
			assert.equal((await c.event("disconnected")).reason, "offline");
			fake.publish("a", 1);
			await c.event("message");
			assert.deepEqual([c.seqs("a"), c.kept.gap], [[1], []]);
		});
	});

for (const event of ["visibilitychange", "pageshow"])
	scene(`${event}: a page that is seen again asks whether its connection lives, or tries at once`, async (fake, client) => {
		await inWindow(async (notice) => {
			const c = client({ pingTimeout: 2000, backoffMin: 600000, backoffMax: 600000 });
			await c.event("connected");
			notice(event);
			assert.deepEqual(await once(fake, "said"), ["ping"]);
			await fake.stop();
			await c.event("disconnected");
			await fake.start();
			notice("visibilitychange", "hidden");
			assert.equal(c.t.status, "connecting");
			notice(event);
			await c.event("connected", 2);
		});
	});

scene("a server that has asked for patience gets it, whatever the page does", async (fake, client) => {
	await inWindow(async (notice) => {
		const c = client();
		await c.event("connected");
		fake.end(1013, "full: try again later");
		await c.event("disconnected");
		const before = fake.requests.length;
		for (const event of ["online", "visibilitychange", "pageshow"]) notice(event);
		assert.equal(fake.requests.length, before);
		await c.event("connected", 2);
	});
});

eachWay("pause() ends the connection and resume() goes on where it was; topics may come and go meanwhile", async (fake, client) => {
	const c = client({ topics: ["a", "b"] });
	fake.publish("a", 1);
	await c.event("message");
	await c.t.ready();
	c.t.pause();
	assert.deepEqual([c.t.status, c.t.transport, c.kept.disconnected[0].reason], ["paused", null, "paused"]);
	const before = fake.requests.length;
	c.t.subscribe("c");
	c.t.unsubscribe("b");
	for (const topic of ["a", "b", "c"]) fake.publish(topic, 2);
	assert.ok(await c.t.send("get_health"));
	assert.equal(fake.requests.length, before + 1);
	c.t.resume();
	c.t.resume();
	await c.event("message", 3);
	assert.deepEqual([c.seqs("a"), c.seqs("b"), c.seqs("c"), c.kept.gap], [[1, 2], [], [1], []]);
});

/* ---- parts of a page */

eachWay("a topic's handlers get their own types, and the topic stays as long as somebody holds it", async (fake, client) => {
	const { t, event, kept } = client({ topics: [] });
	const got = [];
	const one = t.topic("a");
	one.on("x", (m) => got.push(["one x", m.seq]));
	one.on("gap", (g) => got.push(["gap", g.to]));
	const other = t.topic("a");
	other.on("*", (m) => got.push(["other", m.seq]));
	const off = one.on("y", () => got.push("never"));
	off();
	t.topic("b").on("x", () => got.push("not of b"));
	await t.ready();
	fake.publish("a", 1, { type: "x" });
	fake.publish("a", 2, { type: "y" });
	await event("message", 2);
	assert.deepEqual(got.splice(0), [["one x", 1], ["other", 1], ["other", 2]]);
	one.unsubscribe();
	one.unsubscribe();
	fake.publish("a", 3, { type: "x" });
	await event("message", 3);
	assert.deepEqual([got.splice(0), t.topics], [[["other", 3]], ["a", "b"]]);
	t.subscribe("a");
	other.unsubscribe();
	assert.deepEqual(t.topics, ["a", "b"]);
	t.unsubscribe("a");
	other.unsubscribe();
	assert.deepEqual([t.topics, kept.gap], [["b"], []]);
});

eachWay("a gap is told to who listens to its topic", async (fake, client) => {
	const c = client({ topics: ["b"] });
	const gaps = [];
	c.t.topic("a").on("gap", (g) => gaps.push(g));
	fake.publish("a", 1);
	await c.event("message");
	await fake.stop();
	for (let n = 2; n < 9; n++) fake.publish("a", n);
	fake.trim("a", 6);
	await fake.start();
	await c.event("message", 3);
	assert.deepEqual(gaps, [{ topic: "a", from: 2, to: 6 }]);
});

/* ---- what is kept, and who is there */

scene("history and presence are asked for by HTTP, of any topic", async (fake, client) => {
	const { t } = client({ topics: [], token: "t", types: ["x", "y"] });
	for (let n = 1; n <= 5; n++) fake.publish("a/b", n, { type: n % 2 ? "x" : "z" });
	const { epoch } = fake.topic("a/b");
	const all = await t.history("a/b");
	assert.deepEqual([all.messages.map((m) => m.seq), all.recovered, all.cursor], [[1, 3, 5], true, `${epoch}-5`]);
	const since = await t.topic("a/b").history({ since: `${epoch}-1`, limit: 2, types: ["z"] });
	assert.deepEqual([since.messages.map((m) => m.seq), since.cursor], [[2], `${epoch}-3`]);
	fake.present = { clients: 3, anonymous: 0, users: [{ user_id: 456, connections: 2, since: "" }] };
	assert.deepEqual(await t.presence("a/b"), { topic: "a/b", ...fake.present });
	assert.equal(fake.requests.at(-1).token, "t");
	fake.ways = { undefined: "busy" };
	await assert.rejects(client({ topics: [], sendTimeout: 500 }).t.history("a"), { code: "busy", status: 503 });
});

eachWay("device and presence are asked for; who comes and goes is told like any message", async (fake, client, way) => {
	const c = client({ device: "phone-1.a_b", presence: true });
	await c.event("connected");
	if (way === "long_poll") await fake.request((r) => r.query.get("timeout") !== "0");
	const { query } = fake.requests.at(-1);
	assert.deepEqual([query.get("device"), query.get("presence")], ["phone-1.a_b", "yes"]);
	const there = [];
	c.t.topic("a").on("join", (m) => there.push(m.data.user_id));
	fake.publish("a", { user_id: 7 }, { type: "join", ephemeral: true });
	await c.event("message");
	assert.deepEqual(there, [7]);
});

eachWay("persist: the next visit goes on where this one ended, of topics that were left, too; another user begins anew", async (fake, client) => {
	const storage = new Storage();
	for (const topic of ["a", "b"]) fake.publish(topic, 1);
	const first = client({ topics: ["a", "b"], storage, persist: "456" });
	await first.event("message", 2);
	await first.t.ready();
	first.t.unsubscribe("b");
	fake.publish("a", 2);
	await first.event("message", 3);
	first.t.close();
	for (const topic of ["a", "b"]) fake.publish(topic, 3);
	const second = client({ topics: ["a", "b"], storage, persist: "456" });
	await second.event("message", 2);
	assert.deepEqual([second.seqs("a"), second.seqs("b")], [[3], [2]]);
	const other = client({ topics: ["a"], storage, persist: "789" });
	await other.event("message", 3);
	assert.deepEqual(other.seqs("a"), [1, 2, 3]);
});

scene("persist: cursors are written after a while, and when the page is hidden", async (fake, client) => {
	await inWindow(async (notice) => {
		const storage = new Storage();
		const c = client({ storage, persist: true });
		fake.publish("a", 1);
		await c.event("message");
		notice("visibilitychange", "hidden");
		const kept = () => JSON.parse(storage.kept[`tidings ${fake.url} true`]);
		assert.deepEqual(kept(), { a: `${fake.topic("a").epoch}-1` });
		fake.publish("a", 2);
		await c.event("message", 2);
		while (kept().a !== `${fake.topic("a").epoch}-2`) await new Promise((done) => setTimeout(done, 50));
	});
});
