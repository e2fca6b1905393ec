#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/defs.h"
#include "domain/http/peer.h"

static void the_loopback_is_this_machine_in_every_form(void **state)
{
	static const char *const own[] = {"127.0.0.1", "127.9.8.7", "::1", "0:0::1", "::ffff:127.0.0.1"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		assert_true(peer_is_loopback(own[i]));
}

static void anything_else_is_not(void **state)
{
	static const char *const others[] = {
		"",   "128.0.0.1",	 "10.0.0.1",	"127.0.0.1.example", "localhost", "127.0.0.1, 8.8.8.8",
		"::", "::ffff:10.0.0.1", "2001:db8::1", "::127.0.0.1"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		assert_false(peer_is_loopback(others[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_loopback_is_this_machine_in_every_form),
		cmocka_unit_test(anything_else_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
