/*
 * A message that goes the whole way, once by each transport: subscribed to as a client does, published as a service
 * does, and compared. What it needs to know is in the environment of the programs: with their secret it makes its own tokens.
 */
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/canary/canary.h"
#include "cli/client/own_token.h"
#include "cli/command.h"
#include "cli/report.h"
#include "cli/text/plain.h"
#include "domain/text/json.h"
#include "domain/topic/topic.h"

#define URL_DEFAULT "http://localhost:8000"
#define TIMEOUT_MAX_S 50 /* a poll is held no longer */
#define TOKEN_FILE_MAX 16384
#define TOKEN_TTL_MORE_S 60

static enum err make_message(struct canary *c, const char *name, struct buf *body)
{
	unsigned char random[CANARY_NONCE_BYTES];

	if (RAND_bytes(random, sizeof(random)) != 1)
		return ERR_MEMORY;
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(c->nonce + 2 * i, 3, "%02x", random[i]);
	buf_clear(&c->sent);
	/* Characters that whatever lies between might spoil. */
	buf_printf(&c->sent, "{\"by\":\"%s\",\"text\":\"\xc3\xa4 \xf0\x9f\x90\xa6 \\\\ \\\" </\",\"nonce\":\"%s\"}",
		   name, c->nonce);
	buf_printf(body, "{\"topic\":\"%s\",\"type\":\"canary\",\"data\":%s}", c->topic, c->sent.bytes);
	return buf_ok(body) && buf_ok(&c->sent) ? OK : ERR_MEMORY;
}

/*	seq	out: of the message */
static enum err publish(struct canary *c, const struct buf *body, int64_t until_ms, int64_t *seq)
{
	struct exchange_request request = {.method = "POST", .token = c->service.bytes, .body = body->bytes};
	struct exchange *x = NULL;
	struct buf url = BUF_EMPTY;
	json_object *reply = NULL, *results = NULL;
	const char *problem = NULL;
	enum err e = ERR_MEMORY;

	exchange_add_url(&url, c->url, "/ws/publish");
	if (buf_ok(&url)) {
		request.url = url.bytes;
		e = exchange_begin(&x, &request);
	}
	if (e == OK)
		e = canary_run(c, x, EXCHANGE_ENDED, until_ms, "publishing");
	if (e == OK)
		e = json_read(&reply, exchange_body(x)->bytes, exchange_body(x)->len, &problem);
	if (e == OK)
		results = report_member(reply, "results");
	if (e == OK && (!json_object_is_type(results, json_type_array) ||
			!json_int64(report_member(json_object_array_get_idx(results, 0), "seq"), seq)))
		e = canary_fail(c, ERR_INPUT, "publishing", "the reply has no seq");
	json_object_put(reply);
	exchange_end(&x);
	buf_free(&url);
	return e;
}

/* Whether what has come is what was sent: the data to the byte, and the number that publishing was answered with. */
static enum err compare(struct canary *c, const struct buf *text, int64_t seq)
{
	struct buf number = BUF_EMPTY;
	enum err e = OK;

	buf_printf(&number, "\"seq\":%lld,", (long long)seq);
	if (!buf_ok(&number) || !buf_ok(text))
		e = ERR_MEMORY;
	else if (!memmem(text->bytes, text->len, c->sent.bytes, c->sent.len))
		e = canary_fail(c, ERR_INPUT, "comparing", "the data that came are not those that were published");
	else if (!memmem(text->bytes, text->len, number.bytes, number.len))
		e = canary_fail(c, ERR_INPUT, "comparing",
				"the seq that came is not the one that publishing was answered with");
	buf_free(&number);
	return e;
}

/*	took_ms	out: from publishing to hearing */
static enum err try_one(struct canary *c, const struct listening *way, int64_t *took_ms)
{
	struct buf body = BUF_EMPTY, text = BUF_EMPTY;
	int64_t until_ms = clock_monotonic_ms() + c->timeout_s * 1000, began_ms = 0, seq = 0;
	enum err e = make_message(c, way->name, &body);

	buf_clear(&c->problem);
	if (e == OK)
		e = way->open(c, until_ms);
	began_ms = clock_monotonic_ms();
	until_ms = began_ms + c->timeout_s * 1000;
	if (e == OK)
		e = publish(c, &body, until_ms, &seq);
	if (e == OK)
		e = way->hear(c, until_ms, &text);
	*took_ms = clock_monotonic_ms() - began_ms;
	if (e == OK)
		e = compare(c, &text, seq);
	if (e != OK && c->problem.len == 0)
		buf_add_text(&c->problem, err_text(e));
	websocket_client_close(&c->websocket);
	exchange_end(&c->exchange);
	buf_free(&body);
	buf_free(&text);
	return e;
}

static void tell(const struct canary *c, const char *name, enum err e, int64_t took_ms, struct buf *json)
{
	const char *problem = buf_ok(&c->problem) && c->problem.len > 0 ? c->problem.bytes : err_text(e);
	struct buf line = BUF_EMPTY;

	if (!json && e == OK) {
		printf("%s: ok, %lld ms\n", name, (long long)took_ms);
	} else if (!json) {
		plain_add(&line, (struct span){problem, strlen(problem)});
		printf("%s: %s\n", name, buf_ok(&line) ? line.bytes : err_text(ERR_MEMORY));
		buf_free(&line);
	} else {
		buf_printf(json, "%s{\"transport\":\"%s\",\"result\":\"%s\",", json->len > 1 ? "," : "", name,
			   e == OK ? "ok" : "failed");
		if (e == OK) {
			buf_printf(json, "\"ms\":%lld}", (long long)took_ms);
		} else {
			buf_add_text(json, "\"problem\":");
			json_add_string(json, problem, strlen(problem));
			buf_add_text(json, "}");
		}
	}
}

static int try_all(const struct arguments *a, struct canary *c)
{
	const char *only = arguments_value(a, "by");
	size_t tried = 0, good = 0, away = 0;
	struct buf json = BUF_EMPTY;

	buf_add_text(&json, "[");
	for (size_t i = 0; i < CANARY_WAYS; i++) {
		int64_t took_ms = 0;
		enum err e = OK;

		if (only && strcmp(only, canary_ways[i].name) != 0)
			continue;
		e = try_one(c, &canary_ways[i], &took_ms);
		tell(c, canary_ways[i].name, e, took_ms, a->json ? &json : NULL);
		tried++;
		good += e == OK;
		away += e == ERR_AWAY;
	}
	buf_add_text(&json, "]");
	if (a->json && report_json(&json) != EXIT_DONE)
		good = 0;
	buf_free(&json);
	if (good == tried)
		return EXIT_DONE;
	return away == tried ? EXIT_AWAY : EXIT_FAILED;
}

/* ---- tokens */

static bool read_token(const char *path, struct buf *token)
{
	enum err e = file_read(path, TOKEN_FILE_MAX, true, token);

	while (e == OK && token->len > 0 && strchr(" \r\n", token->bytes[token->len - 1]))
		buf_cut(token, token->len - 1);
	if (e == OK && token->len > 0)
		return true;
	complain("the token in %s cannot be used: %s", path,
		 e == ERR_FORBIDDEN ? "every user of this machine can read it"
		 : e == OK	    ? "it is empty"
				    : err_text(e));
	return false;
}

/* Good until the last of the transports has had its time, to be opened and to be heard. */
static bool make_token(const struct token_keys *keys, enum role role, int64_t timeout_s, struct buf *token)
{
	enum err e = own_token_make(keys, role, 2 * CANARY_WAYS * timeout_s + TOKEN_TTL_MORE_S, token);

	if (e != OK)
		complain("no token can be made (%s): --publish-token and --listen-token take files with some",
			 err_text(e));
	return e == OK;
}

static bool get_tokens(const struct arguments *a, const struct config *config, struct canary *c)
{
	const char *service = arguments_value(a, "publish-token"), *listener = arguments_value(a, "listen-token");
	struct token_rules rules = token_rules_of(config);
	struct token_keys *keys = NULL;
	struct buf problem = BUF_EMPTY;
	bool good = true;

	if ((!service || !listener) && token_keys_load(&keys, config->jwt_keys, &rules, &problem) != OK) {
		complain("%s", buf_ok(&problem) && problem.len > 0 ? problem.bytes : err_text(ERR_MEMORY));
		good = false;
	}
	good = good &&
	       (service ? read_token(service, &c->service)
			: make_token(keys, ROLE_SERVICE, c->timeout_s, &c->service)) &&
	       (listener ? read_token(listener, &c->listener)
			 : make_token(keys, ROLE_ADMIN, c->timeout_s, &c->listener));
	token_keys_free(&keys);
	buf_free(&problem);
	return good;
}

int canary_command(const struct arguments *a)
{
	const char *url = arguments_value(a, "url"), *topic = arguments_value(a, "topic");
	struct canary c = {.url = url ? url : URL_DEFAULT, .topic = topic ? topic : "canary", .timeout_s = 10};
	struct config config;
	int status = EXIT_WRONG;

	if (!arguments_number(a, "timeout", 1, TIMEOUT_MAX_S, &c.timeout_s))
		return status;
	if (!topic_name_valid(c.topic, strlen(c.topic))) {
		complain("%s is not the name of a topic", c.topic);
		return status;
	}
	if (*c.url == '\0' || (strstr(c.url, "://") && strncasecmp(c.url, "http://", strlen("http://")) != 0 &&
			       strncasecmp(c.url, "https://", strlen("https://")) != 0)) {
		complain("%s is no address of a web server, such as " URL_DEFAULT, c.url);
		return status;
	}
	read_config(&config);
	status = get_tokens(a, &config, &c) ? try_all(a, &c) : EXIT_FAILED;
	own_token_forget(&c.service);
	own_token_forget(&c.listener);
	buf_free(&c.sent);
	buf_free(&c.cursor);
	buf_free(&c.problem);
	return status;
}
