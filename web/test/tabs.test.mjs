/* Tabs that share a connection, all in one process, against a server that does what it is told. With real tabs: tests/system/92_client.py. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { Tidings } from "../tidings-tabs.js";
import { heard, Storage } from "./heard.mjs";
import { Locks } from "./locks.mjs";
import { ALL, scene, upTo } from "./scene.mjs";

const token = (sub) => `h.${Buffer.from(JSON.stringify({ sub })).toString("base64url")}.s`;

/* A scene with tabs: tab() opens one; those that are left are closed after it. */
function tabbed(sentence, run) {
	scene(sentence, async (fake) => {
		const locks = new Locks();
		Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true, writable: true });
		const tabs = [];
		const tab = (options = {}) => {
			const c = heard(fake.url, { topics: ["a"], token: token("456"), ...options }, Tidings);
			tabs.push(c);
			return c;
		};
		try {
			await run(fake, tab, locks);
		} finally {
			tabs.forEach((c) => c.t.close());
			delete globalThis.navigator;
		}
	});
}

const connections = (fake) => fake.requests.filter((r) => r.path !== "/ws/history").length;

for (const way of ALL)
	tabbed(`${way}: ten tabs have one connection, and each gets every message of its own topics, once, in order`, async (fake, tab) => {
		const first = tab({ transports: [way] });
		await first.event("connected");
		const tabs = [first, ...upTo(9).map((n) => tab({ transports: [way], topics: n % 2 ? ["a"] : ["a", "b"] }))];
		await Promise.all(tabs.map((c) => c.event("connected")));
		while (new Set(fake.transports).size !== 1 || fake.transports.length !== 1) await new Promise(setImmediate);
		for (let n = 1; n <= 20; n++) fake.publish("a", n), fake.publish("b", n);
		await Promise.all(tabs.map((c) => c.event("message", c.t.topics.length * 20)));
		for (const c of tabs) for (const topic of c.t.topics) assert.deepEqual([c.seqs(topic), c.kept.gap, c.kept.error], [upTo(20), [], []]);
		assert.ok(tabs.every((c) => c.t.cursors.a === `${fake.topic("a").epoch}-20`));
	});

for (const how of ["is closed", "loses its lock"])
	tabbed(`the tab that leads ${how} in the middle: another one takes over, nothing is lost or comes twice`, async (fake, tab, locks) => {
		const leader = tab();
		await leader.event("connected");
		const others = upTo(4).map(() => tab());
		await Promise.all(others.map((c) => c.event("connected")));
		let n = 0;
		const publishing = setInterval(() => fake.publish("a", ++n), 1);
		await others[0].event("message", 20);
		const kept = leader.seqs("a");
		if (how === "is closed") leader.t.close();
		else locks.release(locks.names.find((name) => name.endsWith(" 456")));
		await Promise.all(others.map((c) => c.event("connected", 2)));
		await others[0].event("message", 200);
		clearInterval(publishing);
		fake.publish("a", ++n);
		await Promise.all(others.map((c) => c.event("message", n)));
		assert.ok(kept.length >= 20);
		for (const c of others) assert.deepEqual([c.seqs("a"), c.kept.gap, c.kept.error], [upTo(n), [], []]);
	});

tabbed("a tab that comes back after the others went on gets what is after its cursor, from the log or from the history; a gap is told", async (fake, tab) => {
	const leader = tab();
	await leader.event("connected");
	fake.publish("a", 1);
	await leader.event("message");
	const { epoch } = fake.topic("a");
	for (let n = 2; n <= 250; n++) fake.publish("a", n);
	await leader.event("message", 250);
	const near = tab({ cursors: { a: `${epoch}-240` } });
	await near.event("message", 10);
	assert.equal(fake.requests.filter((r) => r.path === "/ws/history").length, 0);
	const far = tab({ cursors: { a: `${epoch}-1` } });
	await far.event("message", 249);
	fake.trim("a", 20);
	const farther = tab({ cursors: { a: `${epoch}-1` } });
	await farther.event("message", 230);
	assert.deepEqual([near.seqs("a"), far.seqs("a"), farther.seqs("a")], [upTo(250, 241), upTo(250, 2), upTo(250, 21)]);
	assert.deepEqual([near.kept.gap, far.kept.gap, farther.kept.gap], [[], [], [{ topic: "a", from: 2, to: 20 }]]);
	fake.publish("a", 251);
	await Promise.all([leader.event("message", 251), far.event("message", 250)]);
	const anew = tab();
	await anew.event("connected");
	const rewound = tab({ rewind: 3 });
	await rewound.event("connected");
	fake.publish("a", 252);
	await anew.event("message");
	assert.deepEqual(anew.seqs("a"), [252]);
});

tabbed("the server goes and comes back: each tab has all, and says so in its status", async (fake, tab) => {
	const tabs = [tab(), tab(), tab()];
	await Promise.all(tabs.map((c) => c.t.ready()));
	fake.publish("a", 1);
	await Promise.all(tabs.map((c) => c.event("message")));
	await fake.stop();
	await Promise.all(tabs.map((c) => c.event("disconnected")));
	for (let n = 2; n <= 5; n++) fake.publish("a", n);
	await fake.start();
	await Promise.all(tabs.map((c) => c.event("message", 5)));
	for (const c of tabs) assert.deepEqual([c.seqs("a"), c.kept.gap, c.kept.status.slice(0, 3)], [upTo(5), [], ["connected", "connecting", "connected"]]);
});

tabbed("a topic that is trimmed while the server was away is a gap in each tab", async (fake, tab) => {
	const tabs = [tab(), tab()];
	fake.publish("a", 1);
	await Promise.all(tabs.map((c) => c.t.ready()));
	for (let n = 2; n <= 3; n++) fake.publish("a", n);
	await Promise.all(tabs.map((c) => c.event("message", c.seqs("a")[0] === 1 ? 3 : 2)));
	await fake.stop();
	for (let n = 4; n <= 9; n++) fake.publish("a", n);
	fake.trim("a", 6);
	await fake.start();
	for (const c of tabs) {
		while (c.seqs("a").at(-1) !== 9) await c.event("message", c.kept.message.length + 1);
		assert.deepEqual([c.kept.gap, c.seqs("a").slice(-4)], [[{ topic: "a", from: 4, to: 6 }], [3, 7, 8, 9]]);
	}
});

tabbed("topics come and go in each tab; what no tab wants is let go", async (fake, tab) => {
	const one = tab();
	const two = tab({ topics: ["b"] });
	await Promise.all([one.t.ready(), two.t.ready()]);
	two.t.subscribe("c");
	await two.event("connected", two.kept.connected.length + 1);
	for (const topic of ["a", "b", "c"]) fake.publish(topic, 1);
	await Promise.all([one.event("message"), two.event("message", 2)]);
	const wanted = new Set(["b", "c"]);
	const letGo = new Promise((done) => fake.on("said", (m) => m.includes("unsubscribe") && wanted.delete(JSON.parse(m).subscription) && !wanted.size && done()));
	two.t.close();
	await letGo;
	fake.publish("a", 2);
	await one.event("message", 2);
	assert.deepEqual([one.seqs("a"), two.seqs("b"), two.seqs("c"), one.kept.gap], [[1, 2], [1], [1], []]);
});

tabbed("tabs of two users share nothing", async (fake, tab) => {
	const [one, two] = [tab(), tab({ token: token("789") })];
	await Promise.all([one.event("connected"), two.event("connected")]);
	assert.deepEqual(new Set(fake.requests.map((r) => r.token)), new Set([token("456"), token("789")]));
	assert.equal(fake.transports.length, 2);
});

tabbed("a topic that is not allowed is dropped in each tab that wants it; the others go on", async (fake, tab) => {
	fake.forbidden = ["b"];
	const tabs = [tab({ topics: ["a", "b"] }), tab({ topics: ["b", "a"] }), tab()];
	await Promise.all(tabs.map((c) => c.t.ready()));
	await Promise.all(tabs.slice(0, 2).map((c) => c.event("error")));
	fake.publish("a", 1);
	await Promise.all(tabs.map((c) => c.event("message")));
	assert.deepEqual(tabs.map((c) => [c.t.topics, c.kept.error.map((e) => [e.code, e.topic])]),
		[[["a"], [["forbidden", "b"]]], [["a"], [["forbidden", "b"]]], [["a"], []]]);
});

tabbed("who signs out ends each tab, one after the other", async (fake, tab) => {
	fake.tokens = [token("456")];
	let signedIn = true;
	const options = { token: async () => { if (signedIn) return token("456"); throw new Tidings.SignedOut("bye"); } };
	const tabs = [tab(options), tab(options), tab(options)];
	await Promise.all(tabs.map((c) => c.t.ready()));
	signedIn = false;
	fake.tokens = [];
	fake.end(1008, "token expired");
	await Promise.all(tabs.map((c) => c.event("error")));
	assert.deepEqual(tabs.map((c) => [c.t.status, c.kept.error[0].code]), Array(3).fill(["signed_out", "signed_out"]));
});

tabbed("a page without locks has a connection of its own", async (fake, tab) => {
	globalThis.navigator = {};
	const [one, two] = [tab({ transports: ["long_poll"] }), tab({ storage: new Storage() })];
	assert.deepEqual([(await one.event("connected")).transport, (await two.event("connected")).transport], ["long_poll", "websocket"]);
	assert.ok(connections(fake) >= 2);
	fake.publish("a", 1);
	await Promise.all([one.event("message"), two.event("message")]);
	two.t.close();
	await once(fake, "left");
});
