/*
 * tidings-react - what comes on a topic, in components of React.
 *
 *	<TidingsProvider options={{ token }}>…</TidingsProvider>	one client for all that is in it
 *	useTidings()		the client; null before it is there
 *	useStatus()		its status, in a word
 *	useTopic(name, { effectiveness_update: f, "*": g, gap: h })	handlers as long as the component is there
 */
import { createContext, createElement, useContext, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { Tidings } from "tidings-client/tabs";

const Context = createContext(null);

/* Made in an effect, as whatever has to be closed: React may render twice, and throw one away. `options` are those of the first time. */
export function TidingsProvider({ url = "", options, children }) {
	const [tidings, setTidings] = useState(null);
	const first = useRef(options);
	useEffect(() => {
		const client = new Tidings(url, first.current);
		setTidings(client);
		return () => client.close();
	}, [url]);
	return createElement(Context.Provider, { value: tidings }, children);
}

export const useTidings = () => useContext(Context);

export function useStatus() {
	const tidings = useTidings();
	return useSyncExternalStore((changed) => tidings?.on("status", changed) ?? (() => {}), () => tidings?.status ?? "idle");
}

export function useTopic(name, handlers) {
	const tidings = useTidings();
	const latest = useRef(handlers);
	useEffect(() => {
		latest.current = handlers;
	});
	useEffect(() => {
		if (!tidings || tidings.closed) return;
		const topic = tidings.topic(name);
		topic.on("*", (m) => (latest.current[m.type] ?? latest.current["*"])?.(m));
		topic.on("gap", (gap) => latest.current.gap?.(gap));
		return () => topic.unsubscribe();
	}, [tidings, name]);
}
