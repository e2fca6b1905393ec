/*
 * drive - a client that a system test drives, in this Node or in a real browser, behind a network of its own.
 *
 *	node drive.mjs node|chromium PORT [BROWSER]	PORT: the web server's
 *
 * Commands are lines of JSON on stdin, done one after the other; each is answered by {"did": its name, "result": …} on stdout, where
 * also the client's events are, as they come: {"event": name, "detail": …}. The end of stdin ends it all.
 *
 *	{"do": "network", "mode": …}		network.mjs tells the modes
 *	{"do": "asked"}				the transports' paths that were asked for since the last time
 *	{"do": "new", "tokens": {"first": …, "refused": …}, "options": …, ["url": …]}
 *						a new client; the last one is closed. The event "token" says when one is asked for
 *	{"do": "subscribe"|"unsubscribe", "topic": …}
 *	{"do": "state"}				transport, topics, cursors
 *	{"do": "send", "type": …, "data": …}	the answer; or {"error": {code, status, errors}}
 *	{"do": "ack", "message": …}
 *	{"do": "close"}
 *	{"do": "pause"|"resume"}
 *	{"do": "history"|"presence", "topic": …}
 *	{"do": "go", "path": …}			in a browser: another page, or the same anew; /elsewhere is one without a policy
 *	{"do": "tabs", "count": …}		in a browser: so many tabs. Each command that has "tab": 0, 1 … is for that one, and so is each event
 *	{"do": "show", "watch": …, "scripts": {id: …}}	in a browser: an element for each script, and `window.watch`
 *	{"do": "text", "at": selector}		in a browser: what it says
 *	{"do": "shut", "tab": …, "how": "close"|"crash"}	in a browser: that tab is gone
 */
import { createInterface } from "node:readline";
import { Network } from "./network.mjs";

const say = (m) => process.stdout.write(`${JSON.stringify(m)}\n`);

/* These two run here, or in the page: so they know nothing but their argument, and what is global. */
async function begin({ module, url, tokens, options }) {
	const { Tidings } = await import(module);
	const tell = (event, detail) => globalThis.tell({ event, detail });
	const token = (reason) => {
		tell("token", reason);
		return tokens[reason];
	};
	globalThis.driven?.close();
	globalThis.driven = new Tidings(url, { ...options, ...globalThis.more, token });
	for (const event of ["message", "connected", "disconnected", "status", "gap", "error"])
		globalThis.driven.on(event, (detail) => tell(event, detail));
}

function act({ do: what, topic, type, data, message }) {
	const { transport, topics, cursors } = globalThis.driven;
	if (what === "state") return { transport, topics, cursors };
	if (what === "send") return globalThis.driven.send(type, data).catch(({ code, status, errors }) => ({ error: { code, status, errors } }));
	if (what === "ack") return globalThis.driven.ack(message);
	if (what === "pause" || what === "resume") return void globalThis.driven[what]();
	if (what === "history" || what === "presence") return globalThis.driven[what](topic);
	globalThis.driven[what](topic);
}

async function inNode(url) {
	const { default: WebSocket } = await import("ws");
	Object.assign(globalThis, { tell: say, more: { WebSocket } });
	const module = new URL("../tidings.js", import.meta.url).href;
	return {
		begin: (command) => begin({ ...command, module, url }),
		act,
		end: () => globalThis.driven?.close(),
	};
}

async function inBrowser(url, executablePath) {
	const { chromium } = await import("playwright-core");
	const browser = await chromium.launch({ executablePath, args: process.getuid() === 0 ? ["--no-sandbox"] : [] });
	const context = await browser.newContext();
	const pages = [];
	const open = async () => {
		const tab = pages.length;
		const page = await context.newPage();
		pages.push(page);
		page.on("pageerror", (e) => say({ event: "pageerror", detail: e.message, tab }));
		await page.exposeFunction("tell", (m) => say({ ...m, tab }));
		await page.goto(`${url}/docs`);
	};
	await open();
	const at = ({ tab = 0 }) => pages[tab];
	return {
		begin: (command) => at(command).evaluate(begin, { url: "", module: "/tidings.js", ...command }),
		act: (command) => at(command).evaluate(act, command),
		go: (command) => at(command).goto(url + command.path),
		tabs: async ({ count }) => {
			while (pages.length < count) await open();
		},
		text: ({ at: selector }) => pages[0].textContent(selector),
		show: ({ watch, scripts }) => pages[0].evaluate((all) => {
			globalThis.watch = all.watch;
			for (const [id, text] of Object.entries(all.scripts)) {
				document.body.append(Object.assign(document.createElement("div"), { id }), Object.assign(document.createElement("script"), { text }));
			}
		}, { watch, scripts }),
		shut: (command) => (command.how === "close" ? at(command).close() : at(command).goto("chrome://crash").catch(() => {})),
		end: () => browser.close(),
	};
}

/* What a command gives. */
async function done(command, client, network) {
	if (command.do === "network") network.mode = command.mode;
	else if (command.do === "asked") return network.asked.splice(0);
	else if (command.do === "new") await client.begin(command);
	else if (["go", "tabs", "shut", "show"].includes(command.do)) await client[command.do](command);
	else if (command.do === "text") return client.text(command);
	else return client.act(command);
}

const [, , kind, port, browser] = process.argv;
const network = await Network.start(Number(port));
const url = `http://127.0.0.1:${network.port}`;
const client = kind === "node" ? await inNode(url) : await inBrowser(url, browser);
say({ did: "start", result: url });
for await (const line of createInterface({ input: process.stdin })) {
	const command = JSON.parse(line);
	say({ did: command.do, result: (await done(command, client, network)) ?? null });
}
await client.end();
process.exit(0);
