/*
 * claims - what a token's payload says, and whether that lets its bearer in now (RFC 7519 section 4).
 *
 * Only exp, nbf, iss, aud, sub, role and roles are looked at; where the rules say that user and role are elsewhere, as in tokens
 * of an identity provider, that instead of the last three.
 *
 * Layer    domain: `now` comes in.
 * Threads  any number at once.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/process/config.h"
#include "domain/caller/user_id.h"

enum role { ROLE_USER, ROLE_CLINICIAN, ROLE_SERVICE, ROLE_ADMIN };

/* "user", "clinician", …; lent: static. */
const char *role_text(enum role r);

/* A service that listens is told this, wherever it does: it may know, and would look for the fault elsewhere. */
#define ROLE_SERVICE_READS_NOTHING "A service publishes, and reads nothing."

struct token_claims {
	char user_id[USER_ID_MAX + 1]; /* as text; 1..128 printable bytes without control characters */
	enum role role;		       /* the most powerful of the roles that we know; else ROLE_USER */
	int64_t expires_s;	       /* seconds since 1970, leeway included: refused from then on; never beyond the
					  year 9999; 0: never */
};

struct token_rules {
	const char *algorithms; /* borrowed: "HS256,RS256": those that may be used */
	const char *issuer;	/* borrowed; NULL: any */
	const char *audience;	/* borrowed; NULL: any */
	const char *jwks;	/* borrowed: the file of a set of keys; NULL: none. Issuer and audience are set, then */
	const char *user_claim; /* borrowed: JSON pointer to the user id; NULL: /sub */
	const char *
		role_claim; /* borrowed: JSON pointer to a text, whose words are roles, or to an array of them; NULL: a role,
				   or an array of them, is at /role and /roles */
	const char *
		roles; /* borrowed: "nurse=clinician,Practitioner/=clinician": whose names roles have in tokens, and those
				   that begin so where a name ends in /; NULL: they have ours */
	bool require_exp;
	int64_t leeway_s;
};

/* The rules that the configuration says, for whichever program. Texts are borrowed, for as long as it lives. */
struct token_rules token_rules_of(const struct config *c);

/*
 * Whether the rules are rules, but for the algorithms.
 *
 *	problem	out: a sentence for the operator, when ERR_CONFIG
 *
 * ERR_CONFIG  a set of keys without issuer or audience: tokens for any other application of that identity provider would
 *             do; no pointer; no map of roles
 */
enum err token_rules_check(const struct token_rules *rules, struct buf *problem) MUST_CHECK;

/* What tokens call a role: lent by the rules, or static. False: nothing. */
bool token_rules_role_name(const struct token_rules *rules, enum role role, struct span *name);

/* Why a token is refused. All static. */
struct token_fault {
	const char *why;    /* for the log */
	const char *reason; /* for the bearer: a few words, as of a WebSocket's close */
	const char *detail; /* for the bearer: one sentence, without " or \ */
};

/*
 *	payload	borrowed: an object that json_read() accepted
 *	claims	out: set only when good
 *
 * NULL: good. Else what is wrong, lent: static. It is told whoever bears the token: its signature has been found good.
 */
const struct token_fault *claims_judge(const struct token_rules *rules, json_object *payload, int64_t now_s,
				       struct token_claims *claims) MUST_CHECK;

/* A fault that claims_judge() gave: time alone made it. */
bool claims_are_expired(const struct token_fault *fault);

/*
 * Appends the claims as the JSON object that claims_judge() accepts. expires_s 0: no exp.
 *
 * ERR_CONFIG  the rules have no name for this role
 * ERR_MEMORY
 */
enum err claims_add_json(struct buf *out, const struct token_rules *rules, const struct token_claims *claims,
			 int64_t now_s) MUST_CHECK;

/* NULL: not a text. Lent, valid as long as the object; json_read() has let no NUL in. */
const char *claims_text(json_object *value);
