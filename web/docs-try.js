/*
 * docs-try - a form with which a route can be tried, with one's own token.
 *
 * The token is kept in this tab alone (sessionStorage), where the live page keeps it too, and goes in a header: never in an address.
 */
import { code, el, pretty, resolve } from "./docs-schema.js";

const KEPT = "live token";
const SHOWN_MAX = 20000; // characters of an answer
const TOLD = ["Content-Type", "Retry-After", "WWW-Authenticate", "Allow"];

function recall() {
	try {
		return sessionStorage.getItem(KEPT) ?? "";
	} catch {
		return "";
	}
}

function keep(token) {
	try {
		sessionStorage.setItem(KEPT, token);
	} catch {
		// this browser keeps nothing: then it is to be typed in again
	}
	for (const input of document.querySelectorAll("input[name=token]")) input.value = token;
}

const wanted = (input) => input.value.trim().replace(/^Bearer\s+/i, "");

function field(id, label, input, hint) {
	input.id = id;
	if (hint) input.setAttribute("aria-describedby", `${id}-hint`);
	return el("div", { class: "field" }, el("label", { for: id }, label), input, hint && el("p", { class: "hint", id: `${id}-hint` }, hint));
}

const plain = { autocomplete: "off", autocapitalize: "off", spellcheck: "false" };

/* The address and the headers, as they are filled in. What is empty is not sent. */
function request(method, path, inputs, token, body) {
	const query = new URLSearchParams();
	const headers = {};
	for (const { parameter, input } of inputs) {
		const value = input.value.trim();
		if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value));
		else if (value && parameter.in === "query") query.set(parameter.name, value);
		else if (value) headers[parameter.name] = value;
	}
	if (token) headers.Authorization = `Bearer ${token}`;
	if (body !== null) headers["Content-Type"] = "application/json";
	const asked = query.size ? `?${query}`.replaceAll("%2F", "/").replaceAll("%2C", ",") : "";
	return { url: path + asked, options: { method, headers, ...(body !== null && { body }) } };
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function curl({ url, options: { method, headers, body } }) {
	const said = Object.entries(headers).map(([k, v]) => `-H "${k}: ${k === "Authorization" ? "Bearer YOUR_JWT_TOKEN" : v}"`);
	if (body !== undefined) said.push(`-d ${quoted(body)}`);
	else if (method === "POST") said.push("-d ''");
	return [`curl${method === "GET" ? "" : ` -X ${method}`} ${quoted(location.origin + url)}`, ...said].join(" \\\n  ");
}

async function show(result, { url, options }) {
	const reply = await fetch(url, options);
	const text = await reply.text();
	let shown = text;
	try {
		// JavaScript would round large numbers.
		if (!/\d{16}/.test(text)) shown = pretty(JSON.parse(text));
	} catch {
		// it is no JSON: as it is
	}
	const told = TOLD.filter((name) => reply.headers.get(name)).map((name) => `${name}: ${reply.headers.get(name)}`);
	result.replaceChildren(
		el("p", { class: reply.ok ? "good" : "bad" }, `${reply.status} ${reply.statusText}`),
		code([...told, "", shown.slice(0, SHOWN_MAX)].join("\n"), "The answer"),
	);
}

export function form(method, path, operation, examples) {
	const id = `try-${operation.operationId}`;
	const result = el("div", { class: "result", role: "status" });
	const token = el("input", { name: "token", type: "password", ...plain });
	const inputs = (operation.parameters ?? []).map(resolve).map((parameter) => ({
		parameter,
		input: el("input", { ...plain, required: parameter.required, value: parameter.required && parameter.example }),
	}));
	const body = operation.requestBody ? el("textarea", { rows: Math.min(14, pretty(examples[0]).split("\n").length + 1), ...plain }) : null;
	const command = el("div", { class: "command" });
	token.value = recall();
	if (body) body.value = pretty(examples[0]);
	const made = () => request(method, path, inputs, wanted(token), body ? body.value : null);
	const write = () => command.replaceChildren(code(curl(made()), "The same with curl"));
	const f = el("form", { class: "try", novalidate: true },
		operation.security?.length === 0 ? null : field(`${id}-token`, "Token", token, "Kept in this tab, and sent to this server alone."),
		inputs.map(({ parameter: p, input }) => field(`${id}-${p.name}`, `${p.name}${p.required ? "" : " (optional)"}`, input)),
		body && field(`${id}-body`, "Body", body),
		el("button", { type: "submit" }, "Send"), command, result);
	write();
	f.addEventListener("input", write);
	token.addEventListener("change", () => keep(wanted(token)));
	f.addEventListener("submit", async (event) => {
		event.preventDefault();
		const missing = inputs.find(({ parameter, input }) => parameter.required && !input.value.trim());
		for (const { input } of inputs) input.removeAttribute("aria-invalid");
		if (missing) {
			missing.input.setAttribute("aria-invalid", "true");
			missing.input.focus();
			result.replaceChildren(el("p", { class: "bad" }, `${missing.parameter.name} is required.`));
			return;
		}
		result.replaceChildren(el("p", {}, "Waiting for the answer."));
		try {
			await show(result, made());
		} catch (e) {
			result.replaceChildren(el("p", { class: "bad" }, `No answer came: ${e.message}`));
		}
	});
	return f;
}
