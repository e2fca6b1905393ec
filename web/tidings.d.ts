/**
 * tidings: a client for pages and for Node (18 or newer).
 *
 *	const t = new Tidings("https://push.example", { token: () => fetchToken(), topics: ["diagnosis/123"] });
 *	t.on("message", (m) => console.log(m.topic, m.seq, m.type, m.data));
 *
 *	const { data } = await t.send("chat_message", { conversation_id, message: "Hello" });
 *
 * It connects by itself, by WebSocket, else by server-sent events, else by long-poll; it comes back after a break and goes on where it
 * was. Every message arrives once and, within its topic, in order; what the server no longer has is told by `gap`.
 */

/** The words of the server's /ws/status. */
export type Transport = "websocket" | "sse" | "long_poll";

/** One cursor a topic, `<epoch>-<seq>`: what has been received. */
export type Cursors = Record<string, string>;

/**
 *	idle		it has no topics
 *	connecting	for the first time, or again after a break
 *	connected
 *	paused		by `pause()`
 *	signed_out	the token function said so. It is closed
 *	closed		by `close()`, or by an error that is fatal
 */
export type Status = "idle" | "connecting" | "connected" | "paused" | "signed_out" | "closed";

/**
 * A token, or what gives one. Called with "first" before the first connection; with "expiring" a minute before the end that the token itself
 * tells (`exp`; halfway where it lasts less than two), so that the next connection is there before the present one goes; and with "refused" when the server no longer takes the one
 * that it gave (expired, revoked): then a new one is wanted. Nobody is signed in any more: throw (or give) a SignedOut, and the client ends.
 * What else it throws is an `error`, and it is asked again.
 */
export type TokenSource = string | ((reason: "first" | "expiring" | "refused") => Token | Promise<Token>);
type Token = string | SignedOut;

/** When a token ends, in ms since 1970, by its own `exp`; 0: it does not say. */
export declare function expiry(token: string): number;

/** Of a token function: nobody is signed in. `Tidings.SignedOut` is the same. */
export declare class SignedOut extends Error {
  name: "SignedOut";
}

/** One that is not here is a TypeError: it may be misspelt. */
export interface Options {
  token?: TokenSource;
  topics?: Iterable<string>;
  /** Where to go on from: `cursors` of a client before. A topic without one gets what waits for it. */
  cursors?: Cursors;
  /**
   * Loads the application's own state of a topic, shows it, and gives the cursor that belongs to it (`tidings.cursor()` in SQL, read in the same
   * transaction). Called for each topic without a cursor, and after each `gap`; again, after a while, where it throws. The topic's messages come
   * after what it gave.
   */
  state?: (topic: string) => string | Promise<string>;
  /** Topics without a cursor, or after a gap, begin with so many of the newest messages, 1..100, also those that others have had. */
  rewind?: number;
  /** Only messages of these types, 1..20 of them. */
  types?: string[];
  /**
   * A name of this device, 1..64 of A-Z, a-z, 0-9, `_.-`: the server keeps how far it has confirmed, for 90 days, and a topic without a cursor goes on
   * from there. Make it once, at random, and keep it.
   */
  device?: string;
  /** Who is there: each topic begins with a message `presence`, then come `join` and `leave`. */
  presence?: boolean;
  /**
   * Keeps the cursors in `storage`: the next visit goes on where this one ended. `true`, or where several people use one browser, the user's id. Not with
   * `state`, which gives the cursor itself.
   */
  persist?: boolean | string;
  /** Which to use, best first. Default: all three. */
  transports?: Transport[];
  /** The WebSocket class to use. Default: globalThis.WebSocket; where there is none, WebSocket is left out. */
  WebSocket?: unknown;
  /** Default: globalThis.fetch. */
  fetch?: typeof globalThis.fetch;
  /** Where to remember what worked (per server). Default: localStorage where there is one; null: nowhere. */
  storage?: Pick<Storage, "getItem" | "setItem"> | null;
  /** ms until a transport must have connected, or the next is tried. Default: 5000 */
  connectTimeout?: number;
  /** ms of silence after which a connection counts as broken (the server says something every 15 s). Default: 40000 */
  silenceTimeout?: number;
  /** ms of silence after which a WebSocket is asked (`ping`) whether it lives. Default: 25000 */
  pingInterval?: number;
  /** ms that the answer to a ping may take. Default: 10000 */
  pingTimeout?: number;
  /** ms between attempts to get back to a better transport; doubles with each that fails, up to an hour. Default: 300000 */
  probeInterval?: number;
  /** ms of the first, and of the longest, wait between attempts to connect. Default: 500 and 30000 */
  backoffMin?: number;
  backoffMax?: number;
  /** s that a poll may be held, 1..55. Default: 25 */
  pollTimeout?: number;
  /** ms until a message that is sent must have been answered, attempts and waits included. Default: 30000 */
  sendTimeout?: number;
}

/** Any message, also of types of your own: `new Tidings<Message>(…)`. */
export interface Message {
  type: string;
  topic: string;
  /** 1, 2, 3 … within the topic. Missing: an ephemeral message. Not every number comes: some are for others. */
  seq?: number;
  timestamp?: string;
  data: any;
  [more: string]: any;
}

/** Messages that the server no longer has: `from`..`to` where it knows which. Time to load the whole state anew. */
export interface Gap {
  topic: string;
  from?: number;
  to?: number;
}

export interface Events<M = AnyMessage> {
  message: M;
  /** A connection is there. Comes again after every break, and whenever the transport, the topics or the token change. */
  connected: { transport: Transport; topics: string[]; connectionId?: string; userId?: string | number | null; /** The server's time then; polls do not say it. */ at?: string };
  /** A connection is gone; the next attempt comes in `retryIn` ms, or, where that is null, with the next topic. Nothing is lost by it. */
  disconnected: { transport: Transport; reason: string; retryIn: number | null };
  /** It is another one than before. The last is told when an error is fatal, not by `close()`. */
  status: Status;
  gap: Gap;
  /**
   *	forbidden	this topic is not allowed: it has been dropped, the others go on
   *	unauthorized	the token is refused, also a fresh one. fatal
   *	signed_out	the token function said so. fatal
   *	token		the token function failed; tried again
   *	state		the state function failed for `topic`; tried again
   *	invalid		the server does not understand the request (a topic's name, too many topics). fatal
   *	unreachable	no transport gets through; tried again in `retryIn` ms
   *	busy		the server is full, or not ready; tried again in `retryIn` ms
   * After a fatal one the client is closed.
   */
  error: { code: "forbidden" | "unauthorized" | "signed_out" | "token" | "state" | "invalid" | "unreachable" | "busy"; message: string;
    fatal: boolean; topic?: string; retryIn?: number };
}

/* ---- what comes */

export type UserId = string | number;
export type Priority = "low" | "normal" | "high" | "critical";
export type NotificationType = "health_alert" | "medication_reminder" | "appointment_reminder" | "system";

interface Stored<T extends string, D> {
  type: T;
  topic: string;
  seq: number;
  timestamp: string;
  correlation_id?: string;
  data: D;
}

interface OfDiagnosis<T extends string, D> extends Stored<T, D> {
  diagnosis_id: number;
}

/** On `diagnosis/<id>`, as the next ones. Not by what a backend of one's own broadcasts: recommendation_id, status, replaces. */
export type RecommendationUpdate = OfDiagnosis<"recommendation_update", {
  old_recommendation: Record<string, any>; new_recommendation: Record<string, any>; reason: string; changed_fields: string[]; timestamp: string;
  recommendation_id?: number; status?: "active" | "withdrawn"; replaces?: number | null;
}>;

/** A machine proposes it: a person decides. */
export type RecommendationProposed = OfDiagnosis<"recommendation_proposed", {
  recommendation_id: number; replaces: number | null; herb: string; condition: string; data: Record<string, any>; source: string; probability?: number;
  reason: string; timestamp: string;
}>;

/** A proposal was declined, or withdrawn. */
export type RecommendationDeclined = OfDiagnosis<"recommendation_declined", {
  recommendation_id: number; status: "declined" | "withdrawn"; reason: string; timestamp: string;
}>;

export type EffectivenessUpdate = OfDiagnosis<"effectiveness_update", {
  recommendation_id: number; herb?: string; new_effectiveness: number; confidence: number; sample_size: number;
  /** With `improvement`: not there when no former one is known. */
  old_effectiveness?: number; improvement?: number;
  /** Of what analytics has counted. */
  lower?: number; upper?: number;
}>;

/** Not by what a backend of one's own broadcasts: user_id, edited, withdrawn. */
export type FeedbackUpdate = OfDiagnosis<"feedback_update", {
  feedback_id: number; recommendation_id?: number; user_id?: UserId; rating: number; effectiveness: number; comment?: string; edited?: true; withdrawn?: true;
  timestamp: string;
}>;

export type DiagnosisMessage = RecommendationUpdate | RecommendationProposed | RecommendationDeclined | EffectivenessUpdate | FeedbackUpdate;

/** With the option `presence`. Who has several tabs or devices is one; who comes back soon never left. */
export type PresenceMessage =
  | { type: "presence"; topic: string; seq?: undefined; data: { users: Present[]; [more: string]: any } }
  | { type: "join" | "leave"; topic: string; seq?: undefined; data: { user_id: UserId } };

export interface Present {
  user_id: UserId;
  connections: number;
  since: string;
}

export interface Reading {
  id: number;
  metric: string;
  value: number;
  unit?: string;
  timestamp: string;
}

/** On `health/<user>`. */
export type HealthUpdate = Stored<"health_update", Reading & { user_id: UserId }>;

/** On `health/<user>`: a threshold was crossed. */
export type HealthAlert = Stored<"health_alert", Reading & {
  user_id: UserId; side: "low" | "high"; low?: number; high?: number; severity: Priority; notification_id: string;
}>;

export interface Said {
  conversation_id: string;
  message_id: number;
  /** What to show: the user's id, or what a service calls itself. */
  sender: UserId;
  /** Who it was. */
  user_id: UserId;
  message: string;
  timestamp: string;
}

/** On `chats/<user>` (all conversations of a user) and on `chat/<conversation>`. */
export type ChatMessage = Stored<"chat_message", Said>;

/** As ChatMessage, but to the others only, and not kept: it has no seq. */
export type Typing = Omit<Stored<"typing", { conversation_id: string; user_id: UserId; is_typing: boolean }>, "seq"> & { seq?: undefined };

export interface Notice {
  id: string;
  type: NotificationType;
  title: string;
  message: string;
  priority: Priority;
  created_at: string;
}

/** On `notifications/<user>`. A critical one comes again, with another seq and the same id, until it is acked. */
export type Notification = Omit<Stored<"notification", never>, "data"> & { notification: Notice };

export type LiveMessage = HealthUpdate | HealthAlert | ChatMessage | Typing | Notification;

/** On `tidings/operations`, for admins: numbers, as they change. */
export type Operations = { type: "operations"; topic: string; seq?: undefined; timestamp: string; data: Record<string, any> };

/** All that tidings itself sends. With types of your own: `new Tidings<AnyMessage | Mine>(…)`, or `<Message>`. */
export type AnyMessage = DiagnosisMessage | TrendingUpdate | LiveMessage | PresenceMessage | Operations;

/* ---- feedback, recommendations, analytics */

export interface Feedback {
  feedback_id: number;
  recommendation_id?: number;
  user_id: UserId;
  rating: number;
  effectiveness: number;
  comment?: string;
  created_at: string;
  edited_at?: string;
}

/** How probable it is that this does its patient good, and 80 % bounds; of what is contraindicated a reason alone. */
export interface Prediction {
  success?: number;
  lower?: number;
  upper?: number;
  model: string;
  reason?: string;
}

export interface Recommendation {
  recommendation_id: number;
  herb: string;
  condition: string;
  data: Record<string, unknown>;
  status: "proposed" | "active" | "replaced" | "declined" | "withdrawn";
  reason: string | null;
  source: string;
  replaces: number | null;
  prediction: Prediction | null;
  created_at: string;
  decided_at: string | null;
  decided_by: UserId | null;
}

/** Null: of too few people to say. */
export interface Effectiveness {
  recommendation_id: number;
  herb: string;
  condition: string;
  status: Recommendation["status"];
  effectiveness: number | null;
  lower: number | null;
  upper: number | null;
  confidence: number;
  sample_size: number;
  improvement?: number;
  success_rate?: { value: number; lower: number; upper: number; successes: number };
  response_rate?: number;
  prediction?: Prediction;
  own?: { effectiveness: number; rating: number; feedback: number; last_at: string };
}

export interface Analytics {
  diagnosis_id: number;
  timestamp: string;
  cursor: string;
  days: number;
  basis: string;
  feedback: { total: number; rating: number | null; ratings: Record<"1" | "2" | "3" | "4" | "5", number>; last_at: string | null };
  recommendations: Effectiveness[];
  timeline: { day: string; feedback: number; effectiveness: number }[];
  suggestions: { recommendation_id: number; kind: "replace" | "ask_for_feedback"; by?: { herb: string; condition: string }; probability?: number; reason: string }[];
}

export interface Trend {
  rank: number;
  herb: string;
  condition?: string;
  people: number;
  people_before: number;
  growth?: number;
  effectiveness: number;
  lower: number;
  upper: number;
  confidence: number;
  before?: number;
  change?: number;
  change_lower?: number;
  change_upper?: number;
  trend?: "rising" | "falling" | "steady";
}

/** On `analytics/trending`. */
export type TrendingUpdate = Stored<"trending_update", { by: "herb" | "treatment"; days: number; trending: Trend[] }>;

interface FeedbackChanged {
  status: string;
  feedback_id: number;
  diagnosis_id?: number;
  recommendation_id?: number;
  rating?: number;
  effectiveness?: number;
  /** null: nobody is told */
  seq: number | null;
  clients_notified: number;
}

interface RecommendationChanged {
  status: string;
  recommendation_id: number;
  seq: number;
  clients_notified: number;
}

/* ---- what is said, and what it is answered with */

interface Preferences {
  types: Record<NotificationType, boolean>;
  /** `start` and `end`: "22:00"; `time_zone`: "Europe/Berlin" */
  quiet_hours: { start: string; end: string; time_zone: string } | null;
}

interface Threshold {
  metric: string;
  low?: number | null;
  high?: number | null;
  severity?: Priority | null;
}

/** By type: what is said, the type of the answer, its data. `user_id`: about somebody else, for who may. */
export interface Says {
  health_update: [{ metric: string; value: number; unit?: string; timestamp?: string; user_id?: UserId }, "health_update_stored",
    { metric: string; id: number; seq: number }];
  get_health: [{ metric?: string; since?: string; limit?: number; user_id?: UserId }, "health_history",
    { readings: (Reading & { alert?: "low" | "high" })[]; more: boolean }];
  /** Neither low nor high: there is none any more. */
  set_threshold: [Threshold & { user_id?: UserId }, "threshold_set", Threshold];
  get_thresholds: [{ user_id?: UserId }, "thresholds", { thresholds: Threshold[] }];
  create_conversation: [{ participants: UserId[]; conversation_id?: string }, "conversation_created",
    { conversation_id: string; participants: UserId[] }];
  join: [{ conversation_id: string; user_id?: UserId }, "joined", { conversation_id: string; user_id: UserId; participants: UserId[] }];
  chat_message: [{ conversation_id: string; message: string }, "chat_message_sent", { message_id: number; conversation_id: string; seq: number }];
  typing: [{ conversation_id: string; is_typing: boolean }, "typing_sent", { conversation_id: string }];
  get_history: [{ conversation_id: string; before?: number; limit?: number }, "chat_history",
    { conversation_id: string; messages: Said[]; more: boolean }];
  set_preferences: [{ types?: Partial<Preferences["types"]>; quiet_hours?: Preferences["quiet_hours"] }, "preferences", Preferences];
  get_preferences: [{}, "preferences", Preferences];
  get_notifications: [{ unread_only?: boolean; limit?: number }, "notifications",
    { notifications: (Notice & { read: boolean; read_at?: string; acked_at?: string })[]; unread: number }];
  mark_read: [{ id: string }, "marked_read", { id: string; unread: number }];
  submit_feedback: [{ diagnosis_id: number; rating: number; recommendation_id?: number; effectiveness?: number; comment?: string; user_id?: UserId },
    "feedback_submitted", FeedbackChanged];
  rate_feedback: [{ feedback_id: number; rating: number; effectiveness?: number }, "feedback_updated", FeedbackChanged];
  comment_feedback: [{ feedback_id: number; comment: string }, "feedback_updated", FeedbackChanged];
  withdraw_feedback: [{ feedback_id: number }, "feedback_withdrawn", FeedbackChanged];
  get_feedback: [{ diagnosis_id: number; recommendation_id?: number; before?: number; limit?: number }, "feedback",
    { diagnosis_id: number; cursor: string; feedback: Feedback[]; more: boolean }];
  /** `data`: dosage, frequency and so on */
  recommend: [{ diagnosis_id: number; herb: string; condition: string; data?: Record<string, unknown>; replaces?: number; reason: string }, "recommended",
    RecommendationChanged];
  decide_recommendation: [{ recommendation_id: number; status: "active" | "declined" | "withdrawn"; reason?: string }, "recommendation_decided",
    RecommendationChanged];
  get_recommendations: [{ diagnosis_id: number; status?: Recommendation["status"]; before?: number; limit?: number }, "recommendations",
    { diagnosis_id: number; cursor: string; recommendations: Recommendation[]; more: boolean }];
  get_analytics: [{ diagnosis_id: number; days?: number }, "analytics", Analytics];
  get_effectiveness: [{ recommendation_id: number; days?: number }, "effectiveness", Effectiveness & {
    diagnosis_id: number; timestamp: string; cursor: string; days: number; basis: string; prior_weight: number;
    levels: { level: "own" | "treatment" | "herb" | "all"; people: number; mean: number }[];
    history: { week: string; effectiveness: number; lower: number; upper: number; sample_size: number }[];
  }];
  get_trending: [{ by?: "herb" | "treatment"; condition?: string; days?: 7 | 30 | 90; sort?: "growth" | "effectiveness" | "change"; limit?: number }, "trending",
    { by: "herb" | "treatment"; days: number; timestamp: string; cursor: string; basis: string; left_out: number; trending: Trend[] }];
  predict: [{ diagnosis_id: number }, "predictions", { status: string; recommendations_updated: number; proposed: number[]; predicted: number }];
  get_models: [Record<string, never>, "models",
    { models: { model: string; n: number; brier: number; brier_base_rate: number; bins: { predicted: number; observed: number; n: number }[] }[] }];
  ack: [{ id: string } | { topic: string; seq: number }, "acked", { id?: string; topic?: string; seq?: number }];
}

export interface Reply<T = string, D = any> {
  type: T;
  data: D;
  timestamp: string;
  correlation_id?: string;
}

export interface SendOptions {
  /** Comes back in the answer, and goes with what the others are sent. */
  correlationId?: string;
}

/**
 * Why what was said has no answer.
 *
 *	invalid		it is not as it should be: `errors` says what
 *	forbidden	not allowed, or not there
 *	not_found	not there; said to services and admins
 *	unauthorized	the token is refused, also a fresh one
 *	signed_out	the token function said so
 *	token		the token function failed
 *	busy		the server is full, or over the rate, for longer than there is time. It has not been done
 *	unreachable	there was no answer in time. Perhaps it has been done
 *	failed		the server's fault
 *	closed		the client was closed. Perhaps it has been done
 */
export interface SendError extends Error {
  code: "invalid" | "forbidden" | "not_found" | "unauthorized" | "signed_out" | "token" | "busy" | "unreachable" | "failed" | "closed";
  /** Of the HTTP reply; 0: there was none. */
  status: number;
  errors: { field: string; message: string }[];
}

export interface HistoryOptions {
  /** A cursor: what came after it, the oldest first. */
  since?: string;
  /** A seq: the newest before it. */
  before?: number;
  /** 1..100. Default: 100 */
  limit?: number;
  /** Default: the option `types`. */
  types?: string[];
}

/** `recovered`: nothing after `since` is missing; `missed`: what is. `cursor`: the place after these messages. */
export interface History<M = AnyMessage> {
  cursor: string;
  messages: M[];
  recovered: boolean;
  missed?: { from: number; to: number };
}

/** Who is connected to a topic now. */
export interface Presence {
  topic: string;
  clients: number;
  anonymous: number;
  users: Present[];
  [more: string]: any;
}

type OfType<M, T> = [Extract<M, { type: T }>] extends [never] ? M : Extract<M, { type: T }>;

/** One part's hold on a topic: `tidings.topic(name)`. The topic is subscribed to until the last of them lets go. */
export declare class Topic<M = AnyMessage> {
  readonly name: string;
  /** Messages of that type, on this topic alone; "*": of any; "gap": as the event. Returns what ends that. */
  on(type: "gap", listener: (gap: Gap) => void): () => void;
  on(type: "*", listener: (message: M) => void): () => void;
  on<T extends M extends { type: infer U } ? U : never>(type: T, listener: (message: OfType<M, T>) => void): () => void;
  on(type: string, listener: (message: Message) => void): () => void;
  history(options?: HistoryOptions): Promise<History<M>>;
  presence(): Promise<Presence>;
  /** Ends its handlers; and the subscription, when nobody else holds the topic. */
  unsubscribe(): void;
}

export declare class Tidings<M = AnyMessage> {
  static SignedOut: typeof SignedOut;

  /** `url`: the server's origin, with a path where tidings lives under one; in a page "" is the page's own. Connects at once. */
  constructor(url: string, options?: Options);

  /** Listens. Returns what ends that. Throws TypeError for an event that there is none of. */
  on<K extends keyof Events<M>>(event: K, listener: (detail: Events<M>[K]) => void): () => void;

  /**
   * Any time. Several in one turn are one change, of the open WebSocket or by one reconnection. `cursor`: where to go on from. Throws
   * TypeError for what is no topic, RangeError for the 101st, and an Error with the `code` "closed" where it is.
   */
  subscribe(topic: string, cursor?: string): void;
  /** Whoever holds it. */
  unsubscribe(topic: string): void;
  /** Subscribes, and gives what has handlers for this topic alone: `t.topic("diagnosis/123").on("effectiveness_update", show)`. */
  topic(name: string, cursor?: string): Topic<M>;

  /** When it is connected; throws what ended it. */
  ready(): Promise<void>;

  /** Disconnects, until `resume()`, which goes on where it was in each topic. */
  pause(): void;
  resume(): void;

  /** What is kept of a topic, by HTTP, subscribed or not. Throws a SendError. */
  history(topic: string, options?: HistoryOptions): Promise<History<M>>;

  /** Who is there, by HTTP. Throws a SendError. */
  presence(topic: string): Promise<Presence>;

  /**
   * Says something; gives the server's answer, or throws a SendError. By HTTP, so it works with every transport, and without topics.
   * One goes after the other has been answered, in order; `get_…` need not wait. While the server is busy (429, 503) or cannot be reached
   * it is tried again until `sendTimeout`: that is safe, the server does it once. `typing` is tried once.
   * What is said about one's own topics comes on them too.
   */
  send<K extends keyof Says>(
    type: K, ...rest: {} extends Says[K][0] ? [data?: Says[K][0], options?: SendOptions] : [data: Says[K][0], options?: SendOptions]
  ): Promise<Reply<Says[K][1], Says[K][2]>>;

  /** Tells the server that a message was received: a critical notification comes again until then. */
  ack(message: { topic: string; seq?: number; notification?: { id: string } }): Promise<Reply<"acked", Says["ack"][2]>>;

  /** Ends everything, for good: no timer, request or socket is left. */
  close(): void;

  readonly status: Status;
  /** How it is connected now; null: it is not. */
  readonly transport: Transport | null;
  readonly topics: string[];
  /** What has been received, to be handed in as the option `cursors` another time. */
  readonly cursors: Cursors;
  readonly closed: boolean;
}

export default Tidings;
