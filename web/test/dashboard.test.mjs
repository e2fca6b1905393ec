/*
 * dashboard-model.js: whether its numbers are the server's, whatever is said while it loads, and whenever it asks anew.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Model } from "../dashboard-model.js";

/* The same numbers on every machine (mulberry32). */
function random(seed) {
	return (n) => {
		seed = (seed + 0x6d2b79f5) | 0;
		let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
		t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
		return ((t ^ (t >>> 14)) >>> 0) % n;
	};
}

const RECOMMENDATION = 789;
const copy = (x) => JSON.parse(JSON.stringify(x));

/* What a server would have: feedback, and the messages that told of it. */
class Server {
	rows = [];
	messages = [];
	id = 0;

	#tell(row, more) {
		const seq = this.messages.length + 1;
		const when = new Date(1e12 + seq * 1000).toISOString();
		if (!more) row.created_at = when;
		this.messages.push({ seq, type: "feedback_update", topic: "diagnosis/1", timestamp: when, data: copy({ ...row, created_at: undefined, ...more, timestamp: when }) });
	}

	say(roll) {
		const row = { feedback_id: ++this.id, user_id: 456, rating: 1 + roll(5), effectiveness: roll(100) / 100, ...(roll(2) && { recommendation_id: RECOMMENDATION }) };
		this.rows.unshift(row);
		this.#tell(row);
	}

	change(roll) {
		const row = this.rows[roll(this.rows.length)];
		row.rating = 1 + roll(5);
		row.effectiveness = roll(100) / 100;
		this.#tell(row, { edited: true });
	}

	withdraw(roll) {
		const [row] = this.rows.splice(roll(this.rows.length), 1);
		// What was told of it is kept no longer.
		for (const m of this.messages) if (m.data.feedback_id === row.feedback_id) m.erased = true;
		this.#tell(row, { edited: undefined, withdrawn: true });
	}

	step(roll) {
		const what = roll(10);
		if (what < 5 || !this.rows.length) this.say(roll);
		else if (what < 8) this.change(roll);
		else this.withdraw(roll);
	}

	get cursor() {
		return `k3v9-${this.messages.length}`;
	}

	list(limit, before = Infinity) {
		const rows = this.rows.filter((r) => r.feedback_id < before);
		return copy({ cursor: this.cursor, feedback: rows.slice(0, limit), more: rows.length > limit });
	}

	analytics() {
		const ratings = { 1: 0, 2: 0, 3: 0, 4: 0, 5: 0 };
		for (const { rating } of this.rows) ratings[rating]++;
		const sum = this.rows.reduce((all, { rating }) => all + rating, 0);
		const own = this.rows.filter((r) => r.recommendation_id);
		return copy({
			cursor: this.cursor,
			feedback: { total: this.rows.length, rating: this.rows.length ? Math.round((10 * sum) / this.rows.length) / 10 : null, ratings, last_at: this.rows[0]?.created_at ?? null },
			recommendations: [{ recommendation_id: RECOMMENDATION, herb: "Turmeric", status: "active", effectiveness: null,
				...(own.length && { own: { effectiveness: own[0].effectiveness, rating: own[0].rating, feedback: own.length, last_at: own[0].created_at } }) }],
		});
	}
}

const numbers = ({ feedback, recommendations }) => ({ feedback, own: recommendations[0].own ?? null });

function story(seed) {
	const roll = random(seed);
	const server = new Server();
	const model = new Model();
	const recommendations = { recommendations: [] };
	const some = (n) => Array.from({ length: roll(n) }, () => server.step(roll));
	let asked = null; // an answer that is on its way
	let stale = false;
	some(30);
	const list = server.list(5);
	some(10);
	const analytics = server.analytics();
	some(10);
	model.load(list, analytics, recommendations, []);
	for (let at = Number(list.cursor.slice(5)), n = 0; n < 60; n++) {
		some(4);
		for (const m of server.messages.slice(at)) {
			at = m.seq;
			if (m.erased) continue;
			if (model.take(copy(m)).ask === "now") stale = true;
			if (roll(3) === 0) break;
		}
		if (asked && roll(2)) {
			stale = !model.adopt(asked, recommendations) || stale;
			model.asked();
			asked = null;
		} else if (!asked && stale && roll(2)) {
			model.ask();
			stale = false;
			asked = server.analytics();
		} else if (model.more && roll(4) === 0) {
			model.ask();
			model.append(server.list(5, model.feedback.at(-1)?.feedback_id));
			model.asked();
		}
		if (at === server.messages.length && !asked && !stale) {
			assert.deepEqual(numbers(model.analytics), numbers(server.analytics()), `numbers of story ${seed} after ${at} messages`);
			assert.deepEqual(model.feedback.map((f) => [f.feedback_id, f.rating]), server.rows.slice(0, model.feedback.length).map((f) => [f.feedback_id, f.rating]), `list of story ${seed}`);
		}
	}
}

test("the dashboard's numbers are the server's, whatever is said, changed and withdrawn while it loads, asks anew and shows older: 500 stories", () => {
	for (let seed = 1; seed <= 500; seed++) story(seed);
});

test("what a backend of one's own broadcasts as feedback is shown, and counted only when the server has it", () => {
	const server = new Server();
	server.say(random(1));
	const model = new Model();
	model.load(server.list(5), server.analytics(), { recommendations: [] }, []);
	const { ask } = model.take({ seq: 2, type: "feedback_update", topic: "diagnosis/1", data: { feedback_id: 7, rating: 5, effectiveness: 1 } });
	assert.deepEqual([ask, model.analytics.feedback.total, model.feedback.length, model.events.length], ["now", 1, 1, 1]);
});
