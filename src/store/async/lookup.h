/*
 * lookup - the addresses of a host's name, without waiting for them: getaddrinfo() blocks, for many seconds when the name
 * server is away, so a thread calls it, and a descriptor tells when it has answered.
 *
 * Layer    store.
 * Threads  one at a time; its own thread ends by itself, also after lookup_free().
 */
#pragma once

#include <stddef.h>

#include "base/defs.h"
#include "base/err.h"

#define LOOKUP_ADDRESSES_MAX 8
#define LOOKUP_ADDRESS_SIZE 64 /* an IPv6 address with its zone */

struct lookup; /* opaque */

/* ERR_MEMORY, ERR_SYSTEM */
enum err lookup_start(struct lookup **l, const char *name) MUST_CHECK;
void lookup_free(struct lookup **l);

/* To be watched: readable when lookup_take() has something. */
int lookup_fd(const struct lookup *l);

/*
 * What was found, as texts for hostaddr; how many.
 *
 *	why	out: lent, static: why there are none
 */
size_t lookup_take(struct lookup *l, char addresses[LOOKUP_ADDRESSES_MAX][LOOKUP_ADDRESS_SIZE], const char **why);
