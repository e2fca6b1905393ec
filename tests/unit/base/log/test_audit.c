#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log/audit.h"
#include "base/log/log.h"

/* What one call writes to stderr, from `audit` on. */
static const char *written(const char *event, const struct audit *a)
{
	static char line[4096];
	int saved = dup(STDERR_FILENO);
	const char *at = NULL;
	ssize_t n = 0;
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	dup2(ends[1], STDERR_FILENO);
	audit_write(event, a);
	dup2(saved, STDERR_FILENO);
	close(ends[1]);
	n = read(ends[0], line, sizeof(line) - 1);
	close(ends[0]);
	close(saved);
	assert_true(n >= 0);
	line[n] = '\0';
	at = strstr(line, " notice: audit ");
	return at ? at + strlen(" notice: ") : line;
}

static void writes_what_is_known_and_nothing_else(void **state)
{
	const struct audit all = {
		.user_id = "456",
		.role = "user",
		.connection_id = "0f0f0f0f-aaaa-4bbb-8ccc-123456789abc",
		.transport = "websocket",
		.key = "subject",
		.value = "457",
		.type = "health_update",
		.topic = "health/456",
		.seq = 7,
		.path = "/ws/send",
		.outcome = "forbidden",
		.why = "two words",
	};
	const struct audit few = {.outcome = "ok"};

	(void)state;
	log_open("prog", LOG_INFO_, 0);
	assert_string_equal(written("publish", &all),
			    "audit event=publish connection=0f0f0f0f-aaaa-4bbb-8ccc-123456789abc transport=websocket "
			    "user=456 role=user subject=457 type=health_update topic=health/456 seq=7 path=/ws/send "
			    "outcome=forbidden why=\"two words\"\n");
	assert_string_equal(written("authenticate", &few), "audit event=authenticate outcome=ok\n");
}

static void is_written_whatever_the_level_is(void **state)
{
	const struct audit a = {.outcome = "ok"};

	(void)state;
	log_open("prog", LOG_ERROR_, 0);
	assert_string_equal(written("connect", &a), "audit event=connect outcome=ok\n");
	log_open("prog", LOG_OFF_, 0);
	assert_string_equal(written("connect", &a), "");
}

static void nothing_that_a_client_sends_hides_the_outcome_or_makes_a_second_line(void **state)
{
	const struct audit forged = {.user_id = "x\n2026 audit event=forged outcome=ok", .outcome = "forbidden"};
	struct audit large = {.outcome = "forbidden", .why = "not theirs"};
	char text[3000];

	(void)state;
	memset(text, '\n', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	large.user_id = large.value = large.type = large.path = large.topic = text;
	large.key = "topic";
	log_open("prog", LOG_INFO_, 0);
	assert_string_equal(
		written("publish", &forged),
		"audit event=publish user=\"x\\x0a2026 audit event=forged outcome=ok\" outcome=forbidden\n");
	assert_non_null(strstr(written("publish", &large), "\" outcome=forbidden why=\"not theirs\"\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_what_is_known_and_nothing_else),
		cmocka_unit_test(is_written_whatever_the_level_is),
		cmocka_unit_test(nothing_that_a_client_sends_hides_the_outcome_or_makes_a_second_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
