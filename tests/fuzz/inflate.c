/* What a client has compressed: never more than a message, and the next one is read all the same. */
#include <string.h>

#include "domain/websocket/inflate.h"
#include "tests/fuzz/fuzz.h"

#define TEXT_MAX 4096

static enum err read_packed(struct inflater *i, struct buf *out, const void *bytes, size_t len)
{
	return inflater_add_text(i, out, (struct span){bytes, len}, TEXT_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct inflater *i;
	struct buf first = BUF_EMPTY, second = BUF_EMPTY;
	enum err e;

	if (!i)
		MUST_HOLD(inflater_new(&i) == OK);
	e = read_packed(i, &first, data, len);
	MUST_HOLD(e == OK || e == ERR_INPUT || e == ERR_TOO_LARGE);
	MUST_HOLD(first.len <= (e == OK ? TEXT_MAX : 0));
	MUST_HOLD(read_packed(i, &second, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7) == OK);
	MUST_HOLD(second.len == 5 && memcmp(second.bytes, "Hello", 5) == 0);
	buf_clear(&second);
	MUST_HOLD(read_packed(i, &second, data, len) == e && second.len == first.len);
	MUST_HOLD(first.len == 0 || memcmp(first.bytes, second.bytes, first.len) == 0);
	buf_free(&first);
	buf_free(&second);
	return 0;
}
