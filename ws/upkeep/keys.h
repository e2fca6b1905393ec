/*
 * keys - the keys that tokens are checked with, as the folder of TIDINGS_JWT_KEYS and the set of TIDINGS_JWT_JWKS have them.
 *
 *	keys_load()	at start
 *	keys_reload()	later: read by a thread, since files may take their time, and taken over in the loop
 *
 * Layer    ws.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"
#include "ws/node.h"

/*
 * Sets node.keys.
 *
 * ERR_CONFIG  they are not usable: logged
 * ERR_MEMORY
 */
enum err keys_load(struct node *n) MUST_CHECK;

/* Sets it anew, a moment later. What is not usable is logged, and the old ones stay. */
void keys_reload(struct node *n);
