#include "fcgi/db_workers.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/process/settings_file.h"

/* What SIGHUP reads again. */
struct reloaded {
	struct settings_file *file;
	struct auth *auth;
};

static void reload(void *context)
{
	struct reloaded *r = context;

	settings_file_reload(r->file);
	auth_reload(r->auth);
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
	struct db_worker *worker = context;

	if (!worker->connections) {
		worker->serve(worker, r, res);
		return;
	}
	worker->db = take(worker->connections);
	worker->serve(worker, r, res);
	give_back(worker->connections, worker->db);
	worker->db = NULL;
}

static enum err connections_new(struct connections *c, size_t count, const struct db_workers_job *job)
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

enum err db_workers_run(const struct db_workers_job *job)
{
	size_t threads = MIN((size_t)job->config->threads, job->threads_max);
	struct db_worker *workers = calloc(threads, sizeof(*workers));
	void **contexts = calloc(threads, sizeof(*contexts));
	struct connections connections = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct reloaded again = {NULL, NULL};
	struct server_job work = {
		.threads = threads,
		.config = job->config,
		.contexts = contexts,
		.serve = serve,
		.reload = reload,
		.reload_context = &again,
		.metrics = job->metrics,
	};
	enum err e = workers && contexts ? OK : ERR_MEMORY;

	server_block_signals();
	if (e == OK)
		e = settings_file_open(&again.file, job->config);
	if (e == OK)
		e = auth_new(&again.auth, job->config);
	if (e == OK && job->database_role)
		e = connections_new(&connections, threads, job);
	for (size_t i = 0; e == OK && i < threads; i++) {
		workers[i] = (struct db_worker){
			.config = job->config,
			.auth = again.auth,
			.metrics = job->metrics,
			.shared = job->shared,
			.connections = job->database_role ? &connections : NULL,
			.serve = job->serve,
		};
		contexts[i] = &workers[i];
	}
	if (e == OK)
		e = server_run(&work);
	connections_free(&connections);
	auth_free(&again.auth);
	settings_file_close(&again.file);
	free(contexts);
	free(workers);
	return e;
}
