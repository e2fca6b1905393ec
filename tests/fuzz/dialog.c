/* A whole conversation: a message a line. */
#include <string.h>

#include "domain/dialog/dialog.h"
#include "domain/text/json.h"
#include "tests/fuzz/fuzz.h"

#define WALL_US INT64_C(1800000000000000)

static void check_reply(const struct buf *reply)
{
	struct json_object *root = NULL;
	const char *problem;

	if (reply->len == 0)
		return;
	MUST_HOLD(json_read(&root, reply->bytes, reply->len, &problem) == OK);
	MUST_HOLD(json_object_is_type(root, json_type_object));
	json_object_put(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct dialog_limits limits = {.rate_per_s = 10, .burst = 20, .bad_max = 5};
	const char *at = (const char *)data, *end = at + len;
	struct dialog d = {.diagnosis_id = len % 2 == 0 ? 123 : 0};
	enum dialog_verdict v = DIALOG_GO_ON;
	int64_t errors = 0;

	for (int64_t now_us = 0; at < end && v != DIALOG_TOO_MANY_BAD; now_us += 40000) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		size_t line = (size_t)((newline ? newline : end) - at);
		struct buf reply = BUF_EMPTY;

		if (dialog_take(&d, &limits, dialog_cost(line), now_us))
			v = dialog_receive(&d, &limits, (struct span){at, line}, now_us, WALL_US, &reply);
		else
			v = dialog_refuse_rate(&d, &limits, now_us, &reply);
		MUST_HOLD(buf_ok(&reply));
		switch (v) {
		case DIALOG_GO_ON:
			check_reply(&reply);
			break;
		case DIALOG_AUTHENTICATE:
			MUST_HOLD(!d.identified && reply.len <= line);
			d.identified = true;
			break;
		case DIALOG_TOPICS:
			MUST_HOLD(d.identified && d.diagnosis_id == 0 && reply.len == 0);
			break;
		case DIALOG_TOO_MANY_BAD:
			MUST_HOLD(reply.len == 0);
			break;
		}
		/* As many as are allowed, and those of the minutes that have passed. */
		errors += v == DIALOG_GO_ON && reply.bytes && strstr(reply.bytes, "\"error\"") != NULL;
		MUST_HOLD(errors <= limits.bad_max + now_us / 60000000 + 1);
		buf_free(&reply);
		at += line + (newline != NULL);
	}
	return 0;
}
