#include "base/net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#define LOOPBACK 127 /* the first of its four numbers: RFC 1122, section 3.2.1.3 */

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* Addresses whose first `bits` are those of `first`. */
struct network {
	struct address first;
	unsigned bits;
};

static bool is_mapped(const struct address *a)
{
	return memcmp(a->ip, mapped, sizeof(mapped)) == 0;
}

bool address_parse(struct address *a, struct span text)
{
	char copy[ADDRESS_TEXT_SIZE];

	*a = (struct address){0};
	if (text.len >= sizeof(copy) || memchr(text.bytes, '\0', text.len))
		return false;
	memcpy(copy, text.bytes, text.len);
	copy[text.len] = '\0';
	if (inet_pton(AF_INET, copy, a->ip + sizeof(mapped)) == 1)
		memcpy(a->ip, mapped, sizeof(mapped));
	else if (inet_pton(AF_INET6, copy, a->ip) != 1)
		return false;
	a->kind = ADDRESS_IP;
	return true;
}

void address_of_peer(struct address *a, const struct sockaddr_storage *peer)
{
	*a = (struct address){0};
	switch (peer->ss_family) {
	case AF_INET:
		memcpy(a->ip, mapped, sizeof(mapped));
		memcpy(a->ip + sizeof(mapped), &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
		a->kind = ADDRESS_IP;
		break;
	case AF_INET6:
		memcpy(a->ip, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr, sizeof(a->ip));
		a->kind = ADDRESS_IP;
		break;
	case AF_UNIX:
		a->kind = ADDRESS_UNIX;
		break;
	default:
		break;
	}
}

const char *address_text(char out[ADDRESS_TEXT_SIZE], const struct address *a)
{
	bool is_ipv4 = a->kind == ADDRESS_IP && is_mapped(a);

	memcpy(out, "unix", sizeof("unix"));
	if (a->kind == ADDRESS_IP)
		inet_ntop(is_ipv4 ? AF_INET : AF_INET6, a->ip + (is_ipv4 ? sizeof(mapped) : 0), out, ADDRESS_TEXT_SIZE);
	else if (a->kind != ADDRESS_UNIX)
		out[0] = '\0';
	return out;
}

bool address_is_loopback(const struct address *a)
{
	static const uint8_t own[16] = {[15] = 1};

	if (a->kind != ADDRESS_IP)
		return false;
	return is_mapped(a) ? a->ip[sizeof(mapped)] == LOOPBACK : memcmp(a->ip, own, sizeof(own)) == 0;
}

bool address_equal(const struct address *a, const struct address *b)
{
	return a->kind == b->kind && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

static bool has_bits_behind(const struct network *n)
{
	for (unsigned bit = n->bits; bit < 128; bit++)
		if (n->first.ip[bit / 8] & (0x80 >> bit % 8))
			return true;
	return false;
}

/* Digits without a zero before them, up to 128. */
static bool parse_bits(unsigned *bits, struct span text)
{
	*bits = 0;
	if (text.len == 0 || text.len > 3 || (text.len > 1 && text.bytes[0] == '0'))
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.bytes[i] < '0' || text.bytes[i] > '9')
			return false;
		*bits = *bits * 10 + (unsigned)(text.bytes[i] - '0');
	}
	return *bits <= 128;
}

static bool network_parse(struct network *n, struct span text)
{
	const char *slash = memchr(text.bytes, '/', text.len);
	size_t len = slash ? (size_t)(slash - text.bytes) : text.len;
	bool is_ipv4;

	*n = (struct network){.bits = 128};
	if (text.len == 4 && memcmp(text.bytes, "unix", 4) == 0) {
		n->first.kind = ADDRESS_UNIX;
		return true;
	}
	if (!address_parse(&n->first, (struct span){text.bytes, len}))
		return false;
	if (!slash)
		return true;
	is_ipv4 = !memchr(text.bytes, ':', len);
	if (!parse_bits(&n->bits, (struct span){slash + 1, text.len - len - 1}) || (is_ipv4 && n->bits > 32))
		return false;
	n->bits += is_ipv4 ? 96 : 0;
	return !has_bits_behind(n);
}

static bool network_has(const struct network *n, const struct address *a)
{
	unsigned whole = n->bits / 8, rest = n->bits % 8;

	if (n->first.kind != a->kind || memcmp(n->first.ip, a->ip, whole) != 0)
		return false;
	return rest == 0 || ((n->first.ip[whole] ^ a->ip[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

/* Takes the first item off, without space around it; an empty one is passed over. False: there is none. */
static bool next_item(const char **list, struct span *item)
{
	*list += strspn(*list, ", \t");
	*item = (struct span){*list, strcspn(*list, ",")};
	*list += item->len;
	while (item->len > 0 && strchr(" \t", item->bytes[item->len - 1]))
		item->len--;
	return item->len > 0;
}

bool address_list_valid(const char *list, struct span *bad)
{
	struct network n;

	while (next_item(&list, bad))
		if (!network_parse(&n, *bad))
			return false;
	return true;
}

bool address_list_has(const char *list, const struct address *a)
{
	struct network n;
	struct span item;

	while (list && next_item(&list, &item))
		if (network_parse(&n, item) && network_has(&n, a))
			return true;
	return false;
}
