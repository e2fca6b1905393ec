/*
 * db_workers - the threads of a program that asks the database itself, request by request: few, each with a connection while
 * it serves one.
 *
 * The connection that was used last is taken first, and made when it is first used: so there are as many as requests were
 * ever served at once, and not as many as threads on every web server.
 *
 * Layer    fcgi.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"
#include "base/process/config.h"
#include "fcgi/auth.h"
#include "fcgi/server.h"
#include "store/blocking/db.h"

struct clerk {
	const struct config *config; /* borrowed */
	struct callers *callers;     /* borrowed */
	struct db *db; /* borrowed: this thread's, while it serves a request; NULL without a database_role */
	void *shared;  /* borrowed: the program's own */
	struct connections *connections; /* borrowed; NULL without a database_role */
	void (*serve)(void *context, const struct request *r, struct response *res);
};

/* All borrowed, for good. */
struct clerks_job {
	const struct config *config;
	const char *database_role; /* NULL: no thread has a connection */
	const char *application_name;
	size_t threads_max; /* TIDINGS_THREADS counts up to here: each is a connection to the database */
	void (*serve)(void *context, const struct request *r, struct response *res); /* context is a struct clerk */
	void *shared;
};

/* Everything from the keys to the stop. */
enum err clerks_run(const struct clerks_job *job) MUST_CHECK;
