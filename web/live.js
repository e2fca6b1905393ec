/*
 * live - the page at /: connects with web/tidings.js and shows what comes.
 *
 *	off		not connected, and the form is there
 *	connecting	the first attempt
 *	connected
 *	waiting		between two attempts
 *
 * The token is kept in this tab alone (sessionStorage), never in an address. Cursors live as long as the page: who disconnects and
 * connects again gets what came meanwhile.
 */
import { Tidings, expiry } from "./tidings.js";
import { complain, forgive, pointOut } from "./live-field.js";
import { addGap, addMessage, addNote } from "./live-list.js";
import { startPublishing, suggestDiagnosis } from "./live-publish.js";

const TRANSPORTS = { websocket: "WebSocket", sse: "event stream", long_poll: "long-poll" };
const KEPT = ["topics", "token", "transport"];

const byId = (id) => document.getElementById(id);
const form = byId("connect");
const { topics: topicsInput, token: tokenInput } = form.elements;

let tidings = null;
let cursors = {}; // of every topic that this page has listened to
let state = "off";
let retryAt = 0;
let retryTimer = null;
let refusedTopics = []; // of this connection
let told = ""; // the trouble that the list has told of, so that it is told once

/* ---- what is shown */

function show(now, words) {
	state = now;
	byId("state").dataset.state = now;
	byId("state-text").textContent = words;
	form.hidden = now !== "off";
	byId("facts").hidden = now === "off";
	byId("now").hidden = now !== "waiting";
	byId("send").classList.toggle("main", now === "connected"); // before that, connecting is the one thing to do
	clearInterval(retryTimer);
	byId("retry").textContent = "";
	document.title = now === "connected" ? "● tidings: live" : "tidings: live";
}

function showFacts({ topics, userId, connectionId }) {
	byId("fact-topics").textContent = topics.join(", ");
	byId("fact-refused").textContent = refusedTopics.join(", ");
	byId("fact-user").textContent = userId === null ? "anonymous" : (userId ?? "");
	byId("fact-id").textContent = connectionId ?? "";
	for (const row of byId("facts").querySelectorAll("dl > div")) row.hidden = !row.lastElementChild.textContent;
}

/* The seconds run in a place of their own, which no screen reader reads out as they do. */
function countDown(ms) {
	const tick = () => {
		const left = Math.ceil((retryAt - Date.now()) / 1000);
		byId("retry").textContent = left > 0 ? `Next attempt in ${left} s` : "Trying";
	};
	retryAt = Date.now() + ms;
	retryTimer = setInterval(tick, 1000);
	tick();
}

/* The focus goes where the next thing is to be done, unless it is somewhere else altogether. */
function focusWithin(from, to) {
	const had = byId(from).contains(document.activeElement) || document.activeElement === document.body;
	return () => had && to.focus();
}

/* ---- connecting */

/* "1, health/456" -> ["diagnosis/1", "health/456"] */
function wantedTopics() {
	const names = topicsInput.value.split(/[\s,]+/).filter(Boolean);
	return [...new Set(names.map((name) => (/^\d+$/.test(name) ? `diagnosis/${name}` : name)))];
}

const wantedToken = () => tokenInput.value.trim().replace(/^Bearer\s+/i, "");

function check() {
	const topics = wantedTopics();
	const wrong = topics.find((topic) => !/^[\w.:/-]{1,128}$/.test(topic));
	forgive(form);
	if (!topics.length) complain(topicsInput, "Which diagnosis, or which topic?");
	else if (wrong) complain(topicsInput, `This is no topic: ${wrong}`);
	else if (topics.length > 100) complain(topicsInput, "100 topics are the most.");
	const token = wantedToken();
	if (token && !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) complain(tokenInput, "This is not a token: it has three parts, with dots between.");
	return !pointOut(form);
}

/* Without one only public diagnoses can be listened to, where the server allows it. A WebSocket would wait for a token to come later. */
async function lacksToken(topics) {
	const ids = topics.map((topic) => /^diagnosis\/(\d+)$/.exec(topic)?.[1]);
	if (wantedToken()) return false;
	if (ids.includes(undefined)) return true;
	try {
		return (await fetch(`/ws/history/${ids[0]}?limit=1`)).status === 401;
	} catch {
		return false; // the server is away, which connecting will show
	}
}

function keep() {
	try {
		for (const name of KEPT) sessionStorage.setItem(`live ${name}`, form.elements[name].value);
	} catch {
		// this browser keeps nothing: then it is to be typed in again
	}
}

function recall() {
	try {
		for (const name of KEPT) form.elements[name].value = sessionStorage.getItem(`live ${name}`) ?? form.elements[name].value;
	} catch {
		// nothing was kept
	}
}

function connect() {
	const topics = wantedTopics();
	const transport = form.elements.transport.value;
	const focus = focusWithin("connect", byId("disconnect"));
	told = "";
	refusedTopics = [];
	show("connecting", "Connecting");
	showFacts({ topics });
	focus();
	tidings = new Tidings("", {
		token: wantedToken(),
		topics,
		cursors,
		...(transport && { transports: [transport], storage: null }), // what one tries is not what one wants the next time
	});
	tidings.on("connected", connected);
	tidings.on("disconnected", disconnected);
	tidings.on("error", failed);
	tidings.on("message", addMessage);
	tidings.on("gap", addGap);
}

function end(words) {
	const focus = focusWithin("facts", form.querySelector("[type=submit]"));
	Object.assign(cursors, tidings.cursors);
	tidings.close();
	tidings = null;
	show("off", words);
	focus();
}

/* ---- what becomes of the connection */

function connected(detail) {
	told = "";
	show("connected", `Connected by ${TRANSPORTS[detail.transport]}`);
	showFacts(detail);
	suggestDiagnosis(detail.topics);
	addNote(`Connected by ${TRANSPORTS[detail.transport]}`, "good");
}

function trouble(words, why, retryIn) {
	const focus = focusWithin("facts", byId("disconnect"));
	show("waiting", words);
	focus();
	showFacts({ topics: tidings.topics });
	countDown(retryIn);
	if (told !== words) addNote(`${words} (${why})`, "warn");
	told = words;
}

function disconnected({ reason, retryIn }) {
	if (retryIn !== null) trouble("Connection lost", reason, retryIn);
}

function whyRefused(token, message) {
	const ended = expiry(token);
	return ended && ended < Date.now() ? `This token ended at ${new Date(ended).toLocaleString()}.` : `The server refuses this token (${message.replace(/\.$/, "")}).`;
}

/* To publish. False: the field is hidden while there is a connection. */
function refuseToken(message) {
	if (form.hidden) return false;
	const token = wantedToken();
	forgive(form);
	complain(tokenInput, token ? whyRefused(token, message) : "Publishing takes a token: paste one here.");
	return pointOut(form);
}

function failed({ code, message, fatal, topic, retryIn }) {
	if (code === "forbidden") {
		const words = `Not allowed: ${topic}. It is not yours, or not there.`;
		refusedTopics.push(topic);
		if (tidings.topics.length) addNote(words, "bad");
		else refuse(topicsInput, words);
	} else if (fatal) {
		const token = code === "unauthorized";
		refuse(token ? tokenInput : topicsInput, token ? whyRefused(tokenInput.value.trim(), message) : message);
	} else trouble(code === "busy" ? "The server is not ready" : "The server cannot be reached", message, retryIn);
}

/* The end, and what to change before the next attempt. */
function refuse(input, words) {
	const focus = focusWithin("facts", input);
	end("Not connected: refused");
	addNote(words, "bad");
	complain(input, words);
	focus();
}

/* ---- what one does */

form.addEventListener("submit", async (event) => {
	event.preventDefault();
	if (!check()) return;
	const lacking = await lacksToken(wantedTopics());
	if (state !== "off") return; // it was pressed twice
	if (lacking) {
		complain(tokenInput, "This takes a token.");
		pointOut(form);
		return;
	}
	keep();
	connect();
});

byId("disconnect").addEventListener("click", () => {
	addNote("Disconnected");
	end("Not connected");
});

byId("now").addEventListener("click", () => {
	Object.assign(cursors, tidings.cursors);
	tidings.close();
	connect();
	byId("disconnect").focus();
});

byId("show").addEventListener("click", () => {
	const shown = tokenInput.type === "password";
	tokenInput.type = shown ? "text" : "password";
	byId("show").setAttribute("aria-pressed", String(shown));
});

recall();
startPublishing(wantedToken, refuseToken);
byId("live").hidden = false;
