/*
 * What this layer makes without a database, with each of its allocations failing in turn: it is there whole, or it is
 * ERR_MEMORY and not there.
 */
#include "tests/unit/memory.h"

#include <poll.h>
#include <string.h>

#include "store/async/lookup.h"
#include "store/wire/conninfo.h"
#include "store/wire/hosts.h"
#include "store/wire/pgarray.h"

/* A string that libpq had no memory to read was a wrong one: the program ended, not to be started again. */
static enum err make_conninfo(void *context)
{
	const char *text = context;
	struct hosts *hosts = NULL;
	struct conninfo *c = NULL;
	enum err e = hosts_new(&hosts, text);

	if (e == OK)
		e = conninfo_new(&c, hosts, "tidings_reader", "tidings history", 1000);
	memory_restore();
	if (e == OK) {
		assert_int_equal(hosts_count(hosts), strchr(text, ',') ? 2 : 1);
		assert_string_equal(hosts_get(hosts, 0).name, "a");
		assert_string_equal(c->values[0], "tidings_reader");
	}
	conninfo_free(&c);
	hosts_free(&hosts);
	return e;
}

static void a_connection_string_is_read_whole_or_not_at_all(void **state)
{
	(void)state;
	memory_fail_each(make_conninfo, (void *)"host=a,b port=5432,5433 dbname=tidings");
	memory_fail_each(make_conninfo, (void *)"postgresql://me@a:5433/tidings?connect_timeout=7");
}

static enum err make_array(void *context)
{
	struct pgarray a = {0};
	enum err e;

	(void)context;
	pgarray_begin(&a, PGARRAY_TEXT);
	for (int i = 0; i < 20; i++) {
		pgarray_add_text(&a, i % 3 == 0 ? NULL : "a text");
		pgarray_add_int8(&a, i);
	}
	memory_restore();
	e = buf_ok(&a.bytes) ? OK : ERR_MEMORY;
	/* It is good for another. */
	pgarray_begin(&a, PGARRAY_TEXT);
	pgarray_add_text(&a, "a text");
	assert_true(buf_ok(&a.bytes));
	assert_int_equal(a.bytes.len, 20 + 4 + strlen("a text"));
	pgarray_free(&a);
	return e;
}

static void an_array_is_made_whole_or_has_failed(void **state)
{
	(void)state;
	memory_fail_each(make_array, NULL);
}

static enum err look_up(void *context)
{
	struct lookup *l = NULL;
	enum err e = lookup_start(&l, "127.0.0.1");

	(void)context;
	memory_restore();
	if (e == OK) {
		char addresses[LOOKUP_ADDRESSES_MAX][LOOKUP_ADDRESS_SIZE];
		struct pollfd p = {.fd = lookup_fd(l), .events = POLLIN};
		const char *why;

		assert_int_equal(poll(&p, 1, -1), 1);
		assert_int_equal(lookup_take(l, addresses, &why), 1);
		assert_string_equal(addresses[0], "127.0.0.1");
	}
	lookup_free(&l);
	/* Whether a thread has no memory or no place is told alike. */
	return e == ERR_SYSTEM ? ERR_MEMORY : e;
}

static void a_name_is_looked_up_or_not(void **state)
{
	(void)state;
	memory_fail_each(look_up, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_connection_string_is_read_whole_or_not_at_all),
		cmocka_unit_test(an_array_is_made_whole_or_has_failed),
		cmocka_unit_test(a_name_is_looked_up_or_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
