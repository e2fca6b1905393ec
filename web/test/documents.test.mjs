/*
 * openapi.json and asyncapi.json: whether they are what they say they are. What goes over the wire, and the examples in asyncapi.json, are held
 * against them by tests/system.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { createConfig, lint } from "@redocly/openapi-core";

const path = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const read = (name) => JSON.parse(readFileSync(path(name), "utf8"));

/* What Redocly finds in it. */
async function findings(ref) {
	const config = await createConfig({
		extends: ["recommended"],
		rules: { "no-unresolved-refs": "error", "no-invalid-media-type-examples": "error", "no-invalid-parameter-examples": "error" },
	});
	const problems = await lint({ ref, config });
	return problems.map((p) => `${p.ruleId}: ${p.message} at ${p.location[0]?.pointer}`);
}

test("openapi.json is OpenAPI 3.1 in which Redocly's recommended rules find nothing, examples included", async () => {
	assert.equal(read("openapi.json").openapi.slice(0, 4), "3.1.");
	assert.deepEqual(await findings(path("openapi.json")), []);
});

test("asyncapi.json is AsyncAPI 3.0 in which Redocly's recommended rules find nothing", async () => {
	assert.equal(read("asyncapi.json").asyncapi, "3.0.0");
	assert.deepEqual(await findings(path("asyncapi.json")), []);
});
