/* The bytes as a set of keys. */
#include <string.h>

#include "domain/jose/jwk_set.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct buf report = BUF_EMPTY, problem = BUF_EMPTY;
	struct jwk_set set = {0};
	enum err e = jwk_set_read(&set, "it", (struct span){(const char *)bytes, len},
				  "RS256,PS256,ES256,ES384,EdDSA,HS256", &problem);
	size_t usable = 0;

	MUST_HOLD(e == OK || e == ERR_CONFIG);
	MUST_HOLD((e == OK) == (problem.len == 0));
	for (size_t i = 0; i < set.count; i++) {
		MUST_HOLD(set.keys[i].fault || (set.keys[i].key && jwk_kid_valid(set.keys[i].kid)));
		MUST_HOLD(set.keys[i].fault || strncmp(set.keys[i].alg, "HS", 2) != 0);
		usable += !set.keys[i].fault;
	}
	MUST_HOLD((e == OK) == (usable > 0));
	jwk_set_report(&set, "\n", &report);
	jwk_set_free(&set);
	buf_free(&report);
	buf_free(&problem);
	return 0;
}
