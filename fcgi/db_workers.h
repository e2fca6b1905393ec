/*
 * db_workers - the threads of a program that asks the database itself, request by request: few, each with a connection to
 * the database while it serves one.
 *
 * The connection that was used last is taken first, and each is made when it is first used: so a program has as many
 * connections as it ever served requests at once, not as many as threads.
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

struct db_worker {
	const struct config *config;   /* borrowed */
	struct auth *auth;	       /* borrowed */
	const struct metrics *metrics; /* borrowed */
	struct db *db; /* borrowed: this thread's, while it serves a request; NULL without a database_role */
	void *shared;  /* borrowed: the program's own */
	struct connections *connections; /* borrowed; NULL without a database_role */
	void (*serve)(void *context, const struct request *r, struct response *res);
};

/* All borrowed, for good. */
struct db_workers_job {
	struct config *config;	   /* a reload changes it */
	const char *database_role; /* NULL: no thread has a connection */
	const char *application_name;
	const struct metrics *metrics;
	size_t threads_max; /* TIDINGS_THREADS counts up to here: each is a connection to the database */
	void (*serve)(void *context, const struct request *r, struct response *res); /* context is a struct db_worker */
	void *shared;
};

/* Everything from the keys to the stop. */
enum err db_workers_run(const struct db_workers_job *job) MUST_CHECK;
