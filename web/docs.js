/* docs - the page /docs: draws what openapi.json and asyncapi.json say below what docs.html says, and searches all of it. */
import { code, el, fields, load, paragraphs, pretty, prose, resolve, table, words } from "./docs-schema.js";
import { form } from "./docs-try.js";

const byId = (id) => document.getElementById(id);
const STREAMS = /^\/sse/;

const isWebSocket = (operation) => "101" in operation.responses;
const badge = (name, className) => el("span", { class: `method ${className}` }, name);
const title = (id, words) => el("h2", { id }, words);
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
	const label = `${operation.operationId} ${status}`;
	const named = Object.entries(headers).filter(([, h]) => resolve(h).required).map(([name]) => name);
	const bodies = Object.entries(content).map(([type, c]) => [
		exampleOf(c).map((e) => code(typeof e === "string" ? e : pretty(e), `Example of ${label}`)),
		type === "application/json" ? fields(c.schema, `Members of ${label}`) : null,
	]);
	return el("details", { class: "answer", open: status === "200" },
		el("summary", {}, el("code", { class: `status s${status[0]}` }, status), " ", prose(description)),
		named.length ? el("p", {}, "With the header ", named.flatMap((name, n) => [n ? ", " : "", el("code", {}, name)]), ".") : null,
		bodies);
}

function tryIt(method, path, operation) {
	if (isWebSocket(operation) || STREAMS.test(path)) return el("p", {}, "Try it on ", el("a", { href: "/" }, "the live page"), ".");
	const examples = exampleOf(operation.requestBody?.content["application/json"]);
	const fold = el("details", { class: "fold" }, el("summary", {}, "Try it"));
	// Made when it is wanted: a page has thirty of them.
	fold.addEventListener("toggle", () => fold.children.length > 1 || fold.append(form(method.toUpperCase(), path, operation, examples)), { once: true });
	return fold;
}

/* What is the same for all routes is told once, under Errors. */
const EVERYWHERE = ["405", "default"];

function operationBlock(path, method, operation) {
	const id = operation.operationId;
	const body = operation.requestBody?.content["application/json"];
	const rows = parameterRows(operation);
	const { security } = operation;
	const needs = security?.length === 0 ? "It needs no token." : security?.some((s) => !Object.keys(s).length) ? "A token is not always needed." : "";
	return el("details", { class: "entry", id },
		el("summary", {}, isWebSocket(operation) ? badge("WS", "ws") : badge(method.toUpperCase(), method), el("code", {}, path),
			el("span", { class: "words" }, operation.summary)),
		paragraphs(operation.description),
		needs ? el("p", { class: "about" }, needs) : null,
		rows.length ? [el("h3", {}, "Parameters"), table(`Parameters of ${id}`, ["Name", "Is"], rows)] : null,
		body ? el("h3", {}, "Body") : null,
		exampleOf(body).map((e) => code(pretty(e), `Example of the body of ${id}`)),
		body ? fields(body.schema, `Members of the body of ${id}`) : null,
		el("h3", {}, "Answers"),
		Object.entries(operation.responses).filter(([status]) => !EVERYWHERE.includes(status)).map(([status, reply]) => answer(operation, status, reply)),
		tryIt(method, path, operation));
}

function operations({ paths, tags }) {
	const all = Object.entries(paths).flatMap(([path, item]) => Object.entries(item).map(([method, operation]) => ({ path, method, operation })));
	return tags.map(({ name, description }) => el("section", {},
		title(`tag-${name.toLowerCase().replaceAll(" ", "-")}`, name),
		paragraphs(description),
		all.filter(({ operation }) => operation.tags.includes(name)).map(({ path, method, operation }) => operationBlock(path, method, operation))));
}

function errors({ components, info }) {
	const replies = Object.values(components.responses).map(({ content, ...reply }) => ({ ...reply, example: Object.values(content)[0].example }));
	const rows = replies
		.sort((a, b) => Boolean(a["x-statuses"]) - Boolean(b["x-statuses"]) || a.example.status - b.example.status)
		.map(({ description, example, "x-statuses": others }) => [
			others ? "others" : String(example.status),
			[prose(description), code(pretty(example), `Example of ${example.status}`)],
		]);
	return el("section", {}, title("errors", "Errors"),
		el("p", {}, "Every error is ", el("code", {}, "application/problem+json"), " (RFC 9457); a failed validation lists the fields."),
		table("Errors", ["Status", "When"], rows),
		fields({ $ref: "#/components/schemas/Problem" }, "Members of an error"),
		paragraphs(info.description).slice(1));
}

/* ---- messages */

const nameOf = ({ $ref }) => $ref.split("/").at(-1);
const messageLink = (asyncapi, name) => el("a", { href: `#message-${name}` }, el("code", {}, asyncapi.components.messages[name].name));
const links = (asyncapi, names) => names.flatMap((name, n) => [n ? ", " : "", messageLink(asyncapi, name)]);

function channelBlock(asyncapi, key, { title: words, address, description }) {
	const of = Object.values(asyncapi.operations).filter((o) => nameOf(o.channel) === key);
	const names = (o) => o.messages.map(nameOf);
	const heard = of.filter((o) => o.action === "receive");
	const rows = heard.map((o) => [links(asyncapi, names(o)), o.reply ? links(asyncapi, names(o.reply)) : "nothing"]);
	return [
		el("h3", { id: `channel-${key}` }, words, " ", el("code", {}, address)),
		paragraphs(description),
		el("p", {}, "The server says: ", links(asyncapi, of.filter((o) => o.action === "send").flatMap(names)), "."),
		rows.length ? table(`What a client says: ${words}`, ["Say", "and get"], rows) : null,
	];
}

function messageBlock(asyncapi, key, { name, summary, payload, examples }) {
	const heard = Object.values(asyncapi.operations).filter((o) => o.action === "receive" && o.messages.some((m) => nameOf(m) === key));
	const answers = [...new Set(heard.flatMap((o) => o.reply?.messages.map(nameOf) ?? []))];
	const { description = "" } = resolve(payload);
	return el("details", { class: "entry", id: `message-${key}` },
		el("summary", {}, heard.length ? badge("SAY", "post") : badge("HEAR", "ws"), el("code", {}, name), el("span", { class: "words" }, prose(summary))),
		description.length > summary?.length ? paragraphs(description) : null,
		examples.map((e) => code(pretty(e.payload), `Example of ${key}`)),
		fields(payload, `Members of ${key}`),
		answers.length ? el("p", {}, "It is answered by ", links(asyncapi, answers), ".") : null);
}

function messages(asyncapi) {
	return el("section", {}, title("messages", "Messages"),
		paragraphs(asyncapi.info.description),
		Object.entries(asyncapi.channels).map(([key, channel]) => channelBlock(asyncapi, key, channel)),
		el("h3", { id: "all-messages" }, "All messages"),
		Object.entries(asyncapi.components.messages).map(([key, message]) => messageBlock(asyncapi, key, message)));
}

function closeCodes(asyncapi) {
	const rows = Object.entries(asyncapi["x-close-codes"]).map(([c, when]) => [c, prose(when)]);
	return el("section", {}, title("close-codes", "Close codes"), table("Close codes", ["Code", "When"], rows));
}

/* ---- the page */

function addContents(reference) {
	byId("references-title").hidden = false;
	for (const { id, textContent } of reference.querySelectorAll("h2")) byId("references").append(el("li", {}, el("a", { href: `#${id}` }, textContent)));
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
