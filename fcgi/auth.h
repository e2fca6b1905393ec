/*
 * auth - who sends a request: its token, checked with the keys, which a SIGHUP reads anew.
 *
 * Layer    fcgi.
 * Threads  any number of workers check while one thread reloads.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"
#include "base/process/config.h"
#include "domain/caller/token.h"
#include "fcgi/request.h"
#include "fcgi/response.h"

struct callers; /* opaque */

/*
 *	c	borrowed, for as long as it lives
 *
 * ERR_CONFIG  the keys are not usable: logged
 */
enum err callers_new(struct callers **callers, const struct config *c) MUST_CHECK;
void callers_free(struct callers **callers);

/* Reads the keys anew; those in use stay where the new ones are not usable. */
void callers_reload(struct callers *callers);

/*
 * ERR_NOT_FOUND     there is no token
 * ERR_UNAUTHORIZED  it is not valid now
 * ERR_INPUT         there are two
 * In each case *res is the refusal: 401, or 422; on any other error it is what goes with that.
 */
enum err caller_check(struct callers *callers, const struct request *r, struct token_claims *claims,
		      struct response *res) MUST_CHECK;
