/* A client's message; and the same as the body of each broadcast. */
#include <string.h>

#include "domain/input/client_message.h"
#include "domain/text/json.h"
#include "tests/fuzz/fuzz.h"

/* One line of JSON of this kind. */
static void check_json(const struct buf *text, json_type type)
{
	struct json_object *root = NULL;
	const char *problem;

	MUST_HOLD(buf_ok(text) && text->len > 0 && !memchr(text->bytes, '\n', text->len));
	MUST_HOLD(json_read(&root, text->bytes, text->len, &problem) == OK);
	MUST_HOLD(json_object_is_type(root, type));
	json_object_put(root);
}

static void check_fault(const struct client_message *m, const struct client_fault *fault)
{
	struct buf body = BUF_EMPTY;

	MUST_HOLD(fault->code && fault->sentence);
	MUST_HOLD(fault->problem.status == 400 || fault->problem.status == 422);
	problem_write(&body, &fault->problem);
	check_json(&body, json_type_object);
	buf_free(&body);
	MUST_HOLD(m->data.len == 0 && m->token.len == 0);
}

/* What came out goes in again, and comes out as it is. */
static void check_again(const struct client_message *m)
{
	struct client_message again = CLIENT_MESSAGE_NONE;
	struct client_fault fault = CLIENT_FAULT_NONE;

	check_json(&m->data, json_type_object);
	MUST_HOLD(client_message_read_body(&again, m->type, (struct span){m->data.bytes, m->data.len}, &fault) == OK);
	MUST_HOLD(again.data.len == m->data.len && memcmp(again.data.bytes, m->data.bytes, m->data.len) == 0);
	client_message_free(&again);
}

static void check(enum err e, struct client_message *m, struct client_fault *fault)
{
	if (m->correlation_id.len > 0)
		check_json(&m->correlation_id, json_type_string);
	if (e != OK)
		check_fault(m, fault);
	else if (client_type_is_act(m->type))
		check_again(m);
	else
		MUST_HOLD(m->data.len == 0);
	client_message_free(m);
	problem_free(&fault->problem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const enum client_type bodies[] = {CLIENT_BROADCAST_CHAT, CLIENT_BROADCAST_HEALTH, CLIENT_NOTIFY};
	struct span text = {(const char *)data, len};
	struct client_message m = CLIENT_MESSAGE_NONE;
	struct client_fault fault = CLIENT_FAULT_NONE;

	check(client_message_read(&m, text, &fault), &m, &fault);
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		m = CLIENT_MESSAGE_NONE;
		fault = CLIENT_FAULT_NONE;
		check(client_message_read_body(&m, bodies[i], text, &fault), &m, &fault);
	}
	return 0;
}
