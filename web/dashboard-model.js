/*
 * dashboard-model - what the page /dashboard knows of a diagnosis: loaded once, and kept by the messages that come. No page, no network.
 *
 *	feedback	a list, the newest first: exact up to the last message
 *	analytics	numbers, exact up to `analytics.cursor`: a message that is older is in them already
 *	recommendations	as they were loaded; who decides is told of by a message, and they are asked for anew
 *	events		what has happened, the newest first
 *
 * A message says what has become of something, not what it was. So the list is loaded before the numbers: what a rating was is in the list, and
 * where it is not (older than what is loaded, or changed before that was) the numbers are stale, and asked for anew.
 */
const FEEDBACK_MAX = 500;
const EVENTS_MAX = 50;

const LIVE = ["proposed", "active"];
const OF_RECOMMENDATION = ["recommendation_update", "recommendation_proposed", "recommendation_declined"];

export const seqOf = (cursor) => Number(cursor.split("-")[1]);

const known = (list, id) => list.find((r) => r.recommendation_id === id);

export class Model {
	feedback = [];
	more = false; // there is older feedback than the list has
	analytics = null;
	recommendations = [];
	histories = new Map(); // effectiveness by week, by recommendation
	events = [];
	at = 0; // the last message
	#lacks = false; // some messages were for others, or are erased: with what is withdrawn all goes that was told of it
	#asking = 0; // requests whose answers are still to come
	#meanwhile = []; // what messages did since the first of them: {seq, m, count}

	load(list, analytics, recommendations, events) {
		this.feedback = list.feedback;
		this.more = list.more;
		this.at = seqOf(list.cursor);
		this.#lacks = false;
		this.events = events.slice(-EVENTS_MAX).reverse();
		this.#meanwhile = [];
		this.adopt(analytics, recommendations);
	}

	/* Before something is asked for, and when that is over. */
	ask() {
		this.#asking++;
	}

	asked() {
		if (!--this.#asking) this.#meanwhile = [];
	}

	/* Fresh numbers. False: they lack something already. */
	adopt(analytics, recommendations) {
		const at = seqOf(analytics.cursor);
		this.analytics = analytics;
		this.recommendations = recommendations.recommendations;
		return this.#meanwhile.filter(({ seq }) => seq > at).every(({ count }) => count());
	}

	/* The next page of the list. */
	append({ feedback, more, cursor }) {
		const at = seqOf(cursor);
		const ids = new Set(this.feedback.map((f) => f.feedback_id));
		this.feedback.push(...feedback.filter((f) => !ids.has(f.feedback_id)).map((f) => ({ ...f, at })));
		this.more = more;
		for (const { seq, m } of this.#meanwhile) if (seq > at && m.type === "feedback_update") this.#change(m);
	}

	/* Which tabs a message is about, and whether the numbers are to be asked for anew: at once ("now"), or some time ("soon"). */
	take(m) {
		const { type, seq } = m;
		const data = Object(m.data); // of a type like ours a backend of one's own may publish anything
		const own = type !== "feedback_update" || (data.user_id !== undefined && data.rating in this.analytics.feedback.ratings); // the others are in no table of ours
		let count = () => true;
		let tab = "overview";
		if (seq > this.at + 1) this.#lacks = true;
		if (seq) this.at = seq;
		this.events = [m, ...this.events].slice(0, EVENTS_MAX);
		if (type === "feedback_update") {
			tab = "feedback";
			if (own) count = this.#change(m);
		} else if (type === "effectiveness_update") {
			tab = "effectiveness";
			count = () => this.#score(data);
		} else if (OF_RECOMMENDATION.includes(type)) tab = "recommendations";
		if (this.#asking) this.#meanwhile.push({ seq, m, count });
		const exact = seq <= seqOf(this.analytics.cursor) || count();
		return { tab, ask: OF_RECOMMENDATION.includes(type) || !exact || !own ? "now" : tab === "overview" ? null : "soon" };
	}

	/* The list. Gives what that does to the numbers: a function that is false where it cannot be told. */
	#change({ seq, data, timestamp }) {
		const { feedback_id: id, withdrawn, edited, recommendation_id, user_id, rating, effectiveness, comment } = data;
		const place = this.feedback.findIndex((f) => f.feedback_id === id);
		const before = this.feedback[place];
		if (before && seq <= (before.at ?? 0)) return () => false;
		const when = data.timestamp ?? timestamp;
		const after = { feedback_id: id, recommendation_id, user_id, rating, effectiveness, comment, created_at: before?.created_at ?? when, edited_at: edited && when };
		if (withdrawn) {
			if (before) this.feedback.splice(place, 1);
			this.events = this.events.filter((m) => m.type !== "feedback_update" || m.data.feedback_id !== id || m.data.withdrawn);
		} else if (before) this.feedback[place] = after;
		else if (!edited) {
			const next = this.feedback.findIndex((f) => f.feedback_id < id); // they are committed in another order than they are numbered
			this.feedback.splice(next < 0 ? this.feedback.length : next, 0, after);
			if (this.feedback.length > FEEDBACK_MAX) this.more = !!this.feedback.splice(FEEDBACK_MAX).length;
		}
		if ((!before && (edited || withdrawn)) || (withdrawn && this.#lacks)) return () => false;
		return () => this.#count(before, withdrawn ? null : after);
	}

	#count(before, after) {
		const { feedback } = this.analytics;
		const { ratings } = feedback;
		if (before) ratings[before.rating]--;
		if (after) ratings[after.rating]++;
		feedback.total += !!after - !!before;
		const sum = Object.entries(ratings).reduce((all, [rating, n]) => all + rating * n, 0);
		feedback.rating = feedback.total ? Math.round((10 * sum) / feedback.total) / 10 : null;
		feedback.last_at = this.feedback[0]?.created_at ?? null;
		return this.#countOwn(before, after);
	}

	/* What the patient themselves said last of a recommendation. */
	#countOwn(before, after) {
		const entry = known(this.analytics.recommendations, (after ?? before).recommendation_id);
		if (!entry) return !(after ?? before).recommendation_id;
		const count = (entry.own?.feedback ?? 0) + !!after - !!before;
		const newest = this.feedback.find((f) => f.recommendation_id === entry.recommendation_id);
		if (!count) delete entry.own;
		else if (newest) entry.own = { effectiveness: newest.effectiveness, rating: newest.rating, feedback: count, last_at: newest.created_at };
		else return false;
		return true;
	}

	#score({ recommendation_id: id, new_effectiveness: effectiveness, ...more }) {
		const entry = known(this.analytics.recommendations, id);
		if (!entry || typeof effectiveness !== "number") return false;
		entry.effectiveness = effectiveness;
		for (const name of ["lower", "upper", "confidence", "sample_size", "improvement"]) if (typeof more[name] === "number") entry[name] = more[name];
		return true;
	}

	/* ---- what is asked of it */

	get proposed() {
		return this.recommendations.filter((r) => r.status === "proposed");
	}

	get current() {
		return this.recommendations.filter((r) => LIVE.includes(r.status));
	}

	/* Scores of what is in force; of which most is known to be good first. */
	get scores() {
		return this.analytics.recommendations.filter((e) => e.status === "active").sort((a, b) => (b.lower ?? -1) - (a.lower ?? -1));
	}

	get best() {
		return this.scores.find((e) => e.effectiveness !== null);
	}

	name(id) {
		const r = known(this.recommendations, id) ?? known(this.analytics.recommendations, id);
		return r ? r.herb : null;
	}
}
