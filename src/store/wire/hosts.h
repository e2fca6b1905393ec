/*
 * hosts - the servers that a connection string names, in the operator's order, and what the connections of a program have
 * found out about them together.
 *
 * libpq goes through the hosts of a string itself, but begins with the first each time, and leaves one that says nothing
 * only where it may block. So a connection is made to one host at a time:
 *
 *	hosts_first()	-> connect -> fails -> hosts_pass(): whoever begins after that begins with the next one
 *	a server that hangs, or can only be read, -> hosts_leave(): the others look at theirs (hosts_left() has changed)
 *
 * Layer    store.
 * Threads  any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

struct hosts; /* opaque */

/* As the string, the environment or a service file has it. Lent; each NULL: libpq's default. */
struct host {
	const char *name;    /* or the folder of a socket */
	const char *address; /* hostaddr */
	const char *port;
};

/*
 *	conninfo	copied: keyword=value pairs, a URI, or a database's name
 *
 * ERR_CONFIG  the string is not one that libpq understands (not logged further: it may hold a password)
 */
enum err hosts_new(struct hosts **h, const char *conninfo) MUST_CHECK;
struct hosts *hosts_share(struct hosts *h); /* one more owner */
void hosts_free(struct hosts **h);	    /* one owner less */

const char *hosts_conninfo(const struct hosts *h);

/* How long a connection to one address may take to be made: connect_timeout. */
int64_t hosts_connect_ms(const struct hosts *h);

size_t hosts_count(const struct hosts *h);		    /* at least 1 */
struct host hosts_get(const struct hosts *h, size_t index); /* all NULL where libpq is to go by the string itself */
size_t hosts_first(const struct hosts *h);		    /* the one to begin with */
void hosts_pass(struct hosts *h, size_t index);

/* None of them can be had now, or one can: is that news? */
bool hosts_set_away(struct hosts *h, bool away);

/* How many times a server was left: another number than before a connection was made says that its server may be it. */
uint64_t hosts_left(const struct hosts *h);

/*
 * Once for all whose connection was made at the same `left`.
 *
 *	left	hosts_left() before this connection was made
 */
void hosts_leave(struct hosts *h, size_t index, uint64_t left);
