/*
 * token - who the caller is, from a JWT (spec section 2, RFC 7519, RFC 8725).
 *
 * What a token's header says never chooses how it is checked: its kid finds the key (`default` when it has none), and
 * its alg must be the one that the key is for. Adding a key's file and loading anew rotates.
 *
 * Layer    domain: `now` comes in; the key files are read once, by token_keys_load().
 * Threads  token_verify() and token_make(): any number at once.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "domain/caller/claims.h"

struct token_keys; /* opaque */

/*
 * Loads every key of `directory`, and of the rules' set of keys: see key_ring.
 *
 *	rules	copied but for its texts, which are borrowed for as long as the keys live
 *	keys	out: taken by the caller, freed by token_keys_free()
 *	problem	out: a sentence for the operator, when not OK; never holds key material
 *
 * ERR_CONFIG  rules that token_rules_check() refuses; unreadable, empty, a secret readable by others, a file name that is no
 *             `<kid>.<ALG>`, an algorithm that the rules do not list, a key too short or not a key; no set of keys
 */
enum err token_keys_load(struct token_keys **keys, const char *directory, const struct token_rules *rules,
			 struct buf *problem) MUST_CHECK;
void token_keys_free(struct token_keys **keys);

/*
 * From now on a token that was found good is not checked anew each time that it comes, until it expires. Once, before the
 * first. Other keys, loaded later, know nothing of what these have found good.
 *
 *	tokens_max	about so many are remembered; of more, those unused for the longest are forgotten
 */
enum err token_keys_remember(struct token_keys *keys, size_t tokens_max) MUST_CHECK;

/*
 * Checks a compact JWT of at most 8 KiB: algorithm, signature (constant time), exp, nbf, iss, aud, sub.
 *
 *	claims	out: set only when OK
 *	fault	out: lent, static: what is wrong, when ERR_UNAUTHORIZED, else NULL. Its bearer is told no more than that, unless the signature
 *		was good
 *
 * ERR_UNAUTHORIZED  it is not valid now
 * ERR_MEMORY        not known
 */
enum err token_verify(struct token_keys *keys, const char *jwt, size_t len, int64_t now_s, struct token_claims *claims,
		      const struct token_fault **fault) MUST_CHECK;

/* What came of a check, for whoever counts: how many words of the fault its bearer is told is another matter. */
enum token_result { TOKEN_GOOD, TOKEN_EXPIRED, TOKEN_BAD_SIGNATURE, TOKEN_NO_KEY, TOKEN_BAD_CLAIMS };

/* NULL: it was good. */
enum token_result token_result_of(const struct token_fault *fault);

/* How many keys there are for an algorithm. */
size_t token_keys_count(const struct token_keys *keys, struct span alg);

/*
 * Makes a token: what `tidings token` prints.
 *
 *	kid		NULL: `default`, and no kid in the header
 *	alg		NULL: the first of the rules' algorithms that there is a key for
 *	private_key_pem	NULL: sign with the HS key of that kid; else with this key, `alg` saying how
 *	claims		expires_s 0: no exp
 *	out		the compact JWT is added
 *
 * ERR_NOT_FOUND  no such HS key
 * ERR_INPUT      no private key, or not one for this algorithm
 * ERR_CONFIG     the rules have no name for this role
 */
enum err token_make(const struct token_keys *keys, const char *kid, const char *alg, const char *private_key_pem,
		    const struct token_claims *claims, int64_t now_s, struct buf *out) MUST_CHECK;
