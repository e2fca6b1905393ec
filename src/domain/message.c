#include "domain/message.h"

#include <assert.h>
#include <inttypes.h>

void message_add(struct buf *out, uint64_t seq, const char *body, size_t body_len)
{
	assert(body_len >= 2 && body[0] == '{');
	buf_printf(out, "{\"seq\":%" PRIu64 "%s", seq, body[1] == '}' ? "" : ",");
	buf_add(out, body + 1, body_len - 1);
}
