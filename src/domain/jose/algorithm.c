#include "domain/jose/algorithm.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/defs.h"

#define RSA_BITS_MIN 2048 /* RFC 7518 3.3 */
#define RSA_BITS_MAX 8192 /* a larger one takes longer than any other signature */

bool algorithm_next(const char **list, char alg[ALGORITHM_MAX + 1])
{
	const char *start = *list;
	size_t len = 0;

	if (!start)
		return false;
	start += strspn(start, " ");
	len = strcspn(start, ",");
	*list = start[len] == ',' ? start + len + 1 : NULL;
	while (len > 0 && start[len - 1] == ' ')
		len--;
	if (len > ALGORITHM_MAX)
		len = 0;
	memcpy(alg, start, len);
	alg[len] = '\0';
	return true;
}

bool algorithm_listed(const char *list, const char *alg)
{
	char listed[ALGORITHM_MAX + 1];

	while (algorithm_next(&list, listed))
		if (strcmp(listed, alg) == 0)
			return true;
	return false;
}

/* Whether a key is of RSA, of a size that is used, and not one whose signatures are what they sign (exponent 1). */
static bool is_sound_rsa(const EVP_PKEY *key)
{
	BIGNUM *exponent = NULL;
	bool good = EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) >= RSA_BITS_MIN &&
		    EVP_PKEY_get_bits(key) <= RSA_BITS_MAX &&
		    EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1 && BN_is_odd(exponent) &&
		    !BN_is_one(exponent);

	BN_free(exponent);
	return good;
}

bool algorithm_fits(const EVP_PKEY *key, const char *alg)
{
	static const struct {
		const char *alg;
		const char *curve;
	} curves[] = {{"ES256", SN_X9_62_prime256v1}, {"ES384", SN_secp384r1}, {"ES512", SN_secp521r1}};
	char curve[32] = "";

	if (strncmp(alg, "RS", 2) == 0 || strncmp(alg, "PS", 2) == 0)
		return is_sound_rsa(key);
	if (strcmp(alg, "EdDSA") == 0)
		return EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519;
	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC || !EVP_PKEY_get_group_name(key, curve, sizeof(curve), NULL))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(curves); i++)
		if (strcmp(curves[i].alg, alg) == 0)
			return strcmp(curves[i].curve, curve) == 0;
	return false;
}
