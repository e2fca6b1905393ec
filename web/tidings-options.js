/*
 * tidings-options - what a client is made with, and what it keeps for the next one.
 *
 *	settings()	the options with their defaults; what is misspelt is a TypeError, where it was written
 *	Kept		in the storage: the transport that worked last and, with the option `persist`, the cursors
 */
export const TRANSPORTS = ["websocket", "sse", "long_poll"];

const DEFAULTS = {
	topics: [],
	cursors: {},
	transports: TRANSPORTS,
	connectTimeout: 5000,
	silenceTimeout: 40000,
	pingInterval: 25000,
	pingTimeout: 10000,
	probeInterval: 300000,
	backoffMin: 500,
	backoffMax: 30000,
	pollTimeout: 25,
	sendTimeout: 30000,
};
const OTHERS = ["token", "state", "rewind", "types", "device", "presence", "persist"];
const KEEP_MS = 1000; // cursors are written this long after a message, so that a burst is written once
const CURSORS_MAX = 200; // kept of topics, the latest

function pageStorage() {
	try {
		return globalThis.document ? globalThis.localStorage : null;
	} catch {
		return null; // a page may be forbidden to keep anything
	}
}

export function settings(options) {
	const here = { WebSocket: globalThis.WebSocket, fetch: (...of) => globalThis.fetch(...of), storage: pageStorage() };
	const all = { ...DEFAULTS, ...here, ...options };
	for (const name of Object.keys(options)) if (!(name in DEFAULTS || name in here || OTHERS.includes(name))) throw new TypeError(`there is no option ${name}`);
	for (const t of all.transports) if (!TRANSPORTS.includes(t)) throw new TypeError(`there is no transport ${t}`);
	if (all.device && !/^[\w.-]{1,64}$/.test(all.device)) throw new TypeError(`this is no device's name: ${all.device}`);
	if (all.persist && all.state) throw new TypeError("persist and state exclude each other");
	return all;
}

export class Kept {
	transport;
	cursors = {};
	#storage;
	#key;
	#cursorsKey;
	#timer;

	constructor({ storage, persist }, base) {
		this.#storage = storage;
		this.#key = `tidings ${base}`;
		this.transport = this.#read(this.#key);
		if (!persist) return;
		this.#cursorsKey = `${this.#key} ${persist}`;
		try {
			Object.assign(this.cursors, JSON.parse(this.#read(this.#cursorsKey)));
		} catch {
			// not ours
		}
	}

	#read(key) {
		try {
			return this.#storage?.getItem(key);
		} catch {
			return null; // it is forbidden here: we go without
		}
	}

	#write(key, text) {
		try {
			this.#storage?.setItem(key, text);
		} catch {
			// full, or forbidden here: this client knows it, the next finds out itself
		}
	}

	remember(transport) {
		if (transport !== this.transport) this.#write(this.#key, (this.transport = transport));
	}

	/* `cursors` gives them, when it is time to write. */
	soon(cursors) {
		if (this.#cursorsKey) this.#timer ??= setTimeout(() => this.now(cursors()), KEEP_MS);
	}

	now(cursors) {
		clearTimeout(this.#timer);
		this.#timer = undefined;
		if (!this.#cursorsKey) return;
		for (const [topic, cursor] of Object.entries(cursors)) {
			delete this.cursors[topic]; // it goes to the end
			this.cursors[topic] = cursor;
		}
		this.cursors = Object.fromEntries(Object.entries(this.cursors).slice(-CURSORS_MAX));
		this.#write(this.#cursorsKey, JSON.stringify(this.cursors));
	}
}
