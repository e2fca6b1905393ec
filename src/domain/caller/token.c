#include "domain/caller/token.h"

#include <json-c/json.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "domain/caller/key_ring.h"
#include "domain/caller/signature.h"
#include "domain/caller/token_cache.h"
#include "domain/jose/base64url.h"
#include "domain/jose/jwk_set.h"
#include "domain/text/json.h"

#define TOKEN_MAX 8192 /* bytes: what a web server passes in a header line */

struct token_keys {
	struct token_rules rules;
	struct key_ring *ring;
	pthread_mutex_t lock;	  /* guards what follows */
	struct token_cache *good; /* owned: the claims of tokens that these keys have verified; NULL: not remembered */
};

/* Nobody is told more who cannot sign. */
#define UNTOLD "authentication failed"
#define FAULT(why)                                     \
	{                                              \
		why, UNTOLD, "The token is not valid." \
	}

static const struct token_fault too_long = FAULT("too long");
static const struct token_fault malformed = FAULT("malformed");
static const struct token_fault malformed_kid = FAULT("malformed kid");
static const struct token_fault no_alg = FAULT("no alg");
static const struct token_fault critical = FAULT("critical header that we do not know"); /* RFC 7515 4.1.11 */
static const struct token_fault wrong_alg = FAULT("algorithm not allowed");
static const struct token_fault wrong_typ = FAULT("typ that is neither JWT nor at+jwt");
static const struct token_fault libjwt_typ = FAULT("typ at+jwt, which libjwt takes from version 1.12 on");
static const struct token_fault no_key = FAULT("no key of that kid and algorithm");
static const struct token_fault bad_signature = FAULT("bad signature");
static const struct token_fault unreadable =
	FAULT("payload that libjwt cannot read: no JSON, a number out of its range, or \\u0000");
static const struct token_fault malformed_payload = FAULT("malformed payload");
static const struct token_fault no_memory = FAULT("out of memory"); /* of us, not of the token: ERR_MEMORY */

/* ---- keys */

enum err token_keys_load(struct token_keys **out, const char *directory, const struct token_rules *rules,
			 struct buf *problem)
{
	struct token_keys *keys = calloc(1, sizeof(*keys));
	enum err e = OK;

	*out = NULL;
	if (!keys)
		return ERR_MEMORY;
	keys->rules = *rules;
	e = token_rules_check(rules, problem);
	if (e == OK)
		e = key_ring_load(&keys->ring, directory, rules->jwks, rules->algorithms, problem);
	if (e == OK)
		e = signature_prepare();
	if (e != OK) {
		key_ring_free(&keys->ring);
		free(keys);
		return e;
	}
	pthread_mutex_init(&keys->lock, NULL);
	*out = keys;
	return OK;
}

void token_keys_free(struct token_keys **out)
{
	struct token_keys *keys = *out;

	if (!keys)
		return;
	key_ring_free(&keys->ring);
	token_cache_free(&keys->good);
	pthread_mutex_destroy(&keys->lock);
	free(keys);
	*out = NULL;
}

enum err token_keys_remember(struct token_keys *keys, size_t tokens_max)
{
	return token_cache_new(&keys->good, sizeof(struct token_claims), tokens_max);
}

/* ---- verification */

/* Three parts in base64url, none empty: an unsecured token has no third. The first two: borrowed from `jwt`. */
static bool split(const char *jwt, size_t len, struct span *header, struct span *payload)
{
	size_t starts[3] = {0};
	size_t part = 0;

	for (size_t i = 0; i < len; i++) {
		if (base64url_value(jwt[i]) >= 0)
			continue;
		if (jwt[i] != '.' || i == starts[part] || part == 2)
			return false;
		starts[++part] = i + 1;
	}
	*header = (struct span){jwt, starts[1] - 1};
	*payload = (struct span){jwt + starts[1], starts[2] - starts[1] - 1};
	return part == 2 && starts[2] < len;
}

/*
 * One base64url part of a token, as a JSON object.
 *
 *	object	out: taken, json_object_put() it
 *	other	what is wrong where it is none
 *
 * NULL: it is one; else why not.
 */
static const struct token_fault *parse_part(struct span part, const struct token_fault *other, json_object **object)
{
	char text[TOKEN_MAX];
	size_t text_len = 0;
	const char *problem = NULL;
	enum err e = ERR_INPUT;

	if (base64url_decode(text, sizeof(text), part, &text_len))
		e = json_read(object, text, text_len, &problem);
	if (e == ERR_MEMORY)
		return &no_memory;
	return e == OK && json_object_is_type(*object, json_type_object) ? NULL : other;
}

/*
 * A typ is the application's (RFC 7519 5.1): access tokens have one of their own (RFC 9068 2.1).
 *
 *	by_libjwt	it will check the signature
 *
 * NULL: good.
 */
static const struct token_fault *judge_typ(json_object *header, bool by_libjwt)
{
	const char *typ = "JWT";
	json_object *value = NULL;

	if (json_object_object_get_ex(header, "typ", &value))
		typ = claims_text(value);
	if (!typ)
		return &malformed;
	if (strcasecmp(typ, "JWT") == 0)
		return NULL;
	if (strcasecmp(typ, "at+jwt") != 0 && strcasecmp(typ, "application/at+jwt") != 0)
		return &wrong_typ;
	if (!by_libjwt)
		return NULL;
	switch (signature_of_other_typ()) {
	case SIGNATURE_GOOD:
		return NULL;
	case SIGNATURE_NO_MEMORY:
		return &no_memory;
	case SIGNATURE_BAD:
	case SIGNATURE_UNREADABLE:
		break;
	}
	return &libjwt_typ;
}

/*
 * The key that has to have signed a token with this header.
 *
 *	key	out: lent by the ring
 *
 * NULL: there is one; else why not.
 */
static const struct token_fault *find_key(const struct token_keys *keys, json_object *header, const struct key **key)
{
	const char *kid = KID_DEFAULT;
	const char *alg = claims_text(json_object_object_get(header, "alg"));
	json_object *value = NULL;

	if (!alg)
		return &no_alg;
	if (json_object_object_get_ex(header, "crit", NULL))
		return &critical;
	if (json_object_object_get_ex(header, "kid", &value)) {
		kid = claims_text(value);
		if (!kid || !jwk_kid_valid(kid))
			return &malformed_kid;
	}
	if (!signature_alg_known(alg) || !key_ring_lists(keys->ring, alg))
		return &wrong_alg;
	*key = key_ring_find(keys->ring, kid, alg);
	return *key ? judge_typ(header, !(*key)->public_key) : &no_key;
}

/* NULL: the key, or the whole file that it comes from, has signed it. */
static const struct token_fault *judge_signature(const struct key *k, const char *jwt)
{
	for (size_t newline = k->newline;; newline--) {
		struct span secret = {k->secret.bytes, k->secret.len - newline};
		enum signature found = k->public_key ? signature_check_pair(jwt, k->alg, k->public_key)
						     : signature_check_secret(jwt, k->alg, secret);
		const struct token_fault *fault = NULL;

		switch (found) {
		case SIGNATURE_GOOD:
			return NULL;
		case SIGNATURE_BAD:
			fault = &bad_signature;
			break;
		case SIGNATURE_UNREADABLE:
			fault = &unreadable;
			break;
		case SIGNATURE_NO_MEMORY:
			return &no_memory;
		}
		if (newline == 0)
			return fault;
	}
}

static const struct token_fault *verify(const struct token_keys *keys, const char *jwt, size_t len, int64_t now_s,
					struct token_claims *claims)
{
	char copy[TOKEN_MAX + 1]; /* libjwt wants a NUL */
	const struct token_fault *fault = &malformed;
	const struct key *k = NULL;
	json_object *object = NULL;
	struct span header = {0};
	struct span payload = {0};

	if (split(jwt, len, &header, &payload))
		fault = parse_part(header, &malformed, &object);
	if (!fault)
		fault = find_key(keys, object, &k);
	json_object_put(object);
	if (fault)
		return fault;
	memcpy(copy, jwt, len);
	copy[len] = '\0';
	fault = judge_signature(k, copy);
	if (fault)
		return fault;
	object = NULL;
	fault = parse_part(payload, &malformed_payload, &object);
	if (!fault)
		fault = claims_judge(&keys->rules, object, now_s, claims);
	json_object_put(object);
	return fault;
}

/* Of what was verified, only its end comes by itself. */
static bool recall(struct token_keys *keys, struct span jwt, int64_t now_s, struct token_claims *claims)
{
	const struct token_claims *known = NULL;
	bool good = false;

	pthread_mutex_lock(&keys->lock);
	known = token_cache_find(keys->good, jwt);
	good = known && (known->expires_s == 0 || now_s < known->expires_s);
	if (good)
		*claims = *known;
	pthread_mutex_unlock(&keys->lock);
	return good;
}

static void keep(struct token_keys *keys, struct span jwt, const struct token_claims *claims)
{
	pthread_mutex_lock(&keys->lock);
	token_cache_keep(keys->good, jwt, claims);
	pthread_mutex_unlock(&keys->lock);
}

enum err token_verify(struct token_keys *keys, const char *jwt, size_t len, int64_t now_s, struct token_claims *claims,
		      const struct token_fault **fault)
{
	*fault = NULL;
	if (len > TOKEN_MAX) {
		*fault = &too_long;
		return ERR_UNAUTHORIZED;
	}
	if (keys->good && recall(keys, (struct span){jwt, len}, now_s, claims))
		return OK;
	*fault = verify(keys, jwt, len, now_s, claims);
	if (*fault == &no_memory) {
		*fault = NULL;
		return ERR_MEMORY;
	}
	if (*fault)
		return ERR_UNAUTHORIZED;
	if (keys->good)
		keep(keys, (struct span){jwt, len}, claims);
	return OK;
}

enum token_result token_result_of(const struct token_fault *fault)
{
	if (!fault)
		return TOKEN_GOOD;
	if (fault == &no_key || fault == &malformed_kid)
		return TOKEN_NO_KEY;
	if (strcmp(fault->reason, UNTOLD) == 0)
		return TOKEN_BAD_SIGNATURE;
	return claims_are_expired(fault) ? TOKEN_EXPIRED : TOKEN_BAD_CLAIMS;
}

size_t token_keys_count(const struct token_keys *keys, struct span alg)
{
	return key_ring_count(keys->ring, alg);
}

/* ---- making */

enum err token_make(const struct token_keys *keys, const char *kid, const char *alg, const char *private_key_pem,
		    const struct token_claims *claims, int64_t now_s, struct buf *out)
{
	char chosen[ALGORITHM_MAX + 1];
	struct span material = {0};
	struct buf payload = BUF_EMPTY;
	enum err e = key_ring_signer(keys->ring, kid ? kid : KID_DEFAULT, alg, private_key_pem, chosen, &material);

	if (e != OK)
		return e;
	e = claims_add_json(&payload, &keys->rules, claims, now_s);
	if (e == OK)
		e = signature_make(kid, payload.bytes, chosen, material, out);
	buf_free(&payload);
	return e;
}
