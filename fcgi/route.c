#include "fcgi/route.h"

#include <string.h>

static bool path_matches(const char *pattern, const char *path)
{
	size_t len = strlen(pattern);

	if (len > 0 && pattern[len - 1] == '*')
		return strncmp(pattern, path, len - 1) == 0;
	return strcmp(pattern, path) == 0;
}

static bool is_get(const struct route *route)
{
	return strcmp(route->method, "GET") == 0;
}

const struct route *route_find(const struct route *routes, size_t count, const struct request *r, struct response *res)
{
	const struct route *of_path = NULL;

	for (size_t i = 0; i < count; i++) {
		if (!path_matches(routes[i].path, r->path))
			continue;
		if (strcmp(routes[i].method, r->method) == 0 || (is_get(&routes[i]) && request_is_head(r)))
			return &routes[i];
		of_path = &routes[i];
	}
	if (!of_path) {
		response_refuse(res, 404, "There is nothing at this path.");
		return NULL;
	}
	res->allow = is_get(of_path) ? "GET, HEAD" : of_path->method;
	response_refuse(res, 405, "This path does not take this method: see the Allow header.");
	return NULL;
}
