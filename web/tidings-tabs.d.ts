/**
 * tidings: the client for an application that people open in many tabs. What it offers is what tidings.d.ts says; but all tabs of a browser
 * whose user is the same (`sub` of the token) and whose options ask for the same have one connection. Each tab gets every message of its own
 * topics once, in order, also when the tab that has the connection is closed.
 *
 *	import { Tidings } from "/tidings-tabs.js";
 *
 * What goes over the connection is asked for with the options of the tab that leads: `transport` is "websocket" in each tab, whatever the real
 * one is. A page without https (but for localhost) has no Web Locks: each tab has a connection of its own then.
 */
import { Tidings as Client, type AnyMessage } from "./tidings.js";

export * from "./tidings.js";
export declare class Tidings<M = AnyMessage> extends Client<M> {}
export default Tidings;
