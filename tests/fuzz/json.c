#include <string.h>

#include "domain/text/json.h"
#include "domain/text/utf8.h"
#include "tests/fuzz/fuzz.h"

/* The walk over the text meets as many values as the tree has. */
static void check_walk(struct json_object *root, struct span text)
{
	struct span value;
	size_t count = 0, expected = 0;

	if (json_object_is_type(root, json_type_object))
		expected = (size_t)json_object_object_length(root);
	else if (json_object_is_type(root, json_type_array))
		expected = json_object_array_length(root);
	else
		return;
	for (; json_next(&text, &value); count++) {
		struct json_object *again = NULL;
		const char *problem;

		MUST_HOLD(value.len > 0);
		MUST_HOLD(json_read(&again, value.bytes, value.len, &problem) == OK);
		json_object_put(again);
	}
	MUST_HOLD(count == expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct span text = {(const char *)data, len};
	struct json_object *root = NULL, *again = NULL;
	struct buf compact = BUF_EMPTY, string = BUF_EMPTY;
	const char *problem = NULL;
	enum err e = json_read(&root, text.bytes, text.len, &problem);

	MUST_HOLD(e == OK || (e == ERR_INPUT && problem));
	if (e == OK) {
		json_add_compact(&compact, text);
		MUST_HOLD(compact.len <= len && !memchr(compact.bytes, '\n', compact.len));
		MUST_HOLD(json_read(&again, compact.bytes, compact.len, &problem) == OK);
		/* What json-c can't hold is equal to nothing, itself included. */
		MUST_HOLD(json_equal(root, again) == json_equal(root, root));
		check_walk(root, text);
	}
	json_object_put(again);
	json_object_put(root);
	if (utf8_valid(text.bytes, text.len) && !memchr(data, '\0', len)) {
		json_add_string(&string, text.bytes, text.len);
		MUST_HOLD(json_read(&root, string.bytes, string.len, &problem) == OK);
		MUST_HOLD((size_t)json_object_get_string_len(root) == len);
		MUST_HOLD(memcmp(json_object_get_string(root), data, len) == 0);
		json_object_put(root);
	}
	buf_free(&compact);
	buf_free(&string);
	return 0;
}
