/*
 * admin-view - how the page /admin shows things: numbers with units, ages, tables whose rows stay where they are while they change.
 *
 * Names of users and topics are strangers' words: all of it is put in as text, never as HTML.
 */
export const byId = (id) => document.getElementById(id);

/* Children that are null are left out. */
export function element(name, properties = {}, ...children) {
	const e = document.createElement(name);
	for (const [key, value] of Object.entries(properties)) key in e ? (e[key] = value) : e.setAttribute(key, value);
	e.append(...children.filter((child) => child !== null && child !== undefined));
	return e;
}

/* ---- numbers and times */

const number = new Intl.NumberFormat("en-GB");
export const count = (n) => (n === null || n === undefined ? "–" : number.format(n));

export function bytes(n) {
	if (n === null || n === undefined) return "–";
	if (n < 1000) return `${n} B`;
	const [divisor, unit] = n < 1e6 ? [1e3, "kB"] : n < 1e9 ? [1e6, "MB"] : [1e9, "GB"];
	return `${(n / divisor).toPrecision(3).replace(/\.?0+$/, "")} ${unit}`;
}

export function duration(seconds) {
	const s = Math.max(0, Math.floor(seconds));
	if (s < 60) return `${s} s`;
	if (s < 3600) return `${Math.floor(s / 60)} min`;
	if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
	return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

const since = (when) => (Date.now() - new Date(when)) / 1000;
const clock = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/* How long ago that was, and in how long it will be; the moment itself on a closer look. */
export function age(when) {
	if (!when) return element("span", {}, "–");
	const seconds = since(when);
	const words = seconds < -1 ? `in ${duration(-seconds)}` : duration(seconds);
	return element("time", { dateTime: when, title: clock.format(new Date(when)) }, words);
}

export const clockTime = (when) => new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" }).format(when ? new Date(when) : new Date());

/* ---- tables */

/* What is not the same any more is replaced, so that the focus and a selection stay. */
function fill(cell, content) {
	const made = element("td");
	made.append(...[content].flat().map((c) => c ?? ""));
	if (cell.innerHTML !== made.innerHTML) cell.replaceChildren(...made.childNodes);
}

/*
 * Shows the items as rows, in their order. A row is the same element as long as its key is there.
 *
 *	columns	[{label, show: (item) => node or text, number: right-aligned, tight: never in two lines}]
 *	acts	[{label, of: (item) => whose it is, for a screen reader, when: (item) => is it to be had, harm, act: (item, button)}]
 */
export function showRows(table, items, key, columns, acts = []) {
	const body = table.tBodies[0];
	const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
	const focused = body.contains(document.activeElement) ? document.activeElement : null;
	items.forEach((item, place) => {
		const name = String(key(item));
		let row = known.get(name);
		known.delete(name);
		if (!row) {
			row = element("tr");
			row.dataset.key = name;
			for (const { label, number: right, tight } of columns) {
				const cell = element("td", { className: right ? "number" : tight ? "tight" : "" });
				cell.dataset.label = label;
				row.append(cell);
			}
			if (acts.length) row.append(element("td", { className: "acts" }));
		}
		row.item = item;
		columns.forEach(({ show }, i) => fill(row.cells[i], show(item)));
		if (acts.length) showActs(row, acts);
		if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] ?? null);
	});
	for (const row of known.values()) row.remove();
	// A row that is moved loses the focus, and one that is gone has none to give back.
	if (focused?.isConnected) focused.focus({ preventScroll: true });
	else if (focused) byId(table.getAttribute("aria-labelledby")).focus();
	table.hidden = items.length === 0;
	table.parentElement.querySelector(".empty").hidden = items.length > 0;
}

function showActs(row, acts) {
	const cell = row.lastElementChild;
	const wanted = acts.filter(({ when }) => when?.(row.item) ?? true);
	const names = wanted.map(({ label, of }) => `${label} ${of(row.item)}`).join("\n");
	if (cell.dataset.names === names) return;
	cell.dataset.names = names;
	cell.replaceChildren(...wanted.map(({ label, of, harm, act }) => {
		const button = element("button", { type: "button", className: harm ? "harm" : "" }, label, element("span", { className: "unseen" }, ` ${of(row.item)}`));
		button.addEventListener("click", () => act(row.item, button));
		return button;
	}));
}
