/*
 * Real keys, made anew for every run: a folder of them in the working directory. Tokens that token_make() would not
 * make are signed here, so that only what a test is about is wrong with them.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "domain/caller/key_ring.h"
#include "domain/caller/token.h"

#define NOW_S INT64_C(1800000000)
#define SECRET "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER_SECRET "fedcba9876543210fedcba9876543210"
#define UNREADABLE "payload that libjwt cannot read: no JSON, a number out of its range, or \\u0000"
#define TEN_TIMES(text) text text text text text text text text text text
#define HS256_HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"

static char directory[] = "test_token.XXXXXX";

/* PEM texts. */
static char *rsa_private;
static char *rsa_public;
static char *ed_private;
static char *ed_public;
static char *ec_private;
static char *ec_public;
static char *ec384_public;
static char *small_rsa_public;

static const struct token_rules all_rules = {.algorithms = "HS256,HS384,HS512,RS256,RS384,RS512,ES256,ES384,ES512,"
							   "PS256,PS384,PS512,EdDSA",
					     .require_exp = true};

/* --- keys --- */

static char *bio_text(BIO *bio)
{
	char *bytes = NULL;
	long len = BIO_get_mem_data(bio, &bytes);
	char *text = strndup(bytes, (size_t)len);

	BIO_free(bio);
	assert_non_null(text);
	return text;
}

static char *public_pem(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());

	assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
	return bio_text(bio);
}

static char *private_pem(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());

	assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
	return bio_text(bio);
}

static char *path_of(const char *name)
{
	static char path[200];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void put_file(const char *name, const void *bytes, size_t len, mode_t mode)
{
	FILE *f = fopen(path_of(name), "w");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path_of(name), mode), 0);
}

static void put_key(const char *name, const char *text)
{
	put_file(name, text, strlen(text), 0600);
}

static void drop_key(const char *name)
{
	unlink(path_of(name));
}

static int make_keys(void **state)
{
	EVP_PKEY *rsa = EVP_RSA_gen(2048);
	EVP_PKEY *small = EVP_RSA_gen(1024);
	EVP_PKEY *ec = EVP_EC_gen("P-256");
	EVP_PKEY *ec384 = EVP_EC_gen("P-384");
	EVP_PKEY *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

	(void)state;
	rsa_private = private_pem(rsa);
	rsa_public = public_pem(rsa);
	small_rsa_public = public_pem(small);
	ec_private = private_pem(ec);
	ec_public = public_pem(ec);
	ec384_public = public_pem(ec384);
	ed_private = private_pem(ed);
	ed_public = public_pem(ed);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(small);
	EVP_PKEY_free(ec);
	EVP_PKEY_free(ec384);
	EVP_PKEY_free(ed);
	if (!mkdtemp(directory))
		return -1;
	put_key("default.HS256", SECRET "\n");
	put_key("default.RS256", rsa_public);
	put_key("default.ES256", ec_public);
	put_key("default.EdDSA", ed_public);
	put_key("default.PS256", rsa_public);
	put_key("long_1.PS512", rsa_public);
	put_key("2026-11.HS256", OTHER_SECRET);
	put_key("long_1.HS512", SECRET);
	return 0;
}

static int drop_keys(void **state)
{
	static const char *const names[] = {"default.HS256", "default.RS256", "default.ES256", "2026-11.HS256",
					    "long_1.HS512",  "default.EdDSA", "default.PS256", "long_1.PS512"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		drop_key(names[i]);
	free(rsa_private);
	free(rsa_public);
	free(small_rsa_public);
	free(ec_private);
	free(ec_public);
	free(ec384_public);
	free(ed_private);
	free(ed_public);
	return rmdir(directory);
}

static struct token_keys *load(const struct token_rules *rules)
{
	struct token_keys *keys = NULL;
	struct buf problem = BUF_EMPTY;

	if (token_keys_load(&keys, directory, rules, &problem) != OK)
		fail_msg("%s", problem.bytes);
	buf_free(&problem);
	return keys;
}

/* A key file of that name and content must be refused, and the problem told with these words. */
static void assert_refuses_file(const char *name, const char *text, mode_t mode, const char *words)
{
	struct token_keys *keys = NULL;
	struct buf problem = BUF_EMPTY;

	put_file(name, text, strlen(text), mode);
	assert_int_equal(token_keys_load(&keys, directory, &all_rules, &problem), ERR_CONFIG);
	assert_null(keys);
	if (!strstr(problem.bytes, words) || !strstr(problem.bytes, name))
		fail_msg("%s: %s", name, problem.bytes);
	assert_null(strstr(problem.bytes, "secretive"));
	buf_free(&problem);
	drop_key(name);
}

/* --- tokens --- */

static void add_base64url(struct buf *out, const void *bytes, size_t len)
{
	size_t start = out->len;
	unsigned char *room = buf_reserve(out, len / 3 * 4 + 5);
	size_t used = 0;

	assert_non_null(room);
	used = (size_t)EVP_EncodeBlock(room, bytes, (int)len);
	while (used > 0 && room[used - 1] == '=')
		used--;
	for (size_t i = 0; i < used; i++)
		room[i] = room[i] == '+' ? '-' : room[i] == '/' ? '_' : room[i];
	out->len = start + used;
	out->bytes[out->len] = '\0';
}

/* Two parts, and a dot after them when there is to be a third. */
static void add_parts(struct buf *out, const char *header, const char *payload)
{
	add_base64url(out, header, strlen(header));
	buf_add_text(out, ".");
	add_base64url(out, payload, strlen(payload));
}

/* Freed by the caller. */
static char *signed_hmac(const char *header, const char *payload, const char *secret)
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned int mac_len = 0;
	struct buf out = BUF_EMPTY;

	add_parts(&out, header, payload);
	assert_non_null(HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)out.bytes, out.len, mac,
			     &mac_len));
	buf_add_text(&out, ".");
	add_base64url(&out, mac, mac_len);
	return out.bytes;
}

static enum err verify(struct token_keys *keys, const char *jwt, struct token_claims *claims,
		       const struct token_fault **fault)
{
	/* A copy of exactly its length, so that a read over its end is seen. */
	size_t len = strlen(jwt);
	char *exact = malloc(len + 1);
	enum err e = OK;

	assert_non_null(exact);
	memcpy(exact, jwt, len);
	e = token_verify(keys, exact, len, NOW_S, claims, fault);
	free(exact);
	return e;
}

/* As it is counted: only of a token whose signature was good its bearer is told more than that it failed. */
static enum token_result counted_as(const struct token_fault *fault)
{
	if (strcmp(fault->why, "no key of that kid and algorithm") == 0 || strcmp(fault->why, "malformed kid") == 0)
		return TOKEN_NO_KEY;
	if (strcmp(fault->why, "expired") == 0)
		return TOKEN_EXPIRED;
	return strcmp(fault->detail, "The token is not valid.") == 0 ? TOKEN_BAD_SIGNATURE : TOKEN_BAD_CLAIMS;
}

static void assert_refused(struct token_keys *keys, const char *jwt, const char *expected)
{
	struct token_claims claims = {.user_id = "untouched", .role = ROLE_ADMIN, .expires_s = 7};
	const struct token_fault *fault = NULL;

	assert_int_equal(verify(keys, jwt, &claims, &fault), ERR_UNAUTHORIZED);
	assert_string_equal(fault->why, expected);
	assert_int_equal(token_result_of(fault), counted_as(fault));
	assert_string_equal(claims.user_id, "untouched");
	assert_int_equal(claims.role, ROLE_ADMIN);
	assert_int_equal(claims.expires_s, 7);
}

/* Signed as it should be: only the payload is in question. NULL: accepted. */
static void assert_payload(const struct token_rules *rules, const char *payload, const char *expected,
			   struct token_claims *claims)
{
	struct token_keys *keys = load(rules);
	char *jwt = signed_hmac(HS256_HEADER, payload, SECRET);
	const struct token_fault *fault = NULL;

	if (expected) {
		assert_refused(keys, jwt, expected);
	} else if (verify(keys, jwt, claims, &fault) != OK) {
		fail_msg("%s: %s", payload, fault->why);
	}
	free(jwt);
	token_keys_free(&keys);
}

static void accepts(const char *payload, struct token_claims *claims)
{
	assert_payload(&all_rules, payload, NULL, claims);
}

static void refuses(const char *payload, const char *why)
{
	assert_payload(&all_rules, payload, why, NULL);
}

static char *made(struct token_keys *keys, const char *kid, const char *alg, const char *pem)
{
	struct token_claims claims = {.user_id = "456", .role = ROLE_SERVICE, .expires_s = NOW_S + 60};
	struct buf out = BUF_EMPTY;

	assert_int_equal(token_make(keys, kid, alg, pem, &claims, NOW_S, &out), OK);
	return out.bytes;
}

static void assert_round_trip(const char *kid, const char *alg, const char *pem)
{
	struct token_keys *keys = load(&all_rules);
	char *jwt = made(keys, kid, alg, pem);
	struct token_claims claims = {0};
	const struct token_fault *fault = NULL;

	if (verify(keys, jwt, &claims, &fault) != OK)
		fail_msg("%s", fault->why);
	assert_string_equal(claims.user_id, "456");
	assert_int_equal(claims.role, ROLE_SERVICE);
	assert_int_equal(claims.expires_s, NOW_S + 60);
	free(jwt);
	token_keys_free(&keys);
}

/* --- signatures --- */

static void accepts_what_it_made_with_hs256(void **state)
{
	(void)state;
	assert_round_trip(NULL, NULL, NULL);
	assert_round_trip(NULL, "HS256", NULL);
	assert_round_trip("default", "HS256", NULL);
}

static void accepts_what_it_made_with_hs512_of_another_kid(void **state)
{
	(void)state;
	assert_round_trip("long_1", "HS512", NULL);
	assert_round_trip("long_1", NULL, NULL);
}

static void accepts_what_it_made_with_rs256(void **state)
{
	(void)state;
	assert_round_trip(NULL, "RS256", rsa_private);
	assert_round_trip(NULL, NULL, rsa_private);
}

static void accepts_what_it_made_with_es256(void **state)
{
	(void)state;
	assert_round_trip(NULL, "ES256", ec_private);
	assert_round_trip(NULL, NULL, ec_private);
}

static void accepts_what_it_made_with_ps256_and_with_eddsa_whatever_libjwt_knows(void **state)
{
	(void)state;
	assert_round_trip(NULL, "PS256", rsa_private);
	assert_round_trip("long_1", "PS512", rsa_private);
	assert_round_trip(NULL, "EdDSA", ed_private);
	assert_round_trip("default", NULL, ed_private);
}

static void refuses_what_a_key_pair_has_not_signed(void **state)
{
	static const struct {
		const char *alg;
		char **private;
	} pairs[] = {{"RS256", &rsa_private}, {"PS256", &rsa_private}, {"ES256", &ec_private}, {"EdDSA", &ed_private}};
	struct token_keys *keys = load(&all_rules);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		char *jwt = made(keys, NULL, pairs[i].alg, *pairs[i].private);
		char *signature = strrchr(jwt, '.') + 1;
		char first = *signature;
		struct buf longer = BUF_EMPTY;

		*signature = first == 'A' ? 'B' : 'A';
		assert_refused(keys, jwt, "bad signature");
		*signature = first;
		buf_printf(&longer, "%sAAAA", jwt);
		assert_refused(keys, longer.bytes, "bad signature");
		*signature = '\0';
		buf_clear(&longer);
		buf_add_text(&longer, jwt);
		while (longer.len < 4000)
			buf_add_text(&longer, "AAAA");
		assert_refused(keys, longer.bytes, "bad signature");
		buf_clear(&longer);
		buf_printf(&longer, "%sA", jwt);
		assert_refused(keys, longer.bytes, "bad signature");
		buf_clear(&longer);
		buf_printf(&longer, "%sAAAA", jwt);
		assert_refused(keys, longer.bytes, "bad signature");
		buf_free(&longer);
		free(jwt);
	}
	token_keys_free(&keys);
}

/* By OpenSSL alone; freed by the caller. `salt`: bytes of it, for PSS; −1: none of that. */
static char *signed_by(const char *private_key, const char *header, const char *payload, int salt)
{
	struct buf jwt = BUF_EMPTY;
	unsigned char bytes[256];
	size_t len = sizeof(bytes);
	BIO *bio = BIO_new_mem_buf(private_key, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_PKEY_CTX *padding = NULL;

	add_parts(&jwt, header, payload);
	assert_int_equal(EVP_DigestSignInit(context, &padding, salt < 0 ? NULL : EVP_sha256(), NULL, key), 1);
	if (salt >= 0) {
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(padding, RSA_PKCS1_PSS_PADDING), 1);
		assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(padding, salt), 1);
	}
	assert_int_equal(EVP_DigestSign(context, bytes, &len, (unsigned char *)jwt.bytes, jwt.len), 1);
	buf_add_text(&jwt, ".");
	add_base64url(&jwt, bytes, len);
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
	BIO_free(bio);
	return jwt.bytes;
}

static void takes_access_tokens_of_key_pairs_and_claims_that_libjwt_cannot_read(void **state)
{
	/* Identity providers sign with pairs: RFC 9068 wants their typ to be at+jwt, which libjwt 1.10 refuses. */
	struct token_keys *keys = load(&all_rules);
	struct token_claims claims = {0};
	const struct token_fault *fault = NULL;
	char *jwt = signed_by(ed_private, "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\"}",
			      "{\"sub\":\"1\",\"exp\":1900000000,\"jti\":100000000000000000000}", -1);

	(void)state;
	if (verify(keys, jwt, &claims, &fault) != OK)
		fail_msg("%s", fault->why);
	assert_string_equal(claims.user_id, "1");
	free(jwt);
	token_keys_free(&keys);
}

static void wants_a_salt_as_long_as_the_hash(void **state)
{
	static const char header[] = "{\"alg\":\"PS256\"}", payload[] = "{\"sub\":\"1\",\"exp\":1900000000}";
	static const int salts[] = {0, 20, 31, 33, 64};
	struct token_keys *keys = load(&all_rules);
	struct token_claims claims = {0};
	const struct token_fault *fault = NULL;
	char *jwt = signed_by(rsa_private, header, payload, 32);

	(void)state;
	assert_int_equal(verify(keys, jwt, &claims, &fault), OK);
	free(jwt);
	for (size_t i = 0; i < ARRAY_LEN(salts); i++) {
		jwt = signed_by(rsa_private, header, payload, salts[i]);
		assert_refused(keys, jwt, "bad signature");
		free(jwt);
	}
	token_keys_free(&keys);
}

static void does_not_sign_with_what_does_not_fit(void **state)
{
	struct token_keys *keys = load(&all_rules);
	struct token_claims claims = {.user_id = "456", .expires_s = NOW_S + 60};
	struct buf out = BUF_EMPTY;

	(void)state;
	assert_int_equal(token_make(keys, "absent", NULL, NULL, &claims, NOW_S, &out), ERR_NOT_FOUND);
	assert_int_equal(token_make(keys, NULL, "HS384", NULL, &claims, NOW_S, &out), ERR_NOT_FOUND);
	assert_int_equal(token_make(keys, NULL, "RS256", NULL, &claims, NOW_S, &out), ERR_NOT_FOUND);
	assert_int_equal(token_make(keys, NULL, "none", NULL, &claims, NOW_S, &out), ERR_NOT_FOUND);
	assert_int_equal(token_make(keys, NULL, "ES256", rsa_private, &claims, NOW_S, &out), ERR_INPUT);
	assert_int_equal(token_make(keys, NULL, "ES384", ec_private, &claims, NOW_S, &out), ERR_INPUT);
	assert_int_equal(token_make(keys, NULL, "HS256", rsa_private, &claims, NOW_S, &out), ERR_INPUT);
	assert_int_equal(token_make(keys, NULL, "RS256", rsa_public, &claims, NOW_S, &out), ERR_INPUT);
	assert_int_equal(token_make(keys, NULL, "RS256", "junk", &claims, NOW_S, &out), ERR_INPUT);
	assert_int_equal(out.len, 0);
	buf_free(&out);
	token_keys_free(&keys);
}

static void refuses_a_public_key_used_as_an_hmac_secret(void **state)
{
	/* The classic confusion: the attacker knows the public key, signs HS256 with its text, and names its kid. */
	struct token_keys *keys = load(&all_rules);
	const char *payload = "{\"sub\":\"1\",\"exp\":1900000000,\"role\":\"admin\"}";
	char *jwt = signed_hmac(HS256_HEADER, payload, rsa_public);

	(void)state;
	assert_refused(keys, jwt, "bad signature");
	free(jwt);
	token_keys_free(&keys);

	drop_key("default.HS256"); /* now `default` is an RSA and an EC key only */
	keys = load(&all_rules);
	jwt = signed_hmac(HS256_HEADER, payload, rsa_public);
	assert_refused(keys, jwt, "no key of that kid and algorithm");
	free(jwt);
	token_keys_free(&keys);
	put_key("default.HS256", SECRET "\n");
}

static void refuses_an_algorithm_that_is_not_the_keys(void **state)
{
	struct token_keys *keys = load(&all_rules);
	const char *payload = "{\"sub\":\"1\",\"exp\":1900000000}";
	char *jwt = signed_hmac("{\"alg\":\"HS512\"}", payload, SECRET);

	(void)state;
	assert_refused(keys, jwt, "no key of that kid and algorithm");
	free(jwt);
	jwt = signed_hmac("{\"alg\":\"RS256\"}", payload, SECRET);
	assert_refused(keys, jwt, "bad signature");
	free(jwt);
	jwt = signed_hmac("{\"alg\":\"ES256\"}", payload, SECRET);
	assert_refused(keys, jwt, "bad signature");
	free(jwt);
	token_keys_free(&keys);
}

static void refuses_an_algorithm_that_the_rules_do_not_list(void **state)
{
	struct token_rules rules = {.algorithms = "RS256, ES256, HS512, PS256,PS512 , EdDSA", .require_exp = true};
	struct token_keys *keys = NULL;
	struct buf problem = BUF_EMPTY;
	char *jwt = NULL;

	(void)state;
	assert_int_equal(token_keys_load(&keys, directory, &rules, &problem), ERR_CONFIG);
	assert_non_null(strstr(problem.bytes, "TIDINGS_JWT_ALGORITHMS"));
	buf_free(&problem);
	drop_key("default.HS256");
	drop_key("2026-11.HS256");
	keys = load(&rules);
	jwt = signed_hmac(HS256_HEADER, "{\"sub\":\"1\",\"exp\":1900000000}", SECRET);
	assert_refused(keys, jwt, "algorithm not allowed");
	free(jwt);
	token_keys_free(&keys);
	put_key("default.HS256", SECRET "\n");
	put_key("2026-11.HS256", OTHER_SECRET);
}

static void refuses_none_in_any_spelling(void **state)
{
	static const char *const spellings[] = {"none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "HS256\\u0000"};
	struct token_keys *keys = load(&all_rules);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
		struct buf header = BUF_EMPTY;
		struct buf unsigned_jwt = BUF_EMPTY;
		struct token_claims claims = {0};
		const struct token_fault *fault = NULL;
		char *jwt = NULL;

		buf_printf(&header, "{\"alg\":\"%s\"}", spellings[i]);
		jwt = signed_hmac(header.bytes, "{\"sub\":\"1\",\"exp\":1900000000}", SECRET);
		assert_int_equal(verify(keys, jwt, &claims, &fault), ERR_UNAUTHORIZED);
		add_parts(&unsigned_jwt, header.bytes, "{\"sub\":\"1\",\"exp\":1900000000}");
		assert_refused(keys, unsigned_jwt.bytes, "malformed");
		buf_add_text(&unsigned_jwt, ".");
		assert_refused(keys, unsigned_jwt.bytes, "malformed");
		buf_add_text(&unsigned_jwt, "AA");
		assert_int_equal(verify(keys, unsigned_jwt.bytes, &claims, &fault), ERR_UNAUTHORIZED);
		free(jwt);
		buf_free(&header);
		buf_free(&unsigned_jwt);
	}
	token_keys_free(&keys);
}

static void none_cannot_be_configured(void **state)
{
	static const char *const lists[] = {"none",   "HS256,none", "None",	   "",
					    "HS256,", "hs256",	    "HS256;RS256", "HS1024"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct token_rules rules = {.algorithms = lists[i]};
		struct token_keys *keys = NULL;
		struct buf problem = BUF_EMPTY;

		assert_int_equal(token_keys_load(&keys, directory, &rules, &problem), ERR_CONFIG);
		assert_non_null(strstr(problem.bytes, "TIDINGS_JWT_ALGORITHMS"));
		buf_free(&problem);
	}
}

static void refuses_a_changed_header_payload_or_signature(void **state)
{
	static const struct {
		const char *alg;
		char **pem;
	} kinds[] = {{"HS256", NULL}, {"RS256", &rsa_private}, {"ES256", &ec_private}};
	struct token_keys *keys = load(&all_rules);

	(void)state;
	for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++) {
		char *jwt = made(keys, NULL, kinds[kind].alg, kinds[kind].pem ? *kinds[kind].pem : NULL);
		size_t len = strlen(jwt);

		/* The last character of a part may hold bits that mean nothing; every other one counts. */
		for (size_t i = 0; i + 1 < len; i += kind == 0 ? 1 : 7) {
			struct token_claims claims = {0};
			const struct token_fault *fault = NULL;
			char was = jwt[i];

			if (was == '.' || jwt[i + 1] == '.')
				continue;
			jwt[i] = was == 'A' ? 'B' : 'A';
			if (verify(keys, jwt, &claims, &fault) != ERR_UNAUTHORIZED)
				fail_msg("%s: character %zu changed, and accepted", kinds[kind].alg, i);
			jwt[i] = was;
		}
		free(jwt);
	}
	token_keys_free(&keys);
}

static void refuses_a_truncated_token(void **state)
{
	struct token_keys *keys = load(&all_rules);
	char *jwt = made(keys, NULL, NULL, NULL);
	struct token_claims claims = {0};
	const struct token_fault *fault = NULL;

	(void)state;
	for (size_t len = 0; len < strlen(jwt); len++)
		assert_int_equal(token_verify(keys, jwt, len, NOW_S, &claims, &fault), ERR_UNAUTHORIZED);
	free(jwt);
	token_keys_free(&keys);
}

static void refuses_what_is_no_compact_jwt(void **state)
{
	static const char *const wrong[] = {"",
					    ".",
					    "..",
					    "...",
					    "a.b.c",
					    "a.b.c.d",
					    "YQ.YQ.YQ",
					    "e30=.e30.e30",
					    "eyJhbGciOiJIUzI1NiJ9A.e30.e30", /* 4k + 1 characters: not base64url */
					    "e30.e3 0.e30",
					    "e30.e30.e+0",
					    "bnVsbA.e30.e30",
					    "W10.e30.e30"};
	struct token_keys *keys = load(&all_rules);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_refused(keys, wrong[i], "malformed");
	assert_refused(keys, "e30.e30.e30", "no alg");
	token_keys_free(&keys);
}

static void refuses_more_than_8_kib(void **state)
{
	struct token_keys *keys = load(&all_rules);
	struct buf payload = BUF_EMPTY;
	struct token_claims claims = {0};
	const struct token_fault *fault = NULL;
	char *jwt = NULL;

	(void)state;
	buf_add_text(&payload, "{\"sub\":\"1\",\"exp\":1900000000,\"x\":\"");
	while (payload.len < 6070)
		buf_add_text(&payload, "x");
	buf_add_text(&payload, "\"}");
	jwt = signed_hmac(HS256_HEADER, payload.bytes, SECRET);
	assert_true(strlen(jwt) <= 8192 && strlen(jwt) > 8100);
	assert_int_equal(verify(keys, jwt, &claims, &fault), OK);
	free(jwt);
	payload.len -= 2;
	while (payload.len < 6200)
		buf_add_text(&payload, "x");
	buf_add_text(&payload, "\"}");
	jwt = signed_hmac(HS256_HEADER, payload.bytes, SECRET);
	assert_true(strlen(jwt) > 8192);
	assert_refused(keys, jwt, "too long");
	free(jwt);
	buf_free(&payload);
	token_keys_free(&keys);
}

/* --- kid, rotation --- */

static void refuses_a_kid_that_is_unknown_or_malformed(void **state)
{
	static const struct {
		const char *kid;
		const char *why;
	} cases[] = {
		{"\"absent\"", "no key of that kid and algorithm"},
		{"\"Default\"", "no key of that kid and algorithm"},
		{"\"\"", "no key of that kid and algorithm"},
		{"\"../default\"", "no key of that kid and algorithm"},
		{"\"default.HS256\"", "no key of that kid and algorithm"},
		{"\"default HS256\"", "malformed kid"},
		{"\"d\\u00e9fault\"", "malformed kid"},
		{"\"default\\n\"", "malformed kid"},
		{"\"" TEN_TIMES("0123456789012") "\"", "malformed kid"},
		{"5", "malformed kid"},
		{"null", "malformed kid"},
		{"{}", "malformed kid"},
	};
	struct token_keys *keys = load(&all_rules);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf header = BUF_EMPTY;
		char *jwt = NULL;

		buf_printf(&header, "{\"alg\":\"HS256\",\"kid\":%s}", cases[i].kid);
		jwt = signed_hmac(header.bytes, "{\"sub\":\"1\",\"exp\":1900000000}", SECRET);
		assert_refused(keys, jwt, cases[i].why);
		free(jwt);
		buf_free(&header);
	}
	token_keys_free(&keys);
}

static void refuses_a_signature_by_another_kids_key(void **state)
{
	struct token_keys *keys = load(&all_rules);
	char *jwt =
		signed_hmac("{\"alg\":\"HS256\",\"kid\":\"2026-11\"}", "{\"sub\":\"1\",\"exp\":1900000000}", SECRET);

	(void)state;
	assert_refused(keys, jwt, "bad signature");
	free(jwt);
	token_keys_free(&keys);
}

static void counts_how_many_keys_there_are_for_an_algorithm(void **state)
{
	struct token_keys *keys = load(&all_rules);

	(void)state;
	assert_true(token_keys_count(keys, (struct span){"HS256", 5}) >= 1);
	assert_int_equal(token_keys_count(keys, (struct span){"HS25", 4}), 0);
	assert_int_equal(token_keys_count(keys, (struct span){"EdDSA", 5}), 1);
	assert_int_equal(token_keys_count(keys, (struct span){"ES521", 5}), 0);
	token_keys_free(&keys);
}

static void rotates_by_kid(void **state)
{
	struct token_keys *keys = load(&all_rules);
	char *old = made(keys, "2026-11", "HS256", NULL);
	struct token_claims claims = {0};
	const struct token_fault *fault = NULL;
	char *new = NULL;

	(void)state;
	token_keys_free(&keys);
	put_key("2026-12.HS256", "another secret of more than 32 bytes");
	keys = load(&all_rules);
	new = made(keys, "2026-12", "HS256", NULL);
	assert_int_equal(verify(keys, old, &claims, &fault), OK);
	assert_int_equal(verify(keys, new, &claims, &fault), OK);
	token_keys_free(&keys);

	drop_key("2026-11.HS256");
	keys = load(&all_rules);
	assert_refused(keys, old, "no key of that kid and algorithm");
	assert_int_equal(verify(keys, new, &claims, &fault), OK);
	token_keys_free(&keys);
	put_key("2026-11.HS256", OTHER_SECRET);
	drop_key("2026-12.HS256");
	free(old);
	free(new);
}

static void refuses_a_critical_header(void **state)
{
	struct token_keys *keys = load(&all_rules);
	char *jwt = signed_hmac("{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}",
				"{\"sub\":\"1\",\"exp\":1900000000}", SECRET);

	(void)state;
	assert_refused(keys, jwt, "critical header that we do not know");
	free(jwt);
	token_keys_free(&keys);
}

static void takes_the_typ_of_access_tokens_or_says_that_it_is_the_typ(void **state)
{
	/* It was told as a bad signature, so that one looked for the key. */
	static const char *const typs[] = {"at+jwt", "AT+JWT", "application/at+jwt"};
	static const char *const others[] = {"\"dpop+jwt\"", "\"\""};
	struct token_keys *keys = load(&all_rules);
	struct buf header = BUF_EMPTY;
	char *jwt = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(typs); i++) {
		struct token_claims claims = {0};
		const struct token_fault *fault = NULL;

		buf_clear(&header);
		buf_printf(&header, "{\"alg\":\"HS256\",\"typ\":\"%s\"}", typs[i]);
		jwt = signed_hmac(header.bytes, "{\"sub\":\"1\",\"exp\":1900000000}", SECRET);
		if (verify(keys, jwt, &claims, &fault) != OK)
			assert_string_equal(fault->why, "typ at+jwt, which libjwt takes from version 1.12 on");
		free(jwt);
	}
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		buf_clear(&header);
		buf_printf(&header, "{\"alg\":\"HS256\",\"typ\":%s}", others[i]);
		jwt = signed_hmac(header.bytes, "{\"sub\":\"1\",\"exp\":1900000000}", SECRET);
		assert_refused(keys, jwt, "typ that is neither JWT nor at+jwt");
		free(jwt);
	}
	jwt = signed_hmac("{\"alg\":\"HS256\",\"typ\":5}", "{\"sub\":\"1\",\"exp\":1900000000}", SECRET);
	assert_refused(keys, jwt, "malformed");
	free(jwt);
	buf_free(&header);
	token_keys_free(&keys);
}

static void refuses_a_header_with_two_algs(void **state)
{
	struct token_keys *keys = load(&all_rules);
	char *jwt = signed_hmac("{\"alg\":\"none\",\"alg\":\"HS256\"}", "{\"sub\":\"1\",\"exp\":1900000000}", SECRET);

	(void)state;
	assert_refused(keys, jwt, "malformed");
	free(jwt);
	token_keys_free(&keys);
}

/* --- claims --- */

static void is_expired_from_exp_on(void **state)
{
	struct token_claims claims = {0};

	(void)state;
	accepts("{\"sub\":\"1\",\"exp\":1800000001}", &claims);
	assert_int_equal(claims.expires_s, NOW_S + 1);
	refuses("{\"sub\":\"1\",\"exp\":1800000000}", "expired");
	refuses("{\"sub\":\"1\",\"exp\":1}", "expired");
	refuses("{\"sub\":\"1\",\"exp\":0}", "expired");
}

static void takes_dates_with_a_fraction(void **state)
{
	struct token_claims claims = {0};

	(void)state;
	accepts("{\"sub\":\"1\",\"exp\":1800000001.75}", &claims);
	assert_int_equal(claims.expires_s, NOW_S + 1);
	accepts("{\"sub\":\"1\",\"exp\":1.9e9}", &claims);
	refuses("{\"sub\":\"1\",\"exp\":1800000000.5}", "expired");
	accepts("{\"sub\":\"1\",\"exp\":1900000000,\"nbf\":1799999999.5}", &claims);
	refuses("{\"sub\":\"1\",\"exp\":1900000000,\"nbf\":1800000000.5}", "not valid yet");
}

static void refuses_dates_that_are_no_dates(void **state)
{
	static const char *const wrong[] = {"\"1900000000\"", "null", "true", "[]", "{}", "-1"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct buf payload = BUF_EMPTY;

		buf_printf(&payload, "{\"sub\":\"1\",\"exp\":%s}", wrong[i]);
		refuses(payload.bytes, "malformed exp");
		buf_clear(&payload);
		buf_printf(&payload, "{\"sub\":\"1\",\"exp\":1900000000,\"nbf\":%s}", wrong[i]);
		refuses(payload.bytes, "malformed nbf");
		buf_free(&payload);
	}
}

static void refuses_dates_beyond_the_year_9999_as_milliseconds_are(void **state)
{
	static const char *const far[] = {"253402300800",	"253402300799.5",      "1900000000000",
					  "9007199254740992.0", "9223372036854775807", "1e300"};
	struct token_rules rules = all_rules;
	struct token_claims claims = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(far); i++) {
		struct buf payload = BUF_EMPTY;

		buf_printf(&payload, "{\"sub\":\"1\",\"exp\":%s}", far[i]);
		refuses(payload.bytes, "exp beyond the year 9999");
		buf_clear(&payload);
		buf_printf(&payload, "{\"sub\":\"1\",\"exp\":1900000000,\"nbf\":%s}", far[i]);
		refuses(payload.bytes, "nbf beyond the year 9999");
		/* What is not used is not looked at. */
		buf_clear(&payload);
		buf_printf(&payload, "{\"sub\":\"1\",\"exp\":1900000000,\"iat\":%s}", far[i]);
		accepts(payload.bytes, &claims);
		buf_free(&payload);
	}
	accepts("{\"sub\":\"1\",\"exp\":253402300799}", &claims);
	assert_int_equal(claims.expires_s, INT64_C(253402300799));
	accepts("{\"sub\":\"1\",\"exp\":253402300799.0}", &claims);
	assert_int_equal(claims.expires_s, INT64_C(253402300799));
	/* Not even with the leeway is it a year that nobody can write. */
	rules.leeway_s = 30;
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":253402300790}", NULL, &claims);
	assert_int_equal(claims.expires_s, INT64_C(253402300799));
}

static void wants_exp_unless_told_otherwise(void **state)
{
	struct token_rules rules = all_rules;
	struct token_claims claims = {.expires_s = 7};

	(void)state;
	refuses("{\"sub\":\"1\"}", "no exp");
	rules.require_exp = false;
	assert_payload(&rules, "{\"sub\":\"1\"}", NULL, &claims);
	assert_int_equal(claims.expires_s, 0);
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1}", "expired", NULL);
}

static void is_not_valid_before_nbf(void **state)
{
	struct token_claims claims = {0};

	(void)state;
	accepts("{\"sub\":\"1\",\"exp\":1900000000,\"nbf\":1800000000}", &claims);
	refuses("{\"sub\":\"1\",\"exp\":1900000000,\"nbf\":1800000001}", "not valid yet");
}

static void gives_clocks_the_configured_leeway(void **state)
{
	struct token_rules rules = all_rules;
	struct token_claims claims = {0};

	(void)state;
	rules.leeway_s = 30;
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1799999971}", NULL, &claims);
	assert_int_equal(claims.expires_s, NOW_S + 1);
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1799999970}", "expired", NULL);
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1900000000,\"nbf\":1800000030}", NULL, &claims);
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1900000000,\"nbf\":1800000031}", "not valid yet", NULL);
}

static void wants_the_configured_issuer(void **state)
{
	struct token_rules rules = all_rules;
	struct token_claims claims = {0};

	(void)state;
	rules.issuer = "https://id.example";
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1900000000,\"iss\":\"https://id.example\"}", NULL, &claims);
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1900000000,\"iss\":\"https://id.example/\"}", "wrong iss", NULL);
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1900000000,\"iss\":[\"https://id.example\"]}", "wrong iss",
		       NULL);
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1900000000}", "wrong iss", NULL);
	accepts("{\"sub\":\"1\",\"exp\":1900000000,\"iss\":\"anyone\"}", &claims);
}

static void wants_the_configured_audience_alone_or_among_others(void **state)
{
	struct token_rules rules = all_rules;
	struct token_claims claims = {0};

	(void)state;
	rules.audience = "tidings";
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1900000000,\"aud\":\"tidings\"}", NULL, &claims);
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1900000000,\"aud\":[\"a\",5,\"tidings\"]}", NULL, &claims);
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1900000000,\"aud\":\"tidings2\"}", "wrong aud", NULL);
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1900000000,\"aud\":[\"a\",\"b\"]}", "wrong aud", NULL);
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1900000000,\"aud\":[]}", "wrong aud", NULL);
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1900000000,\"aud\":{\"tidings\":1}}", "wrong aud", NULL);
	assert_payload(&rules, "{\"sub\":\"1\",\"exp\":1900000000}", "wrong aud", NULL);
}

static void makes_tokens_that_its_own_rules_accept(void **state)
{
	struct token_rules rules = all_rules;
	struct token_keys *keys = NULL;
	struct token_claims claims = {0};
	const struct token_fault *fault = NULL;
	char *jwt = NULL;

	(void)state;
	rules.issuer = "me";
	rules.audience = "you";
	keys = load(&rules);
	jwt = made(keys, NULL, NULL, NULL);
	assert_int_equal(verify(keys, jwt, &claims, &fault), OK);
	free(jwt);
	token_keys_free(&keys);
}

static void takes_a_sub_that_is_text_or_integer(void **state)
{
	struct token_claims claims = {0};

	(void)state;
	accepts("{\"sub\":456,\"exp\":1900000000}", &claims);
	assert_string_equal(claims.user_id, "456");
	accepts("{\"sub\":\"456\",\"exp\":1900000000}", &claims);
	assert_string_equal(claims.user_id, "456");
	accepts("{\"sub\":9223372036854775807,\"exp\":1900000000}", &claims);
	assert_string_equal(claims.user_id, "9223372036854775807");
	accepts("{\"sub\":-9223372036854775807,\"exp\":1900000000}", &claims);
	assert_string_equal(claims.user_id, "-9223372036854775807");
	accepts("{\"sub\":\"J\\u00f6rg O'Hara/x\",\"exp\":1900000000}", &claims);
	assert_string_equal(claims.user_id, "J\xc3\xb6rg O'Hara/x");
}

static void takes_a_sub_of_128_bytes_and_no_more(void **state)
{
	struct token_claims claims = {0};
	struct buf payload = BUF_EMPTY;

	(void)state;
	for (int len = 128; len <= 129; len++) {
		buf_clear(&payload);
		buf_printf(&payload, "{\"exp\":1900000000,\"sub\":\"%0*d\"}", len, 7);
		if (len == 128)
			accepts(payload.bytes, &claims);
		else
			refuses(payload.bytes, "malformed sub");
	}
	assert_int_equal(strlen(claims.user_id), 128);
	buf_free(&payload);
}

static void refuses_a_sub_that_is_missing_or_no_name(void **state)
{
	(void)state;
	refuses("{\"exp\":1900000000}", "no sub");
	refuses("{\"exp\":1900000000,\"sub\":\"\"}", "malformed sub");
	refuses("{\"exp\":1900000000,\"sub\":null}", "malformed sub");
	refuses("{\"exp\":1900000000,\"sub\":4.5}", "malformed sub");
	refuses("{\"exp\":1900000000,\"sub\":true}", "malformed sub");
	refuses("{\"exp\":1900000000,\"sub\":[\"1\"]}", "malformed sub");
	refuses("{\"exp\":1900000000,\"sub\":\"a\\nb\"}", "malformed sub");
	refuses("{\"exp\":1900000000,\"sub\":\"a\\u007fb\"}", "malformed sub");
	refuses("{\"exp\":1900000000,\"sub\":\"a\\u0000b\"}", UNREADABLE);
	refuses("{\"exp\":1900000000,\"sub\":99999999999999999999}", UNREADABLE);
}

static void refuses_a_payload_that_is_no_object(void **state)
{
	(void)state;
	refuses("[1]", "malformed payload");
	refuses("\"text\"", UNREADABLE);
	refuses("{\"sub\":\"1\",\"exp\":1900000000", UNREADABLE);
	refuses("{\"sub\":\"1\",\"sub\":\"2\",\"exp\":1900000000}", "malformed payload");
}

static void takes_the_most_powerful_role_that_it_knows(void **state)
{
	static const struct {
		const char *claim;
		enum role role;
	} cases[] = {
		{"\"x\":1", ROLE_USER},
		{"\"role\":\"user\"", ROLE_USER},
		{"\"role\":\"clinician\"", ROLE_CLINICIAN},
		{"\"role\":\"service\"", ROLE_SERVICE},
		{"\"role\":\"admin\"", ROLE_ADMIN},
		{"\"roles\":[\"clinician\",\"service\"]", ROLE_SERVICE},
		{"\"roles\":[\"superuser\",\"clinician\",7]", ROLE_CLINICIAN},
		{"\"role\":\"user\",\"roles\":[\"admin\"]", ROLE_ADMIN},
		{"\"roles\":\"service\"", ROLE_SERVICE},
		{"\"role\":\"Admin\"", ROLE_USER},
		{"\"role\":\"admin \"", ROLE_USER},
		{"\"role\":{\"admin\":true}", ROLE_USER},
		{"\"role\":3", ROLE_USER},
		{"\"roles\":[]", ROLE_USER},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct token_claims claims = {0};
		struct buf payload = BUF_EMPTY;

		buf_printf(&payload, "{\"sub\":\"1\",\"exp\":1900000000,%s}", cases[i].claim);
		accepts(payload.bytes, &claims);
		assert_int_equal(claims.role, cases[i].role);
		buf_free(&payload);
	}
}

static void tells_the_bearer_what_is_wrong_only_where_the_signature_is_good(void **state)
{
	static const struct {
		const char *payload;
		const char *secret;
		const char *reason;
	} cases[] = {
		{"{\"sub\":\"1\",\"exp\":1}", SECRET, "token expired"},
		{"{\"sub\":\"1\",\"exp\":1}", OTHER_SECRET, "authentication failed"},
		{"{\"sub\":\"1\"}", SECRET, "token has no exp"},
		{"{\"sub\":\"1\"}", OTHER_SECRET, "authentication failed"},
		{"{\"exp\":1900000000}", SECRET, "token has no sub"},
		{"{\"sub\":\"1\",\"exp\":1900000000000}", SECRET, "token's exp is beyond the year 9999"},
		{"[1]", SECRET, "authentication failed"},
	};
	struct token_keys *keys = load(&all_rules);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *jwt = signed_hmac(HS256_HEADER, cases[i].payload, cases[i].secret);
		struct token_claims claims = {0};
		const struct token_fault *fault = NULL;

		assert_int_equal(verify(keys, jwt, &claims, &fault), ERR_UNAUTHORIZED);
		assert_string_equal(fault->reason, cases[i].reason);
		assert_int_equal(strcmp(fault->detail, "The token is not valid.") == 0,
				 strcmp(fault->reason, "authentication failed") == 0);
		/* It goes into a header's quotes (RFC 6750 3). */
		assert_null(strpbrk(fault->detail, "\"\\"));
		free(jwt);
	}
	token_keys_free(&keys);
}

/* --- key files --- */

static void a_secret_is_good_with_the_newline_of_its_file_and_without(void **state)
{
	/* A service that signed with the file as it is was told that its token was not valid. */
	const char *payload = "{\"sub\":\"1\",\"exp\":1900000000}";
	struct token_keys *keys = load(&all_rules);
	struct token_claims claims = {0};
	const struct token_fault *fault = NULL;
	char *jwt = signed_hmac(HS256_HEADER, payload, SECRET "\n");

	(void)state;
	assert_int_equal(verify(keys, jwt, &claims, &fault), OK);
	free(jwt);
	jwt = signed_hmac(HS256_HEADER, payload, SECRET);
	assert_int_equal(verify(keys, jwt, &claims, &fault), OK);
	free(jwt);
	jwt = signed_hmac(HS256_HEADER, payload, SECRET "\n\n");
	assert_refused(keys, jwt, "bad signature");
	free(jwt);
	/* One whose file ends without. */
	jwt = signed_hmac("{\"alg\":\"HS256\",\"kid\":\"2026-11\"}", payload, OTHER_SECRET "\n");
	assert_refused(keys, jwt, "bad signature");
	free(jwt);
	token_keys_free(&keys);
}

static void a_key_that_was_taken_away_counts_no_more_once_loaded_anew(void **state)
{
	struct token_keys *keys = load(&all_rules);
	struct token_claims claims = {0};
	const struct token_fault *fault = NULL;
	char *jwt = made(keys, "2026-11", NULL, NULL);

	(void)state;
	assert_int_equal(token_keys_remember(keys, 16), OK);
	assert_int_equal(verify(keys, jwt, &claims, &fault), OK);
	token_keys_free(&keys);
	drop_key("2026-11.HS256");
	keys = load(&all_rules);
	assert_int_equal(token_keys_remember(keys, 16), OK);
	assert_refused(keys, jwt, "no key of that kid and algorithm");
	put_key("2026-11.HS256", OTHER_SECRET);
	free(jwt);
	token_keys_free(&keys);
}

struct verifier {
	pthread_t thread;
	struct token_keys *keys;
	char *jwt;
	const char *why; /* NULL: it is to be accepted */
	unsigned wrong;
};

static void *verify_often(void *arg)
{
	struct verifier *v = arg;

	for (int i = 0; i < 200; i++) {
		struct token_claims claims = {0};
		const struct token_fault *fault = NULL;
		enum err e = token_verify(v->keys, v->jwt, strlen(v->jwt), NOW_S, &claims, &fault);

		v->wrong += v->why ? e != ERR_UNAUTHORIZED || strcmp(fault->why, v->why) != 0
				   : e != OK || strcmp(claims.user_id, "456") != 0;
	}
	return NULL;
}

static void verify_in_threads(bool remember)
{
	struct token_keys *keys = load(&all_rules);
	struct verifier verifiers[] = {
		{.keys = keys, .jwt = made(keys, NULL, "HS256", NULL)},
		{.keys = keys, .jwt = made(keys, NULL, "ES256", ec_private)},
		{.keys = keys, .jwt = made(keys, NULL, "ES256", ec_private)},
		{.keys = keys, .jwt = made(keys, NULL, "RS256", rsa_private)},
		{.keys = keys, .jwt = made(keys, NULL, "PS256", rsa_private)},
		{.keys = keys, .jwt = made(keys, NULL, "EdDSA", ed_private)},
		{.keys = keys, .jwt = made(keys, "2026-11", NULL, NULL)},
		{.keys = keys, .jwt = signed_hmac("{\"alg\":\"ES256\"}", "{}", SECRET), .why = "bad signature"},
	};

	if (remember)
		assert_int_equal(token_keys_remember(keys, 16), OK);
	for (size_t i = 0; i < ARRAY_LEN(verifiers); i++)
		assert_int_equal(pthread_create(&verifiers[i].thread, NULL, verify_often, &verifiers[i]), 0);
	for (size_t i = 0; i < ARRAY_LEN(verifiers); i++) {
		assert_int_equal(pthread_join(verifiers[i].thread, NULL), 0);
		assert_int_equal(verifiers[i].wrong, 0);
		free(verifiers[i].jwt);
	}
	token_keys_free(&keys);
}

static void verifies_in_several_threads_at_once(void **state)
{
	(void)state;
	verify_in_threads(false);
	verify_in_threads(true);
}

static void refuses_a_key_with_a_password(void **state)
{
	struct token_keys *keys = load(&all_rules);
	struct token_claims claims = {.user_id = "456", .expires_s = NOW_S + 60};
	struct buf out = BUF_EMPTY;
	EVP_PKEY *key = EVP_RSA_gen(2048);
	BIO *bio = BIO_new(BIO_s_mem());
	char *locked = NULL;

	(void)state;
	assert_int_equal(
		PEM_write_bio_PrivateKey(bio, key, EVP_aes_128_cbc(), (unsigned char *)"secretive", 9, NULL, NULL), 1);
	locked = bio_text(bio);
	assert_int_equal(token_make(keys, NULL, "RS256", locked, &claims, NOW_S, &out), ERR_INPUT);
	assert_refuses_file("locked.RS256", locked, 0600, "not a public key");
	EVP_PKEY_free(key);
	free(locked);
	buf_free(&out);
	token_keys_free(&keys);
}

static void refuses_a_secret_shorter_than_its_hash(void **state)
{
	(void)state;
	assert_refuses_file("short.HS256", "secretive-31-bytes-long-secret!", 0600, "too short");
	assert_refuses_file("short.HS256", "secretive-31-bytes-long-secret!\n", 0600, "too short");
	assert_refuses_file("short.HS512", "secretive-32-bytes-long-secret!!", 0600, "too short");
	assert_refuses_file("short.HS256", "", 0600, "too short");
}

static void refuses_a_secret_that_everybody_can_read(void **state)
{
	(void)state;
	assert_refuses_file("open.HS256", "secretive" SECRET, 0644, "every user");
	assert_refuses_file("open.RS256", rsa_public, 0666, "every user");
}

static void a_public_key_may_be_readable(void **state)
{
	struct token_keys *keys = NULL;

	(void)state;
	put_file("open.RS256", rsa_public, strlen(rsa_public), 0644);
	keys = load(&all_rules);
	token_keys_free(&keys);
	drop_key("open.RS256");
}

static void refuses_a_pem_as_a_secret(void **state)
{
	(void)state;
	assert_refuses_file("pem.HS256", rsa_public, 0600, "PEM");
	assert_refuses_file("pem.HS256", ec_private, 0600, "PEM");
}

static void refuses_a_key_that_is_not_for_its_algorithm(void **state)
{
	(void)state;
	assert_refuses_file("wrong.RS256", ec_public, 0600, "not a public key");
	assert_refuses_file("wrong.ES256", rsa_public, 0600, "not a public key");
	assert_refuses_file("wrong.ES256", ec384_public, 0600, "not a public key");
	assert_refuses_file("wrong.ES384", ec_public, 0600, "not a public key");
	assert_refuses_file("wrong.RS256", small_rsa_public, 0600, "not a public key");
	assert_refuses_file("wrong.RS256", rsa_private, 0600, "not a public key");
	assert_refuses_file("wrong.PS256", small_rsa_public, 0600, "not a public key");
	assert_refuses_file("wrong.EdDSA", ec_public, 0600, "not a public key");
	assert_refuses_file("wrong.ES256", ed_public, 0600, "not a public key");
	assert_refuses_file("wrong.RS256", "secretive junk", 0600, "not a public key");
}

static void refuses_a_file_that_is_named_otherwise(void **state)
{
	static const char *const names[] = {
		"default",   "default.none",   "default.hs256", "default.HS256.bak",
		"a b.HS256", "default.HS256~", "default.PEM",	TEN_TIMES("0123456789012") ".HS256"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_refuses_file(names[i], "secretive" SECRET, 0600, "<kid>.<ALG>");
}

static void a_ring_that_cannot_be_loaded_changes_nothing_and_one_that_is_freed_is_null(void **state)
{
	struct key_ring *ring = NULL, *before = NULL;
	struct buf problem = BUF_EMPTY;

	(void)state;
	assert_int_equal(key_ring_load(&ring, directory, NULL, all_rules.algorithms, &problem), OK);
	before = ring;
	assert_int_equal(key_ring_load(&ring, directory, NULL, "none", &problem), ERR_CONFIG);
	assert_int_equal(key_ring_load(&ring, "test_token.absent", NULL, all_rules.algorithms, &problem), ERR_CONFIG);
	assert_ptr_equal(ring, before);
	key_ring_free(&ring);
	assert_null(ring);
	key_ring_free(&ring);
	buf_free(&problem);
}

/* As systemd hands on a folder: LoadCredential=jwt:/etc/tidings/jwt. */
static void takes_those_files_of_a_folder_that_begin_with_a_name_that_ends_with_an_underscore(void **state)
{
	struct key_ring *ring = NULL;
	struct buf problem = BUF_EMPTY;
	char prefix[200];

	(void)state;
	put_key("jwt_other.HS256", OTHER_SECRET);
	snprintf(prefix, sizeof(prefix), "%s", path_of("jwt_"));
	assert_int_equal(key_ring_load(&ring, prefix, NULL, "HS256", &problem), OK);
	assert_non_null(key_ring_find(ring, "other", "HS256"));
	assert_null(key_ring_find(ring, "default", "HS256"));
	key_ring_free(&ring);
	put_file("jwt_loose.HS256", OTHER_SECRET, strlen(OTHER_SECRET), 0644);
	assert_int_equal(key_ring_load(&ring, prefix, NULL, "HS256", &problem), ERR_CONFIG);
	assert_non_null(strstr(problem.bytes, path_of("jwt_loose.HS256")));
	drop_key("jwt_loose.HS256");
	drop_key("jwt_other.HS256");
	buf_clear(&problem);
	assert_int_equal(key_ring_load(&ring, prefix, NULL, "HS256", &problem), ERR_CONFIG);
	assert_non_null(strstr(problem.bytes, "has no key in it"));
	assert_int_equal(mkdir(prefix, 0700), 0);
	buf_clear(&problem);
	assert_int_equal(key_ring_load(&ring, prefix, NULL, "HS256", &problem), ERR_CONFIG);
	assert_non_null(strstr(problem.bytes, "has no key in it"));
	assert_int_equal(rmdir(prefix), 0);
	assert_null(ring);
	buf_free(&problem);
}

static void takes_a_kid_of_1_to_128_characters(void **state)
{
	(void)state;
	for (size_t len = 1; len <= KID_MAX; len += KID_MAX - 1) {
		char kid[KID_MAX + 1] = "", name[KID_MAX + sizeof(".HS256")];

		memset(kid, 'x', len);
		snprintf(name, sizeof(name), "%s.HS256", kid);
		put_key(name, SECRET);
		assert_round_trip(kid, "HS256", NULL);
		drop_key(name);
	}
}

static void tells_which_setting_names_a_folder_without_keys(void **state)
{
	struct token_keys *keys = NULL;
	struct buf problem = BUF_EMPTY;

	(void)state;
	assert_int_equal(token_keys_load(&keys, "test_token.absent", &all_rules, &problem), ERR_CONFIG);
	assert_non_null(strstr(problem.bytes, "test_token.absent"));
	assert_non_null(strstr(problem.bytes, "TIDINGS_JWT_KEYS"));
	buf_clear(&problem);
	assert_int_equal(mkdir(path_of("empty.RS256"), 0700), 0);
	assert_int_equal(token_keys_load(&keys, path_of("empty.RS256"), &all_rules, &problem), ERR_CONFIG);
	assert_non_null(strstr(problem.bytes, "no key"));
	assert_non_null(strstr(problem.bytes, "TIDINGS_JWT_KEYS"));
	buf_clear(&problem);
	assert_int_equal(token_keys_load(&keys, directory, &all_rules, &problem), ERR_CONFIG);
	assert_non_null(strstr(problem.bytes, "cannot be read"));
	assert_int_equal(rmdir(path_of("empty.RS256")), 0);
	buf_free(&problem);
}

static void what_is_remembered_is_still_refused_when_it_has_expired_or_has_changed(void **state)
{
	struct token_keys *keys = load(&all_rules);
	struct token_claims claims = {0};
	const struct token_fault *fault = NULL;
	char *jwt = made(keys, NULL, NULL, NULL), *foreign = signed_hmac(HS256_HEADER, "{\"sub\":\"1\"}", OTHER_SECRET);
	size_t len = strlen(jwt);

	(void)state;
	assert_int_equal(token_keys_remember(keys, 16), OK);
	for (int i = 0; i < 3; i++) {
		claims = (struct token_claims){0};
		assert_int_equal(token_verify(keys, jwt, len, NOW_S, &claims, &fault), OK);
		assert_null(fault);
		assert_string_equal(claims.user_id, "456");
		assert_int_equal(claims.role, ROLE_SERVICE);
		assert_int_equal(claims.expires_s, NOW_S + 60);
		/* A bad one is not remembered as anything else. */
		assert_refused(keys, foreign, "bad signature");
		assert_int_equal(token_verify(keys, jwt, len - 1, NOW_S, &claims, &fault), ERR_UNAUTHORIZED);
	}
	assert_int_equal(token_verify(keys, jwt, len, NOW_S + 59, &claims, &fault), OK);
	assert_int_equal(token_verify(keys, jwt, len, NOW_S + 60, &claims, &fault), ERR_UNAUTHORIZED);
	assert_string_equal(fault->why, "expired");
	free(foreign);
	free(jwt);
	token_keys_free(&keys);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_what_it_made_with_hs256),
		cmocka_unit_test(accepts_what_it_made_with_hs512_of_another_kid),
		cmocka_unit_test(accepts_what_it_made_with_rs256),
		cmocka_unit_test(accepts_what_it_made_with_es256),
		cmocka_unit_test(accepts_what_it_made_with_ps256_and_with_eddsa_whatever_libjwt_knows),
		cmocka_unit_test(refuses_what_a_key_pair_has_not_signed),
		cmocka_unit_test(takes_access_tokens_of_key_pairs_and_claims_that_libjwt_cannot_read),
		cmocka_unit_test(wants_a_salt_as_long_as_the_hash),
		cmocka_unit_test(does_not_sign_with_what_does_not_fit),
		cmocka_unit_test(refuses_a_public_key_used_as_an_hmac_secret),
		cmocka_unit_test(refuses_an_algorithm_that_is_not_the_keys),
		cmocka_unit_test(refuses_an_algorithm_that_the_rules_do_not_list),
		cmocka_unit_test(refuses_none_in_any_spelling),
		cmocka_unit_test(none_cannot_be_configured),
		cmocka_unit_test(refuses_a_changed_header_payload_or_signature),
		cmocka_unit_test(refuses_a_truncated_token),
		cmocka_unit_test(refuses_what_is_no_compact_jwt),
		cmocka_unit_test(refuses_more_than_8_kib),
		cmocka_unit_test(refuses_a_kid_that_is_unknown_or_malformed),
		cmocka_unit_test(refuses_a_signature_by_another_kids_key),
		cmocka_unit_test(counts_how_many_keys_there_are_for_an_algorithm),
		cmocka_unit_test(rotates_by_kid),
		cmocka_unit_test(refuses_a_critical_header),
		cmocka_unit_test(refuses_a_header_with_two_algs),
		cmocka_unit_test(is_expired_from_exp_on),
		cmocka_unit_test(what_is_remembered_is_still_refused_when_it_has_expired_or_has_changed),
		cmocka_unit_test(takes_dates_with_a_fraction),
		cmocka_unit_test(refuses_dates_that_are_no_dates),
		cmocka_unit_test(refuses_dates_beyond_the_year_9999_as_milliseconds_are),
		cmocka_unit_test(wants_exp_unless_told_otherwise),
		cmocka_unit_test(tells_the_bearer_what_is_wrong_only_where_the_signature_is_good),
		cmocka_unit_test(takes_the_typ_of_access_tokens_or_says_that_it_is_the_typ),
		cmocka_unit_test(a_secret_is_good_with_the_newline_of_its_file_and_without),
		cmocka_unit_test(a_key_that_was_taken_away_counts_no_more_once_loaded_anew),
		cmocka_unit_test(verifies_in_several_threads_at_once),
		cmocka_unit_test(refuses_a_key_with_a_password),
		cmocka_unit_test(is_not_valid_before_nbf),
		cmocka_unit_test(gives_clocks_the_configured_leeway),
		cmocka_unit_test(wants_the_configured_issuer),
		cmocka_unit_test(wants_the_configured_audience_alone_or_among_others),
		cmocka_unit_test(makes_tokens_that_its_own_rules_accept),
		cmocka_unit_test(takes_a_sub_that_is_text_or_integer),
		cmocka_unit_test(takes_a_sub_of_128_bytes_and_no_more),
		cmocka_unit_test(refuses_a_sub_that_is_missing_or_no_name),
		cmocka_unit_test(refuses_a_payload_that_is_no_object),
		cmocka_unit_test(takes_the_most_powerful_role_that_it_knows),
		cmocka_unit_test(refuses_a_secret_shorter_than_its_hash),
		cmocka_unit_test(refuses_a_secret_that_everybody_can_read),
		cmocka_unit_test(a_public_key_may_be_readable),
		cmocka_unit_test(refuses_a_pem_as_a_secret),
		cmocka_unit_test(refuses_a_key_that_is_not_for_its_algorithm),
		cmocka_unit_test(refuses_a_file_that_is_named_otherwise),
		cmocka_unit_test(a_ring_that_cannot_be_loaded_changes_nothing_and_one_that_is_freed_is_null),
		cmocka_unit_test(takes_those_files_of_a_folder_that_begin_with_a_name_that_ends_with_an_underscore),
		cmocka_unit_test(takes_a_kid_of_1_to_128_characters),
		cmocka_unit_test(tells_which_setting_names_a_folder_without_keys),
	};

	return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
