#include "domain/http/forwarded.h"

#include <string.h>
#include <strings.h>

/* Is the quote at `at` escaped, by an odd number of backslashes before it? */
static bool is_escaped(const char *bytes, size_t at)
{
	size_t backslashes = 0;

	while (at > backslashes && bytes[at - 1 - backslashes] == '\\')
		backslashes++;
	return backslashes % 2 == 1;
}

/*
 * Takes the last item off the lines. A comma in quotes is none, where quotes count: they are looked for from the right, so that one
 * which a client has left open reaches no item that a proxy has added. False: there is none.
 */
static bool take_last(struct header_list *list, bool quotes, struct span *item)
{
	while (list->count > 0) {
		struct span *line = &list->lines[list->count - 1];
		size_t start = line->len;
		bool inside = false;

		while (start > 0 && (inside || line->bytes[start - 1] != ',')) {
			start--;
			if (quotes && line->bytes[start] == '"' && !(inside && is_escaped(line->bytes, start)))
				inside = !inside;
		}
		*item = list_trim((struct span){line->bytes + start, line->len - start});
		line->len = start > 0 ? start - 1 : 0;
		if (start == 0)
			list->count--;
		if (item->len > 0)
			return true;
	}
	return false;
}

/* Behind an address: nothing, or a port, which may be any digits or an obfuscated one. */
static bool is_port(struct span s)
{
	if (s.len == 0)
		return true;
	for (size_t i = 1; i < s.len; i++)
		if (!strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-", s.bytes[i]) ||
		    s.bytes[i] == '\0')
			return false;
	return s.bytes[0] == ':' && s.len > 1;
}

/* 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1], [2001:db8::1]:80 */
static bool read_node(struct address *a, struct span s)
{
	const char *end;

	if (s.len > 0 && s.bytes[0] == '[') {
		end = memchr(s.bytes, ']', s.len);
		return end && address_parse(a, (struct span){s.bytes + 1, (size_t)(end - s.bytes - 1)}) &&
		       is_port((struct span){end + 1, (size_t)(s.bytes + s.len - end - 1)});
	}
	if (address_parse(a, s))
		return true;
	end = memchr(s.bytes, ':', s.len);
	return end && address_parse(a, (struct span){s.bytes, (size_t)(end - s.bytes)}) &&
	       is_port((struct span){end, (size_t)(s.bytes + s.len - end)});
}

/* Takes the first pair off an element of Forwarded. False: there is none. */
static bool next_pair(struct span *element, struct span *pair)
{
	bool inside = false;
	size_t len = 0;

	if (element->len == 0)
		return false;
	for (; len < element->len && (inside || element->bytes[len] != ';'); len++) {
		if (inside && element->bytes[len] == '\\' && len + 1 < element->len)
			len++;
		else if (element->bytes[len] == '"')
			inside = !inside;
	}
	*pair = list_trim((struct span){element->bytes, len});
	len += len < element->len;
	*element = (struct span){element->bytes + len, element->len - len};
	return true;
}

/* An element of Forwarded that says `for` once. No address needs an escape in its quotes. */
static bool read_element(struct address *a, struct span element)
{
	struct span pair, value = {0};

	while (next_pair(&element, &pair)) {
		if (pair.len < 4 || strncasecmp(pair.bytes, "for=", 4) != 0)
			continue;
		if (value.bytes)
			return false;
		value = (struct span){pair.bytes + 4, pair.len - 4};
	}
	if (value.len >= 2 && value.bytes[0] == '"' && value.bytes[value.len - 1] == '"')
		value = (struct span){value.bytes + 1, value.len - 2};
	return value.bytes && read_node(a, value);
}

static void walk_back(struct address *client, const struct address *peer, struct header_list list, bool rfc_7239,
		      const char *trusted)
{
	struct address next;
	struct span item;

	*client = *peer;
	while (address_list_has(trusted, client) && take_last(&list, rfc_7239, &item) &&
	       (rfc_7239 ? read_element(&next, item) : read_node(&next, item)))
		*client = next;
}

void forwarded_client(struct address *client, const struct address *peer, const struct forwarded *f,
		      const char *trusted, enum forwarded_header header)
{
	struct address by_x, by_rfc;

	walk_back(&by_x, peer, f->x_forwarded_for, false, trusted);
	walk_back(&by_rfc, peer, f->forwarded, true, trusted);
	*client = *peer;
	switch (header) {
	case FORWARDED_X_FORWARDED_FOR:
		*client = by_x;
		break;
	case FORWARDED_RFC_7239:
		*client = by_rfc;
		break;
	case FORWARDED_EITHER:
		/* One of them a client may have made up, which the proxies have handed on as it was. */
		if (f->forwarded.count == 0 || address_equal(&by_x, &by_rfc))
			*client = by_x;
		else if (f->x_forwarded_for.count == 0)
			*client = by_rfc;
		break;
	}
}
