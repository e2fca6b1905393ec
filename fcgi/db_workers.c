#include "fcgi/db_workers.h"

#include <pthread.h>
#include <stdlib.h>

static void reload(void *context)
{
	callers_reload(context);
}

/* A stack: idle[count - 1] was used last. */
struct connections {
	pthread_mutex_t lock;
	struct db **idle;
	size_t count;
};

static struct db *take(struct connections *c)
{
	struct db *db = NULL;

	pthread_mutex_lock(&c->lock);
	db = c->idle[--c->count]; /* there are as many as threads */
	pthread_mutex_unlock(&c->lock);
	return db;
}

static void give_back(struct connections *c, struct db *db)
{
	pthread_mutex_lock(&c->lock);
	c->idle[c->count++] = db;
	pthread_mutex_unlock(&c->lock);
}

static void serve(void *context, const struct request *r, struct response *res)
{
	struct clerk *clerk = context;

	if (!clerk->connections) {
		clerk->serve(clerk, r, res);
		return;
	}
	clerk->db = take(clerk->connections);
	clerk->serve(clerk, r, res);
	give_back(clerk->connections, clerk->db);
	clerk->db = NULL;
}

static enum err connections_new(struct connections *c, size_t count, const struct clerks_job *job)
{
	enum err e = OK;

	c->idle = calloc(count, sizeof(*c->idle));
	if (!c->idle)
		return ERR_MEMORY;
	e = db_new(&c->idle[0], job->config->database, job->database_role, job->application_name,
		   job->config->database_timeout_ms);
	for (c->count = e == OK; e == OK && c->count < count; c->count += e == OK)
		e = db_new_like(&c->idle[c->count], c->idle[0]);
	return e;
}

static void connections_free(struct connections *c)
{
	while (c->count > 0)
		db_close(&c->idle[--c->count]);
	free(c->idle);
}

enum err clerks_run(const struct clerks_job *job)
{
	size_t threads = MIN((size_t)job->config->threads, job->threads_max);
	struct clerk *clerks = calloc(threads, sizeof(*clerks));
	void **contexts = calloc(threads, sizeof(*contexts));
	struct connections connections = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct callers *callers = NULL;
	struct worker_job work = {
		.threads = threads,
		.allowed_origins = job->config->allowed_origins,
		.contexts = contexts,
		.serve = serve,
		.reload = reload,
	};
	enum err e = clerks && contexts ? OK : ERR_MEMORY;

	worker_block_signals();
	if (e == OK)
		e = callers_new(&callers, job->config);
	if (e == OK && job->database_role)
		e = connections_new(&connections, threads, job);
	for (size_t i = 0; e == OK && i < threads; i++) {
		clerks[i] = (struct clerk){
			.config = job->config,
			.callers = callers,
			.shared = job->shared,
			.connections = job->database_role ? &connections : NULL,
			.serve = job->serve,
		};
		contexts[i] = &clerks[i];
	}
	work.reload_context = callers;
	if (e == OK)
		e = worker_run(&work);
	connections_free(&connections);
	callers_free(&callers);
	free(contexts);
	free(clerks);
	return e;
}
