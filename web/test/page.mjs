/*
 * page - the live page in a real browser, behind a network of its own; a system test drives it.
 *
 *	node page.mjs PORT BROWSER	PORT: the web server's
 *
 * Commands are lines of JSON on stdin, done one after the other; each is answered by {"did": its name, "result": …} or
 * {"did": …, "error": …} on stdout, where what the browser finds wrong is too: {"event": "trouble", "detail": …}. The end of stdin
 * ends it all.
 *
 *	{"do": "network", "mode": …}			network.mjs tells the modes
 *	{"do": "open", "path": …, ["width", "height", "scheme", "scripts": false, "motion": "no-preference"]}	in a new window; the last one is closed
 *		with "origin", "user", "password": a page of an application elsewhere, which wants to be signed in to (HTTP Basic)
 *	{"do": "on", "at": selector, "call": …, "with": […]}	a method of Playwright's Locator
 *	{"do": "press", "keys": […]}			one after the other, wherever the focus is
 *	{"do": "evaluate", "script": …}			an expression, in the page
 *	{"do": "axe"}					what axe finds that is serious or critical
 *	{"do": "shoot", "to": file}
 */
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { Network } from "./network.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const say = (m) => process.stdout.write(`${JSON.stringify(m)}\n`);

const [, , port, executablePath] = process.argv;
const network = await Network.start(Number(port));
const url = `http://127.0.0.1:${network.port}`;
const browser = await chromium.launch({ executablePath, args: process.getuid() === 0 ? ["--no-sandbox"] : [] });
let page;

async function open({ path = "/", width = 1280, height = 900, scheme = "light", scripts = true, motion = "reduce", origin = url, user, password }) {
	await page?.context().close();
	const context = await browser.newContext({
		viewport: { width, height }, colorScheme: scheme, javaScriptEnabled: scripts, reducedMotion: motion, timezoneId: "UTC", locale: "en-GB",
		httpCredentials: user && { username: user, password, origin },
	});
	context.setDefaultTimeout(20000);
	page = await context.newPage();
	page.on("pageerror", (e) => say({ event: "trouble", detail: e.message }));
	page.on("console", (m) => m.type() === "error" && say({ event: "trouble", detail: m.text() }));
	page.on("request", (r) => [url, origin].some((o) => r.url().startsWith(o)) || say({ event: "trouble", detail: `asks elsewhere: ${r.url()}` }));
	for (const what of ["request", "websocket"]) page.on(what, (r) => say({ event: "address", detail: r.url() }));
	await page.goto(origin + path);
}

async function findings() {
	await page.evaluate(axe);
	const { violations } = await page.evaluate(() => globalThis.axe.run());
	const bad = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
	return bad.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((n) => `${n.target} ${n.any[0]?.message ?? ""}`).join(" | ")}`);
}

const DO = {
	open,
	axe: findings,
	network: ({ mode }) => void (network.mode = mode),
	on: ({ at, call, with: with_ = [] }) => page.locator(at)[call](...with_),
	evaluate: ({ script }) => page.evaluate(script),
	shoot: async ({ to }) => {
		await page.mouse.move(0, 0);
		await page.screenshot({ path: to });
	},
	press: async ({ keys }) => {
		for (const key of keys) await page.keyboard.press(key);
	},
};

say({ did: "start", result: url });
for await (const line of createInterface({ input: process.stdin })) {
	const command = JSON.parse(line);
	try {
		say({ did: command.do, result: (await DO[command.do](command)) ?? null });
	} catch (e) {
		say({ did: command.do, error: e.message });
	}
}
await browser.close();
process.exit(0);
