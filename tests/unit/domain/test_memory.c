/*
 * Each of what allocates in this layer, with each of its allocations failing in turn: it says ERR_MEMORY and nothing
 * else, leaves what was there as it was, and does the same as ever when it is tried again.
 */
#include "tests/unit/memory.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "domain/caller/rate.h"
#include "domain/caller/token.h"
#include "domain/caller/token_cache.h"
#include "domain/dialog/act_reply.h"
#include "domain/dialog/dialog.h"
#include "domain/dialog/live_text.h"
#include "domain/fanout/hub.h"
#include "domain/fanout/tail.h"
#include "domain/http/problem.h"
#include "domain/http/query.h"
#include "domain/input/broadcast.h"
#include "domain/input/client_message.h"
#include "domain/jose/base64url.h"
#include "domain/jose/jwk_set.h"
#include "domain/text/json.h"
#include "domain/topic/message.h"
#include "domain/topic/selection.h"
#include "domain/websocket/deflate.h"
#include "domain/websocket/frame.h"
#include "domain/websocket/handshake.h"
#include "domain/websocket/inflate.h"

#define NOW_S INT64_C(1800000000)
#define NOW_US (NOW_S * 1000000)
#define LONG_TEXT "0123456789012345678901234567890123456789012345678901234567890123456789"

static struct span span_of(const char *text)
{
	return (struct span){text, strlen(text)};
}

/* --- JSON, and what is read from it */

static enum err read_json(void *context)
{
	const char *text = context, *problem = NULL;
	struct json_object *root = NULL;
	enum err e = json_read(&root, text, strlen(text), &problem);

	memory_restore();
	if (e == OK) {
		struct json_object *again = NULL;

		assert_int_equal(json_read(&again, text, strlen(text), &problem), OK);
		assert_true(json_equal(root, again));
		json_object_put(again);
	}
	json_object_put(root);
	return e;
}

/* json-c's own reader took a key, or half a text, for one that was not there, or ended the program. */
static void a_text_is_read_whole_or_not_at_all(void **state)
{
	static const char *const texts[] = {
		"{\"a\":[1,\"" LONG_TEXT "\\n" LONG_TEXT "\\ud83d\\ude00\",true,null,1.50,{\"" LONG_TEXT
		"\":{}}],\"b\":-0}",
		"\"" LONG_TEXT "\"",
		"12345678901234567890",
		"-123456789012345678901234567890",
		"1e400",
		"{\"a\":1,\"b\":2,\"\\u0061\":3}",
		"[1,[2,[3,[\"" LONG_TEXT
		"\",0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,"
		"31,32,33,34]]]]",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		memory_fail_each(read_json, (void *)texts[i]);
}

struct body {
	enum broadcast_kind kind;
	const char *text;
	char *right; /* what it is made into without a failure; of one that is wrong, its errors */
};

static void assert_same(char **right, const struct buf *made)
{
	if (!*right)
		*right = strdup(made->bytes);
	assert_string_equal(made->bytes, *right);
}

static enum err read_broadcast(void *context)
{
	static const struct publish_result results[2] = {{.seq = 1, .clients = 2}, {.seq = 3, .clients = 4}};
	struct body *body = context;
	struct publications p = PUBLICATIONS_NONE;
	struct problem problem = PROBLEM_NONE;
	struct buf all = BUF_EMPTY;
	enum err e = broadcast_read(body->kind, span_of(body->text), NOW_US, &p, &problem);

	memory_restore();
	for (size_t i = 0; i < p.count; i++)
		buf_printf(&all, "%s %s %s %s\n", p.items[i].topic, p.items[i].to_user, p.items[i].exclude,
			   p.items[i].body.bytes);
	if (e == OK)
		broadcast_write_reply(&all, body->kind, &p, results);
	else if (e == ERR_INPUT)
		problem_write(&all, &problem);
	else
		assert_null(p.items);
	if (e != ERR_MEMORY)
		assert_same(&body->right, &all);
	buf_free(&all);
	publications_free(&p);
	problem_free(&problem);
	return e;
}

static void a_broadcast_is_read_whole_or_not_at_all(void **state)
{
	struct body bodies[] = {
		{.kind = BROADCAST_RECOMMENDATION,
		 .text = "{\"diagnosis_id\":1,\"old_data\":{\"" LONG_TEXT
			 "\":1,\"b\":1.5,\"c\":[2]},\"to_user_id\":456,"
			 "\"new_data\":{\"b\":1.50,\"c\":[2,3],\"d\":12345678901234567890},\"reason\":\"r\",\"mine\":"
			 "1}"},
		{.kind = BROADCAST_EFFECTIVENESS,
		 .text = "{\"diagnosis_id\":1,\"recommendation_id\":2,\"herb\":\"" LONG_TEXT
			 "\",\"new_effectiveness\":0.5,"
			 "\"confidence\":1,\"sample_size\":3,\"exclude_connection_id\":"
			 "\"01234567-89ab-4def-8123-456789abcdef\"}"},
		{.kind = BROADCAST_FEEDBACK,
		 .text = "{\"diagnosis_id\":1,\"feedback_id\":2,\"rating\":5,\"effectiveness\":1e-1,\"to_user_id\":"
			 "\"ann\"}"},
		{.kind = BROADCAST_PUBLISH,
		 .text = "[{\"topic\":\"" LONG_TEXT "\",\"type\":\"t\",\"data\":{\"a\":\"" LONG_TEXT "\"},\"other\":0},"
			 "{\"topic\":\"health/9\",\"type\":\"t\",\"data\":null,\"to_user_id\":9223372036854775807}]"},
		{.kind = BROADCAST_PUBLISH, .text = "[{\"topic\":\"a b\",\"type\":\"\",\"to_user_id\":1.5},{}]"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		memory_fail_each(read_broadcast, &bodies[i]);
		free(bodies[i].right);
	}
}

static enum err read_client_message(void *context)
{
	struct body *body = context;
	struct client_message m = CLIENT_MESSAGE_NONE;
	struct client_fault fault = CLIENT_FAULT_NONE;
	struct buf all = BUF_EMPTY;
	enum err e = client_message_read(&m, span_of(body->text), &fault);

	memory_restore();
	buf_printf(&all, "%s %s %s %s %s %s ", m.data.bytes ? m.data.bytes : "", m.token.bytes ? m.token.bytes : "",
		   m.correlation_id.bytes ? m.correlation_id.bytes : "", m.subscription, m.topic, m.id);
	problem_add_errors(&all, &fault.problem);
	if (e != ERR_MEMORY)
		assert_same(&body->right, &all);
	buf_free(&all);
	client_message_free(&m);
	problem_free(&fault.problem);
	return e;
}

static enum err write_broadcast(void *context)
{
	struct body *body = context;
	struct buf out = BUF_EMPTY;
	enum err e = act_reply_write_broadcast(&out, span_of(body->text), "chat/1", 7, 2);

	memory_restore();
	if (!buf_ok(&out))
		e = ERR_MEMORY;
	if (e == OK)
		assert_same(&body->right, &out);
	buf_free(&out);
	return e;
}

static void what_a_client_says_is_read_whole_or_not_at_all(void **state)
{
	struct body bodies[] = {
		{.text = "{\"type\":\"health_update\",\"data\":{\"metric\":\"" LONG_TEXT
			 "\",\"value\":1e3,\"user_id\":7},"
			 "\"correlation_id\":\"" LONG_TEXT "\"}"},
		{.text = "{\"type\":\"authenticate\",\"token\":\"" LONG_TEXT LONG_TEXT "\"}"},
		{.text = "{\"type\":\"create_conversation\",\"participants\":[1,\"ann\",-3]}"},
		{.text = "{\"type\":\"ack\",\"data\":{\"topic\":\"health/1\",\"seq\":3}}"},
		{.text = "{\"type\":\"subscribe\",\"subscription\":\"chat\"}"},
		{.text = "{\"type\":\"set_threshold\",\"data\":{\"metric\":1,\"hihg\":2,\"" LONG_TEXT "\":3}}"},
		{.text = "{\"type\":\"nonesuch\",\"correlation_id\":\"a\"}"},
		{.text = "[1,2]"},
	};
	struct body reply = {.text = "{\"type\":\"sent\",\"data\":{\"seq\":1,\"id\":\"" LONG_TEXT "\",\"n\":1.0}}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		memory_fail_each(read_client_message, &bodies[i]);
		free(bodies[i].right);
	}
	memory_fail_each(write_broadcast, &reply);
	free(reply.right);
}

static enum err hear(void *context)
{
	static const struct dialog_limits limits = {.rate_per_s = 10, .burst = 10, .bad_max = 1};
	struct body *body = context;
	struct dialog d = {.diagnosis_id = 123};
	struct buf reply = BUF_EMPTY;
	enum dialog_verdict verdict = dialog_receive(&d, &limits, span_of(body->text), 1000000, NOW_US, &reply);
	bool good = buf_ok(&reply);

	memory_restore();
	buf_printf(&reply, " %d", verdict);
	if (good)
		assert_same(&body->right, &reply);
	buf_free(&reply);
	return good ? OK : ERR_MEMORY;
}

/* Without memory a message was "not a JSON object", and counted as bad. */
static void what_is_said_on_a_connection_is_answered_as_ever_or_not_at_all(void **state)
{
	struct body bodies[] = {
		{.text = "ping"},
		{.text = "{\"type\":\"ping\"}"},
		{.text = "{\"type\":\"ack\",\"seq\":5}"},
		{.text = "{\"type\":\"ack\",\"seq\":-5}"},
		{.text = "{\"type\":\"authenticate\",\"token\":\"" LONG_TEXT LONG_TEXT "\"}"},
		{.text = "{\"type\":\"nonesuch\"}"},
		{.text = "{\"type\":"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		memory_fail_each(hear, &bodies[i]);
		free(bodies[i].right);
	}
}

/* --- tokens */

static char directory[] = "test_memory.XXXXXX";
static char set_path[sizeof(directory) + 5];
static const struct token_rules rules = {.algorithms = "HS256,ES256,PS256,EdDSA",
					 .issuer = "https://id",
					 .audience = "tidings",
					 .jwks = set_path,
					 .user_claim = "/user/id",
					 .role_claim = "/user/roles",
					 .roles = "nurse=clinician,u=user",
					 .require_exp = true};
enum { EC_PAIR, RSA_PAIR, ED_PAIR, PAIRS };
static char *private_keys[PAIRS]; /* PEM */

static char *path_of(const char *name)
{
	static char path[100];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void add_number(struct buf *out, const char *name, const EVP_PKEY *key, const char *param)
{
	unsigned char bytes[256];
	BIGNUM *number = NULL;

	assert_int_equal(EVP_PKEY_get_bn_param(key, param, &number), 1);
	assert_true(BN_num_bytes(number) <= (int)sizeof(bytes));
	buf_printf(out, ",\"%s\":\"", name);
	base64url_add(out, bytes, (size_t)BN_bn2bin(number, bytes));
	buf_add_text(out, "\"");
	BN_free(number);
}

static void keep_private(int pair, EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem = NULL;

	assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
	private_keys[pair] = strndup(pem, (size_t)BIO_get_mem_data(bio, &pem));
	assert_non_null(private_keys[pair]);
	BIO_free(bio);
}

/* A secret and a key in the folder, two in the set. */
static int make_keys(void **state)
{
	EVP_PKEY *pairs[PAIRS] = {EVP_EC_gen("P-256"), EVP_RSA_gen(2048), EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")};
	struct buf set = BUF_EMPTY;
	unsigned char point[32];
	size_t len = sizeof(point);
	FILE *f;

	(void)state;
	if (!mkdtemp(directory) || !(f = fopen(path_of("default.HS256"), "w")))
		return -1;
	fputs("0123456789abcdef0123456789abcdef\n", f);
	fclose(f);
	chmod(path_of("default.HS256"), 0600);
	f = fopen(path_of("default.ES256"), "w");
	if (!f || PEM_write_PUBKEY(f, pairs[EC_PAIR]) != 1 || fclose(f) != 0)
		return -1;
	buf_add_text(&set, "{\"keys\":[{\"kty\":\"RSA\",\"alg\":\"PS256\"");
	add_number(&set, "n", pairs[RSA_PAIR], "n");
	add_number(&set, "e", pairs[RSA_PAIR], "e");
	assert_int_equal(EVP_PKEY_get_raw_public_key(pairs[ED_PAIR], point, &len), 1);
	buf_add_text(&set, "},{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"");
	base64url_add(&set, point, len);
	buf_add_text(&set, "\"}]}");
	snprintf(set_path, sizeof(set_path), "%s.jwks", directory);
	f = fopen(set_path, "w");
	if (!f || fputs(set.bytes, f) < 0 || fclose(f) != 0)
		return -1;
	for (int i = 0; i < PAIRS; i++) {
		keep_private(i, pairs[i]);
		EVP_PKEY_free(pairs[i]);
	}
	buf_free(&set);
	return 0;
}

static int drop_keys(void **state)
{
	(void)state;
	unlink(path_of("default.HS256"));
	unlink(path_of("default.ES256"));
	unlink(set_path);
	for (int i = 0; i < PAIRS; i++)
		free(private_keys[i]);
	return rmdir(directory);
}

static enum err load_keys(void *context)
{
	struct token_keys *keys = NULL;
	struct buf problem = BUF_EMPTY;
	enum err e = token_keys_load(&keys, directory, &rules, &problem);

	(void)context;
	if (e == OK)
		e = token_keys_remember(keys, 100);
	memory_restore();
	token_keys_free(&keys);
	buf_free(&problem);
	return e;
}

struct presented {
	struct token_keys *keys;
	const char *jwt;
	int64_t now_s;
};

static enum err verify(void *context)
{
	const struct presented *p = context;
	struct token_claims claims = {.user_id = "untouched"};
	const struct token_fault *fault = NULL;
	enum err e = token_verify(p->keys, p->jwt, strlen(p->jwt), p->now_s, &claims, &fault);

	memory_restore();
	assert_string_equal(claims.user_id, e == OK ? "456" : "untouched");
	assert_true((fault != NULL) == (e == ERR_UNAUTHORIZED));
	return e;
}

static enum err read_set(void *context)
{
	const char *text = context;
	struct jwk_set set = {0};
	struct buf problem = BUF_EMPTY;
	enum err e = jwk_set_read(&set, "it", (struct span){text, strlen(text)}, "RS256,ES256", &problem);

	memory_restore();
	jwk_set_free(&set);
	buf_free(&problem);
	return e;
}

static void a_set_of_keys_is_refused_for_what_is_in_it_or_not_known(void **state)
{
	static char nothing_to_use[] =
		"{\"keys\":[{\"kid\":\"a\",\"use\":\"enc\"},{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\"}]}";
	static char private[] = "{\"keys\":[{\"d\":\"AAAA\"}]}";

	(void)state;
	memory_fail_each(read_set, nothing_to_use);
	memory_fail_each(read_set, private);
}

struct signer {
	const struct token_keys *keys;
	const char *alg;
	const char *private_key;
};

static enum err sign(void *context)
{
	static const struct token_claims claims = {.user_id = "456", .expires_s = NOW_S + 60};
	const struct signer *s = context;
	struct buf jwt = BUF_EMPTY;
	enum err e = token_make(s->keys, NULL, s->alg, s->private_key, &claims, NOW_S, &jwt);

	memory_restore();
	assert_true((e == OK) == (jwt.len > 0 && buf_ok(&jwt)));
	buf_free(&jwt);
	return e;
}

/* libjwt does not tell these apart. */
static void what_openssl_signs_is_signed_or_there_is_no_memory(void **state)
{
	struct buf problem = BUF_EMPTY;
	struct token_keys *keys = NULL;

	(void)state;
	assert_int_equal(token_keys_load(&keys, directory, &rules, &problem), OK);
	memory_fail_each(sign, &(struct signer){keys, "EdDSA", private_keys[ED_PAIR]});
	memory_fail_each(sign, &(struct signer){keys, "PS256", private_keys[RSA_PAIR]});
	token_keys_free(&keys);
	buf_free(&problem);
}

static enum err write_claims(void *context)
{
	static const struct token_claims claims = {.user_id = "456", .role = ROLE_CLINICIAN, .expires_s = NOW_S + 60};
	const char *whole = context;
	struct buf out = BUF_EMPTY;
	enum err e = claims_add_json(&out, &rules, &claims, NOW_S);

	memory_restore();
	if (e == OK)
		assert_string_equal(out.bytes, whole);
	buf_free(&out);
	return e;
}

static void claims_are_written_as_a_whole_or_not_at_all(void **state)
{
	char whole[300];

	(void)state;
	snprintf(whole, sizeof(whole),
		 "{\"iat\":%lld,\"exp\":%lld,\"iss\":\"https://"
		 "id\",\"aud\":\"tidings\",\"user\":{\"roles\":[\"nurse\"],\"id\":\"456\"}}",
		 (long long)NOW_S, (long long)NOW_S + 60);
	memory_fail_each(write_claims, whole);
}

/* A good token was "malformed", or its signature bad: 401, and a client that gives up. */
static void a_token_is_good_or_bad_as_ever_or_not_known(void **state)
{
	static const struct token_claims claims = {.user_id = "456", .expires_s = NOW_S + 60};
	const struct {
		const char *alg;
		const char *private_key; /* NULL: a secret */
	} signers[] = {{"HS256", NULL},
		       {"ES256", private_keys[EC_PAIR]},
		       {"PS256", private_keys[RSA_PAIR]},
		       {"EdDSA", private_keys[ED_PAIR]}};
	struct buf problem = BUF_EMPTY;
	struct presented p = {.now_s = NOW_S};

	(void)state;
	memory_fail_each(load_keys, NULL);
	assert_int_equal(token_keys_load(&p.keys, directory, &rules, &problem), OK);
	for (size_t i = 0; i < ARRAY_LEN(signers); i++) {
		struct buf jwt = BUF_EMPTY;

		assert_int_equal(token_make(p.keys, NULL, signers[i].alg, signers[i].private_key, &claims, NOW_S, &jwt),
				 OK);
		p.jwt = jwt.bytes;
		memory_fail_each(verify, &p);
		p.now_s = NOW_S + 60;
		memory_fail_each(verify, &p);
		p.now_s = NOW_S;
		jwt.bytes[jwt.len - 2] = jwt.bytes[jwt.len - 2] == 'A' ? 'B' : 'A';
		memory_fail_each(verify, &p);
		buf_free(&jwt);
	}
	token_keys_free(&p.keys);
	buf_free(&problem);
}

/* --- messages on their way to clients */

#define CLIENTS 3
#define MESSAGES 40

static unsigned given[CLIENTS];
static uint64_t given_seq[CLIENTS];
static struct subscriber clients[CLIENTS];

static enum hub_written on_write(void *context, struct subscriber *s, const struct delivery *d)
{
	struct span frames = d->bytes, text;
	size_t i = (size_t)(s - clients);

	(void)context;
	if (s->reader.inflates) {
		given[i] += d->count;
		given_seq[i] = d->last;
		return HUB_SENT;
	}
	while (frame_next(&frames, &text)) {
		uint64_t seq = message_seq(text);

		assert_true(seq == 0 || seq > given_seq[i]);
		given_seq[i] = MAX(seq, given_seq[i]);
		given[i]++;
	}
	return HUB_SENT;
}

static void on_soon(void *context, struct subscriber *s)
{
	(void)context;
	(void)s;
}

/* Its owner reads from the database, up to where the tail begins. */
static void on_behind(void *context, struct subscriber *s)
{
	size_t i = (size_t)(s - clients);

	(void)context;
	given[i] += (unsigned)(tail_floor(s->topic->tail) - s->seq);
	given_seq[i] = s->seq = tail_floor(s->topic->tail);
}

static void on_delivered(void *context, struct hub_topic *t)
{
	(void)context;
	(void)t;
}

static void on_delivered_private(void *context, struct hub_topic *t, uint64_t seq)
{
	(void)context;
	(void)t;
	(void)seq;
}

static void on_revoked(void *context, struct hub_topic *t, const char *user_id, uint64_t seq)
{
	(void)context;
	(void)t;
	(void)user_id;
	(void)seq;
}

static const struct hub_ops hub_ops = {on_write,   on_soon, on_behind, on_delivered, on_delivered_private,
				       on_revoked, NULL,    NULL};

/* What the caller of hub_append() does where it fails: the same again, later. */
static enum err append(struct hub *h, struct hub_topic *t, uint64_t seq)
{
	static const char body[] = "{\"a\":\"" LONG_TEXT LONG_TEXT "\"}";
	struct stored_message m = {
		.seq = seq, .body = {body, sizeof(body) - 1}, .expires_ms = seq % 5 == 0 ? 1000000 : 0};
	enum err e;

	if (seq % 7 == 0)
		m.to_user = "ann";
	e = hub_append(h, t, &m);
	if (e == OK)
		return OK;
	memory_restore();
	assert_int_equal(e, ERR_MEMORY);
	assert_true(tail_seq(t->tail) == seq - 1);
	return hub_append(h, t, &m) == OK ? ERR_MEMORY : ERR_SYSTEM;
}

static enum err fan_out(void *context)
{
	struct deflater *deflater = context;
	struct hub *h = NULL;
	struct hub_topic *t = NULL;
	unsigned ephemerals = 0;
	enum err e = hub_new(&h, &hub_ops, NULL, 3000, 2000, deflater), worst = e;

	memset(given, 0, sizeof(given));
	memset(given_seq, 0, sizeof(given_seq));
	if (e == OK)
		e = worst = hub_hold(h, &t, 1, "diagnosis/1", "abc", 0, 0);
	for (size_t i = 0; e == OK && i < CLIENTS; i++) {
		clients[i] = (struct subscriber){.topic = t,
						 .reader = {.user_id = i == 0 ? "ann" : NULL, .inflates = i == 2}};
		hub_join(h, &clients[i]);
		if (clients[i].state == SUB_OUT)
			hub_join(h, &clients[i]);
	}
	for (uint64_t seq = 1; e == OK && seq <= MESSAGES; seq++) {
		if (append(h, t, seq) != OK)
			worst = ERR_MEMORY;
		if (seq % 6 == 0) {
			enum err said =
				hub_ephemeral(h, t, (struct span){"\x81\x02{}", 4}, seq % 12 == 0 ? "ann" : NULL, NULL);

			ephemerals += said == OK && seq % 12 != 0;
			if (said != OK)
				worst = said;
		}
		if (seq % 3 == 0)
			while (hub_run(h, 2, 0))
				;
		for (size_t i = 0; i < CLIENTS; i++)
			if (clients[i].state == SUB_OUT)
				hub_join(h, &clients[i]);
	}
	memory_restore();
	if (e == OK) {
		while (hub_run(h, 2, 0))
			;
		for (size_t i = 0; i < CLIENTS; i++) {
			assert_true(given_seq[i] == MESSAGES - (i > 0 && MESSAGES % 7 == 0));
			assert_true(given[i] >= MESSAGES - MESSAGES / 7 + (i > 0 ? ephemerals : 0));
			hub_leave(&clients[i]);
		}
		hub_let_go(h, t);
	}
	hub_free(&h);
	return worst;
}

static void each_client_gets_each_message_once_and_in_order(void **state)
{
	struct deflater *deflater = NULL;

	(void)state;
	assert_int_equal(deflater_new(&deflater), OK);
	memory_fail_each(fan_out, deflater);
	deflater_free(&deflater);
}

static enum err fill_tail(void *context)
{
	struct deflater *deflater = context;
	const struct reader ann = {.user_id = "ann", .inflates = true}, other = {.connection_id = {.bytes = {1}}};
	const struct uuid excluded = {.bytes = {1}};
	struct tail *t = NULL;
	struct delivery d;
	enum err e = tail_new(&t, 0, 100000, deflater);

	for (uint64_t seq = 1; e == OK && seq <= MESSAGES; seq++) {
		struct stored_message m = {.seq = seq, .body = span_of("{\"text\":\"" LONG_TEXT LONG_TEXT "\"}")};

		if (seq % 3 == 0)
			m.to_user = "ann";
		if (seq % 4 == 0)
			m.exclude = &excluded;
		if (seq == 10)
			tail_compress(t);
		e = tail_append(t, &m);
		if (e == OK)
			continue;
		memory_restore();
		assert_int_equal(e, ERR_MEMORY);
		assert_true(tail_seq(t) == seq - 1);
		assert_int_equal(tail_append(t, &m), OK);
		break;
	}
	memory_restore();
	for (uint64_t seq = 0; t && seq < tail_seq(t); seq = d.last) {
		assert_int_equal(tail_after(t, seq, &ann, 0, SIZE_MAX, &d), OK);
		assert_true(d.count > 0 && d.last > seq);
	}
	for (uint64_t seq = 1; t && seq <= tail_seq(t); seq++) {
		struct tail_text text = tail_message(t, seq, &other, 0);

		assert_true((text.text.len > 0) == (seq % 3 != 0 && seq % 4 != 0));
		assert_true(text.text.len == 0 || message_seq(text.text) == seq);
	}
	tail_free(&t);
	return e;
}

static void a_message_is_in_the_tail_whole_or_not_at_all(void **state)
{
	struct deflater *deflater = NULL;

	(void)state;
	assert_int_equal(deflater_new(&deflater), OK);
	memory_fail_each(fill_tail, deflater);
	memory_fail_each(fill_tail, NULL);
	deflater_free(&deflater);
}

static enum err pack(void *context)
{
	struct buf *right = context;
	struct deflater *d = NULL;
	struct inflater *i = NULL;
	struct buf frame = BUF_EMPTY, text = BUF_EMPTY;
	struct span frames, payload;
	enum err e = deflater_new(&d);

	assert_true((d != NULL) == (e == OK));
	if (e == OK)
		e = inflater_new(&i);
	assert_true((i != NULL) == (e == OK));
	if (e == OK)
		deflater_add_frame(d, &frame, (struct span){right->bytes, right->len});
	if (!buf_ok(&frame))
		e = ERR_MEMORY;
	frames = (struct span){frame.bytes, frame.len};
	/* Where there was no memory to compress it, it goes as it is. */
	if (e == OK && frame_next(&frames, &payload) && ((uint8_t)frame.bytes[0] & FRAME_COMPRESSED)) {
		e = inflater_add_text(i, &text, payload, 1000);
		if (e == OK)
			assert_true(text.len == right->len && memcmp(text.bytes, right->bytes, text.len) == 0);
	}
	memory_restore();
	deflater_free(&d);
	inflater_free(&i);
	buf_free(&frame);
	buf_free(&text);
	return e;
}

static void a_message_is_packed_and_unpacked_whole_or_not_at_all(void **state)
{
	struct buf text = BUF_EMPTY;

	(void)state;
	buf_add_text(&text, LONG_TEXT LONG_TEXT LONG_TEXT);
	memory_fail_each(pack, &text);
	buf_free(&text);
}

/* --- tables */

static enum err limit_rates(void *context)
{
	struct rate_table *t = NULL;
	enum err e = rate_table_new(&t, 20);

	(void)context;
	if (e == OK) {
		char name[16];

		/* Without memory for a caller nobody is refused, and everybody is limited as soon as there is some. */
		for (int i = 0; i < 40; i++) {
			snprintf(name, sizeof(name), "user%d", i);
			assert_true(rate_table_take(t, name, 1, 1, RATE_ONE, 1000000, NULL));
		}
		if (memory_restore())
			e = ERR_MEMORY;
		for (int i = 0; i < 40; i++)
			rate_table_take(t, name, 1, 1, RATE_ONE, 1000000, NULL);
		assert_false(rate_table_take(t, name, 1, 1, RATE_ONE, 1000000, NULL));
	}
	memory_restore();
	rate_table_free(&t);
	return e;
}

static enum err remember(void *context)
{
	struct token_cache *m = NULL;
	enum err e = token_cache_new(&m, sizeof(int), 8);
	int value = 7;
	const int *kept;

	(void)context;
	if (e == OK) {
		token_cache_keep(m, span_of(LONG_TEXT), &value);
		kept = token_cache_find(m, span_of(LONG_TEXT));
		assert_true(!kept || *kept == 7);
		memory_restore();
		token_cache_keep(m, span_of(LONG_TEXT), &value);
		assert_non_null(token_cache_find(m, span_of(LONG_TEXT)));
	}
	memory_restore();
	token_cache_free(&m);
	return e;
}

static enum err select_topics(void *context)
{
	struct selection *s = NULL;
	enum err e = selection_of_topics(&s, span_of("health/1,diagnosis/2"), "abc-1.abc-2");

	(void)context;
	memory_restore();
	if (e == OK)
		assert_true(s->count == 2 && s->items[1].cursor.seq == 2);
	free(s);
	return e;
}

static enum err select_of_query(void *context)
{
	struct problem problem = PROBLEM_NONE;
	struct selection *s = NULL;
	enum err e = selection_of_query(&s, span_of("topics=a,b&cursor=abc-1.abc-2&types=x,y&rewind=5&presence=yes"),
					(struct span){0}, 0, &problem);

	(void)context;
	memory_restore();
	assert_int_equal(problem.errors_count, 0);
	assert_true((s != NULL) == (e == OK));
	selection_free(&s);
	problem_free(&problem);
	return e;
}

static enum err select_diagnosis(void *context)
{
	struct selection *s = NULL;
	enum err e = selection_of_diagnosis(&s, 123, "abc-1");

	(void)context;
	memory_restore();
	assert_true((s != NULL) == (e == OK));
	free(s);
	return e;
}

static void tables_go_on(void **state)
{
	(void)state;
	memory_fail_each(limit_rates, NULL);
	memory_fail_each(remember, NULL);
	memory_fail_each(select_topics, NULL);
	memory_fail_each(select_diagnosis, NULL);
	memory_fail_each(select_of_query, NULL);
}

/* --- texts: a buffer that has failed says so to its end */

static void write_connect(struct buf *out)
{
	const struct resume_point points[] = {
		{.topic = "diagnosis/1", .epoch = "abc", .seq = 7, .recovered = true},
		{.topic = "health/1", .epoch = "def", .seq = 1, .missed_from = 2, .missed_to = 3}};
	const struct dialog d = {0};

	dialog_connect(out, &d, &(struct dialog_welcome){.user_id = LONG_TEXT, .points = points, .points_count = 2},
		       NOW_US);
}

static void write_handshake(struct buf *out)
{
	handshake_add(out, span_of("dGhlIHNhbXBsZSBub25jZQ=="), "tidings", "permessage-deflate", "a-1");
}

static void write_error(struct buf *out)
{
	live_text_error(out, "invalid_message", LONG_TEXT "\n\"", NULL, "\"a\"", NOW_US);
}

static void write_query(struct buf *out)
{
	if (!query_get(span_of("a=1&token=" LONG_TEXT "%20x"), "token", out))
		fail_msg("the token is not found");
}

struct text {
	void (*write)(struct buf *out);
	char *right;
};

static enum err write_text(void *context)
{
	struct text *text = context;
	struct buf out = BUF_EMPTY;
	enum err e;

	text->write(&out);
	memory_restore();
	e = buf_ok(&out) ? OK : ERR_MEMORY;
	if (e == OK)
		assert_same(&text->right, &out);
	buf_free(&out);
	return e;
}

static void a_text_is_written_whole_or_has_failed(void **state)
{
	struct text texts[] = {
		{write_connect, NULL}, {write_handshake, NULL}, {write_error, NULL}, {write_query, NULL}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		memory_fail_each(write_text, &texts[i]);
		free(texts[i].right);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_text_is_read_whole_or_not_at_all),
		cmocka_unit_test(a_broadcast_is_read_whole_or_not_at_all),
		cmocka_unit_test(what_a_client_says_is_read_whole_or_not_at_all),
		cmocka_unit_test(what_is_said_on_a_connection_is_answered_as_ever_or_not_at_all),
		cmocka_unit_test(a_token_is_good_or_bad_as_ever_or_not_known),
		cmocka_unit_test(a_set_of_keys_is_refused_for_what_is_in_it_or_not_known),
		cmocka_unit_test(what_openssl_signs_is_signed_or_there_is_no_memory),
		cmocka_unit_test(claims_are_written_as_a_whole_or_not_at_all),
		cmocka_unit_test(each_client_gets_each_message_once_and_in_order),
		cmocka_unit_test(a_message_is_in_the_tail_whole_or_not_at_all),
		cmocka_unit_test(a_message_is_packed_and_unpacked_whole_or_not_at_all),
		cmocka_unit_test(tables_go_on),
		cmocka_unit_test(a_text_is_written_whole_or_has_failed),
	};

	return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
