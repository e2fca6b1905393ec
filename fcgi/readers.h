/*
 * readers - the threads of a program that only reads: few, each with a connection of its own.
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

struct reader {
	const struct config *config; /* borrowed */
	struct callers *callers;     /* borrowed */
	struct db *db;		     /* owned: this thread's */
};

/*
 * Everything from the keys to the stop.
 *
 *	application_name	borrowed, for good
 *	threads_max		TIDINGS_THREADS counts up to here: each is a connection to the database
 *	serve			context is a struct reader
 */
enum err readers_run(const struct config *c, const char *application_name, size_t threads_max,
		     void (*serve)(void *context, const struct request *r, struct response *res)) MUST_CHECK;
