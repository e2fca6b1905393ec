#include "fcgi/caller.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "domain/query.h"

#define TOKENS_MAX 4096 /* that are remembered: services have few, users who publish one each */

struct callers {
	const struct config *config; /* borrowed */
	pthread_mutex_t lock;	     /* guards what follows; held for a µs where the token is remembered */
	struct token_keys *keys;
};

static enum err load(const struct config *c, struct token_keys **keys)
{
	const struct token_rules rules = {
		.algorithms = c->jwt_algorithms,
		.issuer = c->jwt_issuer,
		.audience = c->jwt_audience,
		.require_exp = c->jwt_require_exp,
		.leeway_s = c->jwt_leeway_s,
	};
	struct buf problem = BUF_EMPTY;
	enum err e = token_keys_load(keys, c->jwt_keys, &rules, &problem);

	if (e == OK && token_keys_remember(*keys, TOKENS_MAX) != OK) {
		token_keys_free(keys);
		e = ERR_MEMORY;
	}
	if (e != OK)
		log_error("JWT keys are not usable: %s",
			  buf_ok(&problem) && problem.bytes ? problem.bytes : err_text(e));
	buf_free(&problem);
	return e;
}

enum err callers_new(struct callers **out, const struct config *c)
{
	struct callers *callers = calloc(1, sizeof(*callers));
	enum err e = OK;

	if (!callers)
		return ERR_MEMORY;
	callers->config = c;
	e = load(c, &callers->keys);
	if (e != OK) {
		free(callers);
		return e;
	}
	pthread_mutex_init(&callers->lock, NULL);
	*out = callers;
	return OK;
}

void callers_free(struct callers **callers)
{
	if (!*callers)
		return;
	token_keys_free(&(*callers)->keys);
	pthread_mutex_destroy(&(*callers)->lock);
	free(*callers);
	*callers = NULL;
}

void callers_reload(struct callers *callers)
{
	struct token_keys *keys = NULL;
	struct token_keys *old = NULL;

	if (load(callers->config, &keys) != OK)
		return;
	pthread_mutex_lock(&callers->lock);
	old = callers->keys;
	callers->keys = keys;
	pthread_mutex_unlock(&callers->lock);
	token_keys_free(&old);
	log_notice("JWT keys loaded anew");
}

enum err caller_check(struct callers *callers, const struct request *r, struct token_claims *claims,
		      struct response *res)
{
	static const struct query_name names[] = {{"token", true}};
	struct problem problem = PROBLEM_NONE;
	struct buf token = BUF_EMPTY;
	const char *why = NULL;
	enum err e = OK;

	query_check((struct span){r->query, strlen(r->query)}, names, ARRAY_LEN(names), &problem);
	if (problem.errors_count > 0) {
		response_problem(res, &problem);
		problem_free(&problem);
		return ERR_INPUT;
	}
	if (!request_token(r, &token)) {
		buf_free(&token);
		response_refuse(res, 401, "A token is required: Authorization: Bearer <token>.");
		return ERR_NOT_FOUND;
	}
	pthread_mutex_lock(&callers->lock);
	e = buf_ok(&token) ? token_verify(callers->keys, token.bytes ? token.bytes : "", token.len,
					  clock_wall_us() / 1000000, claims, &why)
			   : ERR_MEMORY;
	pthread_mutex_unlock(&callers->lock);
	buf_free(&token);
	if (e == OK)
		return OK;
	response_refuse(res, 401, "The token is not valid, or has expired.");
	if (why)
		res->why = why;
	return ERR_UNAUTHORIZED;
}
