/*
 * dashboard-plot - the two plots of the page /dashboard, as SVG: a score with its interval, and the course of one over weeks.
 *
 * A plot runs from left to right whatever the text does. What it shows is in its label, or in a table beside it.
 */
import { between, element, score } from "./dashboard-view.js";

const SVG = "http://www.w3.org/2000/svg";
const DAY_MS = 86400000;
const ROOM = { top: 10, right: 12, bottom: 24, left: 30 };
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

function shape(name, attributes, ...children) {
	const node = document.createElementNS(SVG, name);
	for (const [key, x] of Object.entries(attributes)) node.setAttribute(key, x);
	node.append(...children);
	return node;
}

/* On 0..1: a bar from lower to upper, a dot at the score; `own`: a second, hollow one. */
export function intervalPlot({ effectiveness, lower, upper, own }) {
	const x = (value) => 2 + 96 * value;
	const known = effectiveness !== null;
	const says = (known ? `${score(effectiveness)}, between ${between(lower, upper)}` : "too few to say") + (own ? `; this diagnosis: ${score(own.effectiveness)}` : "");
	const plot = shape("svg", { class: "interval", viewBox: "0 0 100 12", role: "img", "aria-label": says, preserveAspectRatio: "none" },
		shape("line", { class: "axis", x1: x(0), x2: x(1), y1: 6, y2: 6 }),
		...[0, 0.5, 1].map((v) => shape("line", { class: "axis", x1: x(v), x2: x(v), y1: 3, y2: 9 })));
	if (known) plot.append(shape("line", { class: "bar", x1: x(lower), x2: x(upper), y1: 6, y2: 6 }), dot("dot", x(effectiveness)));
	if (own) plot.append(dot("own", x(own.effectiveness)));
	return element("div", { className: "scale" }, plot, element("span", { ariaHidden: "true" }, "0"), element("span", { ariaHidden: "true" }, "1"));
}

/* Round however wide the plot is: a line without length, with round ends. */
const dot = (name, x) => shape("line", { class: name, x1: x, x2: x, y1: 6, y2: 6 });

function draw(plot, width, { weeks, days, from, to }) {
	const height = width < 480 ? 190 : 240;
	const x = (when) => ROOM.left + ((width - ROOM.left - ROOM.right) * (new Date(when) - from)) / (to - from);
	const y = (value) => height - ROOM.bottom - (height - ROOM.top - ROOM.bottom) * value;
	const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${a.toFixed(1)} ${b.toFixed(1)}`).join("");
	const ticks = width < 480 ? 3 : 5;
	plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
	plot.setAttribute("height", height);
	plot.replaceChildren();
	for (const v of [0, 0.25, 0.5, 0.75, 1]) {
		plot.append(shape("line", { class: "axis", x1: ROOM.left, x2: width - ROOM.right, y1: y(v), y2: y(v) }));
		if (v % 0.5 === 0) plot.append(shape("text", { x: ROOM.left - 6, y: y(v) + 4, "text-anchor": "end" }, v.toFixed(1)));
	}
	for (let i = 0; i < ticks; i++) {
		const when = new Date(+from + ((to - from) * i) / (ticks - 1));
		const anchor = i === 0 ? "start" : i === ticks - 1 ? "end" : "middle";
		plot.append(shape("text", { x: x(when), y: height - 6, "text-anchor": anchor }, day.format(when)));
	}
	const line = weeks.map((w) => [x(w.week), y(w.effectiveness)]);
	if (weeks.length > 1) {
		const band = [...weeks.map((w) => [x(w.week), y(w.upper)]), ...weeks.map((w) => [x(w.week), y(w.lower)]).reverse()];
		plot.append(shape("path", { class: "band", d: `${path(band)}Z` }), shape("path", { class: "line", d: path(line) }));
	}
	for (const [i, w] of weeks.entries()) {
		if (weeks.length < 2) plot.append(shape("line", { class: "bar", x1: line[i][0], x2: line[i][0], y1: y(w.lower), y2: y(w.upper) }));
		plot.append(shape("circle", { class: "point", cx: line[i][0], cy: line[i][1], r: 3 }));
	}
	for (const d of days) plot.append(shape("circle", { class: "own", cx: x(d.day), cy: y(d.effectiveness), r: 4 }));
}

function table(caption, head, rows) {
	const cell = (c, i) => {
		const made = element("td", {}, c);
		made.dataset.label = head[i];
		return made;
	};
	const body = element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells.map(cell))));
	const top = element("thead", {}, element("tr", {}, ...head.map((h) => element("th", { scope: "col" }, h))));
	return element("details", { className: "numbers" }, element("summary", {}, "The numbers"),
		element("div", { className: "wide", tabIndex: 0, role: "region", ariaLabel: caption }, element("table", {}, element("caption", { className: "unseen" }, caption), top, body)));
}

/*
 * The course of a score, drawn as wide as there is room.
 *
 *	weeks	[{week, effectiveness, lower, upper, sample_size}] of all, with a band
 *	days	[{day, feedback, effectiveness}] of this diagnosis, as points
 */
export function coursePlot({ weeks, days, span, herb }) {
	const to = new Date(Math.floor(Date.now() / DAY_MS) * DAY_MS);
	const from = new Date(+to - span * DAY_MS);
	const inside = (when) => new Date(when) >= from;
	const data = { weeks: weeks.filter((w) => inside(w.week)), days: days.filter((d) => inside(d.day)), from, to };
	const label = `Effectiveness of the last ${span} days, from 0 to 1: ${herb ? `${herb} by week, with what 95 % lies within; ` : ""}your own by day. The numbers follow.`;
	const plot = shape("svg", { class: "course", role: "img", "aria-label": label });
	const holder = element("div", { className: "plot" }, plot);
	new ResizeObserver(([{ contentRect }]) => contentRect.width && draw(plot, Math.round(contentRect.width), data)).observe(holder);
	return element("div", {}, holder,
		element("p", { className: "legend" }, herb && element("span", { className: "of-all" }, `${herb}, all who answered, with 95 %`), " ",
			element("span", { className: "of-own" }, "this diagnosis, by day")),
		table("Effectiveness by week and by day", ["When", "Whose", "Effectiveness", "Between", "Answers"], [
			...data.weeks.map((w) => [day.format(new Date(w.week)), herb, score(w.effectiveness), `${score(w.lower)} … ${score(w.upper)}`, w.sample_size]),
			...data.days.map((d) => [day.format(new Date(d.day)), "this diagnosis", score(d.effectiveness), "–", d.feedback])]));
}
