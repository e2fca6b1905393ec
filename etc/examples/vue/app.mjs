/* A diagnosis that is watched. With a render function, so that it runs as it is; `window.watch` is what the page is to show. */
import { createApp, h, ref } from "vue";
import { tidings, useStatus, useTopic } from "./tidings-vue.mjs";

const { topic, token } = globalThis.watch;

const Diagnosis = {
	props: ["topic"],
	setup(props) {
		const messages = ref([]);
		const status = useStatus();
		useTopic(() => props.topic, { "*": (m) => messages.value.push(m) });
		return () => h("section", [
			h("p", status.value),
			h("ul", messages.value.map((m) => h("li", { key: m.seq }, `${m.seq}: ${m.type}`))),
		]);
	},
};

createApp(Diagnosis, { topic }).use(tidings, { token }).mount("#vue");
