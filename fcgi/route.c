#include "fcgi/route.h"

#include <stdio.h>
#include <string.h>

#include "fcgi/metrics/program_metrics.h"

/*
 *	part	out: what stands for the *; its bytes are NULL where the pattern has none
 */
static bool path_matches(const char *pattern, const char *path, struct span *part)
{
	const char *star = strchr(pattern, '*');
	size_t before = star ? (size_t)(star - pattern) : 0;
	const char *after = star ? star + strspn(star, "*") : NULL;
	size_t len = strlen(path);

	*part = (struct span){0};
	if (!star)
		return strcmp(pattern, path) == 0;
	if (len <= before + strlen(after) || strncmp(pattern, path, before) != 0 ||
	    strcmp(path + len - strlen(after), after) != 0)
		return false;
	*part = (struct span){path + before, len - before - strlen(after)};
	return after - star > 1 || !memchr(part->bytes, '/', part->len);
}

struct span route_part(const struct route *route, const struct request *r)
{
	struct span part;

	(void)path_matches(route->path, r->path, &part);
	return part;
}

static bool is_get(const struct route *route)
{
	return strcmp(route->method, "GET") == 0;
}

static void answer_preflight(const struct request *r, struct response *res)
{
	if (r->origin) {
		res->status = 204;
		return;
	}
	res->allow[0] = '\0';
	response_refuse(res, 403, "This origin is not allowed.");
}

static void add_allowed(struct response *res, const struct route *route)
{
	size_t len = strlen(res->allow);

	snprintf(res->allow + len, sizeof(res->allow) - len, "%s%s", len > 0 ? ", " : "",
		 is_get(route) ? "GET, HEAD" : route->method);
}

/* Of several with the same path the first has the word. */
static bool has_word(const struct route *routes, size_t i)
{
	for (size_t other = 0; other < i; other++)
		if (strcmp(routes[other].path, routes[i].path) == 0)
			return false;
	return true;
}

void route_add_words(struct buf *words, const struct route *routes, size_t count)
{
	buf_add_text(words, ROUTE_NONE);
	for (size_t i = 0; i < count; i++)
		if (has_word(routes, i))
			buf_printf(words, "|%s", routes[i].path);
}

enum err route_open_metrics(struct metrics *m, const struct config *c, const char *program, const struct route *routes,
			    size_t count)
{
	struct buf words = BUF_EMPTY;
	enum err e = ERR_MEMORY;

	route_add_words(&words, routes, count);
	if (buf_ok(&words))
		e = program_metrics_open(m, c, program, words.bytes);
	buf_free(&words);
	return e;
}

/* 0: none; else the number of its word. */
static unsigned word_of(const struct route *routes, const struct route *of)
{
	unsigned word = 0;
	size_t i = 0;

	for (; strcmp(routes[i].path, of->path) != 0; i++)
		word += has_word(routes, i);
	return word + 1;
}

const struct route *route_find(const struct route *routes, size_t count, const struct request *r, struct response *res)
{
	struct span part;

	for (size_t i = 0; i < count; i++) {
		if (!path_matches(routes[i].path, r->path, &part))
			continue;
		res->route = word_of(routes, &routes[i]);
		if (strcmp(routes[i].method, r->method) == 0 || (is_get(&routes[i]) && request_is_head(r))) {
			res->allow[0] = '\0';
			return &routes[i];
		}
		add_allowed(res, &routes[i]);
	}
	if (!res->allow[0]) {
		response_refuse(res, 404, "There is nothing at this path.");
		return NULL;
	}
	if (request_is_preflight(r)) {
		answer_preflight(r, res);
		return NULL;
	}
	response_refuse(res, 405, "This path does not take this method: see the Allow header.");
	return NULL;
}
