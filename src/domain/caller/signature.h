/*
 * signature - a compact JWT's signature: checks one, makes one.
 *
 * Signatures with a secret are libjwt's, and this is the only file that knows it. It is told by the token's own header how to
 * check: what it did is compared with what the key is for (RFC 8725 3.1). libjwt reads header and payload itself, before the
 * signature, and refuses more than a bad signature: before 1.12 any typ but JWT, and always JSON that its reader cannot hold
 * (an integer of more than 64 bits, 1e400, \u0000), whether or not we use that claim.
 *
 * Signatures of key pairs are checked by OpenSSL itself: no libjwt 1.x has EdDSA, 1.10 (Debian 12) has no PS256 and refuses the
 * access tokens of RFC 9068 (typ at+jwt), and its reader would be in the way of an identity provider's claims.
 *
 * Layer    domain.
 * Threads  any number at once.
 */
#pragma once

#include <openssl/types.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"

/* Whether there is a signature of exactly this name: "none" is none, and case counts. */
bool signature_alg_known(const char *alg);

/* Whether the algorithm's key is a secret, else a pair. */
bool signature_is_hmac(const char *alg);

enum signature {
	SIGNATURE_GOOD,
	SIGNATURE_BAD,
	SIGNATURE_UNREADABLE, /* libjwt cannot read the payload, and does not look at the signature then */
	SIGNATURE_NO_MEMORY,  /* not known: there was no memory to check it */
};

/*
 * Has libjwt, and what it calls, make what they keep for all tokens: where there is no memory as the first is checked,
 * OpenSSL makes it in part, and good ones are refused from then on.
 *
 * ERR_MEMORY
 */
enum err signature_prepare(void) MUST_CHECK;

/* The same, of what OpenSSL makes for the first signature that is checked with that algorithm and a key of a pair. */
enum err signature_prepare_pair(const char *alg, EVP_PKEY *key) MUST_CHECK;

/* Of a token that is signed well with a secret, with a typ other than JWT: whether this libjwt takes that. Not
 * SIGNATURE_UNREADABLE. */
enum signature signature_of_other_typ(void) MUST_CHECK;

/*
 * A key of a pair, from PEM without a password: taken by the caller, EVP_PKEY_free() it.
 *
 * NULL: it is none, or, where errno is ENOMEM, not known: OpenSSL does not tell these apart.
 */
EVP_PKEY *signature_read_key(struct span pem, bool private) MUST_CHECK;

/*
 * Whether the token is signed with this secret and algorithm, and no other.
 *
 *	jwt	borrowed: three parts in base64url, NUL-terminated
 *	alg	one whose key is a secret
 */
enum signature signature_check_secret(const char *jwt, const char *alg, struct span secret) MUST_CHECK;

/*
 * The same for the public key of a pair, which must be one for the algorithm. Not SIGNATURE_UNREADABLE. The token's header
 * is not looked at.
 *
 *	key	borrowed
 */
enum signature signature_check_pair(const char *jwt, const char *alg, EVP_PKEY *key) MUST_CHECK;

/*
 * Makes a signed token.
 *
 *	kid	NULL: the header has none
 *	payload	borrowed: a JSON object
 *	key	borrowed: a secret, or a private key in PEM
 *	out	the compact JWT is added
 *
 * ERR_INPUT  not a key for this algorithm; or no memory, of which libjwt does not tell it apart
 * ERR_MEMORY
 */
enum err signature_make(const char *kid, const char *payload, const char *alg, struct span key,
			struct buf *out) MUST_CHECK;
