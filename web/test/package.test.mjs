/* What is published: small, and the same whichever way it is loaded. `npm run build` comes before. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import vm from "node:vm";
import { gzipSync } from "node:zlib";

const file = (name) => new URL(`../${name}`, import.meta.url);

for (const [name, kb] of [["dist/tidings.min.mjs", 7], ["dist/tidings.min.js", 7], ["dist/tidings-tabs.min.mjs", 10]])
	test(`${name} takes less than ${kb} KB gzipped`, (t) => {
		const bytes = gzipSync(readFileSync(file(name)), { level: 9 }).length;
		t.diagnostic(`${bytes} bytes`);
		assert.ok(bytes < kb * 1024, `${bytes} bytes`);
	});

test("the plain script leaves one global, Tidings", () => {
	const page = vm.createContext({ URL, AbortController, TextDecoder, setTimeout, clearTimeout });
	const before = Object.keys(page);
	vm.runInContext(readFileSync(file("dist/tidings.min.js"), "utf8"), page);
	assert.deepEqual(Object.keys(page).filter((k) => !before.includes(k)), ["Tidings"]);
	const t = new page.Tidings("https://push.example/", { topics: ["a"] });
	assert.deepEqual([[...t.topics], t.transport, t.closed], [["a"], null, false]);
	t.close();
});

test("the package's module is the one that is served, and needs no other package", async () => {
	const { Tidings, default: same } = await import("tidings-client");
	assert.equal(Tidings, same);
	assert.equal((await import("../tidings.js")).Tidings, Tidings);
	assert.ok((await import("tidings-client/tabs")).Tidings.prototype instanceof Tidings);
	assert.equal(JSON.parse(readFileSync(file("package.json"))).dependencies, undefined);
});

test("tidings.d.ts names what is there, and nothing else", async () => {
	const { Tidings } = await import("../tidings.js");
	const named = (name) => {
		const [body] = readFileSync(file("tidings.d.ts"), "utf8").split(`declare class ${name}<`)[1].split("\n}");
		return new Set([...body.matchAll(/^ {2}(?:readonly )?(\w+)[(<:]/gm)].map((m) => m[1]));
	};
	const t = new Tidings("http://x");
	for (const [name, one] of Object.entries({ Tidings: t, Topic: t.topic("a") })) {
		const there = [...Object.getOwnPropertyNames(Object.getPrototypeOf(one)), ...Object.keys(one)].filter((n) => name !== "Topic" || n !== "constructor");
		assert.deepEqual([...named(name)].sort(), there.sort());
	}
	t.close();
});
