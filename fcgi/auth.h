/*
 * auth - who sends a request: checks its token with the keys, which a SIGHUP reads anew.
 *
 * Layer    fcgi.
 * Threads  any number check while one thread reloads.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"
#include "base/process/config.h"
#include "domain/caller/token.h"
#include "fcgi/request.h"
#include "fcgi/response.h"

struct auth; /* opaque */

/*
 *	c	borrowed, for as long as it lives
 *
 * ERR_CONFIG  the keys are not usable: logged
 */
enum err auth_new(struct auth **auth, const struct config *c) MUST_CHECK;
void auth_free(struct auth **auth);

/* Reads the keys anew; those in use stay where the new ones are not usable. */
void auth_reload(struct auth *auth);

/*
 * ERR_NOT_FOUND     there is no token
 * ERR_UNAUTHORIZED  it is not valid now
 * ERR_INPUT         there are two
 * In each case *res is the refusal: 401, or 422; on any other error it is what goes with that.
 */
enum err auth_check(struct auth *auth, const struct request *r, struct token_claims *claims,
		    struct response *res) MUST_CHECK;
