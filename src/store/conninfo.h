/*
 * conninfo - the parameters that every connection of ours is made with, ready for PQconnectdbParams() or
 * PQconnectStartParams() with expand_dbname = 1.
 *
 * The operator's string wins over our defaults (user, application_name, keepalives), except for the encoding. The
 * timeouts of statements are not among them (store/hello.h): poolers refuse, or drop, what comes as `options`.
 *
 * Layer    store: libpq-fe.h is for files of this folder only.
 */
#pragma once

#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

#define CONNINFO_PARAMS_MAX 16

struct conninfo {
	const char *keywords[CONNINFO_PARAMS_MAX]; /* ends with NULL; static texts */
	const char *values[CONNINFO_PARAMS_MAX];   /* lent by the members below, static, or borrowed */
	char *text;				   /* owned: what the operator gave */
	char *user;				   /* owned; NULL: libpq's default */
	char tcp_user_timeout_ms[24];
};

/*
 *	conninfo		copied: keyword=value pairs, a URI, or a database's name
 *	default_user		copied: when conninfo names none; NULL: libpq's default
 *	application_name	borrowed, for as long as the connection parameters live
 *	timeout_ms		for what was sent to be acknowledged by the other host; 0: the system's
 *
 * ERR_CONFIG  the string is not one that libpq understands (not logged further: it may hold a password)
 */
enum err conninfo_new(struct conninfo **c, const char *conninfo, const char *default_user, const char *application_name,
		      int64_t timeout_ms) MUST_CHECK;
void conninfo_free(struct conninfo **c);
