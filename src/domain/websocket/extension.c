#include "domain/websocket/extension.h"

#include <string.h>

#include "domain/http/header_list.h"

static bool is(struct span text, const char *word)
{
	return text.len == strlen(word) && memcmp(text.bytes, word, text.len) == 0;
}

/* 8 to 15, without a zero in front, perhaps in quotes. */
static bool is_window_bits(struct span value)
{
	if (value.len >= 2 && value.bytes[0] == '"' && value.bytes[value.len - 1] == '"')
		value = (struct span){value.bytes + 1, value.len - 2};
	return (value.len == 1 && (value.bytes[0] == '8' || value.bytes[0] == '9')) ||
	       (value.len == 2 && value.bytes[0] == '1' && value.bytes[1] >= '0' && value.bytes[1] <= '5');
}

static bool can_be_agreed(struct span offer)
{
	static const char window[] = "client_max_window_bits";
	static const char *const flags[] = {"server_no_context_takeover", "client_no_context_takeover", window};
	bool seen[ARRAY_LEN(flags)] = {0};
	struct span item;

	if (!list_next(&offer, ';', &item) || !is(item, "permessage-deflate"))
		return false;
	while (list_next(&offer, ';', &item)) {
		const char *equals = memchr(item.bytes, '=', item.len);
		struct span name = {item.bytes, equals ? (size_t)(equals - item.bytes) : item.len};
		size_t i = 0;

		while (i < ARRAY_LEN(flags) && !is(name, flags[i]))
			i++;
		if (i == ARRAY_LEN(flags) || seen[i])
			return false;
		seen[i] = true;
		/* Only this may have a value, and need not. It limits the client: our decompressor takes any. */
		if (equals &&
		    (flags[i] != window || !is_window_bits((struct span){equals + 1, item.len - name.len - 1})))
			return false;
	}
	return true;
}

bool extension_deflate_offered(struct span extensions)
{
	struct span offer;

	while (list_next(&extensions, ',', &offer)) {
		if (can_be_agreed(offer))
			return true;
	}
	return false;
}
