/*
 * request_limits - what a request is asked first: not too often, a JSON body that is not too large, a key that is one.
 *
 * Layer    fcgi.
 * Threads  any number at once.
 */
#pragma once

#include <stdbool.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/process/config.h"
#include "domain/caller/rate.h"
#include "domain/caller/token.h"
#include "domain/http/problem.h"
#include "fcgi/request.h"
#include "fcgi/response.h"

struct intake; /* opaque: how often who came */

/*
 *	c	borrowed, for as long as it lives
 */
enum err intake_new(struct intake **in, const struct config *c) MUST_CHECK;
void intake_free(struct intake **in);

/* Appends the body. False: *res says why not. */
bool intake_body(const struct intake *in, const struct request *r, struct buf *body, struct response *res);

/*
 * Idempotency-Key.
 *
 *	key	out: lent by the request; NULL: none
 *	problem	what is wrong with it is added, unless it is of another status than 422
 */
void intake_key(const struct request *r, const char **key, struct problem *problem);

/* Appends what must be the same when the key is: path and body. */
void intake_fingerprint(const struct request *r, const struct buf *body, struct buf *out);

/*
 * Takes the cost of this request from the bucket of a user or clinician. False: they come too often, *res says so.
 *
 *	cost	in parts of RATE_ONE (domain/caller/rate.h)
 */
bool intake_rate(struct intake *in, const struct token_claims *caller, int64_t cost, struct response *res);

/* The caller may have no more stored today. */
void intake_refuse_quota(struct response *res);

/* Takes what it has turned out to cost besides. */
void intake_charge(struct intake *in, const struct token_claims *caller, int64_t cost);
