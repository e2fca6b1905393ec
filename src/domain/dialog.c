#include "domain/dialog.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "domain/json.h"
#include "domain/user.h"

static void add_head(struct buf *out, const struct dialog *d, const char *type)
{
	buf_printf(out, "{\"type\":\"%s\",", type);
	if (d->diagnosis_id > 0)
		buf_printf(out, "\"diagnosis_id\":%" PRId64 ",", d->diagnosis_id);
}

static void begin_data(struct buf *out)
{
	buf_add_text(out, "\"data\":{");
}

void dialog_connect(struct buf *out, const struct dialog *d, const struct dialog_welcome *w, int64_t wall_us)
{
	char connection_id[UUID_TEXT_SIZE], timestamp[CLOCK_TEXT_SIZE];

	add_head(out, d, "connect");
	begin_data(out);
	buf_add_text(out, "\"user_id\":");
	user_id_add_json(out, w->user_id);
	buf_printf(out,
		   ",\"timestamp\":\"%s\",\"message\":\"Successfully connected to "
		   "%s\",\"connection_id\":\"%s\",\"cursor\":\"",
		   clock_text(timestamp, wall_us), d->diagnosis_id > 0 ? "diagnosis updates" : "updates",
		   uuid_text(connection_id, &w->connection_id));
	places_add_cursor(out, w->places, w->places_count);
	buf_add_text(out, "\",");
	places_add_recovery(out, w->places, w->places_count, d->diagnosis_id == 0);
	buf_add_text(out, "}}");
}

void dialog_missed_begin(struct buf *out, const struct dialog *d, const char *topic)
{
	add_head(out, d, "reconnect_messages");
	if (d->diagnosis_id == 0)
		buf_printf(out, "\"topic\":\"%s\",", topic);
	begin_data(out);
	buf_add_text(out, "\"messages\":[");
}

void dialog_missed_add(struct buf *out, bool first, struct span message)
{
	if (!first)
		buf_add_text(out, ",");
	buf_add(out, message.bytes, message.len);
}

void dialog_missed_end(struct buf *out)
{
	buf_add_text(out, "]}}");
}

static void add_pong(struct buf *out, const struct dialog *d, int64_t wall_us)
{
	char timestamp[CLOCK_TEXT_SIZE];

	add_head(out, d, "pong");
	begin_data(out);
	buf_printf(out, "\"timestamp\":\"%s\"}}", clock_text(timestamp, wall_us));
}

bool dialog_bear(struct dialog *d, const struct dialog_limits *limits, int64_t now_us)
{
	/* A clock that is 60 times slower: so one comes back each minute, not each second. */
	return rate_take(&d->bad, 1, limits->bad_max, now_us / 60, NULL);
}

static enum dialog_verdict refuse(struct dialog *d, const struct dialog_limits *limits, int64_t now_us,
				  const char *code, const char *message, struct buf *reply)
{
	if (!dialog_bear(d, limits, now_us))
		return DIALOG_TOO_MANY_BAD;
	add_head(reply, d, "error");
	begin_data(reply);
	buf_printf(reply, "\"code\":\"%s\",\"message\":\"%s\"}}", code, message);
	return DIALOG_GO_ON;
}

void dialog_forbidden(struct buf *out, const struct dialog *d, const char *topic, const char *message)
{
	add_head(out, d, "error");
	begin_data(out);
	buf_printf(out, "\"code\":\"forbidden\",\"message\":\"%s\",\"topic\":\"%s\"}}", message, topic);
}

static bool is_seq(struct json_object *value)
{
	return json_object_is_type(value, json_type_int) && json_object_get_int64(value) >= 0;
}

enum dialog_verdict dialog_receive(struct dialog *d, const struct dialog_limits *limits, struct span text,
				   int64_t now_us, int64_t wall_us, struct buf *reply)
{
	struct json_object *root = NULL, *member;
	enum dialog_verdict verdict = DIALOG_GO_ON;
	const char *problem, *type = "";

	if (!rate_take(&d->bucket, limits->rate_per_s, limits->burst, now_us, NULL))
		return refuse(d, limits, now_us, "rate_limited", "Too many messages: slow down.", reply);
	if (text.len == strlen("ping") && memcmp(text.bytes, "ping", text.len) == 0) {
		add_pong(reply, d, wall_us);
		return DIALOG_GO_ON;
	}
	if (json_read(&root, text.bytes, text.len, &problem) != OK || !json_object_is_type(root, json_type_object)) {
		json_object_put(root);
		return refuse(d, limits, now_us, "invalid_message", "A message must be a JSON object.", reply);
	}
	if (json_object_object_get_ex(root, "type", &member) && json_object_is_type(member, json_type_string))
		type = json_object_get_string(member);
	if (strcmp(type, "ping") == 0) {
		add_pong(reply, d, wall_us);
	} else if (strcmp(type, "ack") == 0) {
		if (!json_object_object_get_ex(root, "seq", &member) || !is_seq(member))
			verdict = refuse(d, limits, now_us, "invalid_message", "An ack needs seq, an integer.", reply);
	} else if (strcmp(type, "authenticate") == 0) {
		if (d->identified) {
			verdict = refuse(d, limits, now_us, "already_authenticated", "This connection has its user.",
					 reply);
		} else if (json_object_object_get_ex(root, "token", &member) &&
			   json_object_is_type(member, json_type_string)) {
			buf_add(reply, json_object_get_string(member), (size_t)json_object_get_string_len(member));
			verdict = DIALOG_AUTHENTICATE;
		} else {
			verdict = refuse(d, limits, now_us, "invalid_message",
					 "An authenticate message needs token, a text.", reply);
		}
	} else {
		verdict = refuse(d, limits, now_us, "unknown_type", "There is no such type of message here.", reply);
	}
	json_object_put(root);
	return verdict;
}
