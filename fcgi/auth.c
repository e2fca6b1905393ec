#include "fcgi/auth.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log/log.h"
#include "domain/http/query.h"

#define TOKENS_MAX 4096 /* that are remembered: services have few, users who publish one each */

struct auth {
	const struct config *config; /* borrowed */
	pthread_rwlock_t lock;	     /* guards what follows: read while a token is checked, written by a reload */
	struct token_keys *keys;
};

static enum err load(const struct config *c, struct token_keys **keys)
{
	const struct token_rules rules = token_rules_of(c);
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

/* A reload does not wait for ever while there are always tokens to check. */
static void make_lock(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attributes;

	pthread_rwlockattr_init(&attributes);
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &attributes);
	pthread_rwlockattr_destroy(&attributes);
}

enum err auth_new(struct auth **out, const struct config *c)
{
	struct auth *auth = calloc(1, sizeof(*auth));
	enum err e = OK;

	if (!auth)
		return ERR_MEMORY;
	auth->config = c;
	e = load(c, &auth->keys);
	if (e != OK) {
		free(auth);
		return e;
	}
	make_lock(&auth->lock);
	*out = auth;
	return OK;
}

void auth_free(struct auth **auth)
{
	if (!*auth)
		return;
	token_keys_free(&(*auth)->keys);
	pthread_rwlock_destroy(&(*auth)->lock);
	free(*auth);
	*auth = NULL;
}

void auth_reload(struct auth *auth)
{
	struct token_keys *keys = NULL;
	struct token_keys *old = NULL;

	if (load(auth->config, &keys) != OK)
		return;
	pthread_rwlock_wrlock(&auth->lock);
	old = auth->keys;
	auth->keys = keys;
	pthread_rwlock_unlock(&auth->lock);
	token_keys_free(&old);
	log_notice("JWT keys loaded anew");
}

enum err auth_check(struct auth *auth, const struct request *r, struct token_claims *claims, struct response *res)
{
	static const struct query_name names[] = {{"token", true}};
	struct problem problem = PROBLEM_NONE;
	struct buf token = BUF_EMPTY;
	const struct token_fault *fault = NULL;
	enum err e = OK;

	query_check((struct span){r->query, strlen(r->query)}, names, ARRAY_LEN(names), &problem);
	if (problem.errors_count > 0) {
		response_problem(res, &problem);
		problem_free(&problem);
		return ERR_INPUT;
	}
	if (!request_token(r, &token)) {
		buf_free(&token);
		response_refuse(res, 401, PROBLEM_NO_TOKEN);
		return ERR_NOT_FOUND;
	}
	pthread_rwlock_rdlock(&auth->lock);
	e = buf_ok(&token) ? token_verify(auth->keys, token.bytes ? token.bytes : "", token.len,
					  clock_wall_us() / 1000000, claims, &fault)
			   : ERR_MEMORY;
	pthread_rwlock_unlock(&auth->lock);
	buf_free(&token);
	if (e == OK) {
		request_set_user(r, claims->user_id);
		return OK;
	}
	if (!fault) {
		response_fault(res, e);
		return e;
	}
	response_refuse(res, 401, fault->detail);
	res->why = fault->why;
	return e;
}
