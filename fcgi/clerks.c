#include "fcgi/clerks.h"

#include <stdlib.h>

static void reload(void *context)
{
	callers_reload(context);
}

/* A database that is away is no error: it is tried again with each request. */
static enum err open_all(struct clerk *clerks, void **contexts, size_t count, const struct clerks_job *job,
			 struct callers *callers)
{
	for (size_t i = 0; i < count; i++) {
		enum err e = OK;

		if (job->database_role)
			e = db_open(&clerks[i].db, job->config->database, job->database_role, job->application_name,
				    job->config->database_timeout_ms);

		if (e != OK && e != ERR_AWAY)
			return e;
		clerks[i].config = job->config;
		clerks[i].callers = callers;
		clerks[i].shared = job->shared;
		contexts[i] = &clerks[i];
	}
	return OK;
}

enum err clerks_run(const struct clerks_job *job)
{
	size_t threads = MIN((size_t)job->config->threads, job->threads_max);
	struct clerk *clerks = calloc(threads, sizeof(*clerks));
	void **contexts = calloc(threads, sizeof(*contexts));
	struct callers *callers = NULL;
	struct worker_job work = {
		.threads = threads,
		.allowed_origins = job->config->allowed_origins,
		.contexts = contexts,
		.serve = job->serve,
		.reload = reload,
	};
	enum err e = clerks && contexts ? OK : ERR_MEMORY;

	worker_block_signals();
	if (e == OK)
		e = callers_new(&callers, job->config);
	if (e == OK)
		e = open_all(clerks, contexts, threads, job, callers);
	work.reload_context = callers;
	if (e == OK)
		e = worker_run(&work);
	for (size_t i = 0; clerks && i < threads; i++)
		db_close(&clerks[i].db);
	callers_free(&callers);
	free(contexts);
	free(clerks);
	return e;
}
