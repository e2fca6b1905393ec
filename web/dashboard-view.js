/*
 * dashboard-view - how the page /dashboard shows things: numbers that run from the old to the new, lists whose entries stay where they are.
 *
 * What users have said are strangers' words: all of it is put in as text, never as HTML.
 */
import { byId, element } from "./admin-view.js";

export { byId, element };

const RUN_MS = 400;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const dated = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

/* ---- in words */

export const score = (x) => (typeof x === "number" ? x.toFixed(2) : "–");
export const percent = (x) => (typeof x === "number" ? `${Math.round(100 * x)} %` : "–");
export const between = (lower, upper) => `${score(lower)} and ${score(upper)}`;
export const many = (n, one, more = `${one}s`) => `${n} ${n === 1 ? one : more}`;
export const signed = (x) => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(2)}`;
export const value = (x) => (typeof x === "string" ? x : JSON.stringify(x));

/* Today the time, before that the day. */
export function time(when) {
	const date = new Date(when ?? Date.now());
	const known = Number.isNaN(date.valueOf()) ? new Date() : date;
	const words = known.toDateString() === new Date().toDateString() ? clock.format(known) : day.format(known);
	return element("time", { dateTime: known.toISOString(), title: dated.format(known) }, words);
}

/* A field in which something is wrong. */
export const mark = (field, wrong) => (wrong ? field.setAttribute("aria-invalid", "true") : field.removeAttribute("aria-invalid"));

export const now = () => clock.format(new Date());

/* Four of five: seen as stars, read as words. */
export function stars(rating) {
	const seen = element("span", { className: "rated", ariaHidden: "true" }, "★".repeat(rating), element("span", {}, "★".repeat(5 - rating)));
	return element("span", {}, seen, element("span", { className: "unseen" }, `${rating} of 5`));
}

/* An arrow and a signed difference, which stay. */
export function change(x) {
	if (!x) return null;
	return element("span", { className: `change ${x > 0 ? "up" : "down"}` }, element("span", { ariaHidden: "true" }, x > 0 ? "▲ " : "▼ "), signed(x),
		element("span", { className: "unseen" }, x > 0 ? " better than before" : " worse than before"));
}

/* ---- what changes in place */

function tint(node) {
	node.classList.remove("changed");
	void node.offsetWidth; // else it would not begin anew
	node.classList.add("changed");
}

/* A number runs from what it was; who wants nothing to move sees the new one at once. */
function run(node, from, to, format) {
	const began = performance.now();
	const turn = (node.turn = (node.turn ?? 0) + 1);
	const step = (at) => {
		if (node.turn !== turn) return;
		const part = Math.min(1, Math.max(0, (at - began) / RUN_MS));
		node.textContent = format(from + (to - from) * part);
		if (part < 1) requestAnimationFrame(step);
	};
	if (still.matches || document.hidden) node.textContent = format(to);
	else requestAnimationFrame(step);
}

const figures = new Map(); // what a number was when it was shown last, by its name

/* A number with a name: where it was shown before as another one it runs, and what is about it is tinted. */
export function figure(name, x, format = score) {
	const node = element("span", { className: "figure" }, format(x));
	const was = figures.get(name);
	figures.set(name, x);
	if (typeof was === "number" && typeof x === "number" && was !== x) {
		node.textContent = format(was);
		queueMicrotask(() => run(node, was, x, format));
	}
	return node;
}

export const forgetFigures = () => figures.clear();

/*
 * Shows the items as children, in their order. One stays the same element as long as its key is there, and is made anew only when what it says
 * is another; then it is tinted, unless the list is new. The focus stays where it was: on the part with the same data-act.
 *
 *	make	(item) => element
 *	sign	(item) => what it says, as JSON would have it
 *	empty	is shown where there are none
 */
export function showList(list, items, key, make, sign = (x) => x, empty = null) {
	const had = new Map([...list.children].map((node) => [node.dataset.key, node]));
	const fresh = !list.dataset.shown;
	const focused = list.contains(document.activeElement) ? document.activeElement : null;
	const at = focused && [focused.closest("[data-key]")?.dataset.key, focused.dataset.act];
	items.forEach((item, place) => {
		const name = String(key(item));
		const says = JSON.stringify(sign(item));
		let node = had.get(name);
		had.delete(name);
		if (!node || node.says !== says) {
			const made = make(item);
			made.dataset.key = name;
			made.says = says;
			if (node) node.replaceWith(made);
			if (!fresh) tint(made);
			node = made;
		}
		if (list.children[place] !== node) list.insertBefore(node, list.children[place] ?? null);
	});
	for (const node of had.values()) node.remove();
	list.dataset.shown = "yes";
	list.hidden = !items.length;
	if (empty) empty.hidden = items.length > 0;
	if (focused && !(focused.isConnected && document.activeElement === focused)) {
		const again = [...list.querySelectorAll("[data-act]")].find((b) => b.dataset.act === at[1] && b.closest("[data-key]").dataset.key === at[0]);
		(again ?? list.closest("[role=tabpanel]")).focus({ preventScroll: true });
	}
}

export function button(label, act, onclick, { className = "", of = "" } = {}) {
	const node = element("button", { type: "button", className }, label, of && element("span", { className: "unseen" }, ` ${of}`));
	node.dataset.act = act;
	node.addEventListener("click", () => onclick(node));
	return node;
}
