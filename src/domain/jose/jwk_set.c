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

	errno = 0;
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

static enum err read_jwk(struct json_object *jwk, struct jwk *out)
{
	out->kid = text_of(jwk, "kid");
	out->alg = text_of(jwk, "alg");
	if ((json_object_object_get_ex(jwk, "kid", NULL) && !out->kid) ||
	    (json_object_object_get_ex(jwk, "alg", NULL) && !out->alg)) {
		out->fault = "has a kid or an alg that is no text";
		return OK;
	}
	if (!is_for_signatures(jwk)) {
		out->fault = "is not for signatures (use, key_ops)";
		return OK;
	}
	out->key = make_public(jwk);
	if (!out->key && errno == ENOMEM)
		return ERR_MEMORY;
	if (!out->key)
		out->fault =
			"is no public key of a kind that is known here: RSA, EC on P-256, P-384 or P-521, or Ed25519";
	return OK;
}

static enum err read_keys(struct jwk_set *set, struct json_object *keys, const char **fault)
{
	size_t count = json_object_is_type(keys, json_type_array) ? json_object_array_length(keys) : 0;
	enum err e = OK;

	if (count == 0 || count > JWK_SET_KEYS_MAX) {
		*fault = count == 0 ? "is no set of keys: it has no array `keys` with something in it"
				    : "has too many keys";
		return ERR_INPUT;
	}
	for (size_t i = 0; i < count; i++) {
		struct json_object *jwk = json_object_array_get_idx(keys, i);

		if (!json_object_is_type(jwk, json_type_object)) {
			*fault = "is no set of keys: `keys` has something else in it";
			return ERR_INPUT;
		}
		if (is_private(jwk)) {
			*fault = "has a private key or a secret in it, with which whoever reads it can sign";
			return ERR_INPUT;
		}
	}
	set->keys = calloc(count, sizeof(set->keys[0]));
	if (!set->keys)
		return ERR_MEMORY;
	for (; e == OK && set->count < count; set->count++)
		e = read_jwk(json_object_array_get_idx(keys, set->count), &set->keys[set->count]);
	return e;
}

enum err jwk_set_read(struct jwk_set *out, struct span text, const char **fault)
{
	struct jwk_set set = {0};
	const char *problem = NULL;
	enum err e = json_read(&set.root, text.bytes, text.len, &problem);

	if (e == OK && json_object_is_type(set.root, json_type_object)) {
		e = read_keys(&set, json_object_object_get(set.root, "keys"), fault);
	} else if (e == OK || e == ERR_INPUT) {
		*fault = "is no JSON object";
		e = ERR_INPUT;
	}
	if (e == OK)
		*out = set;
	else
		jwk_set_free(&set);
	return e;
}

void jwk_set_free(struct jwk_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		EVP_PKEY_free(set->keys[i].key);
	free(set->keys);
	json_object_put(set->root);
	*set = (struct jwk_set){0};
}
