#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#include "domain/websocket/inflate.h"

#define TEXT_MAX 65536

/* What a client sends: the text compressed, without the end of the flush. */
static struct buf packed_of(const char *text, size_t len, int level)
{
	z_stream z = {0};
	struct buf packed = BUF_EMPTY;
	size_t size = len + len / 100 + 100;

	assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (Bytef *)text;
	z.avail_in = (uInt)len;
	z.next_out = buf_reserve(&packed, size);
	z.avail_out = (uInt)size;
	assert_int_equal(deflate(&z, Z_SYNC_FLUSH), Z_OK);
	assert_true(z.avail_out > 0);
	buf_cut(&packed, size - z.avail_out - 4);
	deflateEnd(&z);
	return packed;
}

static enum err read_packed(struct inflater *i, const void *bytes, size_t len, struct buf *out)
{
	return inflater_add_text(i, out, (struct span){bytes, len}, TEXT_MAX);
}

static void assert_text(struct inflater *i, const void *bytes, size_t len, const char *text)
{
	struct buf out = BUF_EMPTY;

	assert_int_equal(read_packed(i, bytes, len, &out), OK);
	assert_int_equal(out.len, strlen(text));
	assert_memory_equal(out.bytes ? out.bytes : "", text, out.len);
	buf_free(&out);
}

/* RFC 7692, section 7.2.3 */
static void reads_the_examples_of_the_standard(void **state)
{
	struct inflater *i = *state;

	assert_text(i, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7, "Hello");
	assert_text(i, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11, "Hello");
	assert_text(i, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8, "Hello");
	assert_text(i, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13, "Hello");
	assert_text(i, "\x00", 1, "");
	assert_text(i, "", 0, "");
}

static void every_length_of_a_text_that_hardly_takes_any_bytes_comes_whole(void **state)
{
	struct buf text = BUF_EMPTY;
	struct buf out = BUF_EMPTY;

	memset(buf_reserve(&text, TEXT_MAX), ' ', TEXT_MAX);
	for (size_t len = 0; len <= TEXT_MAX; len += len < 5000 ? 1 : 509) {
		struct buf packed = packed_of(text.bytes, len, 9);

		buf_clear(&out);
		assert_int_equal(read_packed(*state, packed.bytes, packed.len, &out), OK);
		assert_int_equal(out.len, len);
		buf_free(&packed);
	}
	buf_free(&text);
	buf_free(&out);
}

static void what_cannot_be_compressed_has_room_enough(void **state)
{
	struct buf text = BUF_EMPTY, out = BUF_EMPTY;
	uint32_t noise = 1;

	for (size_t n = 0; n < TEXT_MAX; n++) {
		noise = noise * 1664525 + 1013904223;
		buf_add(&text, &(char){(char)(noise >> 24)}, 1);
	}
	for (int level = 0; level <= 9; level++) {
		struct buf packed = packed_of(text.bytes, TEXT_MAX, level);

		assert_true(packed.len > TEXT_MAX);
		assert_true(packed.len <= inflate_packed_max(TEXT_MAX));
		buf_clear(&out);
		assert_int_equal(read_packed(*state, packed.bytes, packed.len, &out), OK);
		assert_int_equal(out.len, TEXT_MAX);
		assert_memory_equal(out.bytes, text.bytes, TEXT_MAX);
		buf_free(&packed);
	}
	buf_free(&text);
	buf_free(&out);
}

/* Each block that is stored takes 5 bytes more. */
static void a_text_that_is_stored_has_room_in_blocks_of_640_bytes(void **state)
{
	size_t text_max = 10 << 20;

	(void)state;
	assert_true(text_max + text_max / 640 * 5 <= inflate_packed_max(text_max));
	assert_false(text_max + text_max / 635 * 5 <= inflate_packed_max(text_max));
}

static void goes_no_further_than_a_text_may_be_long(void **state)
{
	struct buf text = BUF_EMPTY, out = BUF_EMPTY, packed;

	memset(buf_reserve(&text, 1000000), ' ', 1000000);
	buf_add_text(&out, "before");
	for (size_t len = TEXT_MAX + 1; len <= 1000000; len *= 2) {
		packed = packed_of(text.bytes, len, 9);
		assert_int_equal(read_packed(*state, packed.bytes, packed.len, &out), ERR_TOO_LARGE);
		assert_int_equal(out.len, 6);
		assert_true(out.size < 2 * (TEXT_MAX + 16384));
		buf_free(&packed);
	}
	buf_free(&text);
	buf_free(&out);
}

static void what_is_damaged_or_cut_off_is_refused_and_the_next_one_is_read(void **state)
{
	static const char text[] = "{\"type\":\"ping\",\"pad\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabc\"}";
	struct buf packed = packed_of(text, strlen(text), 9), out = BUF_EMPTY;

	for (size_t len = 1; len < packed.len; len++) {
		assert_int_equal(read_packed(*state, packed.bytes, len, &out), ERR_INPUT);
		assert_int_equal(out.len, 0);
	}
	assert_int_equal(read_packed(*state, "\xff\xff\xff\xff", 4, &out), ERR_INPUT);
	/* A distance to before the message: nothing is taken over from the one before. */
	assert_int_equal(read_packed(*state, "\x02\x13\x00\x00", 4, &out), ERR_INPUT);
	assert_text(*state, packed.bytes, packed.len, text);
	buf_free(&packed);
	buf_free(&out);
}

static int set_up(void **state)
{
	struct inflater *i;

	if (inflater_new(&i) != OK)
		return -1;
	*state = i;
	return 0;
}

static int tear_down(void **state)
{
	struct inflater *i = *state;

	inflater_free(&i);
	inflater_free(&i);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_the_examples_of_the_standard),
		cmocka_unit_test(every_length_of_a_text_that_hardly_takes_any_bytes_comes_whole),
		cmocka_unit_test(what_cannot_be_compressed_has_room_enough),
		cmocka_unit_test(a_text_that_is_stored_has_room_in_blocks_of_640_bytes),
		cmocka_unit_test(goes_no_further_than_a_text_may_be_long),
		cmocka_unit_test(what_is_damaged_or_cut_off_is_refused_and_the_next_one_is_read),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
