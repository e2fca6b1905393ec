/*
 * keys - the keys that tokens are checked with, as the folder of TIDINGS_JWT_KEYS and the set of TIDINGS_JWT_JWKS have them.
 *
 * Layer    ws.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"
#include "ws/node.h"

/*
 * In whatever thread.
 *
 *	keys	out: taken by the caller
 *
 * ERR_CONFIG  they are not usable: logged
 * ERR_MEMORY
 */
enum err keys_read(const struct node *n, struct token_keys **keys) MUST_CHECK;

/*
 *	keys	taken: those that count from now on
 */
void keys_take_over(struct node *n, struct token_keys *keys);
