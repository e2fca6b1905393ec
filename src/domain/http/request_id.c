#include "domain/http/request_id.h"

#include <string.h>

#include "domain/text/uuid.h"

bool request_id_valid(struct span id)
{
	for (size_t i = 0; i < id.len; i++) {
		char c = id.bytes[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		      (c != '\0' && strchr("_.:/@+=-", c))))
			return false;
	}
	return id.len >= 1 && id.len <= REQUEST_ID_MAX;
}

static bool is_hex(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
			return false;
	return true;
}

static bool is_zero(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] != '0')
			return false;
	return true;
}

/* version "-" trace "-" parent "-" flags; a later version may have more behind that. */
bool request_id_trace(char trace[TRACE_ID_SIZE], struct span t)
{
	const char *s = t.bytes;

	trace[0] = '\0';
	if (t.len < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' || !is_hex(s, 2) || !is_hex(s + 3, 32) ||
	    !is_hex(s + 36, 16) || !is_hex(s + 53, 2))
		return false;
	if (memcmp(s, "ff", 2) == 0 || is_zero(s + 3, 32) || is_zero(s + 36, 16) ||
	    (t.len > 55 && (memcmp(s, "00", 2) == 0 || s[55] != '-')))
		return false;
	memcpy(trace, s + 3, 32);
	trace[32] = '\0';
	return true;
}

bool request_id_given(char id[REQUEST_ID_MAX + 1], const struct header_list *ids,
		      const struct header_list *traceparents)
{
	static const uint8_t unused[UUID_BYTES] = {0};
	struct span given = ids->count == 1 ? ids->lines[0] : (struct span){0};
	char trace[TRACE_ID_SIZE] = "";

	if (traceparents->count == 1)
		(void)request_id_trace(trace, traceparents->lines[0]);
	if (!(given.bytes && request_id_valid(given)) && !trace[0])
		return false;
	request_id_choose(id, given, trace, unused);
	return true;
}

void request_id_choose(char id[REQUEST_ID_MAX + 1], struct span given, const char *trace, const uint8_t *random)
{
	char own[UUID_TEXT_SIZE];
	struct uuid u;

	if (given.bytes && request_id_valid(given)) {
		memcpy(id, given.bytes, given.len);
		id[given.len] = '\0';
	} else if (trace[0]) {
		memcpy(id, trace, TRACE_ID_SIZE);
	} else {
		u = uuid_of_random(random);
		memcpy(id, uuid_text(own, &u), UUID_TEXT_SIZE);
	}
}
