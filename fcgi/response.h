/*
 * response - what goes back: a status, a JSON body, and the headers that its status asks for.
 *
 * 401 carries WWW-Authenticate, 405 Allow, 429 and 503 Retry-After; every reply Cache-Control: no-store.
 *
 * Layer    fcgi.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "domain/problem.h"
#include "fcgi/request.h"

struct response {
	int status;	       /* 200 unless something else is set */
	bool problem;	       /* application/problem+json, else application/json */
	struct buf body;       /* owned */
	const char *allow;     /* static: with 405 */
	int64_t retry_after_s; /* 0: none */
	const char *why;       /* static: for the log; NULL: not refused */
};

#define RESPONSE_NEW ((struct response){.status = 200})

/*
 * Makes it a refusal.
 *
 *	detail	static: one plain sentence for the caller
 */
void response_refuse(struct response *res, int status, const char *detail);

/* The same, with the fields that are wrong. */
void response_problem(struct response *res, const struct problem *p);

/* Makes it the refusal that goes with a fault of the database or of ours. */
void response_fault(struct response *res, enum err e);

void response_send(const struct request *r, struct response *res);

void response_free(struct response *res);
