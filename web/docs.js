/* docs - the page /docs: draws what openapi.json and asyncapi.json say below what docs.html says, and searches all of it. */
import { code, el, fields, load, paragraphs, pretty, prose, resolve, table, words } from "./docs-schema.js";
import { form } from "./docs-try.js";

const byId = (id) => document.getElementById(id);
const METHODS = ["get", "post", "delete"];
const STREAMS = /^\/sse/;

const isWebSocket = (operation) => "101" in operation.responses;
const badge = (operation, method) => (isWebSocket(operation) ? el("span", { class: "method ws" }, "WS") : el("span", { class: `method ${method}` }, method.toUpperCase()));
const exampleOf = ({ example, examples } = {}) => (example !== undefined ? [example] : Object.values(examples ?? {}).map((e) => e.value));

/* ---- requests */

function parameterRows(operation) {
	return (operation.parameters ?? []).map(resolve).map((p) => [
		[el("code", {}, p.name), p.required ? "" : el("span", { class: "optional" }, " optional")],
		[`${p.in}: ${words(p.schema)}`, el("div", { class: "about" }, prose(p.description ?? resolve(p.schema).description))],
	]);
}

function answer(operation, status, reply) {
	const { description, headers = {}, content = {} } = resolve(reply);
	const number = status === "default" ? "else" : status;
	const label = `${operation.operationId} ${number}`;
	const named = Object.entries(headers).filter(([, h]) => resolve(h).required).map(([name]) => name);
	const bodies = Object.entries(content).map(([type, c]) => [
		exampleOf(c).map((e) => code(typeof e === "string" ? e : pretty(e), `Example of ${label}`)),
		type === "application/json" && fields(c.schema, `Members of ${label}`),
	]);
	return el("details", { class: "answer", open: status === "200" }, el("summary", {}, el("code", { class: `status s${number[0]}` }, number), " ", prose(description)),
		named.length ? el("p", {}, "With the header ", named.flatMap((name, n) => [n ? ", " : "", el("code", {}, name)]), ".") : null, bodies.flat(2).filter(Boolean));
}

function tryIt(method, path, operation) {
	if (isWebSocket(operation) || STREAMS.test(path)) return el("p", {}, "Try it on ", el("a", { href: "/" }, "the live page"), ".");
	const examples = exampleOf(operation.requestBody?.content["application/json"]);
	const fold = el("details", { class: "fold" }, el("summary", {}, "Try it"));
	// Made when it is wanted: a page has thirty of them.
	fold.addEventListener("toggle", () => fold.children.length > 1 || fold.append(form(method.toUpperCase(), path, operation, examples)), { once: true });
	return fold;
}

function operationBlock(path, method, operation) {
	const body = operation.requestBody?.content["application/json"];
	const rows = parameterRows(operation);
	const open = operation.security && (operation.security.length === 0 || operation.security.some((s) => Object.keys(s).length === 0));
	const block = el("details", { class: "entry", id: operation.operationId },
		el("summary", {}, badge(operation, method), el("code", {}, path), el("span", { class: "words" }, operation.summary)),
		paragraphs(operation.description),
		open ? el("p", { class: "about" }, operation.security.length ? "A token is not always needed." : "It needs no token.") : null,
		rows.length ? [el("h3", {}, "Parameters"), table(`Parameters of ${operation.operationId}`, ["Name", "Is"], rows)] : null,
		body ? [el("h3", {}, "Body"), exampleOf(body).map((e) => code(pretty(e), `Example of the body of ${operation.operationId}`)), fields(body.schema, `Members of the body of ${operation.operationId}`)] : null,
		el("h3", {}, "Answers"), Object.entries(operation.responses).filter(([status]) => status !== "405" && status !== "default").map(([status, reply]) => answer(operation, status, reply)),
		tryIt(method, path, operation));
	return block;
}

function operations(openapi) {
	const all = Object.entries(openapi.paths).flatMap(([path, item]) => METHODS.filter((m) => item[m]).map((method) => ({ path, method, operation: item[method] })));
	return openapi.tags.map((tag) => el("section", {}, el("h2", { id: `tag-${tag.name.toLowerCase().replaceAll(" ", "-")}` }, tag.name), paragraphs(tag.description),
		all.filter(({ operation }) => operation.tags.includes(tag.name)).map(({ path, method, operation }) => operationBlock(path, method, operation))));
}

function errors(openapi) {
	const rows = Object.values(openapi.components.responses).map((r) => [Object.values(r.content)[0].example.status, r])
		.sort(([a, x], [b, y]) => Boolean(x["x-statuses"]) - Boolean(y["x-statuses"]) || a - b)
		.map(([status, r]) => [r["x-statuses"] ? "others" : String(status), [prose(r.description), code(pretty(exampleOf(Object.values(r.content)[0])[0]), `Example of ${status}`)]]);
	return el("section", {}, el("h2", { id: "errors" }, "Errors"), el("p", {}, "Every error is ", el("code", {}, "application/problem+json"), " (RFC 9457); a failed validation lists the fields."),
		table("Errors", ["Status", "When"], rows), fields({ $ref: "#/components/schemas/Problem" }, "Members of an error"), paragraphs(openapi.info.description.split("\n\n").slice(1).join("\n\n")));
}

/* ---- messages */

const nameOf = ({ $ref }) => $ref.split("/").at(-1);
const messageLink = (asyncapi, name) => el("a", { href: `#message-${name}` }, el("code", {}, asyncapi.components.messages[name].name));
const links = (asyncapi, names) => names.flatMap((name, n) => [n ? ", " : "", messageLink(asyncapi, name)]);

function channelBlock(asyncapi, key, channel) {
	const of = Object.values(asyncapi.operations).filter((o) => nameOf(o.channel) === key);
	const sends = of.filter((o) => o.action === "send").flatMap((o) => o.messages.map(nameOf));
	const hears = of.filter((o) => o.action === "receive");
	return [el("h3", { id: `channel-${key}` }, channel.title, " ", el("code", {}, channel.address)), el("p", {}, prose(channel.description)),
		el("p", {}, "The server says: ", links(asyncapi, sends), "."),
		hears.length ? table(`What a client says: ${channel.title}`, ["Say", "and get"], hears.map((o) => [links(asyncapi, o.messages.map(nameOf)), o.reply ? links(asyncapi, o.reply.messages.map(nameOf)) : "nothing"])) : null];
}

function messageBlock(asyncapi, key, message) {
	const answers = Object.values(asyncapi.operations).filter((o) => o.reply && o.messages.some((m) => nameOf(m) === key)).flatMap((o) => o.reply.messages.map(nameOf));
	const said = Object.values(asyncapi.operations).some((o) => o.action === "receive" && o.messages.some((m) => nameOf(m) === key));
	return el("details", { class: "entry", id: `message-${key}` },
		el("summary", {}, el("span", { class: `method ${said ? "post" : "ws"}` }, said ? "SAY" : "HEAR"), el("code", {}, message.name), el("span", { class: "words" }, prose(message.summary))),
		message.summary?.length < resolve(message.payload).description?.length ? paragraphs(resolve(message.payload).description) : null,
		message.examples.map((e) => code(pretty(e.payload), `Example of ${key}`)),
		fields(message.payload, `Members of ${key}`),
		answers.length ? el("p", {}, "It is answered by ", links(asyncapi, [...new Set(answers)]), ".") : null);
}

function messages(asyncapi) {
	return el("section", {}, el("h2", { id: "messages" }, "Messages"), paragraphs(asyncapi.info.description),
		Object.entries(asyncapi.channels).map(([key, channel]) => channelBlock(asyncapi, key, channel)).flat(),
		el("h3", { id: "all-messages" }, "All messages"), Object.entries(asyncapi.components.messages).map(([key, m]) => messageBlock(asyncapi, key, m)));
}

const closeCodes = (asyncapi) => el("section", {}, el("h2", { id: "close-codes" }, "Close codes"), table("Close codes", ["Code", "When"], Object.entries(asyncapi["x-close-codes"]).map(([c, when]) => [c, prose(when)])));

/* ---- the page */

function addContents(reference) {
	byId("references-title").hidden = false;
	for (const title of reference.querySelectorAll("h2")) byId("references").append(el("li", {}, el("a", { href: `#${title.id}` }, title.textContent)));
}

/* The routes of the table lead to what is told of them. */
function linkRoutes(openapi) {
	for (const cell of document.querySelectorAll("#routes code")) {
		const [, method = "get", path] = /^(?:([A-Z]+) )?(\/\S*)/.exec(cell.textContent) ?? [];
		const operation = openapi.paths[path]?.[method.toLowerCase()];
		if (operation) cell.replaceWith(el("a", { href: `#${operation.operationId}` }, el("code", {}, cell.textContent)));
	}
}

/* A link to what is folded unfolds it. */
function reveal() {
	const at = byId(decodeURIComponent(location.hash.slice(1)));
	if (at instanceof HTMLDetailsElement) at.open = true;
	at?.scrollIntoView();
}

function search() {
	const input = byId("find");
	const entries = [...document.querySelectorAll(".guide, .entry")];
	const texts = new Map(entries.map((e) => [e, e.textContent.toLowerCase()]));
	const run = () => {
		const sought = input.value.toLowerCase().split(/\s+/).filter(Boolean);
		// Where it is in a name or title, those alone.
		const hits = entries.filter((e) => sought.every((s) => texts.get(e).includes(s)));
		const named = hits.filter((e) => sought.every((s) => e.firstElementChild.textContent.toLowerCase().includes(s)));
		const shown = new Set(named.length ? named : hits);
		document.body.classList.toggle("searching", sought.length > 0);
		for (const e of entries) e.classList.toggle("hit", sought.length > 0 && shown.has(e));
		for (const s of byId("reference").children) s.classList.toggle("has-hits", Boolean(s.querySelector(".hit")));
		byId("hits").textContent = sought.length === 0 ? "" : shown.size === 1 ? "1 hit" : `${shown.size} hits`;
		return [...shown];
	};
	input.addEventListener("input", run);
	byId("search").addEventListener("submit", (event) => {
		event.preventDefault();
		const [first] = input.value.trim() ? run() : [];
		if (!first) return;
		if (first instanceof HTMLDetailsElement) first.open = true;
		first.firstElementChild.focus();
		first.scrollIntoView({ block: "nearest" });
	});
	input.addEventListener("keydown", (event) => {
		if (event.key !== "Escape") return;
		input.value = "";
		run();
	});
	document.addEventListener("keydown", (event) => {
		if (event.key !== "/" || event.target.closest("input, textarea")) return;
		event.preventDefault();
		input.focus();
	});
	byId("search").hidden = false;
	return () => {
		if (!input.value) return;
		input.value = "";
		run();
	};
}

async function start() {
	const reference = byId("reference");
	try {
		const { openapi, asyncapi } = await load();
		reference.append(...operations(openapi), messages(asyncapi), closeCodes(asyncapi), errors(openapi));
		linkRoutes(openapi);
	} catch (e) {
		reference.append(el("p", { class: "notice" }, `What each route takes and answers cannot be shown: ${e.message}`));
		return;
	}
	addContents(reference);
	const endSearch = search();
	// Where a link leads must be shown.
	addEventListener("hashchange", () => {
		endSearch();
		reveal();
	});
	reveal();
}

start();
