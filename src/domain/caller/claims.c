#include "domain/caller/claims.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "domain/text/json.h"
#include "domain/text/json_pointer.h"

#define SECONDS_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z: what RFC 3339 can say */

static const struct token_fault no_exp = {"no exp", "token has no exp", "The token has no exp."};
static const struct token_fault malformed_exp = {"malformed exp", "token has a malformed exp",
						 "The token's exp is not a number of seconds since 1970."};
static const struct token_fault malformed_nbf = {"malformed nbf", "token has a malformed nbf",
						 "The token's nbf is not a number of seconds since 1970."};
static const struct token_fault far_exp = {
	"exp beyond the year 9999", "token's exp is beyond the year 9999",
	"The token's exp is beyond the year 9999: it must be in seconds, not in milliseconds."};
static const struct token_fault far_nbf = {
	"nbf beyond the year 9999", "token's nbf is beyond the year 9999",
	"The token's nbf is beyond the year 9999: it must be in seconds, not in milliseconds."};
static const struct token_fault expired = {"expired", "token expired", "The token has expired."};
static const struct token_fault early = {"not valid yet", "token not valid yet", "The token is not valid yet."};
static const struct token_fault wrong_iss = {"wrong iss", "token has a wrong iss",
					     "The token's iss is not the one that is expected here."};
static const struct token_fault wrong_aud = {"wrong aud", "token has a wrong aud",
					     "The token's aud is not the one that is expected here."};
static const struct token_fault no_sub = {"no sub", "token has no sub", "The token has no sub."};
static const struct token_fault malformed_sub = {
	"malformed sub", "token has a malformed sub",
	"The token's sub is not a user id: text of 1 to 128 bytes, or an integer of 64 bits."};
static const struct token_fault no_user = {"no user id where TIDINGS_JWT_USER_CLAIM points", "token has no user id",
					   "The token has no user id where it is expected here."};
static const struct token_fault malformed_user = {
	"malformed user id where TIDINGS_JWT_USER_CLAIM points", "token has a malformed user id",
	"The token's user id is not one: text of 1 to 128 bytes, or an integer of 64 bits."};

/* ---- rules */

struct token_rules token_rules_of(const struct config *c)
{
	return (struct token_rules){
		.algorithms = c->jwt_algorithms,
		.issuer = c->jwt_issuer,
		.audience = c->jwt_audience,
		.jwks = c->jwt_jwks,
		.user_claim = c->jwt_user_claim,
		.role_claim = c->jwt_role_claim,
		.roles = c->jwt_roles,
		.require_exp = c->jwt_require_exp,
		.leeway_s = c->jwt_leeway_s,
	};
}

const char *role_text(enum role r)
{
	switch (r) {
	case ROLE_USER:
		return "user";
	case ROLE_CLINICIAN:
		return "clinician";
	case ROLE_SERVICE:
		return "service";
	case ROLE_ADMIN:
		return "admin";
	}
	return "user";
}

static bool role_of_text(struct span text, enum role *role)
{
	for (int r = ROLE_USER; r <= ROLE_ADMIN; r++) {
		if (strlen(role_text((enum role)r)) == text.len &&
		    memcmp(role_text((enum role)r), text.bytes, text.len) == 0) {
			*role = (enum role)r;
			return true;
		}
	}
	return false;
}

static struct span trim(struct span text)
{
	for (; text.len > 0 && text.bytes[0] == ' '; text.len--)
		text.bytes++;
	while (text.len > 0 && text.bytes[text.len - 1] == ' ')
		text.len--;
	return text;
}

/* An entry of a map like "nurse=clinician, Practitioner/=clinician". */
struct mapping {
	struct span name; /* as tokens have it */
	enum role role;
};

/*
 * The next of a map; false at its end, and at what is no entry.
 *
 *	map	in, out: what is left; NULL at its end, else what is no entry
 */
static bool next_mapping(const char **map, struct mapping *m)
{
	struct span entry = {*map, *map ? strcspn(*map, ",") : 0};
	const char *equals = *map ? memrchr(entry.bytes, '=', entry.len) : NULL;

	if (!equals)
		return false;
	m->name = trim((struct span){entry.bytes, (size_t)(equals - entry.bytes)});
	if (m->name.len == 0 ||
	    !role_of_text(trim((struct span){equals + 1, (size_t)(entry.bytes + entry.len - equals - 1)}), &m->role))
		return false;
	*map = entry.bytes[entry.len] == ',' ? entry.bytes + entry.len + 1 : NULL;
	return true;
}

enum err token_rules_check(const struct token_rules *rules, struct buf *problem)
{
	const char *map = rules->roles;
	struct mapping m;

	if (rules->jwks && (!rules->issuer || !rules->audience)) {
		buf_add_text(problem,
			     "TIDINGS_JWT_JWKS needs TIDINGS_JWT_ISSUER and TIDINGS_JWT_AUDIENCE: without them a token "
			     "for any other application would do");
		return ERR_CONFIG;
	}
	if ((rules->user_claim && !json_pointer_valid(rules->user_claim)) ||
	    (rules->role_claim && !json_pointer_valid(rules->role_claim))) {
		buf_printf(problem, "%s must be a JSON pointer, as in /realm_access/roles",
			   rules->user_claim && !json_pointer_valid(rules->user_claim) ? "TIDINGS_JWT_USER_CLAIM"
										       : "TIDINGS_JWT_ROLE_CLAIM");
		return ERR_CONFIG;
	}
	while (next_mapping(&map, &m))
		;
	if (!map)
		return OK;
	buf_printf(problem,
		   "TIDINGS_JWT_ROLES must be NAME=ROLE, separated by commas, with roles user, clinician, service and "
		   "admin; not \"%s\"",
		   map);
	return ERR_CONFIG;
}

bool token_rules_role_name(const struct token_rules *rules, enum role role, struct span *name)
{
	const char *map = rules->roles;
	struct mapping m;

	while (next_mapping(&map, &m)) {
		if (m.role == role) {
			*name = m.name;
			return true;
		}
	}
	*name = (struct span){role_text(role), strlen(role_text(role))};
	return !rules->roles;
}

/* ---- judgement */

const char *claims_text(json_object *value)
{
	return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

/* A NumericDate: seconds since 1970, which may have a fraction (RFC 7519 section 2). */
enum date { DATE_ABSENT, DATE_GOOD, DATE_MALFORMED, DATE_FAR };

static enum date read_date(json_object *payload, const char *name, bool round_up, int64_t *seconds)
{
	json_object *value = NULL;
	double number = 0;

	if (!json_object_object_get_ex(payload, name, &value))
		return DATE_ABSENT;
	if (!json_object_is_type(value, json_type_int) && !json_object_is_type(value, json_type_double))
		return DATE_MALFORMED;
	number = json_object_get_double(value);
	if (!(number >= 0)) /* a NaN is not either */
		return DATE_MALFORMED;
	/* Before any conversion: no integer holds what comes here, and json-c keeps the nearest that it can. */
	if (number > (double)SECONDS_MAX)
		return DATE_FAR;
	*seconds = (int64_t)number;
	*seconds += round_up && (double)*seconds < number;
	return DATE_GOOD;
}

static const struct token_fault *judge_exp(const struct token_rules *rules, json_object *payload, int64_t now_s,
					   int64_t *expires_s)
{
	int64_t seconds = 0;

	*expires_s = 0;
	switch (read_date(payload, "exp", false, &seconds)) {
	case DATE_ABSENT:
		return rules->require_exp ? &no_exp : NULL;
	case DATE_MALFORMED:
		return &malformed_exp;
	case DATE_FAR:
		return &far_exp;
	case DATE_GOOD:
		break;
	}
	*expires_s = MIN(seconds + rules->leeway_s, SECONDS_MAX);
	return now_s >= *expires_s ? &expired : NULL;
}

static const struct token_fault *judge_nbf(const struct token_rules *rules, json_object *payload, int64_t now_s)
{
	int64_t seconds = 0;

	switch (read_date(payload, "nbf", true, &seconds)) {
	case DATE_ABSENT:
		return NULL;
	case DATE_MALFORMED:
		return &malformed_nbf;
	case DATE_FAR:
		return &far_nbf;
	case DATE_GOOD:
		break;
	}
	return now_s + rules->leeway_s < seconds ? &early : NULL;
}

/* Whether a text, or an array of texts, is or has `wanted`. */
static bool has_text(json_object *value, const char *wanted)
{
	const char *text = claims_text(value);

	if (text)
		return strcmp(text, wanted) == 0;
	if (!json_object_is_type(value, json_type_array))
		return false;
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		text = claims_text(json_object_array_get_idx(value, i));
		if (text && strcmp(text, wanted) == 0)
			return true;
	}
	return false;
}

static bool stands_for(struct span name, struct span text)
{
	bool begins = name.bytes[name.len - 1] == '/';

	return (begins ? text.len >= name.len : text.len == name.len) && memcmp(name.bytes, text.bytes, name.len) == 0;
}

/* The most powerful role that a text stands for; ROLE_USER: none. */
static enum role role_named(const struct token_rules *rules, struct span text)
{
	const char *map = rules->roles;
	enum role found = ROLE_USER;
	struct mapping m;

	if (!map)
		return role_of_text(text, &found) ? found : ROLE_USER;
	while (next_mapping(&map, &m))
		if (m.role > found && stands_for(m.name, text))
			found = m.role;
	return found;
}

/*
 *	words	a text is several, as a scope is (RFC 6749 3.3)
 */
static enum role role_at(const struct token_rules *rules, json_object *value, bool words)
{
	const char *text = claims_text(value);
	enum role found = ROLE_USER;

	for (size_t len; text && words; text += len) {
		text += strspn(text, " ");
		len = strcspn(text, " ");
		if (len == 0)
			return found;
		found = MAX(found, role_named(rules, (struct span){text, len}));
	}
	if (text)
		return role_named(rules, (struct span){text, strlen(text)});
	if (!json_object_is_type(value, json_type_array))
		return found;
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		text = claims_text(json_object_array_get_idx(value, i));
		if (text)
			found = MAX(found, role_named(rules, (struct span){text, strlen(text)}));
	}
	return found;
}

static enum role role_of(const struct token_rules *rules, json_object *payload)
{
	enum role one, several;

	if (rules->role_claim)
		return role_at(rules, json_pointer_find(payload, rules->role_claim), true);
	one = role_at(rules, json_object_object_get(payload, "role"), false);
	several = role_at(rules, json_object_object_get(payload, "roles"), false);
	return MAX(one, several);
}

static const struct token_fault *judge_user(const struct token_rules *rules, json_object *payload,
					    char user_id[USER_ID_MAX + 1])
{
	json_object *value = NULL;
	const char *text = NULL;
	int64_t number = 0;

	if (rules->user_claim)
		value = json_pointer_find(payload, rules->user_claim);
	if (rules->user_claim ? !value : !json_object_object_get_ex(payload, "sub", &value))
		return rules->user_claim ? &no_user : &no_sub;
	if (json_int64(value, &number)) {
		snprintf(user_id, USER_ID_MAX + 1, "%" PRId64, number);
		return NULL;
	}
	text = claims_text(value);
	if (!text || !user_id_valid(text, strlen(text)))
		return rules->user_claim ? &malformed_user : &malformed_sub;
	memcpy(user_id, text, strlen(text) + 1);
	return NULL;
}

const struct token_fault *claims_judge(const struct token_rules *rules, json_object *payload, int64_t now_s,
				       struct token_claims *claims)
{
	const char *issuer = claims_text(json_object_object_get(payload, "iss"));
	struct token_claims judged = {.role = role_of(rules, payload)};
	const struct token_fault *fault = judge_exp(rules, payload, now_s, &judged.expires_s);

	if (!fault)
		fault = judge_nbf(rules, payload, now_s);
	if (!fault && rules->issuer && (!issuer || strcmp(issuer, rules->issuer) != 0))
		fault = &wrong_iss;
	if (!fault && rules->audience && !has_text(json_object_object_get(payload, "aud"), rules->audience))
		fault = &wrong_aud;
	if (!fault)
		fault = judge_user(rules, payload, judged.user_id);
	if (!fault)
		*claims = judged;
	return fault;
}

bool claims_are_expired(const struct token_fault *fault)
{
	return fault == &expired;
}
