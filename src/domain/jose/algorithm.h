/*
 * algorithm - the algorithms of signatures, by name (RFC 7518 3.1, RFC 8037 3.1), as lists of them and as keys have them.
 *
 * Layer    domain.
 * Threads  any number at once.
 */
#pragma once

#include <openssl/types.h>
#include <stdbool.h>

#define ALGORITHM_MAX 5 /* bytes: every algorithm has so many */

/*
 * The next of a list like "HS256, RS256"; false at its end. An empty or too long one is "".
 *
 *	list	in, out: what is left; NULL: nothing
 */
bool algorithm_next(const char **list, char alg[ALGORITHM_MAX + 1]);

bool algorithm_listed(const char *list, const char *alg);

/* Whether a key, private or public, is of the family, size and curve that `alg` names. False where errno is ENOMEM: not known. */
bool algorithm_fits(const EVP_PKEY *key, const char *alg);
