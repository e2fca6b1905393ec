#include "cli/text/plain.h"

#include <stdbool.h>
#include <string.h>

#include "domain/text/utf8.h"

/* Bytes of the character that the text begins with; 0: that is none. */
static size_t character(struct span text)
{
	unsigned char first = (unsigned char)text.bytes[0];
	size_t len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

	return len <= text.len && utf8_valid(text.bytes, len) ? len : 0;
}

/* C0, DEL, and C1: terminals take U+009B for ESC [. */
static bool is_control(const char *character)
{
	const unsigned char *c = (const unsigned char *)character;

	return c[0] < 0x20 || c[0] == 0x7f || (c[0] == 0xc2 && c[1] < 0xa0);
}

void plain_add(struct buf *out, struct span text)
{
	for (size_t len = 0; text.len > 0; text = (struct span){text.bytes + MAX(len, 1), text.len - MAX(len, 1)}) {
		len = character(text);
		if (len == 0 || is_control(text.bytes))
			buf_add_text(out, "?");
		else
			buf_add(out, text.bytes, len);
	}
}

void plain_add_lines(struct buf *out, const char *text)
{
	for (size_t len = 0; *text; text += len) {
		len = strcspn(text, "\n");
		plain_add(out, (struct span){text, len});
		if (text[len] == '\n') {
			buf_add_text(out, "\n");
			len++;
		}
	}
}

void plain_add_json(struct buf *out, struct span json)
{
	for (size_t len = 0; json.len > 0; json = (struct span){json.bytes + MAX(len, 1), json.len - MAX(len, 1)}) {
		const unsigned char *c = (const unsigned char *)json.bytes;

		len = character(json);
		if (len == 0)
			buf_add_text(out, "\\ufffd");
		else if (!is_control(json.bytes))
			buf_add(out, json.bytes, len);
		else if (c[0] >= 0x20) /* else it is space between two values */
			buf_printf(out, "\\u%04x", len == 1 ? c[0] : c[1]);
	}
}
