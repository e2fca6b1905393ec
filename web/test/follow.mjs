/*
 * follow - clients that load a state with its place by `state`, and follow its topic to the end, in this Node.
 *
 *	node follow.mjs STATE TOPIC	STATE: the URL of {"state": {id: version, …}, "cursor": …}
 *
 * Stdin is a JSON array of {"url", "transport", "token", "reload"}, one for each client; reload: after so many messages it loads the state
 * anew, 0: only after a gap. A row 0, by the state or by a message, ends a client; when all have, {"model", "wrong", "loads", "gaps"} of each goes to
 * stdout. tests/system/59_state.py has the same in Python.
 */
import { text } from "node:stream/consumers";
import WebSocket from "ws";
import { Tidings } from "../tidings.js";

const [, , stateUrl, topic] = process.argv;

function follow({ url, transport, token, reload }) {
	let model = new Map();
	const gone = new Map(); // versions of rows that were deleted
	const told = { wrong: [], loads: 0, gaps: 0 };
	const known = (id) => Math.max(model.get(id) ?? -1, gone.get(id) ?? -1);

	async function state() {
		const { state, cursor } = await (await fetch(stateUrl)).json();
		const next = new Map(Object.entries(state).map(([id, version]) => [+id, version]));
		for (const [id, version] of next) if (version < known(id)) told.wrong.push(`loaded: ${id} went from ${known(id)} to ${version}`);
		for (const [id, version] of model) if (!next.has(id)) gone.set(id, Math.max(version, gone.get(id) ?? -1));
		model = next;
		told.loads++;
		if (model.has(0)) over();
		return cursor;
	}

	/* A message may tell what the state has already: only what is newer counts. */
	function take({ op, old, new: row }) {
		if (op === "delete") {
			if ((model.get(old.id) ?? Infinity) <= old.version) model.delete(old.id);
			gone.set(old.id, Math.max(old.version, gone.get(old.id) ?? -1));
		} else if (row.version > known(row.id)) model.set(row.id, row.version);
	}

	let over;
	return new Promise((done) => {
		const client = new Tidings(url, {
			token, state, WebSocket, topics: [topic], transports: [transport], connectTimeout: 60000, backoffMin: 50, backoffMax: 500,
		});
		let count = 0;
		let last = 0;
		over = () => {
			client.close();
			done({ ...told, model: Object.fromEntries(model) });
		};
		client.on("gap", () => told.gaps++);
		client.on("error", ({ code, message }) => code !== "unreachable" && code !== "busy" && told.wrong.push(`${code}: ${message}`));
		client.on("message", (m) => {
			if (last && m.seq !== last + 1) told.wrong.push(`${m.seq} instead of ${last + 1}`);
			last = m.seq;
			if (m.type === "thing") take(m.data);
			if (model.has(0)) return over();
			if (reload && ++count % reload === 0) {
				last = 0;
				client.unsubscribe(topic);
				client.subscribe(topic);
			}
		});
		client.on("gap", () => (last = 0));
	});
}

const results = await Promise.all(JSON.parse(await text(process.stdin)).map(follow));
process.stdout.write(JSON.stringify(results));
process.exit(0);
