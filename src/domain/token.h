/*
 * token - who the caller is, from a JWT (spec section 2, RFC 7519, RFC 8725).
 *
 * Keys are files in one directory, named `<kid>.<ALG>`: `default.HS256`, `2026-11.RS256`. The file name binds a key to
 * exactly one algorithm, so what a token's header says never chooses how it is checked: the header's kid finds the key
 * (`default` when it has none), and its alg must then be that key's. HS keys are raw bytes, one trailing newline
 * dropped, as long as the hash at least; the others are public keys in PEM. Adding a file and reloading rotates.
 *
 * Layer    domain: `now` comes in; the key files are read once, by token_keys_load().
 * Threads  verification is const: any number at once; one at a time when the keys remember.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "domain/user.h"

enum role { ROLE_USER, ROLE_CLINICIAN, ROLE_SERVICE, ROLE_ADMIN };

/* "user", "clinician", …; lent: static. */
const char *role_text(enum role r);

struct token_claims {
	char user_id[USER_ID_MAX + 1]; /* sub, as text; 1..128 printable bytes without control characters */
	enum role role;		       /* the most powerful of role and roles that we know; else ROLE_USER */
	int64_t expires_s;	       /* seconds since 1970, leeway included: refused from then on; 0: never */
};

struct token_rules {
	const char *algorithms; /* borrowed: "HS256,RS256": those that may be used */
	const char *issuer;	/* borrowed; NULL: any */
	const char *audience;	/* borrowed; NULL: any */
	bool require_exp;
	int64_t leeway_s;
};

struct token_keys; /* opaque */

/*
 * Loads every key of `directory`.
 *
 *	rules	copied but for its texts, which are borrowed for as long as the keys live
 *	keys	out: taken by the caller, freed by token_keys_free()
 *	problem	out: a sentence for the operator, when not OK; never holds key material
 *
 * ERR_CONFIG  unreadable, empty, a secret readable by others, a file name that is no `<kid>.<ALG>`, an algorithm that
 *             the rules do not list, a key too short or not a key
 */
enum err token_keys_load(struct token_keys **keys, const char *directory, const struct token_rules *rules,
			 struct buf *problem) MUST_CHECK;
void token_keys_free(struct token_keys **keys);

/*
 * From now on one thread at a time verifies with these keys, and a token that was found good is not checked anew each time
 * that it comes, until it expires. Once, before the first.
 *
 *	tokens_max	about so many are remembered; of more, those unused for the longest are forgotten
 */
enum err token_keys_remember(struct token_keys *keys, size_t tokens_max) MUST_CHECK;

/*
 * Checks a compact JWT of at most 8 KiB: algorithm, signature (constant time), exp, nbf, iss, aud, sub.
 *
 *	why	out: lent, static: what was wrong, for the log only ("expired", "bad signature"), not for a reply
 *
 * ERR_UNAUTHORIZED  it is not valid now
 */
enum err token_verify(const struct token_keys *keys, const char *jwt, size_t len, int64_t now_s,
		      struct token_claims *claims, const char **why) MUST_CHECK;

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
 */
enum err token_make(const struct token_keys *keys, const char *kid, const char *alg, const char *private_key_pem,
		    const struct token_claims *claims, int64_t now_s, struct buf *out) MUST_CHECK;
