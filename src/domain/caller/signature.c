#include "domain/caller/signature.h"

#include <errno.h>
#include <jwt.h>
#include <stdlib.h>
#include <string.h>

/* The libjwt algorithm of exactly this name: its own lookup takes any case, and knows "none". */
static jwt_alg_t algorithm(const char *alg)
{
	jwt_alg_t found = jwt_str_alg(alg);
	const char *name = found == JWT_ALG_INVAL || found == JWT_ALG_NONE ? NULL : jwt_alg_str(found);

	return name && strlen(alg) == SIGNATURE_ALG_MAX && strcmp(name, alg) == 0 ? found : JWT_ALG_INVAL;
}

bool signature_alg_known(const char *alg)
{
	return algorithm(alg) != JWT_ALG_INVAL;
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

enum signature signature_check(const char *jwt, const char *alg, struct span key)
{
	enum signature found = decode(jwt, key, algorithm(alg)), read;

	if (found != SIGNATURE_BAD)
		return found;
	read = read_payload(jwt);
	if (read == SIGNATURE_NO_MEMORY)
		return read;
	return read == SIGNATURE_GOOD ? SIGNATURE_BAD : SIGNATURE_UNREADABLE;
}

enum err signature_make(const char *kid, const char *payload, const char *alg, struct span key, struct buf *out)
{
	jwt_t *jwt = NULL;
	char *text = NULL;
	enum err e = ERR_INPUT;

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
