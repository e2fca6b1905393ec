/* live-publish - the form that publishes, and what the server says to it. */
import { complain, forgive, pointOut } from "./live-field.js";

const form = document.getElementById("publish");
const reply = document.getElementById("reply");
const fold = document.getElementById("fold");
const kind = document.getElementById("kind");

const inputs = () => [...form.querySelectorAll("[name]")].filter((input) => !input.closest(":disabled"));

/* As the page calls it, without its unit. */
const nameOf = (input) => input.labels[0].firstChild.textContent.trim();

function showKind() {
	for (const set of form.querySelectorAll("[data-kind]")) set.hidden = set.disabled = set.dataset.kind !== kind.value;
}

function say(words, className = "") {
	reply.className = `reply ${className}`;
	reply.textContent = words;
}

/* What a field means in JSON. What is no number goes as it is: the server says what it wants. */
function meant(input) {
	if ("json" in input.dataset) return JSON.parse(input.value);
	const number = Number(input.value);
	return ("number" in input.dataset || input.name === "diagnosis_id") && Number.isFinite(number) ? number : input.value;
}

function body() {
	const fields = {};
	for (const input of inputs()) {
		if (!input.value.trim()) continue;
		try {
			fields[input.name] = meant(input);
		} catch {
			complain(input, `${nameOf(input)} is not JSON.`);
		}
	}
	return fields;
}

/* A problem (RFC 9457): each error beside its field, what has none with the rest. */
function tellProblem({ title, detail, errors = [] }, status) {
	const others = [];
	for (const { field, message } of errors) {
		const input = inputs().find(({ name }) => name === field.split(/[.[]/)[0]);
		if (input) complain(input, `${nameOf(input)} ${message}.`.replace(/\.\.$/, "."));
		else others.push(`${field}: ${message}`);
	}
	const marked = pointOut(form);
	const why = marked ? "Nothing was published: see the fields above." : detail;
	say([`${`${status} ${title ?? ""}`.trim()}.`, why, ...others].filter(Boolean).join(" "), "bad");
}

function tellDone({ seq, clients_notified: clients }) {
	const who = clients === 0 ? "nobody is connected: it waits" : clients === 1 ? "1 client is connected" : `${clients} clients are connected`;
	say(`Committed as #${seq}; ${who}.`, "good");
}

async function publish(token, refuseToken) {
	forgive(form);
	say("");
	const fields = body();
	if (pointOut(form)) return;
	let response, answer;
	try {
		response = await fetch(`/ws/broadcast-${kind.value}-update`, {
			method: "POST",
			headers: { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) },
			body: JSON.stringify(fields),
		});
		answer = await response.json();
	} catch {
		say(response ? `The server answered ${response.status}, and not in JSON.` : "The server cannot be reached. Nothing is known of whether it was published.", "bad");
		return;
	}
	if (response.ok) tellDone(answer);
	else if (response.status === 401 && refuseToken(answer.detail)) say("Nothing was published: see the token.", "bad");
	else tellProblem(answer, response.status);
}

/* `token`: gives the one to use. `refuseToken`: says what is wrong with it, where it is; false: it is not to be seen now. */
export function startPublishing(token, refuseToken) {
	kind.addEventListener("change", () => {
		forgive(form);
		say("");
		showKind();
	});
	form.addEventListener("submit", async (event) => {
		event.preventDefault();
		if (form.ariaBusy === "true") return;
		form.ariaBusy = "true";
		await publish(token(), refuseToken);
		form.ariaBusy = "false";
	});
	fold.addEventListener("click", () => {
		form.hidden = !form.hidden;
		fold.setAttribute("aria-expanded", String(!form.hidden));
	});
	if (matchMedia("(max-width: 61.99rem)").matches) fold.click(); // there it would stand before the messages
	showKind(); // a page that is loaded anew may have kept what was chosen
}

/* Publishes to one of those that are listened to, as far as there is one. */
export function suggestDiagnosis(topics) {
	const ids = topics.flatMap((topic) => /^diagnosis\/(\d+)$/.exec(topic)?.[1] ?? []);
	const input = form.elements.diagnosis_id;
	if (ids.length && !ids.includes(input.value)) [input.value] = ids;
}
