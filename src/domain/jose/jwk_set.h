/*
 * jwk_set - the public keys of an identity provider, as it publishes them (JWKS: RFC 7517, 7518 section 6, 8037).
 *
 * What is in a set is read, not judged by what is wanted here: which algorithm a key is for, and whether that is allowed, is
 * for key_ring to say. A key that is no public key for signatures is in the set with the reason why (RFC 7517 section 5:
 * providers publish keys for encryption beside the others). A set with a private key or a secret in it is refused as a whole:
 * whoever can read it can sign.
 *
 * Certificates (x5c, x5t) and addresses (x5u, jku) are not looked at.
 *
 * Layer    domain: no I/O.
 * Threads  any number at once, each with its own set.
 */
#pragma once

#include <openssl/types.h>
#include <stddef.h>

#include "base/defs.h"
#include "base/err.h"

#define JWK_SET_BYTES_MAX 131072
#define JWK_SET_KEYS_MAX 100

struct jwk {
	const char *kid;   /* lent by the set; NULL: it has none */
	const char *alg;   /* lent by the set; NULL: it does not say */
	EVP_PKEY *key;	   /* owned by the set; NULL: not usable */
	const char *fault; /* lent, static: "is …", why it is not usable; NULL: it is */
};

struct jwk_set {
	struct json_object *root; /* owned */
	struct jwk *keys;	  /* owned */
	size_t count;
};

/*
 *	text	borrowed
 *	set	out: filled only when OK; jwk_set_free() it
 *	fault	out: lent, static: "is …", what is wrong with it, when ERR_INPUT
 *
 * ERR_INPUT  no JSON, no `keys`, more than JWK_SET_KEYS_MAX of them, a private key or a secret in it
 * ERR_MEMORY
 */
enum err jwk_set_read(struct jwk_set *set, struct span text, const char **fault) MUST_CHECK;

/* Frees what is in it, and makes it empty. */
void jwk_set_free(struct jwk_set *set);
