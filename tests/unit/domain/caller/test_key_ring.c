/* Sets of keys (JWKS) with real keys, made anew for every run; what the folder's files do is in test_token.c. */
#include <errno.h>
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
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include "domain/caller/key_ring.h"
#include "domain/caller/token.h"
#include "domain/jose/base64url.h"
#include "domain/jose/jwk_set.h"

#define NOW_S INT64_C(1800000000)
#define SECRET "0123456789abcdef0123456789abcdef"
#define ALGORITHMS "HS256,PS256,RS256,ES256,ES384,ES512,EdDSA"
#define PAYLOAD "{\"sub\":\"1\",\"iss\":\"https://id\",\"aud\":\"tidings\",\"exp\":1900000000}"

static char folder[] = "test_key_ring.XXXXXX";
static char set_path[64];

enum kind { RSA_2048, RSA_2040, FORGED, P256, P384, P521, ED25519, X25519, SECP256K1, KINDS };

static struct {
	char *members; /* of a JWK, without a kid */
	char *private; /* PEM */
	char *public;
} keys[KINDS];

static struct token_rules rules = {
	.algorithms = ALGORITHMS, .issuer = "https://id", .audience = "tidings", .jwks = set_path, .require_exp = true};

/* --- keys --- */

#define A43 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" /* 32 bytes */

static void add_number(struct buf *out, const char *name, EVP_PKEY *key, const char *param, int bytes)
{
	unsigned char room[1025];
	BIGNUM *number = NULL;

	assert_int_equal(EVP_PKEY_get_bn_param(key, param, &number), 1);
	if (bytes == 0)
		bytes = BN_num_bytes(number);
	assert_int_equal(BN_bn2binpad(number, room, bytes), bytes);
	buf_printf(out, ",\"%s\":\"", name);
	base64url_add(out, room, (size_t)bytes);
	buf_add_text(out, "\"");
	BN_free(number);
}

static char *text_of(BIO *bio)
{
	char *bytes = NULL;
	long len = BIO_get_mem_data(bio, &bytes);
	char *text = strndup(bytes, (size_t)len);

	BIO_free(bio);
	assert_non_null(text);
	return text;
}

static void make_key(enum kind kind, EVP_PKEY *key)
{
	static const char *const curves[] = {
		[P256] = "P-256", [P384] = "P-384", [P521] = "P-521", [SECP256K1] = "secp256k1"};
	static const int halves[] = {[P256] = 32, [P384] = 48, [P521] = 66, [SECP256K1] = 32};
	struct buf out = BUF_EMPTY;
	BIO *bio = BIO_new(BIO_s_mem());
	unsigned char raw[32];
	size_t len = sizeof(raw);

	assert_non_null(key);
	assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
	keys[kind].private = text_of(bio);
	bio = BIO_new(BIO_s_mem());
	assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
	keys[kind].public = text_of(bio);
	if (kind <= FORGED) {
		buf_add_text(&out, "\"kty\":\"RSA\"");
		add_number(&out, "n", key, OSSL_PKEY_PARAM_RSA_N, 0);
		add_number(&out, "e", key, OSSL_PKEY_PARAM_RSA_E, 0);
	} else if (kind == ED25519 || kind == X25519) {
		assert_int_equal(EVP_PKEY_get_raw_public_key(key, raw, &len), 1);
		buf_printf(&out, "\"kty\":\"OKP\",\"crv\":\"%s\",\"x\":\"", kind == ED25519 ? "Ed25519" : "X25519");
		base64url_add(&out, raw, len);
		buf_add_text(&out, "\"");
	} else {
		buf_printf(&out, "\"kty\":\"EC\",\"crv\":\"%s\"", curves[kind]);
		add_number(&out, "x", key, OSSL_PKEY_PARAM_EC_PUB_X, halves[kind]);
		add_number(&out, "y", key, OSSL_PKEY_PARAM_EC_PUB_Y, halves[kind]);
	}
	keys[kind].members = out.bytes;
	EVP_PKEY_free(key);
}

static int make_keys(void **state)
{
	(void)state;
	make_key(RSA_2048, EVP_RSA_gen(2048));
	make_key(RSA_2040, EVP_RSA_gen(2040));
	make_key(P256, EVP_EC_gen("P-256"));
	make_key(P384, EVP_EC_gen("P-384"));
	make_key(P521, EVP_EC_gen("P-521"));
	make_key(SECP256K1, EVP_EC_gen("secp256k1"));
	make_key(ED25519, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
	make_key(X25519, EVP_PKEY_Q_keygen(NULL, NULL, "X25519"));
	if (!mkdtemp(folder))
		return -1;
	snprintf(set_path, sizeof(set_path), "%s.jwks", folder);
	return 0;
}

static int drop_keys(void **state)
{
	(void)state;
	for (int i = 0; i < KINDS; i++) {
		free(keys[i].members);
		free(keys[i].private);
		free(keys[i].public);
	}
	unlink(set_path);
	return rmdir(folder);
}

static void put(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void put_in_folder(const char *name, const char *text, bool there)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (there)
		put(path, text, 0600);
	else
		unlink(path);
}

/* --- sets --- */

/* A set under way. Its texts are members of JWKs, as in "\"kid\":\"a\",\"use\":\"sig\"". */
static void add_jwk(struct buf *set, enum kind kind, const char *more)
{
	buf_add_text(set, set->len > 0 ? ",{" : "{\"keys\":[{");
	buf_printf(set, "%s%s%s}", keys[kind].members, *more ? "," : "", more);
}

/* Of what add_jwk() has made; freed. */
static void put_set(struct buf *set)
{
	buf_add_text(set, "]}");
	assert_true(buf_ok(set));
	put(set_path, set->bytes, 0644);
	buf_free(set);
}

static void put_one(enum kind kind, const char *more)
{
	struct buf set = BUF_EMPTY;

	add_jwk(&set, kind, more);
	put_set(&set);
}

static struct token_keys *load(void)
{
	struct token_keys *loaded = NULL;
	struct buf problem = BUF_EMPTY;

	if (token_keys_load(&loaded, folder, &rules, &problem) != OK)
		fail_msg("%s", problem.bytes);
	buf_free(&problem);
	return loaded;
}

static void assert_refuses_to_load(const char *words)
{
	struct token_keys *loaded = NULL;
	struct buf problem = BUF_EMPTY;

	assert_int_equal(token_keys_load(&loaded, folder, &rules, &problem), ERR_CONFIG);
	assert_null(loaded);
	if (!strstr(problem.bytes, words) || !strstr(problem.bytes, set_path))
		fail_msg("not \"%s\": %s", words, problem.bytes);
	assert_null(strstr(problem.bytes, "secretive"));
	buf_free(&problem);
}

/* The only key of a set is of no use, for this reason, and so is the set; beside a good one it is passed over. */
static void assert_passed_over(enum kind kind, const char *more, const char *why)
{
	struct buf text = BUF_EMPTY, report = BUF_EMPTY, problem = BUF_EMPTY;
	struct jwk_set set = {0};

	put_one(kind, more);
	assert_refuses_to_load(why);
	add_jwk(&text, kind, more);
	add_jwk(&text, P256, "\"kid\":\"good\"");
	buf_add_text(&text, "]}");
	assert_int_equal(jwk_set_read(&set, "it", (struct span){text.bytes, text.len}, ALGORITHMS, &problem), OK);
	assert_int_equal(set.count, 2);
	assert_string_equal(set.keys[1].alg, "ES256");
	jwk_set_report(&set, "\n", &report);
	if (!strstr(report.bytes, why) || !strstr(report.bytes, "\ngood: ES256"))
		fail_msg("not \"%s\": %s", why, report.bytes);
	jwk_set_free(&set);
	buf_free(&text);
	buf_free(&report);
	buf_free(&problem);
}

/* --- tokens --- */

static const char *verdict(struct token_keys *loaded, const char *jwt)
{
	struct token_claims claims = {0};
	const struct token_fault *fault = NULL;
	enum err e = token_verify(loaded, jwt, strlen(jwt), NOW_S, &claims, &fault);

	assert_true(e == OK || e == ERR_UNAUTHORIZED);
	return fault ? fault->why : "good";
}

static const char *verdict_of(struct token_keys *loaded, enum kind kind, const char *kid, const char *alg)
{
	struct token_claims claims = {.user_id = "456", .role = ROLE_SERVICE, .expires_s = NOW_S + 60};
	struct buf jwt = BUF_EMPTY;
	const char *found = NULL;

	assert_int_equal(token_make(loaded, kid, alg, keys[kind].private, &claims, NOW_S, &jwt), OK);
	found = verdict(loaded, jwt.bytes);
	buf_free(&jwt);
	return found;
}

static void each_kind_of_key_in_a_set_checks_what_its_other_half_has_signed(void **state)
{
	static const struct {
		enum kind kind;
		const char *kid;
		const char *alg;
	} cases[] = {{RSA_2048, "r", "RS256"}, {RSA_2048, "p", "PS256"}, {P256, "2", "ES256"},
		     {P384, "3", "ES384"},     {P521, "5", "ES512"},	 {ED25519, "ed", "EdDSA"}};
	struct buf set = BUF_EMPTY;
	struct token_keys *loaded = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char more[100];

		snprintf(more, sizeof(more), "\"kid\":\"%s\",\"alg\":\"%s\",\"use\":\"sig\",\"x5c\":[\"MII\"]",
			 cases[i].kid, cases[i].alg);
		add_jwk(&set, cases[i].kind, more);
	}
	put_set(&set);
	loaded = load();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_string_equal(verdict_of(loaded, cases[i].kind, cases[i].kid, cases[i].alg), "good");
		assert_string_equal(verdict_of(loaded, cases[i].kind, "other", cases[i].alg),
				    "no key of that kid and algorithm");
		assert_string_equal(verdict_of(loaded, cases[i].kind, NULL, cases[i].alg),
				    "no key of that kid and algorithm");
	}
	/* One kid's signature under the name of another. */
	assert_string_equal(verdict_of(loaded, RSA_2048, "p", "RS256"), "no key of that kid and algorithm");
	token_keys_free(&loaded);
}

static void a_key_without_alg_is_for_the_first_algorithm_of_the_list_that_it_fits_and_for_no_other(void **state)
{
	struct token_keys *loaded = NULL;

	(void)state;
	put_one(RSA_2048, "\"kid\":\"a\"");
	loaded = load();
	assert_string_equal(verdict_of(loaded, RSA_2048, "a", "PS256"), "good");
	assert_string_equal(verdict_of(loaded, RSA_2048, "a", "RS256"), "no key of that kid and algorithm");
	token_keys_free(&loaded);
}

static void a_key_without_kid_is_that_of_tokens_without_kid(void **state)
{
	struct token_keys *loaded = NULL;

	(void)state;
	put_one(ED25519, "\"use\":\"sig\"");
	loaded = load();
	assert_string_equal(verdict_of(loaded, ED25519, NULL, "EdDSA"), "good");
	assert_string_equal(verdict_of(loaded, ED25519, "other", "EdDSA"), "no key of that kid and algorithm");
	token_keys_free(&loaded);
}

static void takes_kids_as_providers_make_them(void **state)
{
	static const char *const kids[] = {
		"FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE", "abcdefg+hij/klmnop=", "!~",
		"urn:ietf:params:oauth:jwk-thumbprint:sha-256:NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kids); i++) {
		struct token_keys *loaded = NULL;
		char more[200];

		snprintf(more, sizeof(more), "\"kid\":\"%s\"", kids[i]);
		put_one(P256, more);
		loaded = load();
		assert_string_equal(verdict_of(loaded, P256, kids[i], "ES256"), "good");
		token_keys_free(&loaded);
	}
}

static void the_folder_and_the_set_are_one_ring(void **state)
{
	struct token_claims claims = {.user_id = "456", .expires_s = NOW_S + 60};
	struct token_keys *loaded = NULL;
	struct buf jwt = BUF_EMPTY;

	(void)state;
	put_in_folder("default.HS256", SECRET, true);
	put_one(P256, "\"kid\":\"a\"");
	loaded = load();
	assert_int_equal(token_make(loaded, NULL, "HS256", NULL, &claims, NOW_S, &jwt), OK);
	assert_string_equal(verdict(loaded, jwt.bytes), "good");
	assert_string_equal(verdict_of(loaded, P256, "a", "ES256"), "good");
	token_keys_free(&loaded);
	buf_free(&jwt);
	put_in_folder("a.ES256", keys[P384].public, true);
	put_in_folder("a.ES256", keys[P256].public, true);
	assert_refuses_to_load("has a key of the kid a for ES256, and so has TIDINGS_JWT_KEYS");
	put_in_folder("a.ES256", NULL, false);
	put_in_folder("default.HS256", NULL, false);
}

static void needs_no_folder_beside_a_set_and_says_so_where_there_is_neither(void **state)
{
	struct token_keys *loaded = NULL;
	struct buf problem = BUF_EMPTY;

	(void)state;
	put_one(P256, "\"kid\":\"a\"");
	assert_int_equal(token_keys_load(&loaded, "test_key_ring.absent", &rules, &problem), OK);
	token_keys_free(&loaded);
	unlink(set_path);
	assert_refuses_to_load("TIDINGS_JWT_JWKS, is not there: tidings keys fetch");
	buf_free(&problem);
}

static void refuses_a_public_key_used_as_a_secret(void **state)
{
	/* Whatever a stranger knows of the key, as a secret of HMAC, with the kid of the key. */
	const char *const known[] = {keys[RSA_2048].public, keys[RSA_2048].members, keys[P256].public, ""};
	static const char *const headers[] = {"{\"alg\":\"HS256\",\"kid\":\"a\"}",
					      "{\"alg\":\"HS256\"}",
					      "{\"alg\":\"RS256\",\"kid\":\"a\"}",
					      "{\"alg\":\"ES256\",\"kid\":\"b\"}",
					      "{\"alg\":\"none\",\"kid\":\"a\"}",
					      "{\"alg\":\"HS256\",\"kid\":\"a\",\"jwk\":{\"kty\":\"oct\",\"k\":\"\"}}"};
	struct token_keys *loaded = NULL;
	struct buf set = BUF_EMPTY;

	(void)state;
	add_jwk(&set, RSA_2048, "\"kid\":\"a\",\"alg\":\"RS256\"");
	add_jwk(&set, P256, "\"kid\":\"b\",\"alg\":\"ES256\"");
	put_set(&set);
	loaded = load();
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		for (size_t k = 0; k < ARRAY_LEN(headers); k++) {
			struct buf jwt = BUF_EMPTY;
			unsigned char mac[EVP_MAX_MD_SIZE];
			unsigned mac_len = 0;

			base64url_add(&jwt, headers[k], strlen(headers[k]));
			buf_add_text(&jwt, ".");
			base64url_add(&jwt, PAYLOAD, strlen(PAYLOAD));
			assert_non_null(HMAC(EVP_sha256(), known[i], (int)strlen(known[i]), (unsigned char *)jwt.bytes,
					     jwt.len, mac, &mac_len));
			buf_add_text(&jwt, ".");
			base64url_add(&jwt, mac, mac_len);
			assert_string_not_equal(verdict(loaded, jwt.bytes), "good");
			buf_free(&jwt);
		}
	}
	token_keys_free(&loaded);
}

static void refuses_a_set_with_a_private_key_or_a_secret_in_it(void **state)
{
	static const char *const private[] = {"\"d\":\"secretive\"",  "\"p\":\"secretive\"",  "\"q\":\"secretive\"",
					      "\"dp\":\"secretive\"", "\"dq\":\"secretive\"", "\"qi\":\"secretive\"",
					      "\"oth\":[]",	      "\"k\":\"secretive\"",  "\"d\":null"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(private); i++) {
		struct buf set = BUF_EMPTY;

		add_jwk(&set, P256, "\"kid\":\"good\"");
		add_jwk(&set, RSA_2048, private[i]);
		put_set(&set);
		assert_refuses_to_load("a private key or a secret");
	}
	put(set_path, "{\"keys\":[{\"kty\":\"oct\",\"alg\":\"HS256\",\"kid\":\"a\"}]}", 0644);
	assert_refuses_to_load("a private key or a secret");
}

static void passes_over_what_is_no_key_for_signatures_here(void **state)
{
	struct buf unsound = BUF_EMPTY;

	(void)state;
	assert_passed_over(RSA_2048, "\"kid\":\"a\",\"use\":\"enc\"", "is not for signatures");
	assert_passed_over(RSA_2048, "\"kid\":\"a\",\"use\":5", "is not for signatures");
	assert_passed_over(RSA_2048, "\"kid\":\"a\",\"key_ops\":[\"encrypt\"]", "is not for signatures");
	assert_passed_over(RSA_2048, "\"kid\":\"a\",\"key_ops\":\"verify\"", "is not for signatures");
	assert_passed_over(RSA_2048, "\"kid\":\"a\",\"alg\":\"RSA-OAEP\"", "does not list");
	assert_passed_over(RSA_2048, "\"kid\":\"a\",\"alg\":\"RS512\"", "does not list");
	assert_passed_over(RSA_2048, "\"kid\":\"a\",\"alg\":\"none\"", "does not list");
	assert_passed_over(RSA_2048, "\"kid\":\"a\",\"alg\":\"\"", "does not list");
	assert_passed_over(RSA_2048, "\"kid\":\"a\",\"alg\":null", "no text");
	assert_passed_over(RSA_2048, "\"kid\":5", "no text");
	assert_passed_over(RSA_2048, "\"kid\":\"a b\"", "a kid that is not of");
	assert_passed_over(RSA_2048, "\"kid\":\"\"", "a kid that is not of");
	/* The confusion of algorithms, from the other side. */
	assert_passed_over(RSA_2048, "\"kid\":\"a\",\"alg\":\"HS256\"", "is not of the kind");
	assert_passed_over(RSA_2048, "\"kid\":\"a\",\"alg\":\"ES256\"", "is not of the kind");
	assert_passed_over(P256, "\"kid\":\"a\",\"alg\":\"RS256\"", "is not of the kind");
	assert_passed_over(P256, "\"kid\":\"a\",\"alg\":\"ES384\"", "is not of the kind");
	assert_passed_over(P256, "\"kid\":\"a\",\"alg\":\"EdDSA\"", "is not of the kind");
	assert_passed_over(ED25519, "\"kid\":\"a\",\"alg\":\"ES256\"", "is not of the kind");
	assert_passed_over(RSA_2040, "\"kid\":\"a\"", "kind and size");
	assert_passed_over(RSA_2040, "\"kid\":\"a\",\"alg\":\"RS256\"", "kind or size");
	assert_passed_over(X25519, "\"kid\":\"a\"", "no public key of a kind");
	assert_passed_over(SECP256K1, "\"kid\":\"a\"", "no public key of a kind");

	/* With the exponent 1 a signature is what it signs. */
	buf_add_text(&unsound, keys[RSA_2048].members);
	memcpy(strstr(unsound.bytes, "\"e\":\"") + 5, "AAAB", 4);
	free(keys[FORGED].members);
	keys[FORGED].members = unsound.bytes;
	assert_passed_over(FORGED, "\"kid\":\"a\"", "kind and size");
	assert_passed_over(FORGED, "\"kid\":\"a\",\"alg\":\"RS256\"", "kind or size");
}

static void passes_over_members_that_are_no_numbers_and_no_points(void **state)
{
	static const char *const members[] = {
		"\"kty\":\"RSA\"",
		"\"kty\":\"RSA\",\"n\":\"\",\"e\":\"AQAB\"",
		"\"kty\":\"RSA\",\"n\":5,\"e\":\"AQAB\"",
		"\"kty\":\"RSA\",\"n\":\"a+b/\",\"e\":\"AQAB\"",
		"\"kty\":5",
		"\"kty\":\"EC\",\"x\":\"AAAA\",\"y\":\"AAAA\"",
		"\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"",
		"\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" A43 "\",\"y\":\"" A43 "\"",
		"\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"",
		"\"kty\":\"OKP\",\"crv\":\"Ed448\",\"x\":\"AAAA\"",
		"\"kty\":\"rsa\"",
		"\"kid\":\"a\"",
	};
	char *before = keys[FORGED].members;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		keys[FORGED].members = (char *)(uintptr_t)members[i];
		assert_passed_over(FORGED, "", "no public key of a kind");
	}
	keys[FORGED].members = before;
}

/* A modulus of so many bits, whose factors nobody knows. */
static void put_modulus(int bits)
{
	BIGNUM *n = BN_new();
	unsigned char bytes[2048];
	struct buf members = BUF_EMPTY;
	char *before = keys[FORGED].members;

	assert_int_equal(BN_rand(n, bits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD), 1);
	buf_add_text(&members, "\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"");
	base64url_add(&members, bytes, (size_t)BN_bn2bin(n, bytes));
	buf_add_text(&members, "\"");
	keys[FORGED].members = members.bytes;
	put_one(FORGED, "\"kid\":\"a\"");
	keys[FORGED].members = before;
	buf_free(&members);
	BN_free(n);
}

static void takes_rsa_of_2048_to_8192_bits(void **state)
{
	static const int good[] = {2048, 3072, 8192}, bad[] = {512, 2047, 8193, 8200};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct token_keys *loaded = NULL;

		put_modulus(good[i]);
		loaded = load();
		token_keys_free(&loaded);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		put_modulus(bad[i]);
		assert_refuses_to_load("kind and size");
	}
	put_modulus(16384);
	assert_refuses_to_load("no public key of a kind");
}

static void takes_a_key_that_is_for_verifying_among_others(void **state)
{
	struct token_keys *loaded = NULL;

	(void)state;
	put_one(P256, "\"kid\":\"a\",\"key_ops\":[\"sign\",5,\"verify\"]");
	loaded = load();
	assert_string_equal(verdict_of(loaded, P256, "a", "ES256"), "good");
	token_keys_free(&loaded);
}

static void what_went_wrong_before_is_no_shortage_of_memory(void **state)
{
	static const enum kind kinds[] = {RSA_2040, X25519, SECP256K1};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		put_one(kinds[i], "\"kid\":\"a\"");
		errno = ENOMEM;
		assert_refuses_to_load("not used");
	}
}

static void refuses_a_set_with_two_keys_of_one_kid_and_algorithm(void **state)
{
	struct buf set = BUF_EMPTY;
	struct token_keys *loaded = NULL;

	(void)state;
	add_jwk(&set, RSA_2048, "\"kid\":\"a\",\"alg\":\"RS256\"");
	add_jwk(&set, RSA_2048, "\"kid\":\"a\",\"alg\":\"RS256\"");
	put_set(&set);
	assert_refuses_to_load("has a second key of the kid");
	add_jwk(&set, P256, "");
	add_jwk(&set, P256, "\"kid\":\"default\"");
	put_set(&set);
	assert_refuses_to_load("has a second key of the kid");
	/* One kid for two algorithms is two keys. */
	add_jwk(&set, RSA_2048, "\"kid\":\"a\",\"alg\":\"RS256\"");
	add_jwk(&set, RSA_2048, "\"kid\":\"a\",\"alg\":\"PS256\"");
	put_set(&set);
	loaded = load();
	assert_string_equal(verdict_of(loaded, RSA_2048, "a", "RS256"), "good");
	assert_string_equal(verdict_of(loaded, RSA_2048, "a", "PS256"), "good");
	token_keys_free(&loaded);
}

static void refuses_what_is_no_set_of_keys_and_one_that_is_too_large_or_that_everybody_can_write(void **state)
{
	static const struct {
		const char *text;
		const char *words;
	} cases[] = {
		{"", "is no JSON object"},
		{"{\"keys\":", "is no JSON object"},
		{"[]", "is no JSON object"},
		{"null", "is no JSON object"},
		{"<html>", "is no JSON object"},
		{"{\"keys\":[{}],\"keys\":[]}", "is no JSON object"},
		{"{}", "no array `keys`"},
		{"{\"keys\":[]}", "no array `keys`"},
		{"{\"keys\":{}}", "no array `keys`"},
		{"{\"keys\":[5]}", "something else in it"},
	};
	struct buf set = BUF_EMPTY;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		put(set_path, cases[i].text, 0644);
		assert_refuses_to_load(cases[i].words);
	}
	for (int i = 0; i <= JWK_SET_KEYS_MAX; i++) {
		char kid[32];

		snprintf(kid, sizeof(kid), "\"kid\":\"%d\"", i);
		add_jwk(&set, ED25519, kid);
	}
	put_set(&set);
	assert_refuses_to_load("too many keys");
	add_jwk(&set, P256, "\"kid\":\"a\"");
	while (set.len <= JWK_SET_BYTES_MAX)
		buf_add_text(&set, "                                ");
	put_set(&set);
	assert_refuses_to_load("too large");
	put_one(P256, "\"kid\":\"a\"");
	assert_int_equal(chmod(set_path, 0646), 0);
	assert_refuses_to_load("can be written by every user");
	assert_int_equal(chmod(set_path, 0600), 0);
}

static void wants_issuer_and_audience_with_a_set(void **state)
{
	struct token_rules without[] = {rules, rules};

	(void)state;
	put_one(P256, "\"kid\":\"a\"");
	without[0].issuer = NULL;
	without[1].audience = NULL;
	for (size_t i = 0; i < ARRAY_LEN(without); i++) {
		struct token_keys *loaded = NULL;
		struct buf problem = BUF_EMPTY;

		assert_int_equal(token_keys_load(&loaded, folder, &without[i], &problem), ERR_CONFIG);
		assert_non_null(strstr(problem.bytes, "TIDINGS_JWT_ISSUER and TIDINGS_JWT_AUDIENCE"));
		buf_free(&problem);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_of_key_in_a_set_checks_what_its_other_half_has_signed),
		cmocka_unit_test(
			a_key_without_alg_is_for_the_first_algorithm_of_the_list_that_it_fits_and_for_no_other),
		cmocka_unit_test(a_key_without_kid_is_that_of_tokens_without_kid),
		cmocka_unit_test(takes_kids_as_providers_make_them),
		cmocka_unit_test(the_folder_and_the_set_are_one_ring),
		cmocka_unit_test(needs_no_folder_beside_a_set_and_says_so_where_there_is_neither),
		cmocka_unit_test(refuses_a_public_key_used_as_a_secret),
		cmocka_unit_test(refuses_a_set_with_a_private_key_or_a_secret_in_it),
		cmocka_unit_test(passes_over_what_is_no_key_for_signatures_here),
		cmocka_unit_test(passes_over_members_that_are_no_numbers_and_no_points),
		cmocka_unit_test(takes_rsa_of_2048_to_8192_bits),
		cmocka_unit_test(takes_a_key_that_is_for_verifying_among_others),
		cmocka_unit_test(what_went_wrong_before_is_no_shortage_of_memory),
		cmocka_unit_test(refuses_a_set_with_two_keys_of_one_kid_and_algorithm),
		cmocka_unit_test(refuses_what_is_no_set_of_keys_and_one_that_is_too_large_or_that_everybody_can_write),
		cmocka_unit_test(wants_issuer_and_audience_with_a_set),
	};

	return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
