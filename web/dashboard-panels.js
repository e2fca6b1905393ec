/*
 * dashboard-panels - the tabs Overview, Recommendations and Effectiveness: what the model knows, shown. It changes nothing.
 */
import { intervalPlot, coursePlot } from "./dashboard-plot.js";
import { between, button, byId, change, element, figure, many, percent, score, showList, signed, stars, time, value } from "./dashboard-view.js";

const SAME_MS = 1000; // what is in force so soon was decided by being made
const ENOUGH = 5; // people, below which nobody is shown what others say

/* ---- Overview */

const group = (title, ...content) => element("div", {}, element("dt", {}, title), ...content);
const small = (...words) => element("dd", { className: "of" }, ...words);

const answers = (n) => (n < ENOUGH ? `${many(n, "person", "people")}: too few to say more` : many(n, "person", "people"));

/* How often each rating was given: a bar each, and the count. */
function ratingBars({ ratings, total }) {
	return element("ul", { className: "ratings", ariaLabel: "How often each rating was given" }, ...[5, 4, 3, 2, 1].map((rating) => {
		const meter = element("meter", { min: 0, max: Math.max(1, total), value: ratings[rating], ariaLabel: `${rating} of 5` });
		return element("li", {}, element("span", { ariaHidden: "true" }, `${rating} ★`), meter, element("span", { className: "count" }, String(ratings[rating])));
	}));
}

function figures(model) {
	const { feedback } = model.analytics;
	const { best } = model;
	const list = [];
	if (best) {
		list.push({ key: "best", says: best, make: () => group("Best so far", element("dd", { className: "big" },
			element("span", { className: "herb" }, best.herb), " ", figure(`best ${best.recommendation_id}`, best.effectiveness), " ", change(best.improvement)),
			small(intervalPlot(best)), small(`Between ${between(best.lower, best.upper)}, of ${answers(best.sample_size)}`)) });
	}
	if (feedback.total) {
		list.push({ key: "rating", says: feedback, make: () => group("Rating", element("dd", { className: "big" },
			figure("rating", feedback.rating, (x) => x.toFixed(1)), element("span", { className: "of" }, " of 5")),
			small(figure("total", feedback.total, (x) => String(Math.round(x))), feedback.total === 1 ? " answer" : " answers"), small(ratingBars(feedback))) });
	}
	if (best?.response_rate !== undefined) {
		list.push({ key: "answers", says: best.response_rate, make: () => group("Answers",
			element("dd", { className: "big" }, figure("response", best.response_rate, percent)), small(`of those with ${best.herb} for a week or more have said how it was`)) });
	}
	if (best?.prediction) {
		const { success, lower, upper, model: by, reason } = best.prediction;
		const words = typeof success === "number" ? `How likely ${best.herb} helps, by ${by}: between ${between(lower, upper)} with 80 %` : reason ?? "Nothing is predicted.";
		list.push({ key: "prediction", says: best.prediction, make: () => group("For you",
			element("dd", { className: "big" }, typeof success === "number" ? figure("prediction", success) : "–"), small(words)) });
	}
	return list;
}

const herbs = (old = {}, next = {}) => [old.herb, next.herb].filter((h) => typeof h === "string");

/* Its data may be anything: a backend of one's own broadcasts what it likes. */
function inWords(model, { type, data }) {
	if (type === "feedback_update") {
		if (data.withdrawn) return ["Feedback was withdrawn"];
		const about = model.name(data.recommendation_id);
		return [data.edited ? "Changed: " : "", stars(data.rating), about ? ` for ${about}` : "", data.comment ? ` “${data.comment}”` : ""];
	}
	if (type === "effectiveness_update") {
		const { old_effectiveness: old, new_effectiveness: to, sample_size: n } = data;
		const herb = data.herb ?? model.name(data.recommendation_id) ?? `Recommendation ${data.recommendation_id}`;
		return [element("strong", {}, herb), ` ${typeof old === "number" ? `${score(old)} → ` : ""}${score(to)}`, n ? `, ${many(n, "person", "people")}` : ""];
	}
	if (type === "recommendation_proposed") return ["Proposed: ", element("strong", {}, String(data.herb)), data.reason ? `. ${data.reason}` : ""];
	if (type === "recommendation_declined") {
		return [data.status === "withdrawn" ? "Withdrawn: " : "Declined: ", model.name(data.recommendation_id) ?? `recommendation ${data.recommendation_id}`];
	}
	if (type === "recommendation_update") {
		const [from, to = from] = herbs(data.old_recommendation, data.new_recommendation);
		const ends = !Object.keys(data.new_recommendation).length;
		const words = ends ? `${from} is no longer recommended` : herbs(data.old_recommendation).length ? `${from} → ${to}` : `${to} is recommended`;
		return [element("strong", {}, words), data.reason ? `. ${data.reason}` : ""];
	}
	const short = data && (data.message ?? data.text ?? data.title);
	return [typeof short === "string" ? short : String(type).replaceAll("_", " ")];
}

function eventEntry(model, m) {
	let words;
	try {
		words = inWords(model, m);
	} catch {
		words = [String(m.type).replaceAll("_", " ")]; // not what that type usually has
	}
	return element("li", {}, time(m.data?.timestamp ?? m.timestamp), " ", element("span", {}, ...words));
}

let courseShown = null;

function showCourse(model) {
	const { best } = model;
	const { timeline, days } = model.analytics;
	const weeks = (best && model.histories.get(best.recommendation_id)) ?? [];
	const says = JSON.stringify([best?.herb, weeks, timeline]);
	if (says === courseShown) return;
	courseShown = says;
	const open = byId("course").querySelector("details")?.open ?? false;
	const had = byId("course").contains(document.activeElement);
	const title = element("h3", {}, `Effectiveness, ${days} days`);
	const shown = weeks.length + timeline.length ? coursePlot({ weeks, days: timeline, span: days, herb: weeks.length ? best.herb : "" })
		: element("p", { className: "empty" }, "Nothing to draw yet: the course appears with the first feedback.");
	byId("course").replaceChildren(title, shown);
	const details = byId("course").querySelector("details");
	if (details) details.open = open;
	if (had) (details?.querySelector("summary") ?? byId("overview")).focus({ preventScroll: true });
}

export function showOverview(model) {
	const { feedback, basis } = model.analytics;
	showList(byId("figures"), figures(model), (f) => f.key, (f) => f.make(), (f) => f.says);
	byId("overview-empty").hidden = feedback.total > 0;
	showList(byId("events"), model.events.slice(0, 12), (m) => `${m.seq ?? m.timestamp}`, (m) => eventEntry(model, m),
		(m) => [m, model.name(m.data?.recommendation_id)], byId("events-empty"));
	showCourse(model);
	byId("basis").hidden = !model.best && !feedback.total;
	byId("basis").textContent = `The scores are ${basis}: who answers is not everybody, and nobody drew lots for the treatments.`;
}

/* ---- Recommendations */

const STATUS = { proposed: "proposed", active: "in force", replaced: "replaced", declined: "declined", withdrawn: "withdrawn" };

/* Old and new side by side, with what changed marked. */
function differences(r, old) {
	const before = old ? { herb: old.herb, ...old.data } : {};
	const after = { herb: r.herb, ...r.data };
	const names = [...new Set([...Object.keys(after), ...Object.keys(before)])];
	return element("dl", { className: "members" }, ...names.flatMap((name) => {
		const [was, is] = [before[name], after[name]].map((x) => (x === undefined ? undefined : value(x)));
		const parts = [];
		if (old && was !== undefined && was !== is) parts.push(element("del", {}, element("span", { className: "unseen" }, "was "), was), " ");
		if (is !== undefined) parts.push(old && was !== is ? element("ins", {}, is) : element("span", {}, is));
		return [element("dt", {}, name), element("dd", {}, ...parts)];
	}));
}

function by(r) {
	const made = r.source === "clinician" || r.source === "user" || r.source === "admin" ? `by a ${r.source}` : `by ${r.source}`;
	const parts = [made, ", ", time(r.created_at)];
	// What a person recommends is decided by that.
	if (r.decided_by && (r.status !== "active" || new Date(r.decided_at) - new Date(r.created_at) > SAME_MS)) parts.push(`; ${r.status === "active" ? "accepted" : STATUS[r.status]} by user ${r.decided_by}, `, time(r.decided_at));
	return element("p", { className: "of" }, ...parts);
}

function predicted({ prediction }) {
	if (!prediction) return null;
	const { success, lower, upper, reason } = prediction;
	return element("p", {}, typeof success === "number" ? `How likely it helps: ${percent(success)}, between ${percent(lower)} and ${percent(upper)}.` : reason ?? "");
}

function card(model, r, pending, acts) {
	const old = model.recommendations.find((o) => o.recommendation_id === r.replaces);
	const title = [element("span", { className: "herb" }, r.herb), ` for ${r.condition} `, element("span", { className: `status ${r.status}` }, STATUS[r.status])];
	const buttons = [];
	if (pending) buttons.push(element("p", { className: "pending" }, pending));
	else if (r.status === "proposed") {
		buttons.push(button("Accept", "accept", () => acts.decide(r, "active"), { className: "main", of: r.herb }),
			button("Decline", "decline", () => acts.decide(r, "declined"), { of: r.herb }));
	} else if (r.status === "active") {
		buttons.push(button("Give feedback", "feedback", () => acts.give(r.recommendation_id), { of: `on ${r.herb}` }));
	}
	const reason = r.reason && element("p", { className: "reason" }, r.reason);
	return element("li", { className: `card ${r.status}` }, element("h3", {}, ...title), old ? element("p", { className: "of" }, `instead of ${old.herb}`) : null,
		differences(r, old), reason || null, predicted(r), by(r), buttons.length ? element("div", { className: "buttons" }, ...buttons) : null);
}

/* What is to be decided first, then what is in force, then what was. */
const ORDER = ["proposed", "active"];
const rank = ({ status }) => (ORDER.includes(status) ? ORDER.indexOf(status) : ORDER.length);

const better = (model, { recommendation_id: id, by: other, reason, probability }) => [
	element("strong", {}, `${other.herb} instead of ${model.name(id)}? `), reason,
	probability ? ` It is better with a probability of ${percent(probability)}. Ask whoever treats you.` : " Ask whoever treats you.",
];

const wanted = (model, { recommendation_id: id, reason }, { give }) => [
	element("strong", {}, `How is it going with ${model.name(id)}? `), `${reason} `, button("Give feedback", "feedback", () => give(id), { of: `on ${model.name(id)}` }),
];

export function showRecommendations(model, pending, acts) {
	const list = [...model.recommendations].sort((a, b) => rank(a) - rank(b));
	const waits = (r) => pending.get(`recommendation ${r.recommendation_id}`)?.words;
	const suggested = model.analytics.suggestions.filter(({ recommendation_id: id }) => model.name(id));
	showList(byId("suggestions"), suggested, (s) => `${s.kind} ${s.recommendation_id}`, (s) => element("li", {},
		...(s.kind === "replace" ? better(model, s) : wanted(model, s, acts))));
	showList(byId("cards"), list, (r) => r.recommendation_id, (r) => card(model, r, waits(r), acts), (r) => [r, waits(r)], byId("cards-empty"));
}

/* ---- Effectiveness */

function trend({ improvement }) {
	if (improvement === undefined || improvement === 0) return "As before.";
	return `${improvement > 0 ? "Better" : "Worse"} than before, by ${signed(improvement).slice(1)}.`;
}

function scoreRow(e) {
	const known = e.effectiveness !== null;
	const rate = e.success_rate;
	const words = [known ? `${many(e.sample_size, "person", "people")}. ${trend(e)}` : `Too few to say: from ${ENOUGH} people on, or with your own.`,
		rate ? `${percent(rate.value)} fared well (${rate.successes} of ${e.sample_size}; between ${percent(rate.lower)} and ${percent(rate.upper)}).` : "",
		e.response_rate === undefined ? "" : `${percent(e.response_rate)} of those who were treated have answered.`];
	const own = e.own && element("p", { className: "of" },
		`This diagnosis: ${score(e.own.effectiveness)}, ${e.own.rating} of 5, ${many(e.own.feedback, "answer")}, the last `, time(e.own.last_at));
	return element("li", { className: "score" }, element("h3", {}, element("span", { className: "herb" }, e.herb), ` for ${e.condition}`),
		element("p", { className: "big" }, known ? figure(`score ${e.recommendation_id}`, e.effectiveness) : "–", " ", change(e.improvement)),
		intervalPlot(e), element("p", {}, known ? `Between ${between(e.lower, e.upper)}, of ` : "", words.filter(Boolean).join(" ")), own || null);
}

export function showEffectiveness(model) {
	showList(byId("scores"), model.scores, (e) => e.recommendation_id, scoreRow, (e) => e, byId("scores-empty"));
}
