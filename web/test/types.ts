/* Is compiled, never run: what an application may write, and what it may not. */
import { SignedOut, Tidings, type AnyMessage, type Cursors, type LiveMessage, type Message, type SendError, type Status, type Transport } from "../tidings.js";

import { Tidings as InTabs } from "../tidings-tabs.js";

interface Recommendation extends Message {
	type: "recommendation_update";
	data: { reason: string };
}

const t = new Tidings("https://push.example", {
	token: async (reason) => (reason === "first" ? "a" : reason === "expiring" ? "b" : new SignedOut()),
	device: "phone",
	presence: true,
	persist: "456",
	topics: new Set(["diagnosis/123"]),
	cursors: { "diagnosis/123": "abc-1" },
	transports: ["sse", "long_poll"],
	storage: null,
	WebSocket: class {},
});
const off: () => void = t.on("message", (m) => m.topic.toUpperCase() + (m.seq ?? 0).toFixed());
off();
t.on("gap", ({ topic, from, to }) => [topic, from! + to!]);
t.on("error", (e) => (e.code === "forbidden" ? e.topic : e.fatal));
t.on("connected", (c) => c.topics.map((x) => x + c.transport));
t.on("disconnected", (d) => d.retryIn ?? d.reason);
t.subscribe("health/456", "abc-2");
t.unsubscribe("health/456");
export const kept: Cursors = t.cursors;
export const now: Status = t.status;
t.on("status", (s) => s === "signed_out" && s.length);
t.ready().then(() => t.pause()).catch((e: SendError) => e.code);
t.resume();

t.on("message", (m) => {
	if (m.type === "effectiveness_update") return m.data.improvement?.toFixed() ?? m.diagnosis_id + m.data.sample_size;
	if (m.type === "recommendation_update") return m.data.changed_fields.length;
	if (m.type === "join") return m.data.user_id;
	// @ts-expect-error: tidings sends none of these; <Message> or <AnyMessage | Mine> has them
	return m.type === "note";
});
const diagnosis = t.topic("diagnosis/123", "abc-7");
diagnosis.on("feedback_update", (m) => m.data.rating.toFixed());
diagnosis.on("*", (m: AnyMessage) => m.topic);
diagnosis.on("gap", ({ from }) => from?.toFixed());
diagnosis.on("note", (m: Message) => m.data.anything);
diagnosis.history({ limit: 10, types: ["note"] }).then((h) => h.messages.length + h.cursor);
t.presence("diagnosis/123").then((p) => p.clients + p.users.length);
diagnosis.unsubscribe();
// @ts-expect-error: it has a rating, not a reason
diagnosis.on("feedback_update", (m) => m.data.reason);
// @ts-expect-error: that is misspelt
new Tidings("", { tokne: "a" });

new InTabs<Recommendation>("", { topics: ["diagnosis/123"] }).topic("diagnosis/123").on("recommendation_update", (m) => m.data.reason.length);
export const shared: Tidings = new InTabs("");

export const by: Transport | null = t.transport;
new Tidings<Recommendation>("").on("message", (m) => m.data.reason.length);
t.close();

new Tidings<LiveMessage>("").on("message", (m) => {
	if (m.type === "chat_message") return m.data.message.length + m.seq;
	if (m.type === "notification") return [m.notification.priority, t.ack(m)];
	if (m.type === "health_alert") return m.data.side === "low" ? m.data.low : m.data.high;
	if (m.type === "typing") return m.data.is_typing;
	// @ts-expect-error: that one is a health_update by now
	return m.notification;
});
export const said: Promise<number> = t.send("chat_message", { conversation_id: "c", message: "m" }, { correlationId: "x" }).then((r) => r.data.seq);
t.send("get_preferences").then((r) => r.data.quiet_hours?.time_zone.length);
t.send("ack", { topic: "a", seq: 1 }).catch((e: SendError) => e.errors[0]?.field ?? e.status.toFixed() + e.code);
t.send("set_preferences", { types: { system: false }, quiet_hours: null });

// @ts-expect-error: nothing is said
t.send("chat_message");
// @ts-expect-error: a reading has a value
t.send("health_update", { metric: "pulse" });
// @ts-expect-error: this means something on a connection only
t.send("ping");
// @ts-expect-error: there is no such event
t.on("massage", () => {});
// @ts-expect-error: nor such a transport
new Tidings("", { transports: ["carrier pigeon"] });
// @ts-expect-error: it is read only
t.transport = "sse";
