/*
 * request_limits - what comes before the work for a request: is it within its caller's rate, and its JSON body within the size?
 *
 * Layer    fcgi.
 * Threads  any number at once.
 */
#pragma once

#include <stdbool.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/metrics/metrics.h"
#include "base/process/config.h"
#include "domain/caller/rate.h"
#include "domain/caller/token.h"
#include "domain/http/problem.h"
#include "fcgi/request.h"
#include "fcgi/response.h"

struct request_limits; /* opaque: a rate for each caller */

/*
 *	c	borrowed, for as long as it lives; and so is m
 */
enum err request_limits_new(struct request_limits **limits, const struct config *c, const struct metrics *m) MUST_CHECK;
void request_limits_free(struct request_limits **limits);

/* Appends the body. False: *res says why not. */
bool request_limits_body(const struct request_limits *limits, const struct request *r, struct buf *body,
			 struct response *res);

/*
 * Takes the cost of this request from the bucket of a user or clinician. False: over the rate, *res says so.
 *
 *	cost	in parts of RATE_ONE (domain/caller/rate.h)
 */
bool request_limits_take(struct request_limits *limits, const struct token_claims *caller, int64_t cost,
			 struct response *res);

/* The caller may have no more stored today. */
void request_limits_refuse_quota(struct response *res);

/* Takes the rest of the cost, once the database has told what a request has cost. */
void request_limits_charge(struct request_limits *limits, const struct token_claims *caller, int64_t cost);
