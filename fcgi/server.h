/*
 * server - the threads of a FastCGI program: each accepts a request from descriptor 0, serves it, and accepts the next.
 *
 *	SIGTERM, SIGINT, SIGUSR1	requests in hand are finished, nothing new is accepted
 *	SIGHUP				reload(), and the audit trail's file is opened anew
 *	the end of the web server	like SIGTERM, where the web server started this program itself
 *
 * A 401 and a 429 are sent 50 ms later, while no more than half of the threads wait so.
 *
 * Layer    fcgi.
 */
#pragma once

#include <stddef.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/metrics/metrics.h"
#include "base/process/config.h"
#include "fcgi/request.h"
#include "fcgi/response.h"

struct server_job {
	size_t threads;
	const struct config *config; /* borrowed */
	void *const *contexts;	     /* borrowed: one per thread; may be one and the same */
	void (*serve)(void *context, const struct request *r, struct response *res);
	void (*reload)(void *reload_context);
	void *reload_context;	       /* borrowed */
	const struct metrics *metrics; /* borrowed: program_metrics.h */
};

/* What must come before any other thread is started: threads inherit which signals they leave to server_run(). */
void server_block_signals(void);

/*
 * Serves until a signal or the web server's end says stop, and until what was in hand is done.
 *
 * ERR_SYSTEM  descriptor 0 is no FastCGI socket, or no thread could be started: logged
 */
enum err server_run(const struct server_job *job) MUST_CHECK;
