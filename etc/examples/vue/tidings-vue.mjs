/*
 * tidings-vue - what comes on a topic, in components of Vue 3.
 *
 *	app.use(tidings, { token })	one client for the application
 *	useTidings()			the client
 *	useStatus()			its status, in a word: a ref
 *	useTopic(name, { effectiveness_update: f, "*": g, gap: h })	handlers as long as the component is there; `name` may be a ref
 */
import { inject, onScopeDispose, readonly, ref, toValue, watchEffect } from "vue";
import { Tidings } from "tidings-client/tabs";

const KEY = Symbol("tidings");

export const tidings = {
	install(app, { url = "", ...options }) {
		const client = new Tidings(url, options);
		app.provide(KEY, client);
		app.onUnmount(() => client.close());
	},
};

export const useTidings = () => inject(KEY);

export function useStatus() {
	const client = useTidings();
	const status = ref(client.status);
	onScopeDispose(client.on("status", (now) => (status.value = now)));
	return readonly(status);
}

export function useTopic(name, handlers) {
	const client = useTidings();
	watchEffect((onCleanup) => {
		if (client.closed) return;
		const topic = client.topic(toValue(name));
		topic.on("*", (m) => (handlers[m.type] ?? handlers["*"])?.(m));
		topic.on("gap", (gap) => handlers.gap?.(gap));
		onCleanup(() => topic.unsubscribe());
	});
}
