/*
 * conninfo - the parameters that every connection of ours is made with, to one host at a time, ready for
 * PQconnectdbParams() or PQconnectStartParams() with expand_dbname = 1.
 *
 * The operator's string wins over our defaults (user, application_name, keepalives), except for the encoding. The
 * timeouts of statements are not among them (store/wire/session_setup.h): poolers refuse, or drop, what comes as `options`.
 *
 * Layer    store: libpq-fe.h is for files of this folder only.
 */
#pragma once

#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "store/wire/hosts.h"

#define CONNINFO_PARAMS_MAX 16

struct conninfo {
	const char *keywords[CONNINFO_PARAMS_MAX]; /* ends with NULL; static texts */
	const char *values[CONNINFO_PARAMS_MAX];   /* lent by the members below, static, or borrowed */
	size_t shared;				   /* so many are the same for each host */
	struct hosts *hosts;			   /* owned, with others */
	char *user;				   /* owned; NULL: libpq's default */
	char tcp_user_timeout_ms[24];
	char connect_timeout_s[24];
};

/*
 *	hosts			shared
 *	default_user		copied: when the string names none; NULL: libpq's default
 *	application_name	borrowed, for as long as the connection parameters live
 *	timeout_ms		for what was sent to be acknowledged by the other host; 0: the system's
 */
enum err conninfo_new(struct conninfo **c, struct hosts *hosts, const char *default_user, const char *application_name,
		      int64_t timeout_ms) MUST_CHECK;
void conninfo_free(struct conninfo **c);

/* Of libpq, as PQlibVersion() has it: 150004 is 15.4. */
int conninfo_library_version(void);

/*
 * Makes the parameters those of one host.
 *
 *	index	of hosts_get()
 *	address	borrowed, until the next call: where its name leads; NULL: libpq looks it up, and waits for that
 */
void conninfo_set_host(struct conninfo *c, size_t index, const char *address);
