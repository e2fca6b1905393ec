#include <string.h>

#include "domain/http/forwarded.h"
#include "domain/http/request_id.h"
#include "tests/fuzz/fuzz.h"

#define PROXIES "10.0.0.0/8, 2001:db8::/32"

/* The input is what a client has written; the last proxy adds whom it has that from, in a line of its own or in the same. */
static void check(const char *bytes, size_t len, bool same_line, const char *added, enum forwarded_header header)
{
	struct address peer, client, wanted;
	char line[4096], text[ADDRESS_TEXT_SIZE];
	struct header_list list = {0};
	struct forwarded f = {0};
	size_t used = 0;

	if (len + strlen(added) + 2 > sizeof(line))
		return;
	memcpy(line, bytes, len);
	used = len;
	if (same_line) {
		memcpy(line + used, ", ", 2);
		memcpy(line + used + 2, added, strlen(added));
		used += 2 + strlen(added);
	}
	header_list_add(&list, (struct span){line, used});
	if (!same_line)
		header_list_add(&list, (struct span){added, strlen(added)});
	if (header == FORWARDED_RFC_7239)
		f.forwarded = list;
	else
		f.x_forwarded_for = list;
	MUST_HOLD(address_parse(&peer, (struct span){"10.0.0.1", 8}));
	MUST_HOLD(address_parse(&wanted, (struct span){"203.0.113.9", 11}));
	forwarded_client(&client, &peer, &f, PROXIES, header);
	MUST_HOLD(address_equal(&client, &wanted));
	/* Whom nobody trusts is who it is. */
	forwarded_client(&client, &wanted, &f, PROXIES, header);
	MUST_HOLD(address_equal(&client, &wanted));
	/* The proxies alone may say anything. */
	forwarded_client(&client, &peer, &f, "::/0, 0.0.0.0/0", header);
	MUST_HOLD(address_text(text, &client)[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *bytes = (const char *)data;
	struct span all = {bytes, len}, bad;
	char trace[TRACE_ID_SIZE], list[4096];

	for (int same_line = 0; same_line < 2; same_line++) {
		check(bytes, len, same_line, "203.0.113.9", FORWARDED_X_FORWARDED_FOR);
		check(bytes, len, same_line, "203.0.113.9:4711, 10.0.0.7", FORWARDED_X_FORWARDED_FOR);
		check(bytes, len, same_line, "for=203.0.113.9", FORWARDED_RFC_7239);
		check(bytes, len, same_line, "by=x;for=\"203.0.113.9:1\";host=\"a,\\\"b\", for=\"[2001:db8::7]\"",
		      FORWARDED_RFC_7239);
	}
	MUST_HOLD(request_id_trace(trace, all) == (strlen(trace) == TRACE_ID_SIZE - 1));
	MUST_HOLD(!request_id_valid(all) || (len <= REQUEST_ID_MAX && !memchr(bytes, '\n', len)));
	if (len < sizeof(list)) {
		memcpy(list, bytes, len);
		list[len] = '\0';
		(void)address_list_valid(list, &bad);
	}
	return 0;
}
