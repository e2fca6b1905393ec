/*
 * origin - from whose pages a browser may read our replies (CORS, the Fetch standard).
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>

#include "base/defs.h"

/* `allowed` is "*" or a list of origins, "https://a.example,https://b.example:8443"; NULL or "": none. Origins are
 * compared as they are. */
bool origin_allowed(const char *allowed, struct span origin);
