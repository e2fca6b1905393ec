#include "fcgi/readers.h"

#include <stdlib.h>

static void reload(void *context)
{
	callers_reload(context);
}

/* A database that is away is no error: it is tried again with each request. */
static enum err open_all(struct reader *readers, void **contexts, size_t count, const struct config *c,
			 struct callers *callers, const char *application_name)
{
	for (size_t i = 0; i < count; i++) {
		enum err e = db_open(&readers[i].db, c->database, "tidings_reader", application_name,
				     c->database_timeout_ms);

		if (e != OK && e != ERR_AWAY)
			return e;
		readers[i].config = c;
		readers[i].callers = callers;
		contexts[i] = &readers[i];
	}
	return OK;
}

enum err readers_run(const struct config *c, const char *application_name, size_t threads_max,
		     void (*serve)(void *context, const struct request *r, struct response *res))
{
	size_t threads = MIN((size_t)c->threads, threads_max);
	struct reader *readers = calloc(threads, sizeof(*readers));
	void **contexts = calloc(threads, sizeof(*contexts));
	struct callers *callers = NULL;
	struct worker_job job = {.threads = threads, .contexts = contexts, .serve = serve, .reload = reload};
	enum err e = readers && contexts ? OK : ERR_MEMORY;

	worker_block_signals();
	if (e == OK)
		e = callers_new(&callers, c);
	if (e == OK)
		e = open_all(readers, contexts, threads, c, callers, application_name);
	job.reload_context = callers;
	if (e == OK)
		e = worker_run(&job);
	for (size_t i = 0; readers && i < threads; i++)
		db_close(&readers[i].db);
	callers_free(&callers);
	free(contexts);
	free(readers);
	return e;
}
