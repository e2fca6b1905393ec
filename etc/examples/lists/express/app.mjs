/* A list that stays live, with Express and node-postgres: see README.md. */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { userInfo } from "node:os";
import express from "express";
import pg from "pg";

const { DATABASE = "dbname=tidings user=lists_app", TIDINGS_URL = "http://localhost:8000", TIDINGS_KEY = "/etc/tidings/jwt/default.HS256" } = process.env;
const PAGE = readFileSync(new URL("../page.html", import.meta.url), "utf8").replaceAll("{tidings}", TIDINGS_URL);
const key = readFileSync(TIDINGS_KEY);
const secret = key.at(-1) === 10 ? key.subarray(0, -1) : key; // an editor's newline is no part of it

/* node-postgres has its own words for what libpq is told in one text. */
const settings = Object.fromEntries(
	[...DATABASE.matchAll(/(\w+)=(?:'([^']*)'|(\S+))/g)].map(([, name, quoted, plain]) => [name === "dbname" ? "database" : name, quoted ?? plain]));
const pool = new pg.Pool({ user: userInfo().username, ...settings });
pool.on("error", (error) => console.error(error.message)); // of a connection that nobody uses: the pool has a new one for the next

/* What the work did is committed when it went well, and rolled back when it did not. */
async function transaction(work) {
	const connection = await pool.connect();
	try {
		await connection.query("BEGIN");
		const result = await work(connection);
		await connection.query("COMMIT");
		connection.release();
		return result;
	} catch (error) {
		connection.release(true); // closed, not used again
		throw error;
	}
}

/* For a page: what it may hear is this person's. */
function token(person) {
	const now = Math.floor(Date.now() / 1000);
	const signed = [{ alg: "HS256", typ: "JWT" }, { sub: String(person), iat: now, exp: now + 600 }]
		.map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
	return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

const app = express();
app.disable("x-powered-by");

/* Whoever is signed in. Your own way of signing in goes here. */
app.use(async (req, res, next) => {
	const [kind, credentials = ""] = (req.get("authorization") ?? "").split(" ");
	const [name, ...password] = kind === "Basic" ? Buffer.from(credentials, "base64").toString().split(":") : [];
	const hash = createHash("sha256").update(password.join(":")).digest("hex");
	const { rows } = await pool.query("SELECT id, password_hash FROM lists.person WHERE name = $1", [name?.replaceAll("\0", "")]);
	if (!rows.length || !timingSafeEqual(Buffer.from(rows[0].password_hash), Buffer.from(hash)))
		return res.set("WWW-Authenticate", "Basic").sendStatus(401);
	req.person = rows[0].id;
	next();
});

app.param("list", async (req, res, next, list) => {
	if (!/^\d{1,9}$/.test(list)) return res.sendStatus(404);
	const { rows } = await pool.query("SELECT FROM lists.member WHERE list_id = $1 AND person_id = $2", [list, req.person]);
	if (!rows.length) return res.sendStatus(403);
	next();
});

app.get("/", (req, res) => res.type("html").send(PAGE));

app.get("/token", (req, res) => res.json({ token: token(req.person) }));

app.get("/lists/:list", async (req, res) => {
	const { rows } = await pool.query("SELECT id, text FROM lists.item WHERE list_id = $1 ORDER BY id", [req.params.list]);
	res.json({ items: rows });
});

/* The item and its message: both, or neither. */
app.post("/lists/:list/items", express.json(), async (req, res) => {
	if (!req.is("application/json")) return res.sendStatus(415); // a form of another site's page cannot send it
	if (typeof req.body?.text !== "string") return res.sendStatus(400);
	const { list } = req.params;
	try {
		const item = await transaction(async (connection) => {
			const { rows } = await connection.query("INSERT INTO lists.item (list_id, text) VALUES ($1, $2) RETURNING id, text", [list, req.body.text.trim()]);
			await connection.query("SELECT tidings.publish($1, $2, $3)", [`lists/${list}`, "item_added", JSON.stringify(rows[0])]);
			return rows[0];
		});
		res.status(201).json(item);
	} catch (error) {
		if (!/^2[23]/.test(error.code ?? "")) throw error; // SQLSTATE: what was sent is no text, or breaks a rule of the table
		res.status(422).json({ detail: "An item has a text, of characters." });
	}
});

app.use((error, req, res, next) => {
	const status = error.status ?? 500;
	if (status === 500) console.error(error);
	if (!res.headersSent) res.sendStatus(status);
});

app.listen(Number(process.argv[2] ?? 8080), "127.0.0.1");
