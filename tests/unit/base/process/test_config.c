#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/process/config.h"

/* Reads one variable; what was wrong with it is in *problems. */
static enum err read_one(struct config *c, const char *entry, struct buf *problems)
{
	char *environment[] = {(char *)"PATH=/bin", (char *)entry, NULL};

	return config_read(c, environment, problems);
}

static void assert_problem(const char *entry, const char *expected)
{
	struct buf problems = BUF_EMPTY;
	struct config c;

	assert_int_equal(read_one(&c, entry, &problems), ERR_CONFIG);
	assert_string_equal(problems.bytes, expected);
	buf_free(&problems);
}

static void has_a_default_for_everything(void **state)
{
	char *environment[] = {NULL};
	struct buf problems = BUF_EMPTY;
	struct config c;

	(void)state;
	assert_int_equal(config_read(&c, environment, &problems), OK);
	assert_string_equal(c.database, "dbname=tidings");
	assert_null(c.jwt_issuer);
	assert_int_equal(c.jwt_require_exp, 1);
	assert_int_equal(c.queue_max, 100);
	assert_int_equal(problems.len, 0);
	buf_free(&problems);
}

static void reads_texts_numbers_and_choices(void **state)
{
	char *environment[] = {(char *)"TIDINGS_JWT_ISSUER=me",	  (char *)"TIDINGS_WS_PORT=65535",
			       (char *)"TIDINGS_LOG_LEVEL=debug", (char *)"TIDINGS_QUEUE_MIN_AGE=0",
			       (char *)"TIDINGS_PORT=any",	  NULL};
	struct buf problems = BUF_EMPTY;
	struct config c;

	(void)state;
	assert_int_equal(config_read(&c, environment, &problems), OK);
	assert_string_equal(c.jwt_issuer, "me");
	assert_int_equal(c.ws_port, 65535);
	assert_int_equal(c.log_level, 4);
	assert_int_equal(c.queue_min_age_s, 0);
	buf_free(&problems);
}

static void an_empty_value_is_the_default(void **state)
{
	struct buf problems = BUF_EMPTY;
	struct config c;

	(void)state;
	assert_int_equal(read_one(&c, "TIDINGS_QUEUE_MAX=", &problems), OK);
	assert_int_equal(c.queue_max, 100);
	assert_int_equal(read_one(&c, "TIDINGS_JWT_AUDIENCE=", &problems), OK);
	assert_null(c.jwt_audience);
	buf_free(&problems);
}

static void names_an_unknown_option(void **state)
{
	(void)state;
	assert_problem("TIDINGS_QUEUE_MAXIMUM=5", "TIDINGS_QUEUE_MAXIMUM is not an option of tidings\n");
	assert_problem("TIDINGS_=5", "TIDINGS_ is not an option of tidings\n");
	assert_problem("TIDINGS_QUEUE=", "TIDINGS_QUEUE is not an option of tidings\n");
}

static void names_a_number_that_is_none_or_out_of_its_limits(void **state)
{
	static const char *const wrong[] = {
		"0", "65536", "-1", "80x", "x", " 80", "80 ", "0x50", "+80", "8e1", "99999999999999999999", "-"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct buf entry = BUF_EMPTY;
		struct buf expected = BUF_EMPTY;

		buf_printf(&entry, "TIDINGS_WS_PORT=%s", wrong[i]);
		buf_printf(&expected, "TIDINGS_WS_PORT must be a whole number from 1 to 65535, not \"%s\"\n", wrong[i]);
		assert_problem(entry.bytes, expected.bytes);
		buf_free(&entry);
		buf_free(&expected);
	}
}

static void names_a_word_that_is_no_choice(void **state)
{
	(void)state;
	assert_problem("TIDINGS_ANONYMOUS=maybe", "TIDINGS_ANONYMOUS must be one of never|public, not \"maybe\"\n");
	assert_problem("TIDINGS_ANONYMOUS=nev", "TIDINGS_ANONYMOUS must be one of never|public, not \"nev\"\n");
	assert_problem("TIDINGS_ANONYMOUS=never|public",
		       "TIDINGS_ANONYMOUS must be one of never|public, not \"never|public\"\n");
}

static void tells_every_problem_at_once(void **state)
{
	char *environment[] = {(char *)"TIDINGS_WS_PORT=x", (char *)"TIDINGS_WHAT=y", NULL};
	struct buf problems = BUF_EMPTY;
	struct config c;

	(void)state;
	assert_int_equal(config_read(&c, environment, &problems), ERR_CONFIG);
	assert_string_equal(problems.bytes, "TIDINGS_WS_PORT must be a whole number from 1 to 65535, not \"x\"\n"
					    "TIDINGS_WHAT is not an option of tidings\n");
	buf_free(&problems);
}

static void prints_what_it_would_read_again(void **state)
{
	struct buf problems = BUF_EMPTY;
	struct buf out = BUF_EMPTY;
	struct config c;

	(void)state;
	assert_int_equal(read_one(&c, "TIDINGS_ANONYMOUS=public", &problems), OK);
	config_print(&c, &out);
	assert_non_null(strstr(out.bytes, "TIDINGS_DATABASE=dbname=tidings\n"));
	assert_non_null(strstr(out.bytes, "\nTIDINGS_ANONYMOUS=public\n"));
	assert_non_null(strstr(out.bytes, "\nTIDINGS_JWT_ISSUER=\n"));
	assert_non_null(strstr(out.bytes, "\nTIDINGS_WS_PORT=8001\n"));
	assert_null(strstr(out.bytes, "\nTIDINGS_PORT="));
	buf_free(&out);
	buf_free(&problems);
}

static void never_prints_a_password(void **state)
{
	static const struct {
		const char *given;
		const char *printed;
	} cases[] = {
		{"host=a password=s3cret dbname=b", "host=a password=*** dbname=b"},
		{"password = 's3c ret\\' x' dbname=b", "password = *** dbname=b"},
		{"host=a password=s3\\ cret", "host=a password=***"},
		{"sslpassword=s3cret password=s3cret", "sslpassword=*** password=***"},
		{"postgresql://me:s3cret@host:5432/db", "postgresql://me:***@host:5432/db"},
		{"postgresql://me@host:5432/db?password=s3cret&sslmode=require",
		 "postgresql://me@host:5432/db?password=***&sslmode=require"},
		{"postgresql://host:5432/db", "postgresql://host:5432/db"},
		{"passwords", "passwords"},
		{"password=", "password=***"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		static const char *const names[] = {"TIDINGS_DATABASE", "TIDINGS_LISTEN_DATABASE"};

		for (size_t n = 0; n < ARRAY_LEN(names); n++) {
			struct buf entry = BUF_EMPTY;
			struct buf expected = BUF_EMPTY;
			struct buf out = BUF_EMPTY;
			struct config c;

			buf_printf(&entry, "%s=%s", names[n], cases[i].given);
			buf_printf(&expected, "%s=%s\n", names[n], cases[i].printed);
			assert_int_equal(read_one(&c, entry.bytes, &out), OK);
			config_print(&c, &out);
			assert_non_null(strstr(out.bytes, expected.bytes));
			buf_free(&entry);
			buf_free(&expected);
			buf_free(&out);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(has_a_default_for_everything),
		cmocka_unit_test(reads_texts_numbers_and_choices),
		cmocka_unit_test(an_empty_value_is_the_default),
		cmocka_unit_test(names_an_unknown_option),
		cmocka_unit_test(names_a_number_that_is_none_or_out_of_its_limits),
		cmocka_unit_test(names_a_word_that_is_no_choice),
		cmocka_unit_test(tells_every_problem_at_once),
		cmocka_unit_test(prints_what_it_would_read_again),
		cmocka_unit_test(never_prints_a_password),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
