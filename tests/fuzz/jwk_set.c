/* The bytes as a set of keys. */
#include <string.h>

#include "domain/caller/key_ring.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct buf report = BUF_EMPTY, problem = BUF_EMPTY;
	enum err e = key_ring_judge_set("RS256,PS256,ES256,ES384,EdDSA,HS256", "it",
					(struct span){(const char *)bytes, len}, &report, &problem);

	MUST_HOLD(e == OK || e == ERR_CONFIG);
	MUST_HOLD((e == OK) == (problem.len == 0));
	MUST_HOLD(e != OK || report.bytes[report.len - 1] == '\n');
	MUST_HOLD(!report.bytes || !strstr(report.bytes, ": HS256"));
	buf_free(&report);
	buf_free(&problem);
	return 0;
}
