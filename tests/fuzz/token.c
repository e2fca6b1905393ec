/* The bytes as a whole token, and as the payload of one that is well signed. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "domain/caller/token.h"
#include "tests/fuzz/fuzz.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define HEADER "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" /* {"alg":"HS256","typ":"JWT"} */
#define NOW_S INT64_C(1800000000)
#define PAYLOAD_MAX 5000

static struct token_keys *load_keys(const struct token_rules *rules)
{
	struct token_keys *keys = NULL;
	struct buf problem = BUF_EMPTY;
	char directory[] = "fuzz_token.XXXXXX", path[64];
	FILE *file = NULL;

	MUST_HOLD(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/default.HS256", directory);
	umask(077);
	file = fopen(path, "w");
	MUST_HOLD(file && fputs(SECRET, file) >= 0 && fclose(file) == 0);
	MUST_HOLD(token_keys_load(&keys, directory, rules, &problem) == OK);
	MUST_HOLD(unlink(path) == 0 && rmdir(directory) == 0);
	buf_free(&problem);
	return keys;
}

static void add_base64url(struct buf *out, const uint8_t *bytes, size_t len)
{
	static char text[PAYLOAD_MAX * 2];
	int text_len = EVP_EncodeBlock((unsigned char *)text, bytes, (int)len);

	for (int i = 0; i < text_len && text[i] != '='; i++) {
		char c = text[i];

		c = c == '+' ? '-' : c == '/' ? '_' : c;
		buf_add(out, &c, 1);
	}
}

static void check(struct token_keys *keys, const char *jwt, size_t len)
{
	struct token_claims claims = {.user_id = "untouched"};
	const struct token_fault *fault = NULL;
	enum err e = token_verify(keys, jwt, len, NOW_S, &claims, &fault);

	MUST_HOLD(e == OK || e == ERR_UNAUTHORIZED);
	if (e == OK) {
		MUST_HOLD(user_id_valid(claims.user_id, strlen(claims.user_id)));
		MUST_HOLD(claims.expires_s == 0 ||
			  (claims.expires_s > NOW_S && claims.expires_s < INT64_C(253402300800)));
		MUST_HOLD(claims.role <= ROLE_ADMIN);
	} else {
		MUST_HOLD(fault && strcmp(claims.user_id, "untouched") == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const struct token_rules own = {.algorithms = "HS256", .leeway_s = 30};
	static const struct token_rules provided = {.algorithms = "HS256",
						    .user_claim = "/fhirUser",
						    .role_claim = "/realm_access/roles",
						    .roles = "nurse=clinician,x/=admin"};
	static struct token_keys *keys, *provider_keys; /* for the life of the program */
	struct buf jwt = BUF_EMPTY;
	uint8_t mac[EVP_MAX_MD_SIZE];
	unsigned mac_len = 0;

	if (!keys) {
		keys = load_keys(&own);
		provider_keys = load_keys(&provided);
	}
	check(keys, (const char *)bytes, len);
	if (len > PAYLOAD_MAX)
		return 0;
	buf_add_text(&jwt, HEADER ".");
	add_base64url(&jwt, bytes, len);
	MUST_HOLD(HMAC(EVP_sha256(), SECRET, (int)strlen(SECRET), (const unsigned char *)jwt.bytes, jwt.len, mac,
		       &mac_len));
	buf_add_text(&jwt, ".");
	add_base64url(&jwt, mac, mac_len);
	MUST_HOLD(buf_ok(&jwt));
	check(keys, jwt.bytes, jwt.len);
	check(provider_keys, jwt.bytes, jwt.len);
	buf_free(&jwt);
	return 0;
}
