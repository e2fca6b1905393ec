#include "domain/jose/jwk_set.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "domain/jose/base64url.h"
#include "domain/text/json.h"

#define NUMBER_MAX 1024 /* bytes: of an RSA modulus of 8192 bits */

/* A number or a point of a key. */
struct octets {
	char bytes[NUMBER_MAX + 3]; /* the decoder wants room for a NUL, and for what is left of four characters */
	size_t len;
};

static const char *text_of(struct json_object *jwk, const char *name)
{
	struct json_object *value = json_object_object_get(jwk, name);

	return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

/*
 *	len	bytes that it must have; 0: any
 *
 * False: it is not there, or not that.
 */
static bool read_octets(struct json_object *jwk, const char *name, size_t len, struct octets *out)
{
	const char *text = text_of(jwk, name);

	return text && base64url_decode(out->bytes, sizeof(out->bytes), (struct span){text, strlen(text)}, &out->len) &&
	       out->len > 0 && (len == 0 || out->len == len);
}

static EVP_PKEY *make_key(const char *type, OSSL_PARAM *params)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *key = NULL;

	if (context && params && EVP_PKEY_fromdata_init(context) == 1 &&
	    EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(context);
	return key;
}

/* These: NULL: it is not one, or, where errno is ENOMEM, not known. */

static EVP_PKEY *make_rsa(struct json_object *jwk)
{
	struct octets n, e;
	BIGNUM *modulus = NULL, *exponent = NULL;
	OSSL_PARAM_BLD *build = NULL;
	OSSL_PARAM *params = NULL;
	EVP_PKEY *key = NULL;

	if (!read_octets(jwk, "n", 0, &n) || !read_octets(jwk, "e", 0, &e))
		return NULL;
	modulus = BN_bin2bn((const unsigned char *)n.bytes, (int)n.len, NULL);
	exponent = BN_bin2bn((const unsigned char *)e.bytes, (int)e.len, NULL);
	build = OSSL_PARAM_BLD_new();
	if (modulus && exponent && build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
		params = OSSL_PARAM_BLD_to_param(build);
	key = make_key("RSA", params);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	BN_free(modulus);
	BN_free(exponent);
	return key;
}

static EVP_PKEY *make_ec(struct json_object *jwk, const char *curve)
{
	static const struct {
		const char *curve;
		size_t half; /* bytes of a coordinate: all of them, RFC 7518 6.2.1.2 */
	} curves[] = {{"P-256", 32}, {"P-384", 48}, {"P-521", 66}};
	struct octets x, y;
	unsigned char point[1 + 2 * 66] = {POINT_CONVERSION_UNCOMPRESSED};

	for (size_t i = 0; i < ARRAY_LEN(curves); i++) {
		size_t half = curves[i].half;
		OSSL_PARAM params[] = {
			OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)curves[i].curve,
							 0),
			OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * half),
			OSSL_PARAM_construct_end(),
		};

		if (strcmp(curves[i].curve, curve) != 0)
			continue;
		if (!read_octets(jwk, "x", half, &x) || !read_octets(jwk, "y", half, &y))
			return NULL;
		memcpy(point + 1, x.bytes, half);
		memcpy(point + 1 + half, y.bytes, half);
		return make_key("EC", params);
	}
	return NULL;
}

static EVP_PKEY *make_okp(struct json_object *jwk, const char *curve)
{
	struct octets x;

	if (strcmp(curve, "Ed25519") != 0 || !read_octets(jwk, "x", 32, &x))
		return NULL;
	return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, (const unsigned char *)x.bytes, x.len);
}

static EVP_PKEY *make_public(struct json_object *jwk)
{
	const char *type = text_of(jwk, "kty");
	const char *curve = text_of(jwk, "crv");

	if (!type)
		return NULL;
	if (strcmp(type, "RSA") == 0)
		return make_rsa(jwk);
	if (!curve)
		return NULL;
	return strcmp(type, "EC") == 0 ? make_ec(jwk, curve) : strcmp(type, "OKP") == 0 ? make_okp(jwk, curve) : NULL;
}

/* Members of private keys and of secrets (RFC 7518 6.2.2, 6.3.2, 6.4.1), whatever the kty says. */
static bool is_private(struct json_object *jwk)
{
	static const char *const members[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"};
	const char *type = text_of(jwk, "kty");

	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (json_object_object_get_ex(jwk, members[i], NULL))
			return true;
	return type && strcmp(type, "oct") == 0;
}

static bool is_for_signatures(struct json_object *jwk)
{
	struct json_object *use = NULL, *operations = NULL;

	if (json_object_object_get_ex(jwk, "use", &use)) {
		const char *text = text_of(jwk, "use");

		if (!text || strcmp(text, "sig") != 0)
			return false;
	}
	if (!json_object_object_get_ex(jwk, "key_ops", &operations))
		return true;
	if (!json_object_is_type(operations, json_type_array))
		return false;
	for (size_t i = 0; i < json_object_array_length(operations); i++) {
		struct json_object *one = json_object_array_get_idx(operations, i);

		if (json_object_is_type(one, json_type_string) && strcmp(json_object_get_string(one), "verify") == 0)
			return true;
	}
	return false;
}

bool jwk_kid_valid(const char *kid)
{
	size_t len = strlen(kid);

	for (size_t i = 0; i < len; i++)
		if (kid[i] <= ' ' || kid[i] > '~')
			return false;
	return len <= KID_MAX;
}

/*
 *	out	its alg is set
 *	alg	what the key says of itself; NULL: nothing
 *
 * NULL: it has one; else why not.
 */
static const char *choose_algorithm(struct jwk *out, const char *alg, const char *algorithms)
{
	const char *list = algorithms;

	if (alg && !algorithm_listed(algorithms, alg))
		return "is for an algorithm that TIDINGS_JWT_ALGORITHMS does not list";
	while (algorithm_next(&list, out->alg))
		if ((!alg || strcmp(alg, out->alg) == 0) && algorithm_fits(out->key, out->alg))
			return NULL;
	return alg ? "is not of the kind or size that its algorithm takes"
		   : "is not of a kind and size that an algorithm of TIDINGS_JWT_ALGORITHMS takes";
}

static bool is_text_or_absent(struct json_object *jwk, const char *name)
{
	return text_of(jwk, name) || !json_object_object_get_ex(jwk, name, NULL);
}

/* NULL: it can be used; else why not, or, where errno is ENOMEM, not known. */
static const char *judge_jwk(struct json_object *jwk, const char *algorithms, struct jwk *out)
{
	const char *kid = text_of(jwk, "kid");

	if (!is_text_or_absent(jwk, "kid") || !is_text_or_absent(jwk, "alg"))
		return "has a kid or an alg that is no text";
	if (kid && (kid[0] == '\0' || !jwk_kid_valid(kid)))
		return "has a kid that is not of 1 to 128 printable characters of ASCII";
	if (kid)
		out->kid = kid;
	if (!is_for_signatures(jwk))
		return "is not for signatures (use, key_ops)";
	out->key = make_public(jwk);
	if (!out->key)
		return "is no public key of a kind that is known here: RSA, EC on P-256, P-384 or P-521, or Ed25519";
	return choose_algorithm(out, text_of(jwk, "alg"), algorithms);
}

static const struct jwk *find_twin(const struct jwk_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		for (size_t k = 0; k < i; k++)
			if (!set->keys[i].fault && !set->keys[k].fault &&
			    strcmp(set->keys[i].kid, set->keys[k].kid) == 0 &&
			    strcmp(set->keys[i].alg, set->keys[k].alg) == 0)
				return &set->keys[i];
	return NULL;
}

static bool is_usable(const struct jwk_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		if (!set->keys[i].fault)
			return true;
	return false;
}

/* NULL: the set may be looked at key by key. */
static const char *judge_keys(struct json_object *keys)
{
	size_t count = json_object_is_type(keys, json_type_array) ? json_object_array_length(keys) : 0;

	if (count == 0)
		return "is no set of keys: it has no array `keys` with something in it";
	if (count > JWK_SET_KEYS_MAX)
		return "has too many keys";
	for (size_t i = 0; i < count; i++) {
		struct json_object *jwk = json_object_array_get_idx(keys, i);

		if (!json_object_is_type(jwk, json_type_object))
			return "is no set of keys: `keys` has something else in it";
		if (is_private(jwk))
			return "has a private key or a secret in it, with which whoever reads it can sign";
	}
	return NULL;
}

static enum err read_keys(struct jwk_set *set, struct json_object *keys, const char *algorithms)
{
	size_t count = json_object_array_length(keys);

	set->keys = calloc(count, sizeof(set->keys[0]));
	if (!set->keys)
		return ERR_MEMORY;
	for (size_t i = 0; i < count; i++) {
		struct jwk *one = &set->keys[set->count++];

		one->kid = KID_DEFAULT;
		errno = 0;
		one->fault = judge_jwk(json_object_array_get_idx(keys, i), algorithms, one);
		if (one->fault && errno == ENOMEM)
			return ERR_MEMORY;
	}
	return OK;
}

enum err jwk_set_read(struct jwk_set *out, const char *name, struct span text, const char *algorithms,
		      struct buf *problem)
{
	struct jwk_set set = {0};
	struct json_object *keys = NULL;
	const struct jwk *twin = NULL;
	const char *ignored = NULL, *fault = NULL;
	enum err e = json_read(&set.root, text.bytes, text.len, &ignored);

	if (e == ERR_MEMORY)
		return e;
	if (e == OK && json_object_is_type(set.root, json_type_object)) {
		keys = json_object_object_get(set.root, "keys");
		fault = judge_keys(keys);
	} else {
		fault = "is no JSON object";
	}
	e = fault ? ERR_CONFIG : read_keys(&set, keys, algorithms);
	if (fault)
		buf_printf(problem, "%s %s", name, fault);
	if (e == OK && !is_usable(&set)) {
		buf_printf(problem, "%s has no key that tokens could be checked with: ", name);
		jwk_set_report(&set, "; ", problem);
		e = ERR_CONFIG;
	}
	twin = e == OK ? find_twin(&set) : NULL;
	if (twin) {
		buf_printf(problem, "%s has a second key of the kid %s for %s: which of them to take would be a guess",
			   name, twin->kid, twin->alg);
		e = ERR_CONFIG;
	}
	if (e == OK)
		*out = set;
	else
		jwk_set_free(&set);
	return e;
}

void jwk_set_report(const struct jwk_set *set, const char *separator, struct buf *out)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct jwk *one = &set->keys[i];

		buf_printf(out, "%s%s: %s%s", i > 0 ? separator : "", one->kid, one->fault ? "not used: it " : "",
			   one->fault ? one->fault : one->alg);
	}
}

void jwk_set_free(struct jwk_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		EVP_PKEY_free(set->keys[i].key);
	free(set->keys);
	json_object_put(set->root);
	*set = (struct jwk_set){0};
}
