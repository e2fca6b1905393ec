#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/defs.h"
#include "domain/http/problem.h"

static void says_what_is_wrong_in_the_form_of_rfc_9457(void **state)
{
	struct problem p = {.status = 404, .detail = "There is \"nothing\" here."};
	struct buf out = BUF_EMPTY;

	(void)state;
	problem_write(&out, &p);
	assert_string_equal(out.bytes, "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,"
				       "\"detail\":\"There is \\\"nothing\\\" here.\"}");
	buf_free(&out);
	problem_free(&p);
}

static void lists_every_wrong_field(void **state)
{
	struct problem p = PROBLEM_NONE;
	struct buf out = BUF_EMPTY;

	(void)state;
	problem_add_field(&p, "", "rating", "is required");
	problem_add_field(&p, "[3].", "topic", "must be text");
	assert_int_equal(p.status, 422);
	assert_int_equal(p.errors_count, 2);
	problem_write(&out, &p);
	assert_non_null(strstr(out.bytes, "\"status\":422"));
	assert_non_null(strstr(out.bytes, "\"errors\":[{\"field\":\"rating\",\"message\":\"is required\"},"
					  "{\"field\":\"[3].topic\",\"message\":\"must be text\"}]}"));
	buf_free(&out);
	problem_free(&p);
	assert_int_equal(p.errors_count, 0);
}

static void a_sentence_names_its_field(void **state)
{
	struct problem p = PROBLEM_NONE;

	(void)state;
	problem_add_sentence(&p, "recommendation_id is not a recommendation of this diagnosis");
	problem_add_sentence(&p, "rating");
	assert_int_equal(p.status, 422);
	assert_string_equal(
		p.errors.bytes,
		"{\"field\":\"recommendation_id\",\"message\":\"is not a recommendation of this diagnosis\"},"
		"{\"field\":\"rating\",\"message\":\"\"}");
	problem_free(&p);
}

static void a_503_says_whether_it_may_have_been_done(void **state)
{
	struct problem p = {.status = 503, .detail = "Away."};
	struct buf out = BUF_EMPTY;

	(void)state;
	problem_write(&out, &p);
	assert_non_null(strstr(out.bytes, "\"detail\":\"Away.\",\"done\":\"no\"}"));
	p.done_unknown = true;
	buf_clear(&out);
	problem_write(&out, &p);
	assert_non_null(strstr(out.bytes, "\"done\":\"unknown\"}"));
	p.status = 500;
	buf_clear(&out);
	problem_write(&out, &p);
	assert_null(strstr(out.bytes, "done"));
	buf_free(&out);
}

static void has_a_title_for_every_status_that_we_use(void **state)
{
	static const int used[] = {400, 401, 403, 404, 405, 408, 409, 411, 413, 414, 415, 416,
				   417, 422, 426, 429, 431, 500, 501, 502, 503, 504, 505};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(used); i++)
		assert_string_not_equal(problem_title(used[i]), problem_title(used[i] < 500 ? 499 : 599));
	assert_string_equal(problem_title(422), "Unprocessable Content");
	assert_string_equal(problem_title(418), "Client Error");
	assert_string_equal(problem_title(599), "Server Error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_what_is_wrong_in_the_form_of_rfc_9457),
		cmocka_unit_test(lists_every_wrong_field),
		cmocka_unit_test(a_sentence_names_its_field),
		cmocka_unit_test(a_503_says_whether_it_may_have_been_done),
		cmocka_unit_test(has_a_title_for_every_status_that_we_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
