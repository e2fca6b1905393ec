/*
 * route - which method and path is what.
 *
 * Layer    fcgi.
 */
#pragma once

#include <stddef.h>

#include "fcgi/request.h"
#include "fcgi/response.h"

struct route {
	const char *method; /* GET is HEAD too */
	const char *path;   /* whole; with a * at its end: anything may follow */
	int id;
};

/* The route of a request; NULL: *res is its 404 or 405. */
const struct route *route_find(const struct route *routes, size_t count, const struct request *r, struct response *res);
