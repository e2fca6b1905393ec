/*
 * clerks - the threads of a program that asks the database itself, request by request: few, each with a connection of
 * its own.
 *
 * Layer    fcgi.
 */
#pragma once

#include "base/config.h"
#include "base/defs.h"
#include "base/err.h"
#include "fcgi/caller.h"
#include "fcgi/worker.h"
#include "store/db.h"

struct clerk {
	const struct config *config; /* borrowed */
	struct callers *callers;     /* borrowed */
	struct db *db;		     /* owned: this thread's; NULL without a database_role */
	void *shared;		     /* borrowed: the program's own */
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
