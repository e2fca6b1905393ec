/*
 * route - which method and path is what.
 *
 * Layer    fcgi.
 */
#pragma once

#include <stddef.h>

#include "base/defs.h"
#include "fcgi/request.h"
#include "fcgi/response.h"

struct route {
	const char *method; /* GET is HEAD too */
	const char *path;   /* whole; one * in it stands for a segment, ** for anything, but not for nothing */
	int id;
};

/* The route of a request; NULL: *res is its 404 or 405, or the answer to a preflight. */
const struct route *route_find(const struct route *routes, size_t count, const struct request *r, struct response *res);

/* What stands in a request's path where its route has the *. Lent by the request. */
struct span route_part(const struct route *route, const struct request *r);
