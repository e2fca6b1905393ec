/* locks - Web Locks, as much of them as tidings-tabs.js uses, for tabs that are in one process. A tab that is killed: kill(tab). */
const aborted = () => Object.assign(new Error("aborted"), { name: "AbortError" });

export class Locks {
	#queues = new Map(); // by name: the first of them holds it

	request = (name, options, run) =>
		new Promise((resolve, reject) => {
			const queue = this.#queues.get(name) ?? [];
			this.#queues.set(name, queue);
			const entry = { run: run ?? options, resolve, reject };
			const { signal, steal } = run ? options : {};
			if (signal?.aborted) return reject(aborted());
			signal?.addEventListener("abort", () => this.#remove(name, entry, true));
			if (steal) this.#remove(name, queue[0], false);
			if (steal) queue.unshift(entry);
			else queue.push(entry);
			this.#grant(name);
		});

	/* As the browser does it for a page that is gone. */
	release(name) {
		this.#remove(name, this.#queues.get(name)?.[0], false);
		this.#grant(name);
	}

	get names() {
		return [...this.#queues].filter(([, queue]) => queue.length).map(([name]) => name);
	}

	#remove(name, entry, waiting) {
		const queue = this.#queues.get(name);
		const at = queue.indexOf(entry);
		if (at < 0 || (waiting && entry.granted)) return;
		queue.splice(at, 1);
		entry.reject(aborted());
	}

	#grant(name) {
		const queue = this.#queues.get(name);
		const [first] = queue;
		if (!first || first.granted) return;
		first.granted = true;
		queueMicrotask(async () => {
			const given = await first.run();
			first.resolve(given);
			const at = queue.indexOf(first);
			if (at < 0) return;
			queue.splice(at, 1);
			this.#grant(name);
		});
	}
}
