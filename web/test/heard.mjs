/* heard - a client whose events are kept, so that a test can await them. */
import { Tidings } from "../tidings.js";
import WebSocket from "ws";

const WAIT_MS = 20000;
const EVENTS = ["message", "connected", "disconnected", "status", "gap", "error"];

export function heard(url, options = {}, Client = Tidings) {
	const t = new Client(url, { WebSocket, backoffMin: 20, backoffMax: 100, connectTimeout: WAIT_MS, probeInterval: 3600000, ...options });
	const kept = Object.fromEntries(EVENTS.map((e) => [e, []]));
	const waiting = new Set();
	for (const e of EVENTS)
		t.on(e, (detail) => {
			kept[e].push(detail);
			for (const look of waiting) look();
		});

	/* The event number `count` (1, 2 …) of that name, once it has come. */
	const event = (name, count = 1) =>
		new Promise((resolve, reject) => {
			const timer = setTimeout(() => reject(new Error(`waited in vain for ${name} ${count}: ${JSON.stringify(kept)}`)), WAIT_MS);
			const look = () => {
				if (kept[name].length < count) return;
				waiting.delete(look);
				clearTimeout(timer);
				resolve(kept[name][count - 1]);
			};
			waiting.add(look);
			look();
		});
	const seqs = (topic) => kept.message.filter((m) => m.topic === topic).map((m) => m.seq);
	return { t, kept, event, seqs };
}

export class Storage {
	kept = {};
	getItem = (key) => this.kept[key] ?? null;
	setItem = (key, value) => void (this.kept[key] = value);
}
