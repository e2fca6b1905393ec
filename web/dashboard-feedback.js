/*
 * dashboard-feedback - the tab Feedback: what was said, the form to say something, and what one does with one's own.
 */
import { Refusal, ask, get, tell } from "./dashboard-act.js";
import { button, byId, element, mark, showList, stars, time } from "./dashboard-view.js";

const COMMENT_MAX = 4000;
const TOO_LONG = `The comment is too long: ${COMMENT_MAX} characters are the most.`;
const PAGE = 50;
const WORDS = ["", "1: not at all", "2: hardly", "3: somewhat", "4: well", "5: very well"];

/* As the server counts: code points. */
const length = (text) => [...text].length;

/* Five radio buttons that look like stars: arrows choose, as in any group. */
function makeStars(fieldset, name) {
	const row = element("div", { className: "row" });
	for (let n = 1; n <= 5; n++) {
		row.append(element("label", {}, element("input", { type: "radio", name, value: String(n) }), element("span", { ariaHidden: "true" }, "★"),
			element("span", { className: "unseen" }, WORDS[n])));
	}
	fieldset.append(row, element("p", { className: "hint", ariaHidden: "true" }));
	const show = () => {
		const n = rating(fieldset);
		for (const [i, label] of row.querySelectorAll("label").entries()) label.classList.toggle("lit", i < n);
		fieldset.querySelector(".hint").textContent = WORDS[n] || "1 to 5";
	};
	fieldset.addEventListener("change", show);
	fieldset.show = show;
	show();
}

const rating = (fieldset) => Number(fieldset.querySelector(":checked")?.value ?? 0);

function rate(fieldset, n) {
	for (const input of fieldset.querySelectorAll("input")) input.checked = Number(input.value) === n;
	fieldset.show();
}

/* What is left of 4,000: told, and more than that is not sent. */
function countDown(area, left) {
	const show = () => {
		const n = COMMENT_MAX - length(area.value);
		left.textContent = n < 0 ? `${-n} too many` : `${n.toLocaleString("en-GB")} left`;
		mark(area, n < 0);
	};
	area.addEventListener("input", show);
	area.show = show;
	show();
}

export class FeedbackTab {
	#model;
	#pending;
	#say;
	#user;
	#count = 0;

	/*	say	(type, data) => a promise of the server's answer
	 *	user	() => who looks at it
	 *	path	() => that of the diagnosis */
	constructor({ pending, say, user, path }) {
		this.path = path;
		this.#pending = pending;
		this.#say = say;
		this.#user = user;
		makeStars(byId("stars"), "rating");
		makeStars(byId("ask-stars"), "ask-rating");
		countDown(byId("comment"), byId("comment-left"));
		countDown(byId("ask-comment"), byId("ask-left"));
		byId("give").addEventListener("submit", (event) => {
			event.preventDefault();
			this.#give();
		});
		byId("older").addEventListener("click", () => this.#older());
	}

	set model(model) {
		this.#model = model;
	}

	/* ---- what was said */

	show() {
		const model = this.#model;
		this.#showAbout();
		const waiting = this.#pending.of("new").map((p) => ({ ...p.feedback, key: p.key, pending: p.words }));
		const said = model.feedback.map((f) => {
			const p = this.#pending.get(`feedback ${f.feedback_id}`);
			return p ? { ...f, ...p.feedback, pending: p.words } : f;
		});
		showList(byId("said"), [...waiting, ...said], (f) => f.key ?? f.feedback_id, (f) => this.#entry(f),
			(f) => [f, model.name(f.recommendation_id), this.#user()], byId("said-empty"));
		byId("older").hidden = !model.more;
	}

	#entry(f) {
		const mine = f.user_id !== undefined && String(f.user_id) === this.#user();
		const about = this.#model.name(f.recommendation_id);
		const of = `feedback of ${f.rating} of 5${about ? ` on ${about}` : ""}`;
		const head = element("p", { className: "head" }, stars(f.rating), about ? element("span", {}, about) : null,
			element("span", { className: "of" }, mine || f.key ? "you" : `user ${f.user_id}`), time(f.created_at),
			f.edited_at ? element("span", { className: "of" }, "changed") : null);
		let acts = null;
		if (f.pending) acts = element("p", { className: "pending" }, f.pending);
		else if (mine) {
			acts = element("p", { className: "buttons" }, button("Change", "change", () => this.#change(f), { of }),
				button("Withdraw", "withdraw", () => this.#withdraw(f), { className: "harm", of }));
		}
		return element("li", { className: f.pending ? "waits" : "" }, head, f.comment ? element("p", { className: "words" }, f.comment) : null, acts);
	}

	async #older() {
		const model = this.#model;
		byId("older").disabled = true;
		model.ask();
		try {
			const page = await get(`${this.path()}/feedback?limit=${PAGE}&before=${model.feedback.at(-1).feedback_id}`);
			if (model !== this.#model) return;
			model.append(page);
			this.show();
			if (!model.more) byId("said-title").focus();
		} catch (e) {
			if (!(e instanceof Refusal)) throw e;
			tell(e.message, true);
		} finally {
			model.asked();
			byId("older").disabled = false;
		}
	}

	/* ---- saying something */

	#showAbout() {
		const select = byId("about");
		const active = this.#model.recommendations.filter((r) => r.status === "active");
		const says = JSON.stringify(active.map((r) => [r.recommendation_id, r.herb, r.condition]));
		if (select.says === says) return;
		const was = select.value;
		const shown = select.options.length;
		select.says = says;
		select.replaceChildren(...active.map((r) => element("option", { value: String(r.recommendation_id) }, `${r.herb} for ${r.condition}`)),
			element("option", { value: "" }, "All in all"));
		if (shown && [...select.options].some((o) => o.value === was)) select.value = was;
		byId("about-field").hidden = !active.length;
	}

	/* Somebody wants to say something, of this one. */
	begin(id) {
		if (id) byId("about").value = String(id);
		byId("stars").querySelector(":checked, input").focus();
	}

	async #give() {
		const comment = byId("comment").value;
		const about = Number(byId("about").value) || undefined;
		const given = rating(byId("stars"));
		const wrong = !given ? "How many stars? Choose a rating from 1 to 5." : length(comment) > COMMENT_MAX ? TOO_LONG : "";
		byId("give-error").textContent = wrong;
		if (wrong) return (given ? byId("comment") : byId("stars").querySelector("input")).focus();
		const feedback = { rating: given, comment, recommendation_id: about, created_at: new Date().toISOString() };
		const key = `new ${++this.#count}`;
		byId("comment").value = "";
		byId("comment").show();
		rate(byId("stars"), 0);
		tell("");
		const done = await this.#pending.run(key, { key, words: "Being sent", feedback },
			() => this.#say("submit_feedback", { diagnosis_id: this.#model.analytics.diagnosis_id, rating: given, recommendation_id: about, comment: comment || undefined }),
			() => this.#model.at);
		if (done) return tell("Thank you: your feedback is stored.");
		if (byId("comment").value || rating(byId("stars"))) return;
		byId("comment").value = comment; // so that nobody has to write it again
		byId("comment").show();
		rate(byId("stars"), given);
	}

	async #change(f) {
		rate(byId("ask-stars"), f.rating);
		byId("ask-comment").value = f.comment ?? "";
		byId("ask-comment").show();
		const said = await ask({
			title: "Change your feedback", button: "Change", part: "ask-change",
			read: () => (length(byId("ask-comment").value) > COMMENT_MAX ? TOO_LONG : { rating: rating(byId("ask-stars")), comment: byId("ask-comment").value }),
		});
		if (!said) return;
		const id = f.feedback_id;
		const steps = [];
		if (said.rating !== f.rating) steps.push(() => this.#say("rate_feedback", { feedback_id: id, rating: said.rating }));
		if (said.comment !== (f.comment ?? "")) steps.push(() => this.#say("comment_feedback", { feedback_id: id, comment: said.comment }));
		if (!steps.length) return;
		tell("");
		const say = async () => {
			let reply;
			for (const step of steps) reply = await step();
			return reply;
		};
		const done = await this.#pending.run(`feedback ${id}`, { words: "Being changed", feedback: said }, say, () => this.#model.at);
		if (done) tell("Your feedback is changed.");
	}

	async #withdraw(f) {
		const said = await ask({
			title: "Withdraw your feedback?", button: "Withdraw", harm: true,
			words: "It counts no longer, and its comment is erased, also from what others have been told of it. That cannot be undone.",
		});
		if (!said) return;
		tell("");
		const say = () => this.#say("withdraw_feedback", { feedback_id: f.feedback_id });
		const done = await this.#pending.run(`feedback ${f.feedback_id}`, { words: "Being withdrawn", feedback: {} }, say, () => this.#model.at);
		if (done) tell("Your feedback is withdrawn.");
	}
}
