#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdlib.h>

#include "store/wire/hosts.h"

static struct hosts *made_of(const char *conninfo)
{
	struct hosts *h = NULL;

	assert_int_equal(hosts_new(&h, conninfo), OK);
	return h;
}

static void is(const struct hosts *h, size_t index, const char *name, const char *address, const char *port)
{
	struct host host = hosts_get(h, index);

	assert_string_equal(host.name ? host.name : "none", name);
	assert_string_equal(host.address ? host.address : "none", address);
	assert_string_equal(host.port ? host.port : "none", port);
}

static void takes_pairs_uris_and_the_name_of_a_database(void **state)
{
	static const struct {
		const char *text;
		size_t count;
	} right[] = {
		{"", 1},
		{"tidings", 1},
		{"dbname=tidings", 1},
		{"host=a,b port=5432,5433", 2},
		{"hostaddr=192.0.2.1,192.0.2.2", 2},
		{"postgresql://me@a:5432/tidings?connect_timeout=2", 1},
		{"postgresql://me@a:5432,b:5433,c/tidings", 3},
		{"postgres:///tidings", 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(right); i++) {
		struct hosts *h = made_of(right[i].text);

		if (hosts_count(h) != right[i].count)
			fail_msg("%s has %zu hosts", right[i].text, hosts_count(h));
		hosts_free(&h);
	}
}

static void refuses_a_string_that_libpq_does_not_understand(void **state)
{
	static const char *const wrong[] = {"host='a", "nothing=1", "host=a port", "postgresql://[a/tidings",
					    "postgres://a/b?x=1"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct hosts *h = NULL;

		if (hosts_new(&h, wrong[i]) != ERR_CONFIG)
			fail_msg("%s is taken", wrong[i]);
		assert_null(h);
	}
}

static void each_host_has_its_address_and_port_or_the_one_port_of_all(void **state)
{
	struct hosts *h = made_of("host=a,/run/b hostaddr=192.0.2.1,192.0.2.2 port=1,2");

	(void)state;
	is(h, 0, "a", "192.0.2.1", "1");
	is(h, 1, "/run/b", "192.0.2.2", "2");
	hosts_free(&h);
	h = made_of("host=a,b port=7");
	is(h, 1, "b", "none", "7");
	hosts_free(&h);
	h = made_of("postgresql://a:7,b/tidings");
	is(h, 0, "a", "none", "7");
	is(h, 1, "b", "none", "5432");
	hosts_free(&h);
}

static void the_environment_counts_as_it_does_for_libpq(void **state)
{
	char name[] = "PGHOST=a,b";
	struct hosts *h = NULL;

	(void)state;
	assert_int_equal(putenv(name), 0);
	h = made_of("tidings");
	assert_int_equal(hosts_count(h), 2);
	is(h, 1, "b", "none", "5432");
	hosts_free(&h);
	h = made_of("host=c");
	is(h, 0, "c", "none", "5432");
	hosts_free(&h);
	assert_int_equal(unsetenv("PGHOST"), 0);
}

static void what_libpq_fills_in_or_refuses_is_left_to_it(void **state)
{
	static const char *const texts[] = {"host=a,,b", "host=a,b port=1,2,3", "host=a,b hostaddr=192.0.2.1"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct hosts *h = made_of(texts[i]);

		assert_int_equal(hosts_count(h), 1);
		is(h, 0, "none", "none", "none");
		hosts_free(&h);
	}
}

static void a_host_that_was_passed_comes_last_and_is_passed_once_by_all_who_tried_it(void **state)
{
	struct hosts *h = made_of("host=a,b,c");
	struct hosts *shared = hosts_share(h);

	(void)state;
	assert_int_equal(hosts_first(h), 0);
	hosts_pass(h, 0);
	hosts_pass(shared, 0);
	assert_int_equal(hosts_first(h), 1);
	hosts_pass(h, 1);
	hosts_pass(h, 2);
	assert_int_equal(hosts_first(shared), 0);
	hosts_free(&h);
	assert_int_equal(hosts_count(shared), 3);
	hosts_free(&shared);
	assert_null(shared);
}

static void a_server_is_left_once_by_all_who_were_connected_to_it(void **state)
{
	struct hosts *h = made_of("host=a,b");
	uint64_t before = hosts_left(h);

	(void)state;
	hosts_leave(h, 0, before);
	assert_int_equal(hosts_left(h), before + 1);
	assert_int_equal(hosts_first(h), 1);
	hosts_leave(h, 0, before);
	assert_int_equal(hosts_left(h), before + 1);
	assert_int_equal(hosts_first(h), 1);
	hosts_free(&h);
}

static void that_all_are_away_or_back_is_news_once(void **state)
{
	struct hosts *h = made_of("host=a,b");

	(void)state;
	assert_false(hosts_set_away(h, false));
	assert_true(hosts_set_away(h, true));
	assert_false(hosts_set_away(h, true));
	assert_true(hosts_set_away(h, false));
	hosts_free(&h);
}

static void a_connection_may_take_3_s_unless_the_operator_says_otherwise(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} times[] = {{"host=a", 3000},
		     {"host=a connect_timeout=9", 9000},
		     {"host=a connect_timeout=1", 2000},
		     {"host=a connect_timeout=0", 3600000}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		struct hosts *h = made_of(times[i].text);

		assert_int_equal(hosts_connect_ms(h), times[i].ms);
		hosts_free(&h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_pairs_uris_and_the_name_of_a_database),
		cmocka_unit_test(refuses_a_string_that_libpq_does_not_understand),
		cmocka_unit_test(each_host_has_its_address_and_port_or_the_one_port_of_all),
		cmocka_unit_test(the_environment_counts_as_it_does_for_libpq),
		cmocka_unit_test(what_libpq_fills_in_or_refuses_is_left_to_it),
		cmocka_unit_test(a_host_that_was_passed_comes_last_and_is_passed_once_by_all_who_tried_it),
		cmocka_unit_test(a_server_is_left_once_by_all_who_were_connected_to_it),
		cmocka_unit_test(that_all_are_away_or_back_is_news_once),
		cmocka_unit_test(a_connection_may_take_3_s_unless_the_operator_says_otherwise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
