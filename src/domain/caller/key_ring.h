/*
 * key_ring - the keys that tokens are checked and made with.
 *
 * Keys are files in one directory, named `<kid>.<ALG>`: `default.HS256`, `2026-11.RS256`. The file name binds a key to
 * exactly one algorithm. HS keys are the file's bytes, at least as long as the hash; the others are public keys in PEM.
 *
 * Beside them, or instead, the public keys of an identity provider: a file with its set of keys (jwk_set).
 *
 * An editor or openssl ends a file with a newline. Whoever signs may have taken that for a part of the secret or not: a
 * token is good either way.
 *
 * Layer    domain: the files are read once, by key_ring_load().
 * Threads  const once loaded: any number at once.
 */
#pragma once

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "domain/caller/signature.h"
#include "domain/jose/algorithm.h"
#include "domain/jose/jwk_set.h"

struct key_ring; /* opaque */

struct key {
	char kid[KID_MAX + 1];
	char alg[ALGORITHM_MAX + 1];
	struct buf secret;    /* the file's bytes: an HS secret, or PEM */
	size_t newline;	      /* bytes of the newline at the end of an HS secret's file: 0 or 1 */
	EVP_PKEY *public_key; /* owned; NULL: it is an HS secret */
};

/*
 * Loads every key of `directory`, and of the set. Where there is no directory of that name, and the name ends with _, it is what the
 * names of files in the folder in front of it begin with: /run/credentials/tidings-ws.service/jwt_ for jwt_default.HS256 there.
 *
 *	jwks		borrowed: the file with the set; NULL: none. With one, the directory may be empty, or not be there
 *	algorithms	borrowed for as long as the ring lives: "HS256,RS256", those that may be used
 *	ring		out: taken by the caller, freed by key_ring_free()
 *	problem		out: a sentence for the operator, when not OK; never holds key material
 *
 * ERR_CONFIG  unreadable, empty, a secret readable by others, a file name that is no `<kid>.<ALG>`, an algorithm that
 *             is not listed, a key too short or not a key; a set that everybody can write, that jwk_set_read() refuses,
 *             or with a key whose kid and algorithm a file has too
 */
enum err key_ring_load(struct key_ring **ring, const char *directory, const char *jwks, const char *algorithms,
		       struct buf *problem) MUST_CHECK;
void key_ring_free(struct key_ring **ring);

/* Whether a file may be named by this kid: 1 to KID_MAX of A-Z a-z 0-9 _ and -; "" is one that names no key. */
bool key_ring_kid_valid(const char *kid);

/* Whether it is one of those that may be used. */
bool key_ring_lists(const struct key_ring *ring, const char *alg);

/* How many there are for an algorithm. */
size_t key_ring_count(const struct key_ring *ring, struct span alg);

/* The key of that kid and algorithm: lent, valid as long as the ring. NULL: there is none. */
const struct key *key_ring_find(const struct key_ring *ring, const char *kid, const char *alg);

/*
 * What to sign with.
 *
 *	alg		NULL: the first of the ring's algorithms that there is a key for
 *	private_key_pem	NULL: sign with the HS key of that kid; else with this key, `alg` saying how
 *	chosen_alg	out: how
 *	material	out: borrowed from the ring, or private_key_pem itself
 *
 * ERR_NOT_FOUND  no such HS key
 * ERR_INPUT      no private key, or not one for this algorithm
 */
enum err key_ring_signer(const struct key_ring *ring, const char *kid, const char *alg, const char *private_key_pem,
			 char chosen_alg[ALGORITHM_MAX + 1], struct span *material) MUST_CHECK;
