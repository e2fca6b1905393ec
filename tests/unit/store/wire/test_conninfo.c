#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "store/wire/conninfo.h"

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

static struct conninfo *made_of(const char *text, const char *user, int64_t timeout_ms)
{
	struct hosts *hosts = NULL;
	struct conninfo *c = NULL;

	assert_int_equal(hosts_new(&hosts, text), OK);
	assert_int_equal(conninfo_new(&c, hosts, user, "tidings history", timeout_ms), OK);
	hosts_free(&hosts);
	return c;
}

static void a_cut_network_is_noticed(void **state)
{
	struct conninfo *c = made_of("host=db.example", "tidings_reader", 2500);

	(void)state;
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
	struct conninfo *c = made_of("user=me client_encoding=LATIN1", "tidings_reader", 0);

	(void)state;
	assert_string_equal(value_of(c, "dbname"), "user=me client_encoding=LATIN1");
	assert_true(place_of(c, "user") < place_of(c, "dbname"));
	assert_true(place_of(c, "tcp_user_timeout") < place_of(c, "dbname"));
	assert_true(place_of(c, "dbname") < place_of(c, "client_encoding"));
	assert_string_equal(value_of(c, "client_encoding"), "UTF8");
	conninfo_free(&c);
}

static void without_a_default_user_none_is_named(void **state)
{
	struct conninfo *c = made_of("tidings", NULL, 0);

	(void)state;
	assert_null(value_of(c, "user"));
	conninfo_free(&c);
}

static void has_the_host_that_it_is_told_and_its_port(void **state)
{
	struct conninfo *c = made_of("host=a,b port=5432,5433", NULL, 0);

	(void)state;
	assert_string_equal(value_of(c, "host"), "a");
	assert_string_equal(value_of(c, "port"), "5432");
	conninfo_set_host(c, 1, NULL);
	assert_string_equal(value_of(c, "host"), "b");
	assert_string_equal(value_of(c, "port"), "5433");
	assert_null(value_of(c, "hostaddr"));
	assert_true(place_of(c, "dbname") < place_of(c, "host"));
	conninfo_set_host(c, 0, "192.0.2.1");
	assert_string_equal(value_of(c, "host"), "a");
	assert_string_equal(value_of(c, "hostaddr"), "192.0.2.1");
	conninfo_free(&c);
}

static void a_time_for_connecting_that_the_operator_gives_counts(void **state)
{
	struct conninfo *c = made_of("host=a connect_timeout=7", NULL, 0);

	(void)state;
	assert_string_equal(value_of(c, "connect_timeout"), "7");
	conninfo_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cut_network_is_noticed),
		cmocka_unit_test(what_the_operator_gives_comes_after_the_defaults_and_the_encoding_after_that),
		cmocka_unit_test(without_a_default_user_none_is_named),
		cmocka_unit_test(has_the_host_that_it_is_told_and_its_port),
		cmocka_unit_test(a_time_for_connecting_that_the_operator_gives_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
