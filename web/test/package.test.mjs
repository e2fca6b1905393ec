/* What is published: small, and the same whichever way it is loaded. `npm run build` comes before. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import vm from "node:vm";
import { gzipSync } from "node:zlib";

const file = (name) => new URL(`../${name}`, import.meta.url);
const SIZE_MAX = 6 * 1024;

for (const name of ["dist/tidings.min.mjs", "dist/tidings.min.js"])
	test(`${name} takes less than 6 KB gzipped`, (t) => {
		const bytes = gzipSync(readFileSync(file(name)), { level: 9 }).length;
		t.diagnostic(`${bytes} bytes`);
		assert.ok(bytes < SIZE_MAX, `${bytes} bytes`);
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
	assert.equal(JSON.parse(readFileSync(file("package.json"))).dependencies, undefined);
});

test("tidings.d.ts names what is there, and nothing else", async () => {
	const { Tidings } = await import("../tidings.js");
	const body = readFileSync(file("tidings.d.ts"), "utf8").split("declare class")[1];
	const named = [...body.matchAll(/^ {2}(?:readonly )?(\w+)[(<:]/gm)].map((m) => m[1]);
	const there = [...Object.getOwnPropertyNames(Tidings.prototype), ...Object.keys(new Tidings("http://x"))];
	assert.deepEqual(named.sort(), there.sort());
});
