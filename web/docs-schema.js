/*
 * docs-schema - openapi.json and asyncapi.json, and what their schemas say in words: for the page /docs.
 *
 *	load()		both documents, which the rest then looks into
 *	resolve(node)	what a $ref leads to, in whichever of the two; `title` is its name there
 *	fields(schema)	a table of the members, from the outside in
 *	el(tag, …)	an element; text that comes from a document becomes text, and nothing else
 */
let openapi, asyncapi;

export async function load() {
	const read = async (path) => {
		const reply = await fetch(path);
		if (!reply.ok) throw new Error(`${path}: ${reply.status}`);
		return reply.json();
	};
	[openapi, asyncapi] = await Promise.all([read("/openapi.json"), read("/asyncapi.json")]);
	return { openapi, asyncapi };
}

const follow = (document, path) => path.split("/").reduce((node, part) => node?.[part.replaceAll("~1", "/")], document);

/* A name of a schema is in one of them alone. */
export function resolve(node) {
	while (node?.$ref) {
		const { $ref, ...here } = node;
		const path = $ref.split("#/")[1];
		node = { ...(follow(asyncapi, path) ?? follow(openapi, path)), title: path.split("/").at(-1), ...here };
	}
	return node;
}

export function el(tag, attributes = {}, ...children) {
	const e = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (value !== undefined && value !== false) e.setAttribute(name, value === true ? "" : value);
	}
	e.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== ""));
	return e;
}

/* `code` and words. */
export const prose = (text = "") => text.split(/`([^`]*)`/).map((part, n) => (n % 2 ? el("code", {}, part) : part));

export const paragraphs = (text = "") => text.split("\n\n").filter(Boolean).map((p) => el("p", {}, prose(p)));

export const code = (text, label) => el("pre", { tabindex: 0, role: "group", "aria-label": label }, el("code", {}, text));

/* JSON on as few lines as fit. */
export function pretty(value, indent = "") {
	const flat = JSON.stringify(value, null, 1)?.replace(/\n */g, " ").replace(/([[{]) /g, "$1").replace(/ ([\]}])/g, "$1");
	if (typeof value !== "object" || value === null || (indent + flat).length <= 72) return flat;
	const inner = `${indent}  `;
	const items = Array.isArray(value)
		? value.map((v) => inner + pretty(v, inner))
		: Object.entries(value).map(([k, v]) => `${inner}${JSON.stringify(k)}: ${pretty(v, inner)}`);
	const [open, close] = Array.isArray(value) ? "[]" : "{}";
	return `${open}\n${items.join(",\n")}\n${indent}${close}`;
}

/* ---- a schema in words */

const LARGE = { [2 ** 63]: "2^63 - 1", 1e15: "1e15", [-1e15]: "-1e15" };
const numeral = (n) => LARGE[n] ?? n.toLocaleString("en");

function between(min, max) {
	if (min === undefined) return max === undefined ? "" : `at most ${numeral(max)}`;
	return max === undefined ? `${numeral(min)} or more` : `${numeral(min)} to ${numeral(max)}`;
}

const KINDS = { string: "text", object: "object", array: "list", integer: "integer", number: "number", boolean: "true or false", null: "null" };

function kinds({ type, format, properties }) {
	if (format === "date-time") return ["date and time", ...[type].flat().filter((t) => t === "null")];
	if (format === "uuid") return ["UUID", ...[type].flat().filter((t) => t === "null")];
	return [type ?? (properties ? "object" : [])].flat().map((t) => KINDS[t]);
}

export function words(schema) {
	const s = resolve(schema);
	if ("const" in s) return JSON.stringify(s.const);
	if (s.enum) return s.enum.map((v) => (v === null ? "null" : v)).join(", ").replace(/, ([^,]*)$/, " or $1");
	if (isChoice(s)) return "one of these";
	if (s.oneOf ?? s.anyOf) return (s.oneOf ?? s.anyOf).map((o) => resolve(o).title ?? words(o)).join(" or ");
	if (!s.type && !s.properties) return "anything";
	const item = s.items && !resolve(s.items).properties ? ` of ${words(s.items)}` : "";
	const said = [
		between(s.minimum, s.maximum),
		s.type === "array" && between(s.minItems, s.maxItems),
		(s.minLength ?? s.maxLength) !== undefined && `${between(s.minLength, s.maxLength)} characters`,
		s.default !== undefined && `${s.default} if not given`,
		s.not && `none of ${resolve(s.not).enum.join(", ")}`,
	].filter(Boolean);
	return [kinds(s).join(" or ") + item, ...said].join(", ");
}

function members(schema, prefix, rows) {
	const s = resolve(schema);
	for (const [name, member] of Object.entries(s.properties ?? {})) {
		const m = resolve(member);
		const [suffix, inner] = m.type === "array" ? ["[]", m.items] : m.additionalProperties ? [".*", m.additionalProperties] : ["", m];
		rows.push({ name: prefix + name, member, required: s.required?.includes(name) ?? false });
		if (resolve(inner).properties) members(inner, `${prefix}${name}${suffix}.`, rows);
	}
	return rows;
}

/* Values that are described one by one. */
const isChoice = ({ oneOf }) => oneOf?.every((o) => "const" in o) ?? false;

const choices = ({ oneOf }) => el("ul", { class: "codes" }, oneOf.map((o) => el("li", {}, el("code", {}, o.const), ": ", prose(o.description))));

export function table(caption, head, rows) {
	return el("div", { class: "wide", role: "region", "aria-label": caption, tabindex: 0 },
		el("table", { class: "says" },
			el("thead", {}, el("tr", {}, head.map((h) => el("th", { scope: "col" }, h)))),
			el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((c) => el("td", {}, c)))))));
}

function row({ name, member, required }) {
	const m = resolve(member);
	return [
		[el("code", {}, name), required ? "" : el("span", { class: "optional" }, " optional")],
		[words(member), m.description ? el("div", { class: "about" }, prose(m.description)) : "", isChoice(m) ? choices(m) : ""],
	];
}

/* null: there are none to tell of. */
export function fields(schema, caption) {
	const s = resolve(schema);
	if (s.oneOf && !isChoice(s)) return el("div", {}, s.oneOf.map((o) => fields(o, `${caption}, ${resolve(o).title ?? words(o)}`)));
	if (s.type === "array") return el("p", {}, "Or a ", words(s), ": ", prose(s.description));
	const rows = members(s, "", []).map(row);
	return rows.length ? table(caption, ["Member", "Is"], rows) : null;
}
