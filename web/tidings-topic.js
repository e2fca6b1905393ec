/*
 * tidings-topic - one part's hold on a topic: a component of a page has handlers of its own, and ends them without asking who else listens.
 *
 * The topic is subscribed to as long as somebody holds it.
 */
export class Topic {
	#client;
	#release;
	#offs = new Set();

	constructor(client, name, release) {
		this.name = name;
		this.#client = client;
		this.#release = release;
	}

	/* The client's listeners are by event; a topic's by its name and, after a space, the type. */
	on(type, listener) {
		const off = this.#client.on(`${this.name} ${type}`, listener);
		this.#offs.add(off);
		return () => this.#offs.delete(off) && off();
	}

	history(options) {
		return this.#client.history(this.name, options);
	}

	presence() {
		return this.#client.presence(this.name);
	}

	unsubscribe() {
		for (const off of this.#offs) off();
		this.#offs.clear();
		this.#release(this);
	}
}
