#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/http/forwarded.h"

#define PROXIES "10.0.0.0/8, 2001:db8:1::/48, unix"

static struct header_list lines(const char *first, const char *second)
{
	struct header_list list = {0};

	if (first)
		header_list_add(&list, (struct span){first, strlen(first)});
	if (second)
		header_list_add(&list, (struct span){second, strlen(second)});
	return list;
}

static const char *found(const char *peer, const struct forwarded *f, enum forwarded_header header)
{
	static char text[ADDRESS_TEXT_SIZE];
	struct address from = {.kind = ADDRESS_UNIX}, client;

	if (strcmp(peer, "unix") != 0)
		assert_true(address_parse(&from, (struct span){peer, strlen(peer)}));
	forwarded_client(&client, &from, f, PROXIES, header);
	return address_text(text, &client);
}

/* By one header alone. */
static const char *by_x(const char *peer, const char *value)
{
	struct forwarded f = {.x_forwarded_for = lines(value, NULL)};

	return found(peer, &f, FORWARDED_EITHER);
}

static const char *by_rfc(const char *peer, const char *value)
{
	struct forwarded f = {.forwarded = lines(value, NULL)};

	return found(peer, &f, FORWARDED_EITHER);
}

static void the_client_is_the_first_from_the_right_that_is_no_proxy(void **state)
{
	(void)state;
	assert_string_equal(by_x("10.0.0.1", NULL), "10.0.0.1");
	assert_string_equal(by_x("10.0.0.1", "203.0.113.9"), "203.0.113.9");
	assert_string_equal(by_x("10.0.0.1", "203.0.113.9, 10.0.0.2"), "203.0.113.9");
	assert_string_equal(by_x("10.0.0.1", "10.0.0.3, 10.0.0.2"), "10.0.0.3");
	assert_string_equal(by_x("10.0.0.1", " 203.0.113.9 ,,\t2001:db8:1::7 , "), "203.0.113.9");
	assert_string_equal(by_x("unix", "2001:DB8:2::7"), "2001:db8:2::7");
	assert_string_equal(by_rfc("10.0.0.1", "for=203.0.113.9"), "203.0.113.9");
	assert_string_equal(by_rfc("10.0.0.1", "For=\"[2001:db8:2::7]:4711\";proto=https, by=10.0.0.1;for=10.0.0.2"),
			    "2001:db8:2::7");
	assert_string_equal(by_rfc("unix", "proto=http ; for=203.0.113.9 ; host=\"a;for=6.6.6.6,b\\\"c\""),
			    "203.0.113.9");
}

static void whom_nobody_trusts_is_the_client_whatever_it_says(void **state)
{
	(void)state;
	assert_string_equal(by_x("198.51.100.7", "203.0.113.9"), "198.51.100.7");
	assert_string_equal(by_x("198.51.100.7", "203.0.113.9, 10.0.0.2"), "198.51.100.7");
	assert_string_equal(by_rfc("2001:db8:2::1", "for=203.0.113.9"), "2001:db8:2::1");
}

static void what_a_client_has_written_before_the_proxies_is_not_read(void **state)
{
	(void)state;
	assert_string_equal(by_x("10.0.0.1", "6.6.6.6, 203.0.113.9"), "203.0.113.9");
	assert_string_equal(by_x("10.0.0.1", "10.0.0.9, 6.6.6.6, 203.0.113.9, 10.0.0.2"), "203.0.113.9");
	assert_string_equal(by_rfc("10.0.0.1", "for=6.6.6.6, for=203.0.113.9"), "203.0.113.9");
	/* A quote that is left open, an escape at its end, or a parameter. */
	assert_string_equal(by_rfc("10.0.0.1", "for=\"6.6.6.6, for=203.0.113.9"), "203.0.113.9");
	assert_string_equal(by_rfc("10.0.0.1", "for=\"6.6.6.6\\, for=203.0.113.9"), "203.0.113.9");
	assert_string_equal(by_rfc("10.0.0.1", "for=\", for=\"203.0.113.9\""), "203.0.113.9");
	assert_string_equal(by_rfc("10.0.0.1", "for=6.6.6.6;x=\"\\\", for=\"203.0.113.9:80\";host=\"a\\\\\""),
			    "203.0.113.9");
}

static void several_lines_are_one_list(void **state)
{
	struct forwarded f = {.x_forwarded_for = lines("6.6.6.6, 203.0.113.9", "10.0.0.3,10.0.0.2")};

	(void)state;
	assert_string_equal(found("10.0.0.1", &f, FORWARDED_EITHER), "203.0.113.9");
	f = (struct forwarded){.forwarded = lines("for=203.0.113.9", "")};
	assert_string_equal(found("10.0.0.1", &f, FORWARDED_EITHER), "203.0.113.9");
}

static void the_way_ends_where_a_proxy_names_nobody(void **state)
{
	static const char *const items[] = {
		"unknown",	   "_hidden",	     "203.0.113.9 10.0.0.5", "1.2.3",  "203.0.113.9:",
		"203.0.113.9:8 0", "[2001:db8:2::7", "[203.0.113.9]x",	     "::1%lo", ":80",
		"\"203.0.113.9\""};
	char line[100];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(items); i++) {
		memcpy(line, "6.6.6.6, ", 10);
		strcat(line, items[i]);
		strcat(line, ", 10.0.0.2");
		assert_string_equal(by_x("10.0.0.1", line), "10.0.0.2");
	}
	assert_string_equal(by_rfc("10.0.0.1", "for=6.6.6.6, for=unknown, for=10.0.0.2"), "10.0.0.2");
	assert_string_equal(by_rfc("10.0.0.1", "for=6.6.6.6, by=10.0.0.2"), "10.0.0.1");
	assert_string_equal(by_rfc("10.0.0.1", "for=6.6.6.6;for=203.0.113.9"), "10.0.0.1");
	assert_string_equal(by_rfc("10.0.0.1", "for=, for=10.0.0.2"), "10.0.0.2");
	assert_string_equal(by_rfc("10.0.0.1", "for=\""), "10.0.0.1");
}

static void a_port_is_passed_over(void **state)
{
	(void)state;
	assert_string_equal(by_x("10.0.0.1", "203.0.113.9:4711"), "203.0.113.9");
	assert_string_equal(by_x("10.0.0.1", "[2001:db8:2::7]:4711"), "2001:db8:2::7");
	assert_string_equal(by_x("10.0.0.1", "[2001:db8:2::7]"), "2001:db8:2::7");
	assert_string_equal(by_rfc("10.0.0.1", "for=\"203.0.113.9:_x\""), "203.0.113.9");
}

/* The proxies write one of them; the other may be what a client has made up, and they have handed on. */
static void where_both_headers_are_there_they_must_agree_or_it_is_said_which_counts(void **state)
{
	struct forwarded f = {lines("203.0.113.9", NULL), lines("for=6.6.6.6", NULL)};

	(void)state;
	assert_string_equal(found("10.0.0.1", &f, FORWARDED_EITHER), "10.0.0.1");
	assert_string_equal(found("10.0.0.1", &f, FORWARDED_X_FORWARDED_FOR), "203.0.113.9");
	assert_string_equal(found("10.0.0.1", &f, FORWARDED_RFC_7239), "6.6.6.6");
	f.forwarded = lines("for=6.6.6.6, for=203.0.113.9;proto=https", NULL);
	assert_string_equal(found("10.0.0.1", &f, FORWARDED_EITHER), "203.0.113.9");
	f = (struct forwarded){.forwarded = lines("for=6.6.6.6", NULL)};
	assert_string_equal(found("10.0.0.1", &f, FORWARDED_X_FORWARDED_FOR), "10.0.0.1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_client_is_the_first_from_the_right_that_is_no_proxy),
		cmocka_unit_test(whom_nobody_trusts_is_the_client_whatever_it_says),
		cmocka_unit_test(what_a_client_has_written_before_the_proxies_is_not_read),
		cmocka_unit_test(several_lines_are_one_list),
		cmocka_unit_test(the_way_ends_where_a_proxy_names_nobody),
		cmocka_unit_test(a_port_is_passed_over),
		cmocka_unit_test(where_both_headers_are_there_they_must_agree_or_it_is_said_which_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
