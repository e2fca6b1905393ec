/*
 * forwarded - the address of a client that comes by way of proxies, from what these say of it.
 *
 *	X-Forwarded-For: 203.0.113.9, 192.0.2.43		the usual one
 *	Forwarded: for=203.0.113.9, for="[2001:db8::1]:4711"	RFC 7239
 *
 * Each proxy adds, at the right, whom it has its request from. So what stands there is read from the right, as far as those who
 * wrote it are trusted: whatever a client itself has sent stands further left, and is read by nobody.
 *
 * Layer    domain: no socket, no clock.
 */
#pragma once

#include "base/net/address.h"
#include "domain/http/header_list.h"

/* Which header the proxies write, as TIDINGS_PROXY_HEADER has them. EITHER: where both are there they must agree. */
enum forwarded_header { FORWARDED_EITHER, FORWARDED_X_FORWARDED_FOR, FORWARDED_RFC_7239 };

/* What a request brings; no lines: it was not there. */
struct forwarded {
	struct header_list x_forwarded_for, forwarded;
};

/*
 * The first address from the right that is no trusted proxy's. A proxy that does not say an address (`unknown`, `_hidden`), or that
 * nobody can read, is where the way back ends: it is the client itself, as far as anybody knows.
 *
 *	peer	who has connected
 *	trusted	a list of networks; NULL: none
 */
void forwarded_client(struct address *client, const struct address *peer, const struct forwarded *f,
		      const char *trusted, enum forwarded_header header);
