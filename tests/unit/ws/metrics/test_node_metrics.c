#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/process/words.h"
#include "domain/caller/token.h"
#include "domain/input/client_type.h"
#include "ws/metrics/node_metrics.h"
#include "ws/node.h"

static struct node node;

static int start(void **state)
{
	(void)state;
	memset(&node, 0, sizeof(node));
	return node_metrics_init(&node) == OK ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	node_metrics_free(&node);
	return 0;
}

static const char *words_of(unsigned metric, int label)
{
	return node.metrics.table[metric].words[label];
}

/* A word that is at another place would be counted under another name. */
static void words_are_in_the_order_of_their_enums(void **state)
{
	(void)state;
	assert_int_equal(words_count(CLIENT_TYPES), CLIENT_UNSUBSCRIBE + 1);
	for (int type = 0; type <= CLIENT_UNSUBSCRIBE; type++) {
		enum client_type asked;

		/* Those that no message may ask for have the names of others. */
		if (client_type_find(client_type_text((enum client_type)type), &asked) &&
		    asked == (enum client_type)type)
			assert_int_equal(words_index(CLIENT_TYPES, client_type_text(asked)), type);
	}
	assert_int_equal(words_index(words_of(METRIC_TOKEN_CHECKS, 0), "ok"), TOKEN_GOOD);
	assert_int_equal(words_index(words_of(METRIC_TOKEN_CHECKS, 0), "expired"), TOKEN_EXPIRED);
	assert_int_equal(words_index(words_of(METRIC_TOKEN_CHECKS, 0), "signature"), TOKEN_BAD_SIGNATURE);
	assert_int_equal(words_index(words_of(METRIC_TOKEN_CHECKS, 0), "kid"), TOKEN_NO_KEY);
	assert_int_equal(words_index(words_of(METRIC_TOKEN_CHECKS, 0), "claims"), TOKEN_BAD_CLAIMS);
	assert_int_equal(words_index(words_of(METRIC_CONNECTIONS_REFUSED, 0), "forbidden"), REFUSED_FORBIDDEN);
	assert_int_equal(words_index(words_of(METRIC_CONNECTIONS_REFUSED, 0), "head"), REFUSED_HEAD);
	assert_int_equal(words_index(words_of(METRIC_CLIENT_MESSAGES_REFUSED, 0), "size"), MESSAGE_SIZE);
	assert_int_equal(words_index(words_of(METRIC_RESUMES, 1), "no"), RECOVERED_NO);
	assert_int_equal(words_count(words_of(METRIC_FAN_OUT_DURATION, 0)), FAN_OUT_SIZE_MAX + 1);
}

static uint64_t closed(enum client_transport transport, const char *code)
{
	int at = words_index(words_of(METRIC_CONNECTIONS_CLOSED, 1), code);

	assert_true(at >= 0);
	return atomic_load(metrics_number(&node.metrics, METRIC_CONNECTIONS_CLOSED, transport, (unsigned)at));
}

static void a_close_is_counted_by_its_code_and_one_without_by_what_it_was(void **state)
{
	(void)state;
	node_count_closed(&node, CLIENT_WEBSOCKET, 1013, true);
	node_count_closed(&node, CLIENT_WEBSOCKET, 4001, true); /* a client's own */
	node_count_closed(&node, CLIENT_WEBSOCKET, 0, false);
	node_count_closed(&node, CLIENT_SSE, 0, false);
	node_count_closed(&node, CLIENT_LONG_POLL, 0, true);
	assert_int_equal(closed(CLIENT_WEBSOCKET, "1013"), 1);
	assert_int_equal(closed(CLIENT_WEBSOCKET, "other"), 1);
	assert_int_equal(closed(CLIENT_WEBSOCKET, "1006"), 1);
	assert_int_equal(closed(CLIENT_SSE, "eof"), 1);
	assert_int_equal(closed(CLIENT_LONG_POLL, "1000"), 1);
}

static void the_sum_of_a_counter_is_that_of_its_series(void **state)
{
	(void)state;
	metrics_add(&node.metrics, METRIC_DELIVERIES, CLIENT_WEBSOCKET, 0, 5);
	metrics_add(&node.metrics, METRIC_DELIVERIES, CLIENT_LONG_POLL, 0, 2);
	node_count(&node, METRIC_FETCHES);
	assert_int_equal(node_counted(&node, METRIC_DELIVERIES), 7);
	assert_int_equal(node_counted(&node, METRIC_FETCHES), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(words_are_in_the_order_of_their_enums),
		TEST(a_close_is_counted_by_its_code_and_one_without_by_what_it_was),
		TEST(the_sum_of_a_counter_is_that_of_its_series),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
