/*
 * dashboard-act - requests with a user's token, what is said to the server, and the question before it.
 *
 * What is said is shown at once as pending, is confirmed by the message that tells everybody of it, and is taken back with the server's sentence.
 */
import { byId } from "./dashboard-view.js";

/* What the server refused, or that it could not be asked (status 0). */
export class Refusal extends Error {
	constructor(status, detail) {
		super(detail);
		this.status = status;
	}
}

const NO_WAY = "There is no way to the server.";
let token = null;
export const setToken = (value) => (token = value);

const inWords = (errors) => (errors ?? []).map(({ field, message }) => `${field} ${message}`).join("; ");

export async function get(path) {
	let reply;
	try {
		reply = await fetch(path, { headers: { Authorization: `Bearer ${token}` }, cache: "no-store" });
	} catch {
		throw new Refusal(0, NO_WAY);
	}
	const body = await reply.json().catch(() => null);
	if (reply.ok && body) return body;
	throw new Refusal(reply.status, inWords(body?.errors) || body?.detail || `The server answers ${reply.status}.`);
}

const CODES = {
	unreachable: "There was no answer. It is perhaps done: what was said is in the list then.",
	busy: "The server is busy. It has not been done: try again in a while.",
	closed: "The page was left before there was an answer.",
};

/* The sentence for what was said in vain. */
export const sentence = ({ code, message, errors }) => CODES[code] ?? (inWords(errors) || message);

/* ---- the dialog */

const dialog = byId("ask");
let answer = null; // resolves what is asked
let check = null;

function close(said) {
	const resolve = answer;
	answer = null;
	dialog.close();
	resolve?.(said);
}

byId("ask-yes").addEventListener("click", () => {
	const said = check?.() ?? true;
	byId("ask-error").textContent = typeof said === "string" ? said : "";
	if (typeof said !== "string") close(said);
});
byId("ask-no").addEventListener("click", () => close(null));
dialog.addEventListener("cancel", (event) => {
	event.preventDefault();
	close(null);
});
byId("ask-reason").addEventListener("keydown", (event) => event.key === "Enter" && byId("ask-yes").click());

/*
 * Asks; null: no. Else true, or what `read` gives.
 *
 *	part	what is filled in, of the dialog: "ask-change", "ask-why"
 *	read	what was filled in; a string: what is wrong with it
 *	harm	what is done cannot be undone
 */
export function ask({ title, words = "", button, harm = false, part = null, read = null }) {
	byId("ask-title").textContent = title;
	byId("ask-words").textContent = words;
	byId("ask-words").hidden = !words;
	byId("ask-yes").textContent = button;
	byId("ask-yes").className = harm ? "harm" : "main";
	for (const id of ["ask-change", "ask-why"]) byId(id).hidden = id !== part;
	byId("ask-error").textContent = "";
	check = read;
	return new Promise((resolve) => {
		answer?.(null);
		answer = resolve;
		dialog.showModal();
		(part === "ask-change" ? dialog.querySelector("#ask-stars :checked") : part === "ask-why" ? byId("ask-reason") : byId("ask-no")).focus();
	});
}

export const stopAsking = () => answer && close(null);

/* ---- what has become of it */

export function tell(words, bad = false) {
	byId("done").textContent = words;
	byId("done").classList.toggle("bad", bad);
}

/* What waits for its message: {words, seq, …} by what it is about. */
export class Pending {
	#all = new Map();

	constructor(changed) {
		this.changed = changed;
	}

	get(about) {
		return this.#all.get(about);
	}

	/* All of one kind, the newest first. */
	of(kind) {
		return [...this.#all].filter(([about]) => about.startsWith(`${kind} `)).map(([, p]) => p).reverse();
	}

	/*
	 * Says it, and shows it until everybody was told. True: it is done.
	 *
	 *	about	what it is about, as "feedback 9": by that it is found
	 *	shown	what is shown of it meanwhile
	 *	say	gives the server's answers, one or more, as promises
	 */
	async run(about, shown, say, at) {
		const entry = { ...shown, seq: null };
		this.#all.set(about, entry);
		this.changed();
		try {
			const { data } = await say();
			entry.seq = data.seq ?? 0; // null: nobody was told, and no message comes
			this.upTo(at());
			return true;
		} catch (e) {
			if (!e.code) throw e;
			if (this.#all.get(about) === entry) this.#all.delete(about);
			if (e.code !== "closed") tell(sentence(e), true);
			return false;
		} finally {
			this.changed();
		}
	}

	/* Messages have come up to there: what they tell of is no longer pending. */
	upTo(seq) {
		for (const [about, entry] of this.#all) if (entry.seq !== null && entry.seq <= seq) this.#all.delete(about);
	}

	clear() {
		this.#all.clear();
	}
}
