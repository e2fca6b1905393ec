/*
 * response - what goes back: a status, a JSON body, and the headers that its status asks for.
 *
 * 401 carries WWW-Authenticate, 405 Allow, 429 and 503 Retry-After; every reply Cache-Control: no-store, X-Request-Id, and whose page
 * may read it (CORS, the Fetch standard).
 *
 * Layer    fcgi.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "domain/http/problem.h"
#include "fcgi/request.h"

#define RESPONSE_ALLOW_SIZE 40

struct response {
	int status;			 /* 200 unless something else is set; 204 has no body */
	bool problem;			 /* application/problem+json, else application/json */
	const char *type;		 /* static: of the body, where it is neither */
	struct buf body;		 /* owned */
	unsigned route;			 /* route_add_words(); 0: none */
	const char *detail;		 /* static: of a refusal: one plain sentence for the caller */
	char allow[RESPONSE_ALLOW_SIZE]; /* with 405; with 204, which answers a preflight: what may be sent */
	int64_t retry_after_s;		 /* 0: none */
	const char *why;		 /* static: for the log; NULL: not refused */
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

/* Makes it the refusal that goes with a fault of the database or of ours: a 503 says whether it may have been done. */
void response_fault(struct response *res, enum err e);

void response_send(const struct request *r, struct response *res);

void response_free(struct response *res);
