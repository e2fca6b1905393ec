/* scene - a test of the client with a server of its own (fake.mjs). */
import { test } from "node:test";
import { Fake } from "./fake.mjs";
import { heard } from "./heard.mjs";

export const ALL = ["websocket", "sse", "long_poll"];
export const upTo = (n, from = 1) => Array.from({ length: n - from + 1 }, (_, i) => i + from);

/* What `run` starts by `client` is closed after it. */
export function scene(sentence, run) {
	test(sentence, { timeout: 60000 }, async () => {
		const fake = await Fake.start();
		const clients = [];
		const client = ({ url = fake.url, ...options } = {}) => {
			const c = heard(url, { topics: ["a"], ...options });
			clients.push(c);
			return c;
		};
		try {
			await run(fake, client);
		} finally {
			clients.forEach((c) => c.t.close());
			await fake.stop();
		}
	});
}

/* The same by each transport alone. */
export function eachWay(sentence, run) {
	for (const way of ALL) scene(`${way}: ${sentence}`, (fake, client) => run(fake, (o) => client({ transports: [way], ...o }), way));
}
