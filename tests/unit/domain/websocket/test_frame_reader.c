#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "domain/websocket/frame_reader.h"
#include "tests/unit/frames.h"

#define FIN 0x80
#define RSV1 0x40

/* Appends a client's frame. `first` is its first byte. */
static void add(struct buf *b, unsigned first, const char *payload, size_t len)
{
	static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
	uint8_t header[14] = {(uint8_t)first};
	size_t size = len < 126 ? 0 : len <= UINT16_MAX ? 2 : 8;

	header[1] = (uint8_t)(0x80 | (size == 0 ? len : size == 2 ? 126 : 127));
	for (size_t i = 0; i < size; i++)
		header[2 + i] = (uint8_t)((uint64_t)len >> (8 * (size - 1 - i)));
	memcpy(header + 2 + size, mask, 4);
	buf_add(b, header, 2 + size + 4);
	for (size_t i = 0; i < len; i++) {
		uint8_t masked = (uint8_t)payload[i] ^ mask[i % 4];

		buf_add(b, &masked, 1);
	}
}

static void add_text(struct buf *b, unsigned first, const char *payload)
{
	add(b, first, payload, strlen(payload));
}

/*
 * What a reader makes of bytes, as text, pieces of one frame joined: `t[…]` a whole message, `t(…` its beginning, `…)` its
 * end; `b`, `z` where it is binary or compressed; `ping(…)`, `pong(…)`, `close(code)`, `breach(code)`.
 */
static void describe(struct buf *out, struct frame_reader *r, char *bytes, size_t len)
{
	const char *end = bytes + len;
	struct frame_piece p;
	enum frame_event event;

	while ((event = frame_read(r, &bytes, &len, &p)) != FRAME_NOTHING) {
		switch (event) {
		case FRAME_PIECE:
			if (p.first)
				buf_printf(out, "%s%s", p.message.binary ? "b" : "t", p.message.packed ? "z" : "");
			if (p.first)
				buf_add_text(out, "(");
			buf_add(out, p.bytes.bytes, p.bytes.len);
			if (p.last)
				buf_add_text(out, ")");
			break;
		case FRAME_PING:
		case FRAME_PONG:
			buf_add_text(out, event == FRAME_PING ? "ping(" : "pong(");
			buf_add(out, p.bytes.bytes, p.bytes.len);
			buf_add_text(out, ")");
			break;
		case FRAME_CLOSE:
			buf_printf(out, "close(%u)", p.code);
			break;
		case FRAME_BREACH:
			assert_non_null(p.reason);
			buf_printf(out, "breach(%u)", p.code);
			break;
		case FRAME_NOTHING:
			break;
		}
	}
	assert_int_equal(len, 0);
	assert_ptr_equal(bytes, end);
}

/* Whole, a byte at a time, and in pieces of each size up to 9: always the same. */
static void assert_read_by(bool inflates, const struct buf *b, const char *expected)
{
	for (size_t step = 0; step < 10; step++) {
		struct frame_reader r = {.inflates = inflates};
		struct buf copy = BUF_EMPTY, out = BUF_EMPTY;

		buf_add(&copy, b->bytes, b->len);
		for (size_t at = 0; at < b->len; at += step ? step : b->len) {
			size_t len = MIN(step ? step : b->len, b->len - at);
			char *exact = malloc(len); /* ends where the piece ends, so that a byte beyond is seen */

			memcpy(exact, copy.bytes + at, len);
			describe(&out, &r, exact, len);
			free(exact);
		}
		assert_string_equal(out.bytes ? out.bytes : "", expected);
		buf_free(&copy);
		buf_free(&out);
	}
}

static void assert_read(struct buf *b, const char *expected)
{
	assert_read_by(false, b, expected);
	buf_free(b);
}

static void gives_messages_pings_pongs_and_the_close_in_their_order(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	add_text(&b, FIN | 1, "hello");
	add_text(&b, FIN | 9, "");
	add_text(&b, FIN | 9, "p");
	add_text(&b, FIN | 1, "");
	add_text(&b, FIN | 10, "q");
	add_text(&b, FIN | 2, "bin");
	add(&b, FIN | 8, "\x03\xe8", 2);
	assert_read(&b, "t(hello)ping()ping(p)t()pong(q)b(bin)close(1000)");
}

static void joins_fragments_and_takes_control_frames_between_them(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	add_text(&b, 1, "a");
	add_text(&b, FIN | 9, "in between");
	add_text(&b, 0, "");
	add_text(&b, 0, "b");
	add_text(&b, FIN | 0, "c");
	add_text(&b, 2, "");
	add_text(&b, FIN | 0, "d");
	add_text(&b, FIN | 1, "e");
	assert_read(&b, "t(aping(in between)bc)b(d)t(e)");
}

static void takes_each_length_in_its_shortest_form_alone(void **state)
{
	static const size_t lengths[] = {0, 1, 125, 126, 127, 255, 256, 65535, 65536, 70000};
	static const char *const longer[] = {
		"\x81\xfe\x00\x00", "\x81\xfe\x00\x7d", "\x81\xff\x00\x00\x00\x00\x00\x00\x00\x01",
		"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff", "\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00"};
	struct buf longest = BUF_EMPTY;

	(void)state;
	buf_add(&longest, "\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xffmask", 14);
	buf_add(&longest, &(char){'m' ^ 'x'}, 1);
	assert_read(&longest, "t(x");
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		struct buf b = BUF_EMPTY, text = BUF_EMPTY, expected = BUF_EMPTY;

		memset(buf_reserve(&text, lengths[i] + 1), 'x', lengths[i]);
		buf_cut(&text, lengths[i]);
		add(&b, FIN | 1, text.bytes, lengths[i]);
		buf_printf(&expected, "t(%.*s)", (int)lengths[i], text.bytes);
		assert_read(&b, expected.bytes);
		buf_free(&text);
		buf_free(&expected);
	}
	for (size_t i = 0; i < ARRAY_LEN(longer); i++) {
		struct buf b = BUF_EMPTY;

		buf_add(&b, longer[i], i < 2 ? 4 : 10);
		buf_add(&b, "mask", 4);
		assert_read(&b, "breach(1002)");
	}
}

/* libwebsockets took them. */
static void a_frame_that_is_not_masked_is_a_breach_of_any_kind(void **state)
{
	static const unsigned firsts[] = {FIN | 1, FIN | 2, 1, FIN | 8, FIN | 9, FIN | 10};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(firsts); i++) {
		uint8_t frame[] = {(uint8_t)firsts[i], 2, 3, 0xe8};
		struct buf b = BUF_EMPTY;

		add_text(&b, FIN | 1, "good");
		buf_add(&b, frame, sizeof(frame));
		add_text(&b, FIN | 9, "not read");
		assert_read(&b, "t(good)breach(1002)");
	}
}

static void reserved_bits_and_opcodes_are_breaches(void **state)
{
	(void)state;
	for (unsigned first = 0; first < 256; first++) {
		unsigned opcode = first & 15, bits = first & 0x70;
		bool known = opcode <= 2 || (opcode >= 8 && opcode <= 10);
		bool whole = (first & FIN) && opcode != 0;

		for (int inflates = 0; inflates < 2; inflates++) {
			bool may = bits == 0 || (inflates && bits == RSV1 && (opcode == 1 || opcode == 2));
			struct buf b = BUF_EMPTY, out = BUF_EMPTY;
			struct frame_reader r = {.inflates = inflates};

			add(&b, first, "\x03\xe8", 2);
			describe(&out, &r, b.bytes, b.len);
			if (!known || !may || opcode == 0 || (opcode >= 8 && !whole))
				assert_string_equal(out.bytes, "breach(1002)");
			else
				assert_null(strstr(out.bytes, "breach"));
			buf_free(&b);
			buf_free(&out);
		}
	}
}

static void the_bit_of_compression_is_for_the_first_frame_of_a_message_alone(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	add_text(&b, RSV1 | 1, "a");
	add_text(&b, FIN | 0, "b");
	add_text(&b, FIN | 1, "c");
	add_text(&b, FIN | RSV1 | 2, "d");
	assert_read_by(true, &b, "tz(ab)t(c)bz(d)");
	add_text(&b, 1, "e");
	add_text(&b, FIN | RSV1 | 0, "f");
	assert_read_by(true, &b, "tz(ab)t(c)bz(d)t(ebreach(1002)");
	buf_free(&b);
	add_text(&b, FIN | RSV1 | 9, "");
	assert_read_by(true, &b, "breach(1002)");
	buf_free(&b);
}

static void fragments_of_nothing_and_messages_within_messages_are_breaches(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	add_text(&b, FIN | 0, "x");
	assert_read(&b, "breach(1002)");
	add_text(&b, FIN | 1, "whole");
	add_text(&b, 0, "x");
	assert_read(&b, "t(whole)breach(1002)");
	add_text(&b, 1, "a");
	add_text(&b, FIN | 1, "b");
	assert_read(&b, "t(abreach(1002)");
	add_text(&b, 1, "a");
	add_text(&b, 2, "b");
	assert_read(&b, "t(abreach(1002)");
}

static void a_control_frame_is_whole_and_short(void **state)
{
	char long_text[127];
	struct buf b = BUF_EMPTY;

	(void)state;
	memset(long_text, 'x', 126);
	long_text[126] = '\0';
	for (unsigned opcode = 8; opcode <= 10; opcode++) {
		add_text(&b, FIN | opcode, long_text);
		assert_read(&b, "breach(1002)");
		add(&b, opcode, "\x03\xe8", 2);
		assert_read(&b, "breach(1002)");
	}
	long_text[125] = '\0';
	add_text(&b, FIN | 9, long_text);
	for (size_t step = 1; step < b.len; step++) {
		struct frame_reader r = {0};
		struct buf out = BUF_EMPTY, copy = BUF_EMPTY;

		buf_add(&copy, b.bytes, b.len);
		describe(&out, &r, copy.bytes, step);
		assert_int_equal(out.len, 0);
		describe(&out, &r, copy.bytes + step, copy.len - step);
		assert_int_equal(out.len, strlen("ping()") + 125);
		buf_free(&out);
		buf_free(&copy);
	}
	buf_free(&b);
}

static void read_close(unsigned code, const char *reason, const char *expected)
{
	char body[125] = {(char)(code >> 8), (char)code};
	struct buf b = BUF_EMPTY;

	memcpy(body + 2, reason, strlen(reason));
	add(&b, FIN | 8, body, 2 + strlen(reason));
	assert_read(&b, expected);
}

/* libwebsockets sent them back as they were. */
static void a_close_has_no_body_or_a_code_that_may_be_sent_and_utf8(void **state)
{
	struct buf b = BUF_EMPTY;
	char expected[32];

	(void)state;
	add(&b, FIN | 8, "", 0);
	assert_read(&b, "close(0)");
	add(&b, FIN | 8, "\x03", 1);
	assert_read(&b, "breach(1002)");
	for (unsigned code = 0; code < 65536; code += code < 5100 ? 1 : 997) {
		bool may = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
			   (code >= 3000 && code < 5000);

		snprintf(expected, sizeof(expected), may ? "close(%u)" : "breach(1002)", code);
		read_close(code, "why", expected);
	}
	/* What a longer ping has left behind it is not of its reason. */
	add_text(&b, FIN | 9, "\xff\xff\xff\xff\xff\xff\xff\xff");
	add(&b, FIN | 8, "\x03\xe8why", 5);
	assert_read(&b, "ping(\xff\xff\xff\xff\xff\xff\xff\xff)close(1000)");
	read_close(1000, "\xc3\xa9", "close(1000)");
	read_close(1000, "\xff", "breach(1007)");
	read_close(1000, "\xe2\x82", "breach(1007)");
}

static void nothing_is_read_behind_a_close_or_a_breach(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	add(&b, FIN | 8, "\x03\xe8", 2);
	add_text(&b, FIN | 1, "late");
	add_text(&b, FIN | 9, "late");
	add(&b, FIN | 8, "\x03\xe9", 2);
	assert_read(&b, "close(1000)");
	add_text(&b, FIN | 0x30 | 1, "");
	add_text(&b, FIN | 9, "late");
	assert_read(&b, "breach(1002)");
	/* A close in the middle of a message is one. */
	add_text(&b, 1, "a");
	add(&b, FIN | 8, "", 0);
	add_text(&b, FIN | 0, "b");
	assert_read(&b, "t(aclose(0)");
}

/* Frames by chance, cut by chance: what is read is what was sent. */
static void reads_what_was_sent_however_it_is_cut(void **state)
{
	uint64_t random = 20261126;

	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		struct buf b = BUF_EMPTY, expected = BUF_EMPTY, out = BUF_EMPTY;
		struct frame_reader r = {.inflates = true};
		bool open = false;

		for (size_t frames = 1 + pick(&random, 12); frames > 0; frames--) {
			char text[301];
			size_t len = pick(&random, pick(&random, 3) ? 8 : 300);
			bool fin = pick(&random, 2);

			for (size_t i = 0; i < len; i++)
				text[i] = (char)('a' + pick(&random, 26));
			text[len] = '\0';
			if (len < 126 && pick(&random, 4) == 0) {
				bool ping = pick(&random, 2);

				add(&b, FIN | (ping ? 9 : 10), text, len);
				buf_printf(&expected, "%s(%s)", ping ? "ping" : "pong", text);
				continue;
			}
			if (!open) {
				bool binary = pick(&random, 2), packed = pick(&random, 2);

				add(&b, (fin ? FIN : 0U) | (packed ? RSV1 : 0U) | (binary ? 2U : 1U), text, len);
				buf_printf(&expected, "%s%s(%s%s", binary ? "b" : "t", packed ? "z" : "", text,
					   fin ? ")" : "");
			} else {
				add(&b, fin ? FIN : 0U, text, len);
				buf_printf(&expected, "%s%s", text, fin ? ")" : "");
			}
			open = !fin;
		}
		for (size_t at = 0; at < b.len;) {
			size_t len = 1 + pick(&random, pick(&random, 2) ? 5 : 400);

			len = MIN(len, b.len - at);
			describe(&out, &r, b.bytes + at, len);
			at += len;
		}
		assert_string_equal(out.bytes, expected.bytes);
		buf_free(&b);
		buf_free(&expected);
		buf_free(&out);
	}
}

/* Frames are charged for, and not the pieces that the network makes of them. */
static void tells_the_first_piece_of_each_frame(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	add_text(&b, 0x01, "one");
	add_text(&b, 0x00, "");
	add_text(&b, FIN | 0x09, "ping");
	add_text(&b, 0x00, "four");
	add_text(&b, FIN | 0x00, "five!");
	for (size_t step = 1; step <= b.len; step++) {
		struct frame_reader r = {0};
		struct buf copy = BUF_EMPTY;
		struct frame_piece p;
		enum frame_event event;
		unsigned frames = 0;

		buf_add(&copy, b.bytes, b.len);
		for (size_t at = 0; at < copy.len; at += step) {
			size_t len = MIN(step, copy.len - at);
			char *bytes = copy.bytes + at;

			while ((event = frame_read(&r, &bytes, &len, &p)) != FRAME_NOTHING)
				frames += event == FRAME_PIECE && p.frame;
		}
		assert_int_equal(frames, 4);
		buf_free(&copy);
	}
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_the_first_piece_of_each_frame),
		cmocka_unit_test(gives_messages_pings_pongs_and_the_close_in_their_order),
		cmocka_unit_test(joins_fragments_and_takes_control_frames_between_them),
		cmocka_unit_test(takes_each_length_in_its_shortest_form_alone),
		cmocka_unit_test(a_frame_that_is_not_masked_is_a_breach_of_any_kind),
		cmocka_unit_test(reserved_bits_and_opcodes_are_breaches),
		cmocka_unit_test(the_bit_of_compression_is_for_the_first_frame_of_a_message_alone),
		cmocka_unit_test(fragments_of_nothing_and_messages_within_messages_are_breaches),
		cmocka_unit_test(a_control_frame_is_whole_and_short),
		cmocka_unit_test(a_close_has_no_body_or_a_code_that_may_be_sent_and_utf8),
		cmocka_unit_test(nothing_is_read_behind_a_close_or_a_breach),
		cmocka_unit_test(reads_what_was_sent_however_it_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
