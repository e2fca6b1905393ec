/*
 * jwk_set - the public keys of an identity provider, as it publishes them (JWKS: RFC 7517, 7518 section 6, 8037).
 *
 * A key is bound to one algorithm: the one that it names, or else the first of those that may be used and that it fits. Never to one
 * with a secret: a public key is none. A key that is of no use is in the set with the reason why (RFC 7517 section 5: providers
 * publish keys for encryption beside the others). A set with a private key or a secret in it is refused as a whole: whoever can
 * read it can sign. So is one with two keys of one kid and algorithm.
 *
 * Certificates (x5c, x5t) and addresses (x5u, jku) are not looked at.
 *
 * Layer    domain: no I/O.
 * Threads  any number at once, each with its own set.
 */
#pragma once

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "domain/jose/algorithm.h"

#define JWK_SET_BYTES_MAX 131072
#define JWK_SET_KEYS_MAX 100

#define KID_MAX 128 /* bytes */
#define KID_DEFAULT "default"

struct jwk {
	const char *kid; /* lent by the set; KID_DEFAULT where it has none */
	char alg[ALGORITHM_MAX + 1];
	EVP_PKEY *key;	   /* owned by the set; NULL: not usable */
	const char *fault; /* lent, static: why it is not usable, as what "it" does; NULL: it is */
};

struct jwk_set {
	struct json_object *root; /* owned */
	struct jwk *keys;	  /* owned */
	size_t count;
};

/* 1 to KID_MAX printable characters of ASCII, no space; "" is one that names no key. */
bool jwk_kid_valid(const char *kid);

/*
 *	name		borrowed: what `problem` calls the set
 *	text		borrowed
 *	algorithms	borrowed: "RS256,ES256", those that may be used
 *	set		out: filled only when OK; jwk_set_free() it
 *	problem		out: a sentence for the operator, when ERR_CONFIG
 *
 * ERR_CONFIG  no JSON, no `keys`, more than JWK_SET_KEYS_MAX of them, a private key or a secret in it, two of one kid and
 *             algorithm, none that can be used
 * ERR_MEMORY
 */
enum err jwk_set_read(struct jwk_set *set, const char *name, struct span text, const char *algorithms,
		      struct buf *problem) MUST_CHECK;

/*
 * Appends what each key is used for, or why not: "kid: RS256", "kid: not used: it is not for signatures".
 *
 *	separator	between two of them
 */
void jwk_set_report(const struct jwk_set *set, const char *separator, struct buf *out);

/* Frees what is in it, and makes it empty. */
void jwk_set_free(struct jwk_set *set);
