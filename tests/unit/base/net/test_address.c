#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "base/net/address.h"

static struct address address(const char *text)
{
	struct address a;

	if (strcmp(text, "unix") == 0)
		return (struct address){.kind = ADDRESS_UNIX};
	assert_true(address_parse(&a, (struct span){text, strlen(text)}));
	return a;
}

static const char *again(const char *text)
{
	static char out[ADDRESS_TEXT_SIZE];
	struct address a = address(text);

	return address_text(out, &a);
}

static void reads_and_writes_both_families_in_one_form(void **state)
{
	(void)state;
	assert_string_equal(again("192.0.2.1"), "192.0.2.1");
	assert_string_equal(again("::ffff:192.0.2.1"), "192.0.2.1");
	assert_string_equal(again("2001:0DB8:0::1"), "2001:db8::1");
	assert_string_equal(again("::"), "::");
	assert_string_equal(again("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"),
			    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	assert_string_equal(again("unix"), "unix");
}

static void what_is_no_address_is_none(void **state)
{
	static const char *const bad[] = {"",
					  " ",
					  "unknown",
					  "_hidden",
					  "1.2.3",
					  "1.2.3.4.5",
					  "1.2.3.256",
					  "01.2.3.4",
					  "1.2.3.4:80",
					  "[::1]",
					  "::1%lo",
					  "1::2::3",
					  "12345::",
					  "2001:db8::1, 2001:db8::2",
					  "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"};
	struct address a;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(address_parse(&a, (struct span){bad[i], strlen(bad[i])}));
	assert_false(address_parse(&a, (struct span){"1.2.3.4\0x", 9}));
}

static bool has(const char *list, const char *text)
{
	struct address a = address(text);

	return address_list_has(list, &a);
}

static void a_network_has_what_begins_as_it_does(void **state)
{
	(void)state;
	assert_true(has("192.0.2.0/24", "192.0.2.255"));
	assert_false(has("192.0.2.0/24", "192.0.3.0"));
	assert_true(has("192.0.2.128/25", "192.0.2.129"));
	assert_false(has("192.0.2.128/25", "192.0.2.127"));
	assert_true(has("10.0.0.1", "10.0.0.1"));
	assert_false(has("10.0.0.1", "10.0.0.2"));
	assert_true(has("10.0.0.0/8", "::ffff:10.9.8.7"));
	assert_true(has("0.0.0.0/0", "203.0.113.9"));
	assert_false(has("0.0.0.0/0", "2001:db8::1"));
	assert_true(has("2001:db8::/33", "2001:db8:7fff::1"));
	assert_false(has("2001:db8::/33", "2001:db8:8000::1"));
	assert_true(has("::1/128", "::1"));
	assert_true(has(" 10.0.0.1 ,, 2001:db8::/32,unix", "2001:db8::7"));
	assert_true(has("10.0.0.1,unix", "unix"));
	assert_false(has("::/0", "unix"));
	assert_false(has("unix", "::"));
	assert_false(has("", "::1"));
	assert_false(address_list_has(NULL, &(struct address){.kind = ADDRESS_UNIX}));
	assert_false(has("::/0", "unix"));
	assert_false(address_list_has("::/0, unix", &(struct address){0}));
}

static void a_list_is_good_as_a_whole_or_says_what_is_not(void **state)
{
	static const char *const good[] = {"",	       " , ", "unix", "127.0.0.1", "::1, 10.0.0.0/8 ,2001:db8::/32",
					   "0.0.0.0/0"};
	static const struct {
		const char *list, *bad;
	} bad[] = {{"127.0.0.1, localhost", "localhost"},
		   {"10.0.0.1/8", "10.0.0.1/8"},
		   {"10.0.0.0/33,unix", "10.0.0.0/33"},
		   {"10.0.0.0/", "10.0.0.0/"},
		   {"10.0.0.0/08", "10.0.0.0/08"},
		   {"10.0.0.0/ 8", "10.0.0.0/ 8"},
		   {"::/129", "::/129"},
		   {"127.0.0.1 ::1", "127.0.0.1 ::1"},
		   {"*", "*"},
		   {"unix/8", "unix/8"}};
	struct span item;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_true(address_list_valid(good[i], &item));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_false(address_list_valid(bad[i].list, &item));
		assert_int_equal(item.len, strlen(bad[i].bad));
		assert_memory_equal(item.bytes, bad[i].bad, item.len);
	}
}

static void a_peer_is_what_the_kernel_says(void **state)
{
	struct sockaddr_storage peer = {0};
	struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&peer;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&peer;
	char text[ADDRESS_TEXT_SIZE];
	struct address a;

	(void)state;
	v4->sin_family = AF_INET;
	v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address_of_peer(&a, &peer);
	assert_string_equal(address_text(text, &a), "127.0.0.1");
	peer = (struct sockaddr_storage){.ss_family = AF_INET6};
	v6->sin6_addr = in6addr_loopback;
	address_of_peer(&a, &peer);
	assert_string_equal(address_text(text, &a), "::1");
	peer = (struct sockaddr_storage){.ss_family = AF_UNIX};
	address_of_peer(&a, &peer);
	assert_string_equal(address_text(text, &a), "unix");
	peer = (struct sockaddr_storage){0};
	address_of_peer(&a, &peer);
	assert_string_equal(address_text(text, &a), "");
}

static void the_loopback_is_this_machine_in_every_form(void **state)
{
	static const char *const own[] = {"127.0.0.1", "127.9.8.7", "::1", "0:0::1", "::ffff:127.0.0.1"};
	static const char *const others[] = {"128.0.0.1",   "10.0.0.1",	   "::",      "::ffff:10.0.0.1",
					     "2001:db8::1", "::127.0.0.1", "7f00::1", "unix"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		struct address a = address(own[i]);

		assert_true(address_is_loopback(&a));
	}
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		struct address a = address(others[i]);

		assert_false(address_is_loopback(&a));
	}
	assert_false(address_is_loopback(&(struct address){.ip = {[15] = 1}}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes_both_families_in_one_form),
		cmocka_unit_test(what_is_no_address_is_none),
		cmocka_unit_test(a_network_has_what_begins_as_it_does),
		cmocka_unit_test(a_list_is_good_as_a_whole_or_says_what_is_not),
		cmocka_unit_test(the_loopback_is_this_machine_in_every_form),
		cmocka_unit_test(a_peer_is_what_the_kernel_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
