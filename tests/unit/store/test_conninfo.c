#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "store/conninfo.h"

/* The value that wins, as libpq lets it; NULL: the parameter is not there. */
static const char *value_of(const struct conninfo *c, const char *keyword)
{
	const char *value = NULL;

	for (size_t i = 0; c->keywords[i]; i++)
		if (strcmp(c->keywords[i], keyword) == 0)
			value = c->values[i];
	return value;
}

static size_t place_of(const struct conninfo *c, const char *keyword)
{
	size_t i = 0;

	while (c->keywords[i] && strcmp(c->keywords[i], keyword) != 0)
		i++;
	return i;
}

static void a_cut_network_is_noticed(void **state)
{
	struct conninfo *c = NULL;

	(void)state;
	assert_int_equal(conninfo_new(&c, "host=db.example", "tidings_reader", "tidings history", 2500), OK);
	assert_string_equal(value_of(c, "tcp_user_timeout"), "2500");
	assert_string_equal(value_of(c, "connect_timeout"), "3");
	assert_non_null(value_of(c, "keepalives_idle"));
	assert_string_equal(value_of(c, "application_name"), "tidings history");
	conninfo_free(&c);
	assert_null(c);
	conninfo_free(&c);
}

static void what_the_operator_gives_comes_after_the_defaults_and_the_encoding_after_that(void **state)
{
	struct conninfo *c = NULL;

	(void)state;
	assert_int_equal(conninfo_new(&c, "user=me client_encoding=LATIN1", "tidings_reader", "a", 0), OK);
	assert_string_equal(value_of(c, "dbname"), "user=me client_encoding=LATIN1");
	assert_true(place_of(c, "user") < place_of(c, "dbname"));
	assert_true(place_of(c, "tcp_user_timeout") < place_of(c, "dbname"));
	assert_true(place_of(c, "dbname") < place_of(c, "client_encoding"));
	assert_string_equal(value_of(c, "client_encoding"), "UTF8");
	conninfo_free(&c);
}

static void without_a_default_user_none_is_named(void **state)
{
	struct conninfo *c = NULL;

	(void)state;
	assert_int_equal(conninfo_new(&c, "tidings", NULL, "a", 0), OK);
	assert_null(value_of(c, "user"));
	conninfo_free(&c);
}

static void takes_pairs_uris_and_the_name_of_a_database(void **state)
{
	static const char *const right[] = {"",
					    "tidings",
					    "dbname=tidings",
					    "host=a,b port=5432,5433",
					    "postgresql://me@a:5432/tidings?connect_timeout=2",
					    "postgres:///tidings"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(right); i++) {
		struct conninfo *c = NULL;

		if (conninfo_new(&c, right[i], NULL, "a", 1) != OK)
			fail_msg("%s is refused", right[i]);
		conninfo_free(&c);
	}
}

static void refuses_a_string_that_libpq_does_not_understand(void **state)
{
	static const char *const wrong[] = {"host='a", "nothing=1", "host=a port", "postgresql://[a/tidings",
					    "postgres://a/b?x=1"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct conninfo *c = NULL;

		if (conninfo_new(&c, wrong[i], "me", "a", 1) != ERR_CONFIG)
			fail_msg("%s is taken", wrong[i]);
		assert_null(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cut_network_is_noticed),
		cmocka_unit_test(what_the_operator_gives_comes_after_the_defaults_and_the_encoding_after_that),
		cmocka_unit_test(without_a_default_user_none_is_named),
		cmocka_unit_test(takes_pairs_uris_and_the_name_of_a_database),
		cmocka_unit_test(refuses_a_string_that_libpq_does_not_understand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
