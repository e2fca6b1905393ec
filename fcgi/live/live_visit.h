/*
 * live_visit - one request to live.fcgi or api.fcgi on its way through: who sends it, what is replied, the audit line at its end.
 *
 * Layer    fcgi.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log/audit.h"
#include "domain/caller/claims.h"
#include "domain/text/uuid.h"
#include "fcgi/db_workers.h"
#include "fcgi/request.h"
#include "fcgi/response.h"
#include "fcgi/route.h"

struct live_visit {
	struct db_worker *worker;
	const struct request *request;
	struct response *res;
	const struct route *route;
	struct token_claims caller;
	struct audit audit; /* the line that is written at the end; without an outcome: none is */
};

/*
 * Makes *res the refusal that goes with the error. An ordinary user cannot tell what is not there from what is someone
 * else's.
 *
 *	detail	what the database says of it; empty: nothing
 *	missing	static: for those who may know: "There is no such conversation."
 */
void live_visit_refuse(struct live_visit *v, enum err e, const struct buf *detail, const char *missing);

/*
 * Within the caller's rate, and by somebody who has an account where that is asked for: in this order, since the database
 * is asked. False: *res says why not.
 *
 *	cost	in parts of RATE_ONE
 */
bool live_visit_may_ask(struct live_visit *v, int64_t cost);

/* The id in the path as text. False: it is none, so there is no such path. */
bool live_visit_read_id(struct live_visit *v, char id[UUID_TEXT_SIZE]);
