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
static const char *judge_by(const struct token_rules *rules, const char *payload, struct token_claims *claims)
{
	const struct token_fault *fault = NULL;
	json_object *object = NULL;
	const char *problem = NULL;

	assert_int_equal(json_read(&object, payload, strlen(payload), &problem), OK);
	fault = claims_judge(rules, object, NOW_S, claims);
	json_object_put(object);
	return fault ? fault->why : NULL;
}

static const char *judge(const char *payload, struct token_claims *claims)
{
	static const struct token_rules rules = {.require_exp = true};

	return judge_by(&rules, payload, claims);
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
	assert_int_equal(claims_add_json(&payload, &rules, &claims, NOW_S), OK);
	assert_int_equal(json_read(&object, payload.bytes, payload.len, &problem), OK);
	assert_null(claims_judge(&rules, object, NOW_S, &read));
	assert_string_equal(read.user_id, claims.user_id);
	assert_int_equal(read.role, ROLE_CLINICIAN);
	assert_int_equal(read.expires_s, NOW_S + 1);
	json_object_put(object);
	buf_free(&payload);
}

/* An access token of Keycloak 26, as its defaults and an audience mapper make it. */
#define KEYCLOAK(SUB, REALM_ROLES)                                                                                     \
	"{\"exp\":1900000000,\"iat\":1799999700,\"jti\":\"onrtac:5c2f\",\"iss\":\"https://kc/realms/"                  \
	"clinic\",\"aud\":[\"tidings\",\"account\"]," SUB                                                              \
	"\"typ\":\"Bearer\",\"azp\":\"portal\",\"sid\":\"b1\",\"acr\":\"1\",\"allowed-origins\":[\"https://portal\"]," \
	"\"realm_access\":{\"roles\":[" REALM_ROLES                                                                    \
	"]},\"resource_access\":{\"account\":{\"roles\":[\"manage-account\"]}},"                                       \
	"\"scope\":\"openid email profile\",\"email_verified\":true,\"name\":\"Ada "                                   \
	"L\",\"preferred_username\":\"ada\"}"

static const struct token_rules keycloak = {
	.require_exp = true,
	.issuer = "https://kc/realms/clinic",
	.audience = "tidings",
	.role_claim = "/realm_access/roles",
	.roles = "tidings-admin=admin, tidings-service=service,nurse=clinician,doctor=clinician"};

static void takes_user_and_role_from_a_token_of_keycloak(void **state)
{
	static const struct {
		const char *roles;
		enum role role;
	} cases[] = {
		{"\"offline_access\",\"default-roles-clinic\",\"uma_authorization\"", ROLE_USER},
		{"\"offline_access\",\"nurse\"", ROLE_CLINICIAN},
		{"\"doctor\",\"tidings-service\"", ROLE_SERVICE},
		{"\"nurse\",\"tidings-admin\",\"doctor\"", ROLE_ADMIN},
		/* Names of ours that the map does not have, and what only looks like a name of it. */
		{"\"admin\",\"service\",\"clinician\"", ROLE_USER},
		{"\"tidings-admin2\",\"tidings-admi\",\"x "
		 "tidings-admin\",\"TIDINGS-ADMIN\",\"\",5,null,[\"tidings-admin\"]",
		 ROLE_USER},
	};
	struct token_claims claims = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf payload = BUF_EMPTY;

		buf_printf(&payload, KEYCLOAK("%s", "%s"), "\"sub\":\"7e4f-a1\",", cases[i].roles);
		assert_null(judge_by(&keycloak, payload.bytes, &claims));
		assert_string_equal(claims.user_id, "7e4f-a1");
		assert_int_equal(claims.role, cases[i].role);
		buf_free(&payload);
	}
	/* A lightweight access token has no sub. */
	assert_string_equal(judge_by(&keycloak, KEYCLOAK("", ""), &claims), "no sub");
}

static void a_role_of_another_place_or_application_is_none(void **state)
{
	struct token_claims claims = {0};

	(void)state;
	assert_null(
		judge_by(&keycloak,
			 "{\"exp\":1900000000,\"iss\":\"https://kc/realms/clinic\",\"aud\":\"tidings\",\"sub\":\"1\","
			 "\"role\":\"admin\",\"roles\":[\"tidings-admin\"],\"realm_access/roles\":[\"tidings-admin\"],"
			 "\"resource_access\":{\"other\":{\"roles\":[\"tidings-admin\"]}}}",
			 &claims));
	assert_int_equal(claims.role, ROLE_USER);
	assert_string_equal(
		judge_by(&keycloak,
			 "{\"exp\":1900000000,\"iss\":\"https://kc/realms/clinic\",\"aud\":[\"account\"],\"sub\":\"1\","
			 "\"realm_access\":{\"roles\":[\"tidings-admin\"]}}",
			 &claims),
		"wrong aud");
}

/* An access token of SMART App Launch 2.2 as JWT, as reference servers make it. */
#define SMART(MORE)                                                                  \
	"{\"iss\":\"https://ehr/auth\",\"aud\":\"https://ehr/"                       \
	"fhir\",\"sub\":\"u-81\",\"client_id\":\"growth_chart\",\"exp\":1900000000," \
	"\"iat\":1799999700,\"jti\":\"f0\"," MORE "}"

static void takes_user_and_role_from_a_token_of_smart_on_fhir(void **state)
{
	static const struct token_rules fhir_user = {
		.require_exp = true,
		.issuer = "https://ehr/auth",
		.audience = "https://ehr/fhir",
		.user_claim = "/fhirUser",
		.role_claim = "/fhirUser",
		.roles = "Practitioner/=clinician,https://ehr/fhir/Practitioner/=clinician"};
	static const struct token_rules patient = {.require_exp = true,
						   .issuer = "https://ehr/auth",
						   .audience = "https://ehr/fhir",
						   .user_claim = "/patient",
						   .role_claim = "/scope",
						   .roles = "user/*.rs=clinician,system/*.cruds=service"};
	struct token_claims claims = {0};

	(void)state;
	assert_null(judge_by(&fhir_user, SMART("\"fhirUser\":\"Practitioner/12\",\"scope\":\"launch user/*.rs\""),
			     &claims));
	assert_string_equal(claims.user_id, "Practitioner/12");
	assert_int_equal(claims.role, ROLE_CLINICIAN);
	assert_null(judge_by(&fhir_user, SMART("\"fhirUser\":\"https://ehr/fhir/Practitioner/12\""), &claims));
	assert_string_equal(claims.user_id, "https://ehr/fhir/Practitioner/12");
	assert_int_equal(claims.role, ROLE_CLINICIAN);
	assert_null(judge_by(&fhir_user, SMART("\"fhirUser\":\"Patient/12\""), &claims));
	assert_int_equal(claims.role, ROLE_USER);
	assert_null(judge_by(&fhir_user, SMART("\"fhirUser\":\"https://evil/Practitioner/12\""), &claims));
	assert_int_equal(claims.role, ROLE_USER);
	assert_null(judge_by(&fhir_user, SMART("\"fhirUser\":\"Practitioner\""), &claims));
	assert_int_equal(claims.role, ROLE_USER);
	assert_string_equal(judge_by(&fhir_user, SMART("\"patient\":\"12\""), &claims),
			    "no user id where TIDINGS_JWT_USER_CLAIM points");
	assert_string_equal(judge_by(&fhir_user, SMART("\"fhirUser\":null"), &claims),
			    "no user id where TIDINGS_JWT_USER_CLAIM points");
	assert_string_equal(judge_by(&fhir_user, SMART("\"fhirUser\":[\"Patient/1\"]"), &claims),
			    "malformed user id where TIDINGS_JWT_USER_CLAIM points");

	assert_null(judge_by(&patient,
			     SMART("\"patient\":\"87a339d0\",\"scope\":\"launch/patient  patient/*.rs openid\""),
			     &claims));
	assert_string_equal(claims.user_id, "87a339d0");
	assert_int_equal(claims.role, ROLE_USER);
	assert_null(judge_by(&patient, SMART("\"patient\":5,\"scope\":\"openid system/*.cruds user/*.rs \""), &claims));
	assert_string_equal(claims.user_id, "5");
	assert_int_equal(claims.role, ROLE_SERVICE);
	/* A star is a star: a scope for less is not one for all. */
	assert_null(judge_by(&patient,
			     SMART("\"patient\":5,\"scope\":\"system/Observation.cruds system/*.r user/*.rsx\""),
			     &claims));
	assert_int_equal(claims.role, ROLE_USER);
}

static void our_own_names_are_whole_texts_where_no_place_is_configured(void **state)
{
	struct token_claims claims = {0};

	(void)state;
	assert_null(judge("{\"sub\":\"1\",\"exp\":1900000000,\"role\":\"no admin\",\"roles\":\"service \"}", &claims));
	assert_int_equal(claims.role, ROLE_USER);
	assert_null(
		judge("{\"sub\":\"1\",\"exp\":1900000000,\"role\":\"clinician\",\"roles\":[\"service\"]}", &claims));
	assert_int_equal(claims.role, ROLE_SERVICE);
}

static void makes_tokens_in_the_shape_of_the_provider(void **state)
{
	static const struct token_rules both = {.issuer = "i",
						.audience = "a",
						.user_claim = "/ext/user",
						.role_claim = "/ext/groups",
						.roles = "care team=clinician,Ops/=admin,u=user"};
	static const enum role roles[] = {ROLE_USER, ROLE_CLINICIAN, ROLE_ADMIN};
	struct token_claims claims = {.user_id = "a/b", .role = ROLE_SERVICE, .expires_s = NOW_S + 1};
	struct token_claims read = {0};
	struct buf payload = BUF_EMPTY;

	(void)state;
	assert_int_equal(claims_add_json(&payload, &both, &claims, NOW_S), ERR_CONFIG);
	assert_int_equal(payload.len, 0);
	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		claims.role = roles[i];
		buf_clear(&payload);
		assert_int_equal(claims_add_json(&payload, &both, &claims, NOW_S), OK);
		assert_null(judge_by(&both, payload.bytes, &read));
		assert_string_equal(read.user_id, "a/b");
		assert_int_equal(read.role, roles[i]);
	}
	buf_free(&payload);
}

static void refuses_rules_that_are_none(void **state)
{
	static const struct {
		struct token_rules rules;
		const char *words; /* NULL: they are */
	} cases[] = {
		{{.jwks = "f"}, "TIDINGS_JWT_ISSUER"},
		{{.jwks = "f", .issuer = "i"}, "TIDINGS_JWT_AUDIENCE"},
		{{.jwks = "f", .audience = "a"}, "TIDINGS_JWT_ISSUER"},
		{{.jwks = "f", .issuer = "i", .audience = "a"}, NULL},
		{{.user_claim = "sub"}, "TIDINGS_JWT_USER_CLAIM"},
		{{.role_claim = "realm_access.roles"}, "TIDINGS_JWT_ROLE_CLAIM"},
		{{.user_claim = "/sub", .role_claim = "/a~0/b"}, NULL},
		{{.roles = "nurse"}, "not \"nurse\""},
		{{.roles = "nurse=clinician,x"}, "not \"x\""},
		{{.roles = "nurse=clinician,"}, "TIDINGS_JWT_ROLES"},
		{{.roles = "=admin"}, "TIDINGS_JWT_ROLES"},
		{{.roles = " =admin"}, "TIDINGS_JWT_ROLES"},
		{{.roles = "nurse=root"}, "TIDINGS_JWT_ROLES"},
		{{.roles = "nurse="}, "TIDINGS_JWT_ROLES"},
		{{.roles = "nurse=admins"}, "TIDINGS_JWT_ROLES"},
		{{.roles = "a=b=admin, care team = clinician ,Practitioner/=user"}, NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf problem = BUF_EMPTY;

		assert_int_equal(token_rules_check(&cases[i].rules, &problem), cases[i].words ? ERR_CONFIG : OK);
		if (cases[i].words && !strstr(problem.bytes, cases[i].words))
			fail_msg("not \"%s\": %s", cases[i].words, problem.bytes);
		buf_free(&problem);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_no_sub_that_json_c_has_rounded),
		cmocka_unit_test(takes_no_date_beyond_any_number),
		cmocka_unit_test(looks_at_no_claim_that_is_not_used),
		cmocka_unit_test(accepts_what_it_writes),
		cmocka_unit_test(takes_user_and_role_from_a_token_of_keycloak),
		cmocka_unit_test(a_role_of_another_place_or_application_is_none),
		cmocka_unit_test(takes_user_and_role_from_a_token_of_smart_on_fhir),
		cmocka_unit_test(our_own_names_are_whole_texts_where_no_place_is_configured),
		cmocka_unit_test(makes_tokens_in_the_shape_of_the_provider),
		cmocka_unit_test(refuses_rules_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
