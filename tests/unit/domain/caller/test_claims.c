/* Payloads that libjwt would not let through today: what is judged here must not lean on that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/caller/claims.h"
#include "domain/text/json.h"

#define NOW_S INT64_C(1800000000)

/* NULL: accepted. */
static const char *judge(const char *payload, struct token_claims *claims)
{
	static const struct token_rules rules = {.require_exp = true};
	const struct token_fault *fault = NULL;
	json_object *object = NULL;
	const char *problem = NULL;

	assert_int_equal(json_read(&object, payload, strlen(payload), &problem), OK);
	fault = claims_judge(&rules, object, NOW_S, claims);
	json_object_put(object);
	return fault ? fault->why : NULL;
}

static void takes_no_sub_that_json_c_has_rounded(void **state)
{
	/* 10^20 and 10^21 were one and the same user. */
	static const char *const rounded[] = {"9223372036854775808",   "18446744073709551615",
					      "100000000000000000000", "1000000000000000000000",
					      "-9223372036854775809",  "-100000000000000000000"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rounded); i++) {
		struct token_claims claims = {.user_id = "untouched"};
		struct buf payload = BUF_EMPTY;

		buf_printf(&payload, "{\"exp\":1900000000,\"sub\":%s}", rounded[i]);
		assert_string_equal(judge(payload.bytes, &claims), "malformed sub");
		assert_string_equal(claims.user_id, "untouched");
		buf_free(&payload);
	}
}

static void takes_no_date_beyond_any_number(void **state)
{
	struct token_claims claims = {0};

	(void)state;
	assert_string_equal(judge("{\"sub\":\"1\",\"exp\":1e400}", &claims), "exp beyond the year 9999");
	assert_string_equal(judge("{\"sub\":\"1\",\"exp\":99999999999999999999}", &claims), "exp beyond the year 9999");
	assert_string_equal(judge("{\"sub\":\"1\",\"exp\":-1e400}", &claims), "malformed exp");
	assert_string_equal(judge("{\"sub\":\"1\",\"exp\":1900000000,\"nbf\":1e400}", &claims),
			    "nbf beyond the year 9999");
}

static void looks_at_no_claim_that_is_not_used(void **state)
{
	struct token_claims claims = {0};

	(void)state;
	assert_null(
		judge("{\"sub\":\"1\",\"exp\":1900000000,\"iat\":1e400,\"jti\":100000000000000000000,\"name\":[{}]}",
		      &claims));
	assert_string_equal(claims.user_id, "1");
}

static void accepts_what_it_writes(void **state)
{
	static const struct token_rules rules = {.issuer = "me \"quoted\"", .audience = "you"};
	struct token_claims claims = {.user_id = "J\xc3\xb6rg \"x\"", .role = ROLE_CLINICIAN, .expires_s = NOW_S + 1};
	struct token_claims read = {0};
	struct buf payload = BUF_EMPTY;
	json_object *object = NULL;
	const char *problem = NULL;

	(void)state;
	claims_add_json(&payload, &rules, &claims, NOW_S);
	assert_int_equal(json_read(&object, payload.bytes, payload.len, &problem), OK);
	assert_null(claims_judge(&rules, object, NOW_S, &read));
	assert_string_equal(read.user_id, claims.user_id);
	assert_int_equal(read.role, ROLE_CLINICIAN);
	assert_int_equal(read.expires_s, NOW_S + 1);
	json_object_put(object);
	buf_free(&payload);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_no_sub_that_json_c_has_rounded),
		cmocka_unit_test(takes_no_date_beyond_any_number),
		cmocka_unit_test(looks_at_no_claim_that_is_not_used),
		cmocka_unit_test(accepts_what_it_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
