/* A diagnosis that is watched. Without JSX, so that it runs as it is; `window.watch` is what the page is to show. */
import { createElement as h, StrictMode, useReducer } from "react";
import { createRoot } from "react-dom/client";
import { TidingsProvider, useStatus, useTopic } from "./tidings-react.mjs";

function Diagnosis({ topic }) {
	const [messages, add] = useReducer((all, m) => [...all, m], []);
	const status = useStatus();
	useTopic(topic, { "*": add });
	return h("section", null,
		h("p", null, status),
		h("ul", null, messages.map((m) => h("li", { key: m.seq }, `${m.seq}: ${m.type}`))));
}

const { topic, token } = globalThis.watch;
createRoot(document.querySelector("#react")).render(
	h(StrictMode, null, h(TidingsProvider, { options: { token } }, h(Diagnosis, { topic }))));
