#include "domain/caller/signature.h"

#include <errno.h>
#include <jwt.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#include "domain/jose/algorithm.h"
#include "domain/jose/base64url.h"
#include "domain/text/json.h"

#define BYTES_MAX 1024	/* of a signature: by an RSA key of 8192 bits */
#define DER_OVERHEAD 16 /* bytes: what ASN.1 adds to the two numbers of an ECDSA signature, at most */

/* Whichever libjwt there is: 1.10 knows none of them, and no 1.x knows EdDSA. */
static const char *const made_by_openssl[] = {"PS256", "PS384", "PS512", "EdDSA"};

/* The libjwt algorithm of exactly this name: its own lookup takes any case, and knows "none". */
static jwt_alg_t algorithm(const char *alg)
{
	jwt_alg_t found = jwt_str_alg(alg);
	const char *name = found == JWT_ALG_INVAL || found == JWT_ALG_NONE ? NULL : jwt_alg_str(found);

	return name && strlen(alg) == ALGORITHM_MAX && strcmp(name, alg) == 0 ? found : JWT_ALG_INVAL;
}

static bool is_made_by_openssl(const char *alg)
{
	for (size_t i = 0; i < ARRAY_LEN(made_by_openssl); i++)
		if (strcmp(made_by_openssl[i], alg) == 0)
			return true;
	return false;
}

bool signature_alg_known(const char *alg)
{
	return is_made_by_openssl(alg) || algorithm(alg) != JWT_ALG_INVAL;
}

bool signature_is_hmac(const char *alg)
{
	return strncmp(alg, "HS", 2) == 0;
}

/* Without memory libjwt has refused good tokens, and passed some that it had not looked at: malloc(3) tells. */
static enum signature decode(const char *jwt, struct span key, jwt_alg_t alg)
{
	jwt_t *decoded = NULL;
	enum signature found = SIGNATURE_BAD;
	bool good;

	errno = 0;
	good = jwt_decode(&decoded, jwt, (const unsigned char *)key.bytes, (int)key.len) == 0;
	/* libjwt has chosen by the token's header: believe it only if that is what the key is for. */
	if (errno == ENOMEM)
		found = SIGNATURE_NO_MEMORY;
	else if (good && jwt_get_alg(decoded) == alg)
		found = SIGNATURE_GOOD;
	jwt_free(decoded);
	return found;
}

enum err signature_prepare(void)
{
	/* {"alg":"HS256","typ":"JWT"}, {} */
	static const char token[] =
		"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.sdq8hlcnGupCQofW8T3WXS8lMHPKjY78f7plDHoTsoI";

	return decode(token, (struct span){"k", 1}, JWT_ALG_HS256) == SIGNATURE_GOOD ? OK : ERR_MEMORY;
}

enum signature signature_of_other_typ(void)
{
	/* {"alg":"HS256","typ":"at+jwt"}, {} */
	static const char typed[] =
		"eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.e30.73PZ_pAZcyzdlZqPa65h-_5R5D1huIAnfN0aJitg5b8";

	return decode(typed, (struct span){"k", 1}, JWT_ALG_HS256);
}

/* What libjwt makes of the token's payload, as that of an unsigned one: SIGNATURE_GOOD where it can read it. */
static enum signature read_payload(const char *jwt)
{
	const char *payload = strchr(jwt, '.') + 1;
	struct buf copy = BUF_EMPTY;
	enum signature found = SIGNATURE_NO_MEMORY;

	buf_add_text(&copy, "eyJhbGciOiJub25lIn0."); /* {"alg":"none"} */
	buf_add(&copy, payload, (size_t)(strchr(payload, '.') + 1 - payload));
	if (buf_ok(&copy))
		found = decode(copy.bytes, (struct span){0}, JWT_ALG_NONE);
	buf_free(&copy);
	return found;
}

enum signature signature_check_secret(const char *jwt, const char *alg, struct span secret)
{
	enum signature found = decode(jwt, secret, algorithm(alg)), read;

	if (found != SIGNATURE_BAD)
		return found;
	read = read_payload(jwt);
	if (read == SIGNATURE_NO_MEMORY)
		return read;
	return read == SIGNATURE_GOOD ? SIGNATURE_BAD : SIGNATURE_UNREADABLE;
}

/* ---- key pairs */

static int no_password(char *buffer, int size, int writing, void *arg)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)arg;
	return -1; /* else OpenSSL asks on the terminal */
}

EVP_PKEY *signature_read_key(struct span pem, bool private)
{
	BIO *bio = BIO_new_mem_buf(pem.bytes, (int)pem.len);
	EVP_PKEY *key = NULL;

	errno = 0;
	if (!bio) {
		errno = ENOMEM;
		return NULL;
	}
	key = private ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL)
		      : PEM_read_bio_PUBKEY(bio, NULL, no_password, NULL);
	BIO_free(bio);
	return key;
}

/* NULL: without a hash of its own. */
static const EVP_MD *hash_of(const char *alg)
{
	switch (alg[2]) {
	case '2':
		return EVP_sha256();
	case '3':
		return EVP_sha384();
	case '5':
		return EVP_sha512();
	default: /* EdDSA */
		return NULL;
	}
}

/* RFC 7518 3.5: the salt is as long as the hash. */
static bool pad(EVP_PKEY_CTX *context, const char *alg)
{
	return strncmp(alg, "PS", 2) != 0 || (EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
					      EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1);
}

/*
 * The two numbers side by side, as tokens have them (RFC 7518 3.4), in ASN.1, as OpenSSL wants them.
 *
 * 0: no memory
 */
static size_t to_der(const unsigned char *raw, size_t len, unsigned char der[BYTES_MAX + DER_OVERHEAD])
{
	ECDSA_SIG *numbers = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(raw, (int)len / 2, NULL);
	BIGNUM *s = BN_bin2bn(raw + len / 2, (int)len / 2, NULL);
	int der_len = 0;

	if (numbers && r && s && ECDSA_SIG_set0(numbers, r, s) == 1) {
		r = s = NULL; /* taken */
		der_len = i2d_ECDSA_SIG(numbers, &der);
	}
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(numbers);
	return der_len > 0 ? (size_t)der_len : 0;
}

/* Bytes of a signature with that key; 0: any. */
static size_t size_of(const char *alg, const EVP_PKEY *key)
{
	return strncmp(alg, "ES", 2) == 0 ? 2 * (((size_t)EVP_PKEY_get_bits(key) + 7) / 8) : 0;
}

/* Whether the bytes sign the text. errno ENOMEM: not known. */
static bool verify(struct span text, struct span bytes, const char *alg, EVP_PKEY *key)
{
	unsigned char der[BYTES_MAX + DER_OVERHEAD];
	const unsigned char *given = (const unsigned char *)bytes.bytes;
	size_t given_len = bytes.len;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_PKEY_CTX *padding = NULL;
	bool good = false;

	if (size_of(alg, key) > 0) {
		given_len = to_der(given, bytes.len, der);
		given = der;
	}
	good = context && given_len > 0 && EVP_DigestVerifyInit(context, &padding, hash_of(alg), NULL, key) == 1 &&
	       pad(padding, alg) &&
	       EVP_DigestVerify(context, given, given_len, (const unsigned char *)text.bytes, text.len) == 1;
	EVP_MD_CTX_free(context);
	ERR_clear_error();
	return good;
}

enum err signature_prepare_pair(const char *alg, EVP_PKEY *key)
{
	static const char zeros[BYTES_MAX];
	size_t len = MAX(size_of(alg, key), (size_t)64); /* as Ed25519 has it; RSA looks at it after what this is for */

	errno = 0;
	return !verify((struct span){zeros, 1}, (struct span){zeros, len}, alg, key) && errno == ENOMEM ? ERR_MEMORY
													: OK;
}

enum signature signature_check_pair(const char *jwt, const char *alg, EVP_PKEY *key)
{
	const char *dot = strrchr(jwt, '.');
	char bytes[BYTES_MAX + 3];
	size_t len = 0, wanted = size_of(alg, key);

	if (!base64url_decode(bytes, sizeof(bytes), (struct span){dot + 1, strlen(dot + 1)}, &len) ||
	    (wanted > 0 && len != wanted))
		return SIGNATURE_BAD;
	errno = 0;
	if (verify((struct span){jwt, (size_t)(dot - jwt)}, (struct span){bytes, len}, alg, key))
		return SIGNATURE_GOOD;
	return errno == ENOMEM ? SIGNATURE_NO_MEMORY : SIGNATURE_BAD;
}

/* ---- making */

/* As libjwt does for the other algorithms. */
static enum err make_by_openssl(const char *kid, const char *payload, const char *alg, struct span key, struct buf *out)
{
	struct buf header = BUF_EMPTY, jwt = BUF_EMPTY;
	unsigned char bytes[BYTES_MAX];
	size_t len = sizeof(bytes);
	EVP_PKEY *private_key = signature_read_key(key, true);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_PKEY_CTX *padding = NULL;
	enum err e = ERR_INPUT;

	buf_printf(&header, "{\"alg\":\"%s\",\"typ\":\"JWT\"", alg);
	if (kid) {
		buf_add_text(&header, ",\"kid\":");
		json_add_string(&header, kid, strlen(kid));
	}
	buf_add_text(&header, "}");
	if (buf_ok(&header))
		base64url_add(&jwt, header.bytes, header.len);
	buf_add_text(&jwt, ".");
	base64url_add(&jwt, payload, strlen(payload));
	if (!buf_ok(&header) || !buf_ok(&jwt) || !context) {
		e = ERR_MEMORY;
	} else if (private_key && EVP_DigestSignInit(context, &padding, hash_of(alg), NULL, private_key) == 1 &&
		   pad(padding, alg) &&
		   EVP_DigestSign(context, bytes, &len, (const unsigned char *)jwt.bytes, jwt.len) == 1) {
		buf_add_text(&jwt, ".");
		base64url_add(&jwt, bytes, len);
		if (buf_ok(&jwt))
			buf_add(out, jwt.bytes, jwt.len);
		e = buf_ok(&jwt) && buf_ok(out) ? OK : ERR_MEMORY;
	} else if (errno == ENOMEM) {
		e = ERR_MEMORY;
	}
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(private_key);
	buf_free(&header);
	buf_free(&jwt);
	ERR_clear_error();
	return e;
}

enum err signature_make(const char *kid, const char *payload, const char *alg, struct span key, struct buf *out)
{
	jwt_t *jwt = NULL;
	char *text = NULL;
	enum err e = ERR_INPUT;

	if (is_made_by_openssl(alg))
		return make_by_openssl(kid, payload, alg, key, out);
	if (jwt_new(&jwt) != 0)
		return ERR_MEMORY;
	if (kid && jwt_add_header(jwt, "kid", kid) != 0)
		goto out;
	if (jwt_add_grants_json(jwt, payload) != 0)
		goto out;
	if (jwt_set_alg(jwt, algorithm(alg), (const unsigned char *)key.bytes, (int)key.len) != 0)
		goto out;
	text = jwt_encode_str(jwt);
	if (!text)
		goto out;
	buf_add_text(out, text);
	e = buf_ok(out) ? OK : ERR_MEMORY;
out:
	free(text);
	jwt_free(jwt);
	return e;
}
