/*
 * network - a proxy like those that stand in the way: everything between a client and the server goes through it.
 *
 *	open		lets all through
 *	refuse		answers a WebSocket's upgrade with 502
 *	swallow		takes it, and never answers
 *	buffer		knows no upgrade, and hands on a response only when it is whole: an event stream never arrives
 */
import { createServer, request as ask } from "node:http";
import { once } from "node:events";
import { connect } from "node:net";

export class Network {
	mode = "open";
	asked = []; // the paths of the transports that were asked for

	static async start(upstreamPort) {
		const n = new Network();
		n.upstream = upstreamPort;
		n.server = createServer((request, response) => n.#relay(request, response));
		n.server.on("upgrade", (request, socket, head) => n.#upgrade(request, socket, head));
		n.server.listen(0, "127.0.0.1");
		await once(n.server, "listening");
		n.port = n.server.address().port;
		return n;
	}

	#note(url) {
		const path = url.split("?")[0];
		if (["/ws", "/sse", "/poll"].includes(path)) this.asked.push(path);
	}

	#relay(request, response) {
		const { method, url, headers } = request;
		this.#note(url);
		if (url === "/elsewhere") return response.setHeader("Content-Type", "text/html").end("<!doctype html><title>elsewhere</title>");
		const onward = ask({ host: "127.0.0.1", port: this.upstream, method, path: url, headers, agent: false }, async (reply) => {
			try {
				if (this.mode !== "buffer") {
					response.writeHead(reply.statusCode, reply.headers).flushHeaders();
					reply.pipe(response);
					return;
				}
				const whole = Buffer.concat(await reply.toArray());
				response.writeHead(reply.statusCode, reply.headers).end(whole);
			} catch {
				response.destroy(); // as a proxy does it whose server breaks off
			}
		});
		onward.on("error", () => response.destroy());
		response.on("error", () => {}).on("close", () => onward.destroy());
		request.pipe(onward);
	}

	#upgrade(request, socket, head) {
		this.#note(request.url);
		socket.on("error", () => {});
		if (this.mode === "swallow") return;
		if (this.mode !== "open") {
			socket.end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
			return;
		}
		const lines = [`${request.method} ${request.url} HTTP/1.1`];
		for (let i = 0; i < request.rawHeaders.length; i += 2) lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
		const onward = connect(this.upstream, "127.0.0.1");
		onward.on("error", () => socket.destroy()).on("close", () => socket.destroy());
		socket.on("close", () => onward.destroy());
		onward.write(`${lines.join("\r\n")}\r\n\r\n`);
		onward.write(head);
		onward.pipe(socket).pipe(onward);
	}
}
