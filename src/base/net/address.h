/*
 * address - where somebody is: an IP address, or this machine by the path of a socket; and lists of networks.
 *
 *	192.0.2.0/24, 2001:db8::/32, 10.0.0.1, unix
 *
 * IPv4 is kept as what IPv6 maps it to (RFC 4291, section 2.5.5.2): so 192.0.2.1 and ::ffff:192.0.2.1 are the same.
 *
 * Layer    base.
 * Threads  any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/defs.h"

#define ADDRESS_TEXT_SIZE 46 /* with NUL */

enum address_kind { ADDRESS_NONE, ADDRESS_IP, ADDRESS_UNIX };

struct address {
	uint8_t kind; /* enum address_kind */
	uint8_t ip[16];
};

/* The address alone, without a port and brackets. False: it is none. */
bool address_parse(struct address *a, struct span text);

/* Of a peer, as accept(2) tells it. */
void address_of_peer(struct address *a, const struct sockaddr_storage *peer);

/* "192.0.2.1", "2001:db8::1", "unix"; "" for none. Returns `out`. */
const char *address_text(char out[ADDRESS_TEXT_SIZE], const struct address *a);

/* This machine's own: 127.0.0.0/8 or ::1. */
bool address_is_loopback(const struct address *a);

bool address_equal(const struct address *a, const struct address *b);

/*
 * Is every item of the list, separated by commas, an address, a network without bits behind its prefix, or `unix`?
 *
 *	bad	out: the first that is not
 */
bool address_list_valid(const char *list, struct span *bad);

/* Is the address in one of them? An item that is none is passed over; a list that is NULL has none. */
bool address_list_has(const char *list, const struct address *a);
