/* demo - a day of invented feedback, in a minute: sent by a service, as an application's backend would. What there is to rate is in year.sql. */

const DAY_MIN = 1440;
const ANSWERS = 120; // a day
const SHOWN = 12;
const PATIENTS = 60;
const OWNER = "456"; // of diagnosis 123, who says something now and then
const WORDS = ["Much worse than before.", "Not much help.", "Some days are better.", "It helps.", "I feel well again."];
const HERBS = { // as year.sql has them, in the order of the alphabet
	1: ["Fennel", "Ginger", "Peppermint", "Turmeric"],
	2: ["Lavender", "Passionflower", "Valerian"],
};
const MEANS = { Fennel: 2.8, Ginger: 3.0, Lavender: 3.1, Passionflower: 4.1, Peppermint: 4.7, Turmeric: 3.4, Valerian: 3.5 };

const byId = (id) => document.getElementById(id);
const speed = Number(new URLSearchParams(location.search).get("seconds")) || 60; // what a day takes
const chance = (n) => Math.floor(Math.random() * n);
const two = (n) => String(n).padStart(2, "0");
const clock = (minute) => `${two(Math.floor(minute / 60))}:${two(minute % 60)}`;
let day = null; // the one that is played

/* Who rates what, and how. */
function answer(n) {
	const place = 1 + chance(2);
	const number = 1 + chance(PATIENTS);
	const { user_id, diagnosis, name, herb } = n % 12 === 0
		? { user_id: OWNER, diagnosis: 123, name: "The patient of diagnosis 123", herb: { 1: "Ginger", 2: "Valerian" }[place] }
		: { user_id: `demo-${number}`, diagnosis: 1000 + number, name: `Patient ${number}`, herb: HERBS[place][number % HERBS[place].length] };
	const rating = Math.max(1, Math.min(5, Math.round(MEANS[herb] + Math.random() * 2 - 1)));
	const body = { user_id, recommendation_id: 9_000_000_000 + diagnosis * 10 + place, rating, ...(chance(4) === 0 && { comment: WORDS[rating - 1] }) };
	return { diagnosis, name, herb, body };
}

async function send({ diagnosis, body }, token) {
	const reply = await fetch(`/api/diagnosis/${diagnosis}/feedback`, {
		method: "POST",
		headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
		body: JSON.stringify(body),
	});
	if (!reply.ok) throw new Error((await reply.json().catch(() => ({}))).detail ?? `The server answers ${reply.status}.`);
}

function show(minute, { name, herb, body }) {
	const line = document.createElement("li");
	line.textContent = `${clock(minute)} ${name}: ${herb}, ${body.rating} of 5`;
	byId("said").prepend(line);
	while (byId("said").children.length > SHOWN) byId("said").lastChild.remove();
}

function end(words) {
	clearTimeout(day.timer);
	day = null;
	byId("play").hidden = false;
	byId("stop").hidden = true;
	byId("status").textContent = words;
}

/* Answer n of a day, when it is time. */
async function step(n, mine) {
	const minute = Math.floor(n * DAY_MIN / ANSWERS);
	byId("time").textContent = clock(minute);
	byId("progress").value = minute;
	if (n === ANSWERS) return end(`The day is over: ${ANSWERS} answers.`);
	const said = answer(n);
	let problem = null;
	try {
		await send(said, mine.token);
	} catch ({ message }) {
		problem = message;
	}
	if (day !== mine) return; // stopped meanwhile
	if (problem) {
		byId("error").textContent = problem;
		return end("");
	}
	show(minute, said);
	mine.timer = setTimeout(step, Math.max(0, mine.began + (n + 1) * speed * 1000 / ANSWERS - performance.now()), n + 1, mine);
}

byId("day").addEventListener("submit", (event) => {
	event.preventDefault();
	if (day) return;
	byId("error").textContent = "";
	byId("status").textContent = "A day is being played.";
	byId("play").hidden = true;
	byId("stop").hidden = false;
	day = { token: byId("token").value.trim(), began: performance.now(), timer: null };
	step(0, day);
});
byId("stop").addEventListener("click", () => end("Stopped."));
