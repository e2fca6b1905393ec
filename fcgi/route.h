/*
 * route - which method and path is what.
 *
 * Layer    fcgi.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/metrics/metrics.h"
#include "base/process/config.h"
#include "fcgi/request.h"
#include "fcgi/response.h"

struct route {
	const char *method; /* GET is HEAD too */
	const char *path;   /* whole; one * in it stands for a segment, ** for anything, but not for nothing */
	int id;
};

/* The words of routes for whoever counts: ROUTE_NONE, and each path once. */
void route_add_words(struct buf *words, const struct route *routes, size_t count);

/* program_metrics_open(), with these words. */
enum err route_open_metrics(struct metrics *m, const struct config *c, const char *program, const struct route *routes,
			    size_t count) MUST_CHECK;

/* The route of a request; NULL: *res is its 404 or 405, or the answer to a preflight. */
const struct route *route_find(const struct route *routes, size_t count, const struct request *r, struct response *res);

/* What stands in a request's path where its route has the *. Lent by the request. */
struct span route_part(const struct route *route, const struct request *r);
