#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/fanout/ephemeral.h"

static void add(struct ephemerals *all, size_t len, const char *to_user, const struct uuid *exclude)
{
	static char bytes[EPHEMERALS_MAX_BYTES];

	assert_int_equal(ephemerals_add(all, (struct span){bytes, len}, to_user, exclude), OK);
}

static void each_has_a_number_and_whom_it_is_for(void **state)
{
	const struct uuid somebody = {{1, 2, 3}};
	struct ephemerals all;
	struct ephemeral *e;

	(void)state;
	ephemerals_init(&all);
	add(&all, 3, NULL, NULL);
	add(&all, 4, "ann", &somebody);
	assert_int_equal(all.bytes, 7);
	e = STAILQ_FIRST(&all.list);
	assert_int_equal(e->number, 1);
	assert_null(e->to_user);
	assert_false(e->has_exclude);
	e = STAILQ_NEXT(e, next);
	assert_int_equal(e->number, 2);
	assert_string_equal(e->to_user, "ann");
	assert_true(e->has_exclude && uuid_equal(&e->exclude, &somebody));
	ephemerals_clear(&all);
}

static void the_oldest_are_dropped_when_they_are_too_many(void **state)
{
	struct ephemerals all;

	(void)state;
	ephemerals_init(&all);
	add(&all, EPHEMERALS_MAX_BYTES / 2, NULL, NULL);
	add(&all, EPHEMERALS_MAX_BYTES / 2, NULL, NULL);
	assert_int_equal(STAILQ_FIRST(&all.list)->number, 1);
	add(&all, 1, NULL, NULL);
	assert_int_equal(STAILQ_FIRST(&all.list)->number, 2);
	assert_int_equal(all.bytes, EPHEMERALS_MAX_BYTES / 2 + 1);
	ephemerals_clear(&all);
}

static void cleared_ones_have_gone_by(void **state)
{
	struct ephemerals all;

	(void)state;
	ephemerals_init(&all);
	add(&all, 1, NULL, NULL);
	ephemerals_clear(&all);
	assert_true(STAILQ_EMPTY(&all.list));
	assert_int_equal(all.bytes, 0);
	add(&all, 1, NULL, NULL);
	assert_int_equal(STAILQ_FIRST(&all.list)->number, 2);
	assert_int_equal(all.last, 2);
	ephemerals_clear(&all);
}

static void are_for_who_may_have_them_and_wants_their_type(void **state)
{
	static const char frame[] = "\x81\x0c{\"type\":\"a\"}";
	struct reader ann = {.user_id = "ann"}, bob = {.user_id = "bob"};
	struct message_types *types = NULL;
	struct ephemerals all;

	(void)state;
	ephemerals_init(&all);
	assert_int_equal(ephemerals_add(&all, (struct span){frame, sizeof(frame) - 1}, "ann", NULL), OK);
	assert_true(ephemeral_is_for(STAILQ_FIRST(&all.list), &ann));
	assert_false(ephemeral_is_for(STAILQ_FIRST(&all.list), &bob));
	assert_int_equal(message_types_add(&types, (struct span){"b", 1}), OK);
	ann.types = types;
	assert_false(ephemeral_is_for(STAILQ_FIRST(&all.list), &ann));
	assert_int_equal(message_types_add(&types, (struct span){"a", 1}), OK);
	assert_true(ephemeral_is_for(STAILQ_FIRST(&all.list), &ann));
	message_types_unref(&types);
	ephemerals_clear(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_has_a_number_and_whom_it_is_for),
		cmocka_unit_test(the_oldest_are_dropped_when_they_are_too_many),
		cmocka_unit_test(cleared_ones_have_gone_by),
		cmocka_unit_test(are_for_who_may_have_them_and_wants_their_type),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
