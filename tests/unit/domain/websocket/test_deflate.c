#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "domain/websocket/deflate.h"
#include "domain/websocket/extension.h"
#include "tests/unit/inflate.h"

static struct span span_of(const char *text)
{
	return (struct span){text, strlen(text)};
}

/* Frame and inflate one text; how many bytes its frame has. */
static size_t there_and_back(struct deflater *d, struct span text, bool *compressed)
{
	struct buf frame = BUF_EMPTY, back = BUF_EMPTY;
	struct span frames;
	size_t len;

	deflater_add_frame(d, &frame, text);
	assert_true(buf_ok(&frame));
	frames = (struct span){frame.bytes, frame.len};
	assert_true(inflate_next(&frames, &back, compressed));
	assert_int_equal(frames.len, 0);
	assert_int_equal(back.len, text.len);
	if (text.len > 0)
		assert_memory_equal(back.bytes, text.bytes, text.len);
	len = frame.len;
	buf_free(&frame);
	buf_free(&back);
	return len;
}

static void what_it_compresses_is_the_same_again_inflated(void **state)
{
	static const char json[] =
		"{\"seq\":7,\"type\":\"feedback_update\",\"topic\":\"diagnosis/1\",\"diagnosis_id\":1,"
		"\"data\":{\"feedback_id\":1,\"rating\":5,\"effectiveness\":0.5,\"comment\":"
		"\"aaaaaaaaaaaaaaaaaaaaaaaaa\"}}";
	struct deflater *d;
	bool compressed;
	size_t first;

	(void)state;
	assert_int_equal(deflater_new(&d), OK);
	first = there_and_back(d, span_of(json), &compressed);
	assert_true(compressed);
	assert_true(first < sizeof(json));
	/* By itself: the second time it is not shorter. */
	assert_int_equal(there_and_back(d, span_of(json), &compressed), first);
	deflater_free(&d);
	assert_null(d);
}

static void what_would_not_get_shorter_goes_as_it_is(void **state)
{
	struct deflater *d;
	bool compressed;
	char noise[1000];
	uint32_t random = 1;

	(void)state;
	assert_int_equal(deflater_new(&d), OK);
	assert_int_equal(there_and_back(d, span_of("{}"), &compressed), 4);
	assert_false(compressed);
	assert_int_equal(there_and_back(d, span_of(""), &compressed), 2);
	assert_false(compressed);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (char)((random = random * 1103515245 + 12345) >> 16);
	assert_int_equal(there_and_back(d, (struct span){noise, sizeof(noise)}, &compressed), sizeof(noise) + 4);
	assert_false(compressed);
	deflater_free(&d);
}

static void a_text_of_any_length_comes_back_whole(void **state)
{
	struct deflater *d;
	size_t size = 300000;
	char *text = malloc(size);
	bool compressed;

	(void)state;
	assert_non_null(text);
	assert_int_equal(deflater_new(&d), OK);
	for (size_t i = 0; i < size; i++)
		text[i] = (char)('a' + i * i % 23 % 7);
	for (size_t len = 0; len < 700; len++)
		there_and_back(d, (struct span){text, len}, &compressed);
	for (size_t len = 700; len <= size; len = len * 3 + 1)
		there_and_back(d, (struct span){text, len}, &compressed);
	there_and_back(d, (struct span){text, size}, &compressed);
	assert_true(compressed);
	deflater_free(&d);
	free(text);
}

static void an_offer_is_taken_where_our_answer_fits_it(void **state)
{
	static const struct {
		const char *offer;
		bool taken;
	} cases[] = {
		{"permessage-deflate", true},
		{"permessage-deflate; client_max_window_bits", true},
		{"permessage-deflate; client_max_window_bits=8", true},
		{"permessage-deflate;client_max_window_bits=\"15\";server_no_context_takeover", true},
		{" permessage-deflate ; client_no_context_takeover ; server_no_context_takeover ", true},
		{"x-other, permessage-deflate", true},
		{"permessage-deflate; server_max_window_bits=10, permessage-deflate", true},
		{"permessage-deflate; server_max_window_bits=10", false},
		{"permessage-deflate; server_max_window_bits=15", false},
		{"permessage-deflate; client_max_window_bits=7", false},
		{"permessage-deflate; client_max_window_bits=16", false},
		{"permessage-deflate; client_max_window_bits=08", false},
		{"permessage-deflate; client_max_window_bits=", false},
		{"permessage-deflate; client_no_context_takeover=1", false},
		{"permessage-deflate; client_no_context_takeover; client_no_context_takeover", false},
		{"permessage-deflate; unheard_of", false},
		{"permessage-deflate-2", false},
		{"x-webkit-deflate-frame", false},
		{"client_max_window_bits; permessage-deflate", false},
		{"", false},
		{",;,", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (extension_deflate_offered(span_of(cases[i].offer)) != cases[i].taken)
			fail_msg("%s", cases[i].offer);
	}
	assert_false(extension_deflate_offered((struct span){0}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_it_compresses_is_the_same_again_inflated),
		cmocka_unit_test(what_would_not_get_shorter_goes_as_it_is),
		cmocka_unit_test(a_text_of_any_length_comes_back_whole),
		cmocka_unit_test(an_offer_is_taken_where_our_answer_fits_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
