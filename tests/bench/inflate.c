#include "tests/bench/inflate.h"

#include <string.h>
#include <zlib.h>

#include "tests/bench/bench.h"

#define TEXT_MAX (1024 * 1024) /* bytes: four times the largest body that can be posted */

static struct {
	z_stream stream;
	char *compressed; /* the last message, and its text */
	size_t compressed_len;
	char *text; /* NULL: none yet */
	size_t text_len;
} last;

static void feed(const char *bytes, size_t len)
{
	last.stream.next_in = (Bytef *)bytes;
	last.stream.avail_in = (uInt)len;

	int got = inflate(&last.stream, Z_SYNC_FLUSH);

	if ((got != Z_OK && got != Z_BUF_ERROR) || last.stream.avail_in > 0)
		die("a message that is not compressed as RFC 7692 has it: zlib says %d", got);
}

struct span inflate_text(struct span compressed)
{
	if (last.text && compressed.len == last.compressed_len &&
	    memcmp(compressed.bytes, last.compressed, compressed.len) == 0)
		return (struct span){last.text, last.text_len};
	if (!last.text) {
		last.text = must_alloc(NULL, TEXT_MAX);
		if (inflateInit2(&last.stream, -MAX_WBITS) != Z_OK)
			die("zlib does not start");
	}
	inflateReset(&last.stream);
	last.stream.next_out = (Bytef *)last.text;
	last.stream.avail_out = TEXT_MAX;
	feed(compressed.bytes, compressed.len);
	feed("\x00\x00\xff\xff", 4); /* what a sender cuts off: RFC 7692, 7.2.1 */
	last.text_len = TEXT_MAX - last.stream.avail_out;
	last.compressed = must_alloc(last.compressed, compressed.len + 1);
	memcpy(last.compressed, compressed.bytes, compressed.len);
	last.compressed_len = compressed.len;
	return (struct span){last.text, last.text_len};
}
