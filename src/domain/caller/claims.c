#include "domain/caller/claims.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "domain/text/json.h"

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

struct token_rules token_rules_of(const struct config *c)
{
	return (struct token_rules){
		.algorithms = c->jwt_algorithms,
		.issuer = c->jwt_issuer,
		.audience = c->jwt_audience,
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

static enum role role_of(json_object *payload)
{
	json_object *one = json_object_object_get(payload, "role");
	json_object *several = json_object_object_get(payload, "roles");

	for (int r = ROLE_ADMIN; r > ROLE_USER; r--)
		if (has_text(one, role_text((enum role)r)) || has_text(several, role_text((enum role)r)))
			return (enum role)r;
	return ROLE_USER;
}

static const struct token_fault *judge_subject(json_object *payload, char user_id[USER_ID_MAX + 1])
{
	json_object *value = NULL;
	const char *text = NULL;
	int64_t number = 0;

	if (!json_object_object_get_ex(payload, "sub", &value))
		return &no_sub;
	if (json_int64(value, &number)) {
		snprintf(user_id, USER_ID_MAX + 1, "%" PRId64, number);
		return NULL;
	}
	text = claims_text(value);
	if (!text || !user_id_valid(text, strlen(text)))
		return &malformed_sub;
	memcpy(user_id, text, strlen(text) + 1);
	return NULL;
}

const struct token_fault *claims_judge(const struct token_rules *rules, json_object *payload, int64_t now_s,
				       struct token_claims *claims)
{
	const char *issuer = claims_text(json_object_object_get(payload, "iss"));
	struct token_claims judged = {.role = role_of(payload)};
	const struct token_fault *fault = judge_exp(rules, payload, now_s, &judged.expires_s);

	if (!fault)
		fault = judge_nbf(rules, payload, now_s);
	if (!fault && rules->issuer && (!issuer || strcmp(issuer, rules->issuer) != 0))
		fault = &wrong_iss;
	if (!fault && rules->audience && !has_text(json_object_object_get(payload, "aud"), rules->audience))
		fault = &wrong_aud;
	if (!fault)
		fault = judge_subject(payload, judged.user_id);
	if (!fault)
		*claims = judged;
	return fault;
}

static void add_text(struct buf *out, const char *name, const char *text)
{
	if (!text)
		return;
	buf_printf(out, ",\"%s\":", name);
	json_add_string(out, text, strlen(text));
}

bool claims_are_expired(const struct token_fault *fault)
{
	return fault == &expired;
}

void claims_add_json(struct buf *out, const struct token_rules *rules, const struct token_claims *claims, int64_t now_s)
{
	buf_printf(out, "{\"iat\":%" PRId64, now_s);
	if (claims->expires_s != 0)
		buf_printf(out, ",\"exp\":%" PRId64, claims->expires_s);
	add_text(out, "sub", claims->user_id);
	add_text(out, "role", role_text(claims->role));
	add_text(out, "iss", rules->issuer);
	add_text(out, "aud", rules->audience);
	buf_add_text(out, "}");
}
